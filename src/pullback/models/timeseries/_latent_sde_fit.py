"""Making a latent SDE, and the loss that trains it."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback import ode, sde
from pullback._inputs import positive
from pullback._key import checked_key
from pullback.models.likelihoods import AbstractLikelihood, Normal

from ._contexts import AbstractContextEncoder, RecurrentContext
from ._latent_ode_fit import TrainingSeries
from ._latent_priors import AbstractLatentPrior, NeuralPrior
from ._latent_sde import LatentSDE
from ._observations import check_training_series
from ._readout import linear_readout


class Control(eqx.Module):
    r"""The control of a posterior: a net of the state, the time and the context, at first zero.

    The time enters as t and as $\sin k \omega t$, $\cos k \omega t$ for k up to `harmonics`.

    Args:
        latent: size of the state.
        context: size of the context; 0 for none.
        width: of the hidden layers.
        depth: their number.
        harmonics: of the time.
        period: the longest period, in units of time: $\omega = 2\pi$ / `period`.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> control = Control(2, 1, width=8, key=jax.random.key(0))
        >>> control(jnp.array(0.5), jnp.ones(2), jnp.ones(1)).tolist()
        [0.0, 0.0]

    Source: the zero last layer is that of the example `latent_sde.py` of torchsde.
    """

    net: eqx.nn.MLP
    harmonics: int = eqx.field(static=True)
    period: float = eqx.field(static=True)

    def __init__(
        self,
        latent: int,
        context: int,
        *,
        width: int = 100,
        depth: int = 2,
        harmonics: int = 1,
        period: float = 1.0,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(latent=latent, width=width, depth=depth)
        net = eqx.nn.MLP(
            latent + context + 1 + 2 * harmonics,
            latent,
            width,
            depth,
            jax.nn.tanh,
            dtype=dtype,
            key=key,
        )
        last = jax.tree.map(jnp.zeros_like, net.layers[-1])
        self.net = eqx.tree_at(lambda n: n.layers[-1], net, last)
        self.harmonics, self.period = harmonics, period

    def __call__(
        self,
        t: Float[Array, ""],
        z: Float[Array, " latent"],
        context: Float[Array, " context"],
    ) -> Float[Array, " latent"]:
        """The control at one state."""
        phase = jnp.arange(1, self.harmonics + 1, dtype=z.dtype) * t.astype(z.dtype)
        phase = phase * (2 * jnp.pi / self.period)
        time = t.astype(z.dtype)[None]
        return self.net(jnp.concatenate([z, time, jnp.sin(phase), jnp.cos(phase), context]))


def latent_sde(
    variables: int,
    *,
    latent: int = 4,
    encoder: AbstractContextEncoder | None = None,
    encoder_size: int = 100,
    context: int = 64,
    width: int = 100,
    depth: int = 1,
    prior: AbstractLatentPrior | None = None,
    decoder: Callable[[Any], Any] | None = None,
    likelihood: AbstractLikelihood | None = None,
    harmonics: int = 1,
    period: float = 1.0,
    steps: int = 5,
    solver: diffrax.AbstractSolver | None = None,
    adjoint: ode.Replay | sde.StochasticAdjoint | None = None,
    dtype: Any = None,
    key: PRNGKeyArray,
) -> LatentSDE:
    """A latent SDE of the paper's parts.

    Args:
        variables: of the series.
        latent: size of the latent state.
        encoder: of the context; a `RecurrentContext` when None.
        encoder_size: of the recurrent cell.
        context: size of the recurrent encoder's context.
        width: of the hidden layers of control, prior drift and diffusions.
        depth: hidden layers of control and prior drift.
        prior: the distribution of the path; a `NeuralPrior` when None.
        decoder: from one latent state to the likelihood's parameters; a linear map when None.
        likelihood: how values scatter, of `pb.models.likelihoods` or your own; when None, normal
            with a learned standard deviation of each variable, which starts at 0.1. With a fixed
            one the fit depends on it more than on the rest.
        harmonics: of the time, in the control.
        period: the longest period of these, in units of time.
        steps: between two successive times.
        solver: a Diffrax solver for SDEs; `diffrax.Euler()` when None.
        adjoint: how a gradient goes back through the solve.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is too small.

    Example:
        >>> import jax
        >>> latent_sde(3, latent=2, context=5, key=jax.random.key(0)).encoder.context
        5

    Source: Li et al., arXiv 2001.01328, section 7; the example `latent_sde_lorenz.py` of torchsde.
    """
    key = checked_key(key)
    positive(variables=variables, latent=latent, steps=steps)
    keys = jr.split(key, 5)
    if encoder is None:
        encoder = RecurrentContext(
            variables, size=encoder_size, context=context, dtype=dtype, key=keys[0]
        )
    if prior is None:
        prior = NeuralPrior(latent, width=width, depth=depth, dtype=dtype, key=keys[1])
    if likelihood is None:
        likelihood = Normal(0.1, variables=variables)
    return LatentSDE(
        encoder=encoder,
        start=eqx.nn.Linear(encoder.context, 2 * latent, dtype=dtype, key=keys[2]),
        control=Control(
            latent,
            encoder.context,
            width=width,
            depth=depth,
            harmonics=harmonics,
            period=period,
            dtype=dtype,
            key=keys[3],
        ),
        prior=prior,
        decoder=linear_readout(latent, variables, likelihood, dtype=dtype, key=keys[4])
        if decoder is None
        else decoder,
        likelihood=likelihood,
        steps=steps,
        solver=diffrax.Euler() if solver is None else solver,
        adjoint=adjoint,
    )


class LatentSDELoss(eqx.Module):
    r"""The negative evidence lower bound of a latent SDE, for `pb.train.fit`.

    $$ L = -\frac1n \sum_i \mathrm{ELBO}_i $$

    The mean is over the series of a batch, in nats a series. `beta` is an array: another value does
    not compile the training loop again.

    Args:
        beta: the weight of the KLs; 1 for the true bound.
        samples: paths for each series.

    Returns:
        Called as `loss(model, batch, *, key)` with a batch of `TrainingSeries`: the loss, and the
        metrics `log_likelihood`, `kl_start`, `kl_path`, `mse` and `result`.

    Example:
        >>> import jax, pullback as pb
        >>> from pullback.models.timeseries import TrainingSeries, latent_sde, observations
        >>> series = pb.data.irregular_series([([0.0, 0.3, 1.0], [0.1, 0.4, 0.2])])
        >>> model = latent_sde(1, latent=2, steps=1, key=jax.random.key(0))
        >>> batch = TrainingSeries(observations(series))
        >>> loss, metrics = LatentSDELoss()(model, batch, key=jax.random.key(1))
        >>> sorted(metrics)
        ['kl_path', 'kl_start', 'log_likelihood', 'mse', 'result']

    Source: Li et al., arXiv 2001.01328, section 5.
    """

    beta: Float[Array, ""]
    samples: int = eqx.field(static=True)

    def __init__(self, *, beta: float = 1.0, samples: int = 1):
        self.beta = jnp.asarray(beta)
        self.samples = samples

    def check(self, model: LatentSDE, data: TrainingSeries) -> None:
        """Raise ValueError for values or times that are not finite."""
        check_training_series(model, data)

    def __call__(
        self, model: LatentSDE, batch: TrainingSeries, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        key = checked_key(key)
        target = batch.observed if batch.target is None else batch.target
        found = model.elbo_terms(
            batch.observed, target, beta=self.beta, samples=self.samples, key=key
        )
        loss = -jnp.mean(found.elbo)
        number = jnp.maximum(jnp.sum(target.mask), 1).astype(loss.dtype)
        metrics = {
            "log_likelihood": jnp.mean(found.log_likelihood),
            "kl_start": jnp.mean(found.kl_start),
            "kl_path": jnp.mean(found.kl_path),
            "mse": jnp.sum(found.squared_error) / number,
            "result": found.result,
        }
        return loss, metrics

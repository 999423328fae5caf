"""The RNN-VAE: a latent state drawn once, from which a recurrent net writes the series."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.core import Tracer
from jaxtyping import Array, Float, Key, PRNGKeyArray

from pullback import ode
from pullback._checked_data import checked_by
from pullback._inputs import positive
from pullback._key import checked_key, checked_keys
from pullback.models.likelihoods import AbstractLikelihood, Normal

from ._encoder import Anchor, Encoder, Posterior, gaussian_encoder
from ._latent_ode_fit import TrainingSeries
from ._observations import Observations, check_training_series, check_values
from ._readout import linear_readout
from ._scores import scores


class RecurrentVAE(eqx.Module):
    r"""The latent ODE's rival without an ODE: a recurrent net that reads back what it wrote.

    $$ z \sim N(0, I), \quad h_0 = W z + b, \quad h_i = \mathrm{GRU}([\hat x_{i-1},
       t_i - t_{i-1}], h_{i-1}), \quad \hat x_i = \mathrm{mean}(\mathrm{readout}(h_i)) $$

    with $t_0$ the anchor, and $q(z \mid x)$ a Gaussian that an encoder gives. The cell takes one
    step for each time that is asked for, however near, so what it says at a time depends on the
    times before it: score it on a grid like the one it was trained on, values of which may be
    missing.

    Attributes:
        encoder: a function of one series `(times, values, mask, anchor=...)` to a `Posterior`.
        start: from one latent state to the cell's first state.
        cell: from the value before with the time since, and a state, to the next state.
        readout: from the cell's state to the likelihood's parameters, of the shape
            `likelihood.params_shape((variables,))`.
        likelihood: how values scatter about what is decoded: any of `pb.models.likelihoods`, or one
            of your own.
        anchor: the end of the window from which the series is written: "first" for what lies in the
            window and after it, "last" for what comes after it.

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> series = pb.data.irregular_series([([0.0, 0.3, 1.0], [0.1, 0.4, 0.2])])
        >>> model = recurrent_vae(1, latent=2, size=4, key=jax.random.key(0))
        >>> observed = pb.models.timeseries.observations(series)
        >>> times = jnp.linspace(0.0, 2.0, 5)[None]
        >>> pb.models.timeseries.predict(
        ...     model, observed, times, key=jax.random.key(1)
        ... ).mean.shape
        (1, 5, 1)

    Source: RNN-VAE in Rubanova et al., arXiv 1907.03907, section 4, and its code.
    """

    encoder: Callable[..., Posterior]
    start: Callable[[Any], Any]
    cell: Callable[[Any, Any], Any]
    readout: Callable[[Any], Any]
    likelihood: AbstractLikelihood
    anchor: Anchor = eqx.field(default="first", static=True)

    def __check_init__(self) -> None:
        if self.anchor not in ("first", "last"):
            raise ValueError(f"`anchor` must be 'first' or 'last', got {self.anchor!r}.")

    def check(self, observed: Observations, target: Observations | None = None) -> None:
        """Raise ValueError if a value is not the likelihood's, or a time lies before the anchor."""
        check_values(self.likelihood, observed)
        if target is not None:
            check_values(self.likelihood, target, name="target")
        self._check_times(observed, (observed if target is None else target).times)

    @eqx.filter_jit
    def encode(self, observed: Observations) -> Posterior:
        """The posterior of each series' latent state."""
        return jax.vmap(lambda *series: self.encoder(*series, anchor=self.anchor))(*observed)

    def decode(
        self,
        z: Float[Array, " latent"],
        anchor: Float[Array, ""],
        times: Float[Array, " query"],
    ) -> Float[Array, "query variable ..."]:
        """The likelihood's parameters at `times`, of one latent state.

        Args:
            z: the latent state.
            anchor: the time at which the writing begins.
            times: increasing, none before the anchor.
        """
        gaps = jnp.diff(times, prepend=anchor[None]).astype(z.dtype)

        def step(carry: tuple[Array, Array], gap: Array) -> tuple[tuple[Array, Array], Array]:
            h, before = carry
            h = self.cell(jnp.concatenate([before, gap[None]]), h)
            params = self.readout(h)
            return (h, jnp.ravel(self.likelihood.mean(params)).astype(h.dtype)), params

        h = self.start(z)
        first = jnp.ravel(self.likelihood.mean(self.readout(h))).astype(h.dtype)
        return jax.lax.scan(step, (h, first), gaps)[1]

    def elbo_parts(
        self,
        observed: Observations,
        target: Observations | None = None,
        *,
        samples: int = 1,
        key: PRNGKeyArray,
    ) -> tuple[Float[Array, " batch"], Float[Array, " batch"], Float[Array, " batch"]]:
        r"""Of each series the log-likelihood of what was observed, the KL, and the squared error.

        $$ \mathrm{ELBO} = E_q\Big[\sum_{\mathrm{observed}} \log p(x \mid z)\Big]
           - KL(q \| N(0, I)) $$

        The first and the last are averages over `samples` of the latent state.

        Args:
            observed: what the encoder sees.
            target: what is scored; `observed` when None.
            samples: of the latent state.
            key: for the samples.

        Raises:
            ValueError: `samples` is below 1, a value cannot be of the likelihood, or a time that is
                scored lies before the anchor.
        """
        key = checked_key(key)
        positive(samples=samples)
        self.check(observed, target)
        return self._elbo_parts(observed, observed if target is None else target, samples, key)

    @eqx.filter_jit
    def _elbo_parts(
        self, observed: Observations, target: Observations, samples: int, key: PRNGKeyArray
    ) -> tuple[Array, Array, Array]:
        posterior = self.encode(observed)
        noise = jr.normal(key, (samples, *posterior.mean.shape), posterior.mean.dtype)
        params = self._decoded(posterior, noise, observed, target.times)
        values, mask = (jnp.broadcast_to(a[None], params.shape[:4]) for a in target[1:])
        log_x, error = (
            jnp.mean(jnp.sum(each, axis=(-2, -1)), axis=0)
            for each in scores(self.likelihood, params, values, mask)
        )
        return log_x, posterior.kl(), error

    def paths(
        self,
        observed: Observations,
        times: Float[Array, "batch query"],
        *,
        samples: int,
        keys: Key[Array, " batch"],
    ) -> tuple[Float[Array, "sample batch query variable ..."], ode.Solution]:
        """The likelihood's parameters along paths through `times`, one path a posterior draw.

        `predict` and its kin are made of it.

        Args:
            observed: what the encoder sees.
            times: increasing along each row, none before the anchor.
            samples: draws for each series.
            keys: one for each series, `[batch]`.

        Returns:
            The parameters; and, as of a solve, that it went well, or that the times were wrong.
        """
        keys = checked_keys(keys)
        posterior = self.encode(observed)
        shape, dtype = (samples, posterior.mean.shape[1]), posterior.mean.dtype
        noise = jnp.swapaxes(jax.vmap(lambda k: jr.normal(k, shape, dtype))(keys), 0, 1)
        params = self._decoded(posterior, noise, observed, times)
        anchor = self._anchor_of(observed)
        wrong = jnp.any(jnp.diff(times, prepend=anchor[:, None]) < 0, axis=1)
        result = jnp.where(wrong, int(ode.Result.TIMES_NOT_MONOTONE), int(ode.Result.SUCCESSFUL))
        none = jnp.zeros_like(result)
        return params, ode.Solution(times, None, ode.Stats(none, none, none), result, anchor)

    def _decoded(
        self, posterior: Posterior, noise: Array, observed: Observations, times: Array
    ) -> Array:
        z = posterior.mean[None] + posterior.std[None] * noise
        of_series = jax.vmap(self.decode)
        return jax.vmap(of_series, in_axes=(0, None, None))(z, self._anchor_of(observed), times)

    def _anchor_of(self, observed: Observations) -> Array:
        return observed.times[:, 0 if self.anchor == "first" else -1]

    def _check_times(self, observed: Observations, times: Array) -> None:
        early = times[:, 0] < self._anchor_of(observed)
        if not isinstance(early, Tracer) and bool(jnp.any(early)):
            raise ValueError(
                f"series {int(jnp.argmax(early))} is asked for a time before its {self.anchor} "
                "one, from which this model writes it: give later times, or `anchor='first'`."
            )


def recurrent_vae(
    variables: int,
    *,
    latent: int = 8,
    size: int = 40,
    encoder_size: int = 20,
    gate_width: int = 50,
    likelihood: AbstractLikelihood | None = None,
    anchor: Anchor = "first",
    dtype: Any = None,
    key: PRNGKeyArray,
) -> RecurrentVAE:
    """An RNN-VAE, with the encoder "rnn" of the latent ODE.

    Args:
        variables: of the series.
        latent: size of the latent state.
        size: of the decoder's recurrent state.
        encoder_size: half the size of the encoder's, as in `latent_ode`.
        gate_width: of the hidden layer of the encoder's readout.
        likelihood: how values scatter, of `pb.models.likelihoods` or your own; `Normal(0.1)`, whose
            deviation is fixed, when None.
        anchor: the end of the window from which the series is written.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> import jax
        >>> recurrent_vae(3, size=8, key=jax.random.key(0)).cell.input_size
        4

    Source: RNN-VAE in Rubanova et al., arXiv 1907.03907, section 4.
    """
    keys = jr.split(checked_key(key), 4)
    positive(variables=variables, latent=latent, size=size, encoder_size=encoder_size)
    likelihood = Normal(0.1) if likelihood is None else likelihood
    params = jax.ShapeDtypeStruct(likelihood.params_shape((variables,)), jnp.zeros(0, dtype).dtype)
    written = math.prod(jax.eval_shape(likelihood.mean, params).shape)
    encoder: Encoder = gaussian_encoder(
        variables, latent, kind="rnn", size=encoder_size, width=gate_width, dtype=dtype, key=keys[0]
    )
    return RecurrentVAE(
        encoder=encoder,
        start=eqx.nn.Linear(latent, size, dtype=dtype, key=keys[1]),
        cell=eqx.nn.GRUCell(written + 1, size, dtype=dtype, key=keys[2]),
        readout=linear_readout(size, variables, likelihood, dtype=dtype, key=keys[3]),
        likelihood=likelihood,
        anchor=anchor,
    )


def _check(model: RecurrentVAE, data: TrainingSeries) -> None:
    check_training_series(model, data)
    model.check(data.observed, data.target)


@checked_by(_check)
def recurrent_vae_loss(
    model: RecurrentVAE, batch: TrainingSeries, *, key: PRNGKeyArray
) -> tuple[Float[Array, ""], dict[str, Array]]:
    r"""The negative evidence lower bound of an RNN-VAE, for `pb.train.fit`.

    $$ L = -\frac1n \sum_i \mathrm{ELBO}_i $$

    The mean is over the series of a batch, in nats a series, as of `LatentODELoss`.

    Args:
        model: the RNN-VAE.
        batch: series; their labels are not looked at.
        key: for the sample of each latent state.

    Returns:
        The loss, and the metrics `log_likelihood`, `kl` and `mse` (of the decoded values, for each
        observed value; of classes Brier's score).

    Example:
        >>> import jax, pullback as pb
        >>> series = pb.data.irregular_series([([0.0, 0.3, 1.0], [0.1, 0.4, 0.2])])
        >>> model = recurrent_vae(1, latent=2, size=4, key=jax.random.key(0))
        >>> batch = TrainingSeries(pb.models.timeseries.observations(series))
        >>> loss, metrics = recurrent_vae_loss(model, batch, key=jax.random.key(1))
        >>> bool(abs(loss + metrics["log_likelihood"] - metrics["kl"]) < 1e-4)
        True

    Source: Rubanova et al., arXiv 1907.03907, section 4.
    """
    key = checked_key(key)
    target = batch.observed if batch.target is None else batch.target
    log_x, kl, error = model.elbo_parts(batch.observed, target, key=key)
    number = jnp.maximum(jnp.sum(target.mask), 1).astype(log_x.dtype)
    metrics = {
        "log_likelihood": jnp.mean(log_x),
        "kl": jnp.mean(kl),
        "mse": jnp.sum(error) / number,
    }
    return jnp.mean(kl - log_x), metrics

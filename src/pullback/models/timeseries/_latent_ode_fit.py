"""Making a latent ODE, and the loss that trains it."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback import ode
from pullback._key import checked_key
from pullback.models.likelihoods import AbstractLikelihood, Normal

from ._dynamics import TanhField, positive
from ._encoder import Anchor, gaussian_encoder
from ._latent_ode import LatentODE
from ._observations import Observations, check_training_series
from ._poisson import PoissonHead, SoftplusRate
from ._readout import linear_readout


def latent_ode(
    variables: int,
    *,
    latent: int = 8,
    encoder: Literal["ode", "rnn", "gated"] = "ode",
    encoder_size: int = 20,
    gate_width: int = 50,
    width: int = 50,
    depth: int = 1,
    encoder_steps: int = 2,
    likelihood: AbstractLikelihood | None = None,
    poisson: int = 0,
    rate_scale: float = 1.0,
    classes: int = 0,
    classifier_width: int = 300,
    anchor: Anchor = "first",
    steps: int | None = None,
    rtol: float = 1e-3,
    atol: float = 1e-4,
    dtype: Any = None,
    key: PRNGKeyArray,
) -> LatentODE:
    """A latent ODE of the paper's parts.

    Args:
        variables: of the series.
        latent: size of the latent state.
        encoder: "ode", or without an ODE "rnn" or "gated", as in `gaussian_encoder`.
        encoder_size: of the encoder's mean, and of its spread.
        gate_width: of the hidden layers of the encoder's gates and readout.
        width: of the hidden layers of both vector fields.
        depth: their number.
        encoder_steps: of the encoder's ODE in each gap.
        likelihood: how values scatter, of `pb.models.likelihoods` or your own; `Normal(0.1)`, whose
            deviation is fixed, when None. The decoder emits what `params_shape` asks for.
        poisson: size of the Poisson head's latent state; 0 for no head.
        rate_scale: a typical intensity of observation times, in the unit of the times.
        classes: number of classes of the classifier; 0 for none.
        classifier_width: of its two hidden layers.
        anchor: the end of the window at which the latent state lives.
        steps: of the decoder between two times; None for steps adapted to the tolerances.
        rtol: relative tolerance of the decoder's steps.
        atol: absolute tolerance of the decoder's steps.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is too small.

    Example:
        >>> import jax
        >>> latent_ode(3, latent=4, poisson=2, key=jax.random.key(0)).encoder.readout.out_size
        12

    Source: Rubanova et al., arXiv 1907.03907, sections 3.2, 3.3 and 5.
    """
    key = checked_key(key)
    positive(variables=variables, latent=latent)
    likelihood = Normal(0.1) if likelihood is None else likelihood
    keys = jr.split(key, 6)
    head = None
    if poisson:
        head = PoissonHead(
            TanhField(poisson, width=width, depth=depth, dtype=dtype, key=keys[0]),
            SoftplusRate(poisson, variables, scale=rate_scale, dtype=dtype, key=keys[1]),
            poisson,
        )
    classifier = None
    if classes:
        classifier = eqx.nn.MLP(
            latent + poisson, classes, classifier_width, 2, dtype=dtype, key=keys[2]
        )
    return LatentODE(
        encoder=gaussian_encoder(
            variables,
            latent + poisson,
            kind=encoder,
            size=encoder_size,
            width=gate_width,
            field_width=width,
            field_depth=depth,
            steps=encoder_steps,
            dtype=dtype,
            key=keys[3],
        ),
        field=TanhField(latent, width=width, depth=depth, dtype=dtype, key=keys[4]),
        decoder=linear_readout(latent, variables, likelihood, dtype=dtype, key=keys[5]),
        likelihood=likelihood,
        poisson=head,
        classifier=classifier,
        anchor=anchor,
        steps=steps,
        rtol=rtol,
        atol=atol,
    )


class TrainingSeries(NamedTuple):
    """Series to train on.

    Attributes:
        observed: what the encoder sees.
        target: what is scored; None is the same.
        label: the class of each series, -1 where it is not known; None without classes.
    """

    observed: Observations
    target: Observations | None = None
    label: Int[Array, " batch"] | None = None


class LatentODELoss(eqx.Module):
    r"""The negative evidence lower bound, for `pb.train.fit`.

    $$ L = \frac1n \sum_i \Big( -\mathrm{ELBO}_i + w\, \mathrm{CE}(y_i, \mathrm{classifier}(z_i))
       + \sum_k v_k\, E_q \int R_k(t, z)\, dt \Big) $$

    The mean is over the series of a batch; nothing is averaged over observations or latent
    dimensions, so the loss is in nats a series. `beta` and the weights are arrays: another value
    does not compile the training loop again.

    Args:
        beta: the weight of the KL; 1 for the true bound.
        class_weight: the weight of the cross entropy, where the series have labels.
        poisson_weight: the weight of the log-likelihood of when observations happened.
        penalties: the rates R, which keep the learned dynamics easy to solve: any of `pb.ode`, such
            as `(pb.ode.KineticEnergy(),)`. Each is of the model's `field` at one latent state, and
            integrated along the decoder's path from the anchor to the ends of what is scored.
        penalty_weight: their weights v, one for each or one for all.
        samples: of the latent state.

    Returns:
        Called as `loss(model, batch, *, key)`: the loss, and the metrics `log_likelihood`, `kl`,
        `mse` (of the decoded values, for each observed value; of classes Brier's score), `result`
        (see `pb.train.fit`), with labels `cross_entropy`, with a Poisson head `log_times`, and of
        each penalty, before its weight, `penalty_0`, `penalty_1` and so on.

    Raises:
        TypeError: `penalties` is no sequence.
        ValueError: there are as many weights neither as penalties nor as one.

    Example:
        >>> import jax, numpy as np, pullback as pb
        >>> from pullback.models.timeseries import latent_ode, observations
        >>> series = pb.data.irregular_series([([0.0, 0.3, 1.0], [0.1, 0.4, 0.2])])
        >>> model = latent_ode(1, latent=2, steps=1, key=jax.random.key(0))
        >>> batch = TrainingSeries(observations(series))
        >>> loss, metrics = LatentODELoss()(model, batch, key=jax.random.key(1))
        >>> sorted(metrics)
        ['kl', 'log_likelihood', 'mse', 'result']

    Source: Rubanova et al., arXiv 1907.03907, sections 3.2 to 3.4; Finlay et al., How to Train Your
    Neural ODE, arXiv 2002.02798, for the penalties.
    """

    beta: Float[Array, ""]
    class_weight: Float[Array, ""]
    poisson_weight: Float[Array, ""]
    penalties: tuple[ode.AbstractPenalty, ...]
    # Not one array, whose axis could be taken for that of a stack of models.
    penalty_weight: tuple[Float[Array, ""], ...]
    samples: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        beta: float = 1.0,
        class_weight: float = 100.0,
        poisson_weight: float = 1.0,
        penalties: Sequence[ode.AbstractPenalty] = (),
        penalty_weight: float | int | Sequence[float | int] = 1.0,
        samples: int = 1,
    ):
        if not isinstance(penalties, Sequence):
            raise TypeError(
                f"`penalties` must be a tuple of penalties, got a {type(penalties).__name__}: put "
                "a comma behind it, `(penalty,)`."
            )
        weights = jnp.asarray(penalty_weight, float)
        if weights.shape not in ((), (len(penalties),)):
            raise ValueError(
                f"`penalty_weight` must be one number, or one for each of the {len(penalties)} "
                f"penalties, got {penalty_weight}."
            )
        self.penalties = tuple(penalties)
        self.penalty_weight = tuple(jnp.broadcast_to(weights, (len(penalties),)))
        self.beta = jnp.asarray(beta)
        self.class_weight = jnp.asarray(class_weight)
        self.poisson_weight = jnp.asarray(poisson_weight)
        self.samples = samples

    def check(self, model: LatentODE, data: TrainingSeries) -> None:
        """Raise ValueError for values or times that are not finite, or labels that are no class."""
        check_training_series(model, data)
        classes = getattr(model.classifier, "out_size", None)
        if data.label is None or not isinstance(classes, int):
            return
        labels = np.asarray(data.label)
        if labels.size and not -1 <= labels.min() <= labels.max() < classes:
            raise ValueError(
                f"the labels in `data` must lie between 0 and {classes - 1}, or be -1 where the "
                f"class is not known; got {labels.min()} to {labels.max()}."
            )

    def __call__(
        self, model: LatentODE, batch: TrainingSeries, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        key = checked_key(key)
        observed, target, label = batch
        target = observed if target is None else target
        found = model.elbo_terms(
            observed,
            target,
            beta=self.beta,
            poisson_weight=self.poisson_weight,
            penalties=self.penalties,
            samples=self.samples,
            key=key,
        )
        loss = -jnp.mean(found.elbo)
        number = jnp.maximum(jnp.sum(target.mask), 1).astype(loss.dtype)
        metrics = {
            "log_likelihood": jnp.mean(found.log_likelihood),
            "kl": jnp.mean(found.kl),
            "mse": jnp.sum(found.squared_error) / number,
            "result": jnp.max(found.result),
        }
        for place, penalty in enumerate(found.penalties):
            metrics[f"penalty_{place}"] = jnp.mean(penalty)
            weight = self.penalty_weight[place].astype(loss.dtype)
            loss += weight * metrics[f"penalty_{place}"]
        if model.poisson is not None:
            metrics["log_times"] = jnp.mean(found.log_times)
        if label is not None:
            entropy = cross_entropy(model.logits(found.z0), label)
            loss += self.class_weight.astype(loss.dtype) * entropy
            metrics["cross_entropy"] = entropy
        return loss, metrics


def cross_entropy(
    logits: Float[Array, "sample batch classes"], label: Int[Array, " batch"]
) -> Float[Array, ""]:
    """The mean cross entropy in nats over samples and the series whose label is not -1."""
    log_prob = jax.nn.log_softmax(logits, axis=-1)
    known = label >= 0
    picked = jnp.take_along_axis(log_prob, jnp.where(known, label, 0)[None, :, None], axis=-1)
    total = jnp.sum(jnp.where(known[None], jnp.mean(picked[..., 0], axis=0)[None], 0.0))
    return -total / jnp.maximum(jnp.sum(known), 1).astype(total.dtype)

"""What a predictor says at a time: whether it is a law, and how far it is from another."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pullback.analysis.explain._time_predictors import Kind, Outputs

# No probability counts as less: that of a tree's leaf may be 0, and one surprise would be infinite.
FLOOR = 1e-7
# Of a variance, in units of that of p: less cannot be divided by in float32.
_LEAST = 1e-20
# Sums of 1,000 rounded probabilities are this near to 1.
_SLACK = 1e-3

FAULTS = (
    "",
    "the predictor gives what is not finite: it is given NaN for what was not observed, and must "
    "deal with it",
    "the predictor gives probabilities outside of [0, 1]; logits are to be told of by "
    '`outputs="logits"`',
    "the predictor gives probabilities that do not sum to 1; labels by themselves are "
    '`kind="multilabel"`',
    "the predictor gives standard deviations that are not above 0",
    "the draws in place of what was observed are not finite",
)
DRAWS = len(FAULTS) - 1


def check_shape(shape: tuple[int, ...], kind: Kind) -> None:
    """Refuse an output that is no vector, or not as long as `kind` has it."""
    least, most = {"categorical": (2, None), "multilabel": (1, None), "gaussian": (2, 2)}[kind]
    if len(shape) != 1 or shape[0] < least or (most and shape[0] > most):
        want = {
            "categorical": "[K], of K classes, at least 2; one probability of a yes is [1] with "
            '`kind="multilabel"`',
            "multilabel": "[K], of K labels",
            "gaussian": "[2], the mean and the standard deviation",
        }[kind]
        raise ValueError(
            f"the predictor must give {want}, for each series; it gives {list(shape)}."
        )


def laws(raw: Float[Array, "... k"], kind: Kind, outputs: Outputs) -> Float[Array, "... k"]:
    """Probabilities; of a Gaussian the mean and the standard deviation, as they are."""
    if kind == "gaussian" or outputs == "probabilities":
        return raw
    return jax.nn.softmax(raw) if kind == "categorical" else jax.nn.sigmoid(raw)


def fault(law: Float[Array, "... k"], kind: Kind) -> Int[Array, ""]:
    """Which of `FAULTS` any of these has."""
    bad = [jnp.any(~jnp.isfinite(law))]
    if kind == "gaussian":
        bad += [jnp.array(False), jnp.array(False), jnp.any(law[..., 1] <= 0)]
    else:
        bad += [jnp.any((law < -_SLACK) | (law > 1 + _SLACK))]
    if kind == "categorical":
        bad += [jnp.any(jnp.abs(jnp.sum(law, axis=-1) - 1) > _SLACK)]
    return jnp.where(jnp.any(jnp.stack(bad)), 1 + jnp.argmax(jnp.stack(bad)), 0)


def moments(p: Float[Array, " k"], q: Float[Array, "... k"], kind: Kind) -> Float[Array, "... k"]:
    """Laws q as `divergence` has them: probabilities, or a Gaussian's mean and variance.

    These are in standard deviations of p around its mean.
    """
    if kind != "gaussian":
        return q
    mean, spread = (q[..., 0] - p[0]) / p[1], q[..., 1] / p[1]
    return jnp.stack([mean, spread**2], axis=-1)


def parts(
    q: Float[Array, "samples k"], weights: Float[Array, " samples"], kind: Kind
) -> tuple[Float[Array, "samples k"], Callable[[Array], Array]]:
    """What is averaged where laws of these `moments` are mixed, and the law of such a mean.

    Of Gaussians the moments around the mean of all: around another, the variance would be the small
    difference of large squares.
    """
    if kind != "gaussian":
        return q, lambda mixed: mixed
    centre = jnp.sum(weights * q[:, 0])
    away = q[:, 0] - centre
    law = lambda mixed: jnp.stack([centre + mixed[0], mixed[1] - mixed[0] ** 2])
    return jnp.stack([away, q[:, 1] + away**2], axis=-1), law


def divergence(p: Float[Array, " k"], q: Float[Array, " k"], kind: Kind) -> Float[Array, ""]:
    """KL(p || q) of the law q with these `moments`; of labels, the sum of each one's."""
    if kind == "gaussian":
        variance = jnp.maximum(q[1], _LEAST)
        return (jnp.log(variance) + (1 + q[0] ** 2) / variance - 1) / 2
    if kind == "multilabel":
        return _entropy_between(p, q) + _entropy_between(1 - p, 1 - q)
    return _entropy_between(p, q)


def change(p: Float[Array, " k"], q: Float[Array, "... k"], kind: Kind) -> Float[Array, "..."]:
    """The mean absolute change of a probability, or of the mean in standard deviations."""
    if kind == "gaussian":
        return jnp.abs(q[..., 0] - p[0]) / p[1]
    return jnp.mean(jnp.abs(q - jnp.broadcast_to(p, q.shape)), axis=-1)


def _entropy_between(p: Array, q: Array) -> Array:
    p, q = jnp.maximum(p, FLOOR), jnp.maximum(q, FLOOR)
    return jnp.sum(p * (jnp.log(p) - jnp.log(q)))

"""What a predictor says at a time: whether it is a law, and how far it is from another."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pullback.analysis.explain._time_predictors import Kind, Outputs

# No probability counts as less: that of a tree's leaf may be 0, and one surprise would be infinite.
FLOOR = 1e-7
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
    """Of laws q what is averaged where laws are mixed: that of a mixture is the mean of theirs.

    Of Gaussians, the first two moments in standard deviations of p around its mean.
    """
    if kind != "gaussian":
        return q
    mean, spread = (q[..., 0] - p[0]) / p[1], q[..., 1] / p[1]
    return jnp.stack([mean, spread**2 + mean**2], axis=-1)


def divergence(p: Float[Array, " k"], mixed: Float[Array, " k"], kind: Kind) -> Float[Array, ""]:
    """KL(p || q) of the law q with these moments; of labels, the sum of each one's."""
    if kind == "gaussian":
        variance = jnp.maximum(mixed[1] - mixed[0] ** 2, FLOOR)
        return (jnp.log(variance) + (1 + mixed[0] ** 2) / variance - 1) / 2
    if kind == "multilabel":
        return _entropy_between(p, mixed) + _entropy_between(1 - p, 1 - mixed)
    return _entropy_between(p, mixed)


def change(p: Float[Array, " k"], q: Float[Array, "... k"], kind: Kind) -> Float[Array, "..."]:
    """The mean absolute change of a probability, or of the mean in standard deviations."""
    if kind == "gaussian":
        return jnp.abs(q[..., 0] - p[0]) / p[1]
    return jnp.mean(jnp.abs(q - jnp.broadcast_to(p, q.shape)), axis=-1)


def _entropy_between(p: Array, q: Array) -> Array:
    p, q = jnp.maximum(p, FLOOR), jnp.maximum(q, FLOOR)
    return jnp.sum(p * (jnp.log(p) - jnp.log(q)))

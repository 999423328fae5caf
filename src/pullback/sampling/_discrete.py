"""What relaxed estimators see of a discrete distribution: its logits."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._promotion import standard_promotion

from ._distribution import Replicated, is_reparameterised
from ._mass import binary_log_mass, one_hot_log_mass
from ._noise import gumbel, logistic, wide
from ._one_hot import OneHotCategorical, finite, hardest


class Discrete(eqx.Module):
    """Independent binary or one-hot variables.

    Attributes:
        logits: `[*batch]` of binary variables, `[*batch, K]` of one-hot ones.
        one_hot: which of the two they are.
    """

    logits: Float[Array, "..."]
    one_hot: bool = eqx.field(static=True)

    def widened(self) -> "Discrete":
        """With logits of 32 bits at least."""
        return Discrete(self.logits.astype(wide(self.logits.dtype)), self.one_hot)

    def soften(self, z: Array, temperature: Array) -> Array:
        """What a hard sample of scores z is the limit of."""
        scaled = z / temperature
        return jax.nn.softmax(scaled) if self.one_hot else jax.nn.sigmoid(scaled)

    def harden(self, z: Array) -> Array:
        """The hard sample, as floats."""
        return hardest(z) if self.one_hot else (z > 0).astype(z.dtype)

    def mean(self) -> Array:
        """The probabilities, in the shape of a sample."""
        return jax.nn.softmax(self.logits) if self.one_hot else jax.nn.sigmoid(self.logits)

    def log_probs(self, b: Array) -> Float[Array, "*batch"]:
        """Of each variable, zeros and ones."""
        of = one_hot_log_mass if self.one_hot else binary_log_mass
        return of(self.logits, b)

    def log_prob(self, b: Array) -> Float[Array, ""]:
        """Of one draw of all the variables, zeros and ones."""
        return jnp.sum(self.log_probs(b))

    def noise(self, key: PRNGKeyArray) -> Array:
        """Which, added to the logits, makes scores whose hard sample has the right distribution."""
        draw = gumbel if self.one_hot else logistic
        return draw(key, self.logits.shape, self.logits.dtype)


def discrete(q: Any, estimator: str) -> Discrete:
    """The logits of a distribution of discrete variables.

    Raises:
        ValueError: it has none; the message says which estimator takes it.
    """
    if hasattr(q, "as_discrete"):
        return discrete(q.as_discrete(), estimator)
    match q:
        case Replicated():
            base = discrete(q.base, estimator)
            return _broadcast(base, (q.count,), base.logits.ndim - base.one_hot)
        case dist.Independent():
            return discrete(q.base_dist, estimator)
        case dist.ExpandedDistribution():
            return _broadcast(discrete(q.base_dist, estimator), q.batch_shape, 0)
        case dist.BernoulliLogits() | dist.BernoulliProbs():
            with standard_promotion():
                return Discrete(jnp.asarray(q.logits), False)
        case OneHotCategorical():
            return Discrete(finite(q.logits), True)
        case dist.CategoricalLogits() | dist.CategoricalProbs():
            fits = (
                "whose integers cannot be relaxed: take "
                "`pullback.sampling.OneHotCategorical`, or `ScoreFunction`"
            )
        case _ if is_reparameterised(q):
            fits = "whose samples have gradients already: take `Reparameterised`, or `Lax`"
        case _:
            fits = (
                "which it has no relaxation of: take `ScoreFunction`, or give it a method "
                "`as_discrete()` if it is such a distribution"
            )
    raise ValueError(
        f"`estimator` {estimator} is for `numpyro.distributions.Bernoulli` and for "
        f"`pullback.sampling.OneHotCategorical`, and `q` is a {type(q).__name__}, {fits}."
    )


def _broadcast(found: Discrete, lead: tuple[int, ...], keep: int) -> Discrete:
    """With the batch shape `lead`, then the last `keep` axes of the one that it has."""
    tail = found.logits.shape[found.logits.ndim - found.one_hot - keep :]
    return Discrete(jnp.broadcast_to(found.logits, (*lead, *tail)), found.one_hot)

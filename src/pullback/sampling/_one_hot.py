"""Categorical distributions whose samples are one-hot vectors."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.distributions import constraints

from pullback._event import require_event
from pullback._key import checked_key

from ._mass import one_hot_log_mass
from ._noise import gumbel


class _OneHot(constraints.Constraint):
    is_discrete = True
    event_dim = 1
    is_one_hot = True

    def __call__(self, x: Any) -> Array:
        return jnp.all((x == 0) | (x == 1), axis=-1) & (jnp.sum(x, axis=-1) == 1)

    def feasible_like(self, prototype: Any) -> Array:
        return jax.nn.one_hot(jnp.zeros(prototype.shape[:-1], int), prototype.shape[-1])

    def tree_flatten(self) -> tuple:
        return (), ((), {})


class _Logits(constraints.Constraint):
    """Of any normalisation; -inf is a class that never comes, and not all of them are."""

    event_dim = 1

    def __call__(self, x: Any) -> Array:
        return jnp.all(x < jnp.inf, axis=-1) & jnp.any(x > -jnp.inf, axis=-1)

    def feasible_like(self, prototype: Any) -> Array:
        return jnp.zeros_like(prototype)

    def tree_flatten(self) -> tuple:
        return (), ((), {})


LOGITS = _Logits()


class OneHotCategorical(dist.Distribution):
    r"""A categorical distribution over one-hot vectors.

    $$ p(z) = \prod_{i=1}^K \pi_i^{z_i}, \qquad \pi = \mathrm{softmax}(\text{logits}), \qquad
       z \in \{e_1, \dots, e_K\} $$

    Unlike the integers of `numpyro.distributions.Categorical`, one-hot vectors can be relaxed to
    the simplex, so this is the one for `GumbelSoftmax`, `StraightThrough` and `Relax`. NumPyro's
    `Categorical` refuses a logit of -inf where it is built eagerly; with `validate_args=False` it
    takes one, and `pullback.sampling.log_prob` of it is right.

    Args:
        logits: of any normalisation, `[*batch, K]`; -inf is a class that never comes, such as an
            action that is not allowed; or
        probs: probabilities that sum to one, `[*batch, K]`. One of 0 is never raised by training.

    Raises:
        ValueError: both or neither are given, what is given has no axis, or no class is possible:
            in compiled code, where that cannot be seen, all that is computed is NaN.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> q = OneHotCategorical(probs=jnp.array([0.2, 0.5, 0.3]))
        >>> q.sample(jax.random.key(0)).shape, q.batch_shape, q.event_shape
        ((3,), (), (3,))
        >>> print(f"{jnp.exp(q.log_prob(jnp.array([0.0, 1.0, 0.0]))):.2f}")
        0.50

    Source: Jang, Gu and Poole, Categorical Reparameterization with Gumbel-Softmax, arXiv
    1611.01144, section 2.
    """

    arg_constraints = {"logits": LOGITS}  # noqa: RUF012
    support: Any = _OneHot()
    has_enumerate_support = True

    def __init__(
        self,
        logits: Any = None,
        probs: Any = None,
        *,
        validate_args: bool | None = None,
    ):
        self.logits = logits_of(logits, probs)
        shape = self.logits.shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @property
    def probs(self) -> Float[Array, "*batch K"]:
        """The probabilities."""
        return jax.nn.softmax(self.logits)

    @property
    def mean(self) -> Float[Array, "*batch K"]:
        """That of a sample, which is the probabilities."""
        return self.probs

    @property
    def variance(self) -> Float[Array, "*batch K"]:
        """Of each entry of a sample."""
        return self.probs * (1 - self.probs)

    def sample(
        self, key: PRNGKeyArray | None, sample_shape: tuple[int, ...] = ()
    ) -> Float[Array, "..."]:
        """One-hot vectors `[*sample_shape, *batch, K]`, of the logits' dtype."""
        key = checked_key(key)
        noise = gumbel(key, sample_shape + self.logits.shape, self.logits.dtype)
        logits = jnp.broadcast_to(self.logits, noise.shape)
        possible = jnp.any(logits > -jnp.inf, axis=-1, keepdims=True)
        return jnp.where(possible, hardest(logits + noise), jnp.nan)

    def log_prob(self, value: Any, intermediates: Any = None) -> Float[Array, "..."]:
        """The log-probability of one-hot vectors `[..., *batch, K]`."""
        del intermediates
        require_event(value, self.event_shape, name="value")
        value = jnp.asarray(value, self.logits.dtype)
        shape = jnp.broadcast_shapes(value.shape, self.logits.shape)
        return one_hot_log_mass(
            jnp.broadcast_to(self.logits, shape), jnp.broadcast_to(value, shape)
        )

    def enumerate_support(self, expand: bool = True) -> Float[Array, "K ..."]:
        """The K one-hot vectors, `[K, *batch, K]`; of ones for the batch if not `expand`."""
        *batch, k = self.logits.shape
        values = jnp.eye(k, dtype=self.logits.dtype).reshape(k, *(1 for _ in batch), k)
        return jnp.broadcast_to(values, (k, *batch, k)) if expand else values

    def entropy(self) -> Float[Array, "*batch"]:
        """In nats."""
        uniform = jnp.zeros_like(self.logits)
        k = jnp.asarray(self.logits.shape[-1], self.logits.dtype)
        return jnp.log(k) - categorical_kl(self.logits, uniform)


def categorical_kl(
    q_logits: Float[Array, "*batch K"], p_logits: Float[Array, "*batch K"]
) -> Float[Array, "*batch"]:
    r"""The divergence between two categorical distributions.

    $$ \mathrm{KL}(q \,\|\, p) = \sum_i q_i \log \frac{q_i}{p_i}, \qquad 0 \log 0 = 0 $$

    Args:
        q_logits: of q, of any normalisation; -inf is a class that never comes.
        p_logits: of p.

    Returns:
        The divergence in nats; infinite where q has a class that p has not.

    Example:
        >>> import jax.numpy as jnp
        >>> q, p = jnp.array([0.0, -jnp.inf]), jnp.zeros(2)
        >>> print(f"{categorical_kl(q, p):.4f}")  # log 2
        0.6931

    Source: Jang et al., arXiv 1611.01144, section 3 (the KL term of its objective).
    """
    log_q, log_p = jax.nn.log_softmax(q_logits), jax.nn.log_softmax(p_logits)
    q = jnp.exp(log_q)
    return jnp.sum(q * jnp.where(q == 0, 0, log_q - log_p), axis=-1)


def logits_of(logits: Any, probs: Any) -> Float[Array, "*batch K"]:
    """The one of the two that is given, as logits."""
    if (logits is None) == (probs is None):
        raise ValueError("give exactly one of `logits` and `probs`.")
    given = jnp.asarray(probs if logits is None else logits)
    if given.ndim < 1:
        raise ValueError(
            "`logits` or `probs` must have an axis of classes, `[*batch, K]`, got a scalar."
        )
    if not jnp.issubdtype(given.dtype, jnp.inexact):
        given = given.astype(float)
    if logits is None:
        _require_sums(given)
        possible = given > 0
        given = jnp.where(possible, jnp.log(jnp.where(possible, given, 1)), -jnp.inf)
    if not isinstance(given, Tracer) and not np.all(np.any(np.asarray(given) > -np.inf, axis=-1)):
        what = "`probs` must not all be 0" if logits is None else "`logits` must not all be -inf"
        raise ValueError(f"{what}: at least one class of each variable has to be possible.")
    return given


def _require_sums(probs: Array) -> None:
    if isinstance(probs, Tracer):
        return
    total = np.asarray(probs, float).sum(axis=-1)
    slack = max(1e-5, 8 * probs.shape[-1] * float(jnp.finfo(probs.dtype).eps))
    bad = (np.asarray(probs, float) < 0).any(axis=-1) | (np.abs(total - 1) > slack)
    bad &= total != 0  # which has a message of its own
    if bad.any():
        raise ValueError(
            f"`probs` must be 0 or more and sum to 1, got {np.asarray(probs)[bad][0]}: divide them "
            "by their sum, or give `logits`."
        )


def finite(logits: Float[Array, "*batch K"]) -> Float[Array, "*batch K"]:
    """With a low number for -inf, which noise cannot lift and a division leaves finite.

    Where no class is possible, NaN.
    """
    possible = logits > -jnp.inf
    low = -(float(jnp.finfo(logits.dtype).max) ** 0.5)
    lifted = jnp.where(possible, logits, jnp.asarray(low, logits.dtype))
    return jnp.where(jnp.any(possible, axis=-1, keepdims=True), lifted, jnp.nan)


def hardest(scores: Float[Array, "*batch K"], axis: int = -1) -> Float[Array, "*batch K"]:
    """One-hot at the largest; of equal ones, which low precision brings about, at the first."""
    best = jnp.argmax(scores, axis=axis)
    return jax.nn.one_hot(best, scores.shape[axis], dtype=scores.dtype, axis=axis)

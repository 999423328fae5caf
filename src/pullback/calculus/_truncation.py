"""Distributions of the term at which an infinite series is stopped."""

import abc
import math
from typing import Literal, get_args

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._key import checked_key

Estimator = Literal["roulette", "single"]


class AbstractTruncation(eqx.Module):
    r"""The distribution of a stopping index $K \in \{1, 2, \dots\}$, capped at `cap`.

    With the cap an estimate is unbiased for the series up to its term `cap`, and no draw can cost
    more. Its bias for the whole series is what comes after.

    To write one of your own, give it a whole number `cap` and the two methods `survival` and
    `quantile`, which describe one distribution: draws are made by the second and weighed by the
    first. The rest follows, and `randomised_sum`, `RouletteLogDet` and the bounds of SUMO take it.
    The mean number of terms is the cost; the variance is finite where the terms fall faster than
    the square root of the survival.

    Attributes:
        cap: the last index, 1 or more; a static field, for it is the length of loops.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> from pullback import calculus
        >>> class UpTo(calculus.AbstractTruncation):  # each of 1, ..., cap equally often
        ...     cap: int = eqx.field(static=True)
        ...
        ...     def survival(self, k):
        ...         return jnp.maximum(self.cap + 1 - k, 0) / self.cap
        ...
        ...     def quantile(self, u):
        ...         return 1 + jnp.floor(self.cap * (1 - u)).astype(int)
        >>> truncation = UpTo(4)
        >>> print(truncation.probability(jnp.arange(6)), truncation.mean())
        [0.   0.25 0.25 0.25 0.25 0.  ] 2.5
    """

    cap: eqx.AbstractVar[int]

    @abc.abstractmethod
    def survival(self, k: Int[Array, "*shape"]) -> Float[Array, "*shape"]:
        r"""$P(K \ge k)$ without the cap, for $k \ge 1$: 1 at 1, falling, and above 0 up to the cap.

        Args:
            k: whole numbers of any shape; they may be traced.

        Returns:
            Probabilities of that shape, floating.
        """

    @abc.abstractmethod
    def quantile(self, u: Float[Array, "*shape"]) -> Int[Array, "*shape"]:
        r"""The largest $k$ with $P(K \ge k) \ge u$, without the cap.

        Args:
            u: uniform draws from $(0, 1]$, of any shape.

        Returns:
            Whole numbers of that shape, 1 or more.
        """

    def sample(self, shape: tuple[int, ...] = (), *, key: PRNGKeyArray) -> Int[Array, "*shape"]:
        """Draws of the capped index, by inversion."""
        key = checked_key(key)
        # (0, 1]: a draw of 0 would be stopped nowhere.
        u = 1 - jr.uniform(key, shape)
        return jnp.minimum(self.quantile(u), self.cap)

    def probability(self, k: Int[Array, "*shape"]) -> Float[Array, "*shape"]:
        """P(K = k) of the capped index; 0 outside 1, ..., cap."""
        here = self.survival(jnp.maximum(k, 1))
        after = jnp.where(k >= self.cap, 0.0, self.survival(jnp.maximum(k, 0) + 1))
        return jnp.where((k >= 1) & (k <= self.cap), here - after, 0.0)

    def mean(self) -> Float[Array, ""]:
        r"""The expected number of terms, $\sum_k P(K \ge k)$."""
        return jnp.sum(self.survival(jnp.arange(1, self.cap + 1)))

    def weight(
        self,
        k: Int[Array, "*shape"],
        stop: Int[Array, "*shape"],
        estimator: Estimator = "roulette",
    ) -> Float[Array, "*shape"]:
        r"""The weight of term $k$ in an estimate that stopped at `stop`; its expectation is 1.

        $$ \text{roulette: } \frac{1[k \le K]}{P(K \ge k)}, \qquad
           \text{single: } \frac{1[k = K]}{P(K = k)} $$

        Raises:
            ValueError: there is no such `estimator`.
        """
        if estimator not in get_args(Estimator):
            raise ValueError(f"`estimator` must be 'roulette' or 'single', got {estimator!r}.")
        used = (k <= stop) if estimator == "roulette" else (k == stop)
        share = self.survival(k) if estimator == "roulette" else self.probability(k)
        return jnp.where(used, 1 / jnp.where(used, share, 1.0), 0.0)


class Geometric(AbstractTruncation):
    r"""$P(K \ge k) = r^{k-1}$, with $1 / (1 - r)$ terms on average.

    A series whose terms fall as $\rho^k$ has an estimate of finite variance when $\rho^2 < r$.

    Args:
        ratio: r, in (0, 1).
        cap: the last index.

    Raises:
        ValueError: `ratio` is not in (0, 1), or `cap` is below 1.

    Example:
        >>> import jax.numpy as jnp
        >>> Geometric(0.5).survival(jnp.array([1, 2, 3])).tolist()
        [1.0, 0.5, 0.25]

    Source: Chen et al., Residual Flows for Invertible Generative Modeling, arXiv 1906.02735.
    """

    ratio: float = eqx.field(static=True)
    cap: int = eqx.field(static=True)

    def __init__(self, ratio: float = 0.5, *, cap: int = 100):
        if not 0 < ratio < 1:
            raise ValueError(f"`ratio` must be in (0, 1), got {ratio}.")
        self.ratio, self.cap = ratio, _checked(cap)

    def survival(self, k: Int[Array, "*shape"]) -> Float[Array, "*shape"]:
        """`ratio ** (k - 1)`."""
        return jnp.exp(math.log(self.ratio) * (k - 1).astype(float))

    def quantile(self, u: Float[Array, "*shape"]) -> Int[Array, "*shape"]:
        """`1 + floor(log u / log ratio)`."""
        return 1 + jnp.floor(jnp.log(u) / math.log(self.ratio)).astype(int)


class HarmonicTail(AbstractTruncation):
    r"""The distribution of SUMO: harmonic at first, then geometric, so that its mean is finite.

    $$ P(K \ge k) = \tfrac1k \;\; (k < a), \qquad \tfrac1a (1 - b)^{k - a} \;\; (k \ge a) $$

    With $a = 80$ and $b = 0.1$ it has 5.08 terms on average. Without a cap the variance of SUMO by
    this truncation is infinite: the terms of an importance-weighted bound fall as $1/k$.

    Args:
        switch: a, 2 or more.
        rate: b, in (0, 1).
        cap: the last index.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> print(f"{HarmonicTail(cap=1000).mean():.3f}")
        5.078

    Source: Luo et al., SUMO: Unbiased Estimation of Log Marginal Probability for Latent Variable
    Models, arXiv 2004.00353.
    """

    switch: int = eqx.field(static=True)
    rate: float = eqx.field(static=True)
    cap: int = eqx.field(static=True)

    def __init__(self, *, switch: int = 80, rate: float = 0.1, cap: int = 110):
        if switch < 2:
            raise ValueError(f"`switch` must be 2 or more, got {switch}.")
        if not 0 < rate < 1:
            raise ValueError(f"`rate` must be in (0, 1), got {rate}.")
        self.switch, self.rate, self.cap = switch, rate, _checked(cap)

    def survival(self, k: Int[Array, "*shape"]) -> Float[Array, "*shape"]:
        """One over k, and from `switch` on a geometric tail."""
        k = k.astype(float)
        beyond = jnp.maximum(k - self.switch, 0.0)
        return jnp.exp(math.log1p(-self.rate) * beyond) / jnp.minimum(k, self.switch)

    def quantile(self, u: Float[Array, "*shape"]) -> Int[Array, "*shape"]:
        """By inversion of both parts."""
        first = jnp.floor(1 / u)
        beyond = jnp.floor(jnp.log(self.switch * u) / math.log1p(-self.rate))
        later = jnp.maximum(self.switch - 1, self.switch + beyond)
        return jnp.where(first < self.switch, first, later).astype(int)


def _checked(cap: int) -> int:
    if cap < 1:
        raise ValueError(f"`cap` must be 1 or more, got {cap}.")
    return cap

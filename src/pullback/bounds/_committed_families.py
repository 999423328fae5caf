"""Families of posteriors none of whose members comes near the standard normal."""

import math
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float
from scipy.optimize import brentq

from ._families import AbstractFamily, DiagonalNormal
from ._model import LatentModel


class BoundedScaleNormal(AbstractFamily):
    r"""Independent normals, all narrower than the prior by so much that they commit to a rate.

    $$ \mathrm{KL}\big(N(\mu, \sigma^2) \| N(0, 1)\big) \ge
       \tfrac12 (\sigma^2 - 1) - \log \sigma \ge \delta / d, \qquad \sigma \le \sigma_\delta $$

    for every mean, with $\sigma_\delta$ the root at which the last is an equality. It holds against
    the prior `StandardNormal` alone; against a prior that is trained the bound is none.

    Args:
        latent: shape of z, of d entries; a number d is the shape `[d]`. The parameters have its
            shape, with the last axis twice as long: the means, then r, with $\sigma =
            \sigma_\delta\, \mathrm{sigmoid}(r)$ on the narrow side, and $\sigma_\delta\, (1 + e^r)$
            on the wide one.
        delta: the committed rate $\delta$ of all entries together, in nats, above 0.
        side: "narrow", the root below 1, or "wide", that above: a wide posterior commits to a rate
            that tells nothing.

    Raises:
        ValueError: a size is below 1, `delta` is not above 0, or there is no such side.

    Example:
        >>> import jax.numpy as jnp
        >>> family = BoundedScaleNormal(1, delta=0.5)
        >>> print(f"{family.bound:.4f}")
        0.3982
        >>> q = family(jnp.array([0.0, 99.0]))  # the widest, and nearest
        >>> print(f"{q.base_dist.scale[0]:.4f}")
        0.3982

    Source: Razavi et al., Preventing Posterior Collapse with delta-VAEs, arXiv 1901.03416,
    appendix on independent delta-VAEs.
    """

    shape: tuple[int, ...] = eqx.field(static=True)
    committed_rate: float = eqx.field(static=True)
    side: Literal["narrow", "wide"] = eqx.field(static=True)

    def __init__(
        self,
        latent: int | tuple[int, ...],
        delta: float | int,
        side: Literal["narrow", "wide"] = "narrow",
    ):
        if side not in ("narrow", "wide"):
            raise ValueError(f'`side` must be "narrow" or "wide", got {side!r}.')
        self.shape = DiagonalNormal(latent).shape
        self.committed_rate = _checked(delta)
        self.side = side

    @property
    def bound(self) -> float:
        r"""$\sigma_\delta$, that no standard deviation passes."""
        return math.exp(self._log_bound)

    def __call__(self, params: Float[Array, "..."]) -> Any:
        mean, raw = _halves(self, params)
        if self.side == "narrow":
            log_std = self._log_bound - jax.nn.softplus(-raw)
        else:
            log_std = self._log_bound + jax.nn.softplus(raw)
        return dist.Normal(mean, jnp.exp(log_std)).to_event(len(self.shape))

    def augment(self, model: LatentModel, params: Float[Array, "..."]) -> LatentModel:
        return model

    @property
    def _log_bound(self) -> float:
        share = _share(self)
        # In v = log sigma^2; both roots of a convex function that is negative at 0.
        short = lambda v: math.expm1(v) - v - 2 * share
        ends = (-1 - 2 * share, 0.0) if self.side == "narrow" else (0.0, 1 + math.log1p(2 * share))
        root: Any = brentq(short, *ends, xtol=1e-14)
        return root / 2


class HollowMeanNormal(AbstractFamily):
    r"""Independent normals whose means keep a distance from zero: they commit to a rate.

    $$ \mu = \mathrm{sign}(m) \sqrt{h(\sigma) + m^2}, \qquad
       h(\sigma) = \max(0,\; 2 \delta / d + 1 + \log \sigma^2 - \sigma^2) $$

    so that $\mathrm{KL}(N(\mu, \sigma^2) \| N(0, 1)) \ge \delta / d$ for every $\sigma$, and every
    such normal is a member. A mean cannot pass through the hole: the gradient of m tells nothing of
    the other side. It holds against the prior `StandardNormal` alone.

    Args:
        latent: shape of z, of d entries; a number d is the shape `[d]`. The parameters have its
            shape, with the last axis twice as long: m, then $\log \sigma$.
        delta: the committed rate $\delta$ of all entries together, in nats, above 0.

    Raises:
        ValueError: a size is below 1, or `delta` is not above 0.

    Example:
        >>> import jax.numpy as jnp
        >>> q = HollowMeanNormal(1, delta=0.5)(jnp.zeros(2))
        >>> print(f"{q.mean[0]:.1f}")  # where the standard deviation is 1, mu^2 is 2 delta or more
        1.0

    Source: Razavi et al., Preventing Posterior Collapse with delta-VAEs, arXiv 1901.03416,
    appendix on independent delta-VAEs. The paper gives the set; the map onto it is ours.
    """

    shape: tuple[int, ...] = eqx.field(static=True)
    committed_rate: float = eqx.field(static=True)

    def __init__(self, latent: int | tuple[int, ...], delta: float | int):
        self.shape = DiagonalNormal(latent).shape
        self.committed_rate = _checked(delta)

    def __call__(self, params: Float[Array, "..."]) -> Any:
        m, log_std = _halves(self, params)
        hole = 2 * _share(self) + 2 * log_std - jnp.expm1(2 * log_std)
        open_ = hole > 0
        # The root of the other branch would have an infinite gradient at m = 0.
        distance = jnp.sqrt(jnp.where(open_, hole + jnp.square(m), 1))
        mean = jnp.where(open_, jnp.where(m < 0, -distance, distance), m)
        return dist.Normal(mean, jnp.exp(log_std)).to_event(len(self.shape))

    def augment(self, model: LatentModel, params: Float[Array, "..."]) -> LatentModel:
        return model


def _checked(delta: float | int) -> float:
    if not 0 < delta < math.inf:
        raise ValueError(f"`delta` must be above 0 nats and finite, got {delta}.")
    return float(delta)


def _share(family: BoundedScaleNormal | HollowMeanNormal) -> float:
    """The committed rate of one entry: whatever the others do, the sum keeps its bound."""
    return family.committed_rate / (math.prod(family.shape) // 2)


def _halves(family: AbstractFamily, params: Array) -> tuple[Array, Array]:
    if params.shape != family.shape:
        raise ValueError(
            f"`params` must have the family's `shape`, {family.shape}, got {params.shape}: does "
            "the encoder end in it?"
        )
    first, second = jnp.split(params, 2, axis=-1)
    return first, second

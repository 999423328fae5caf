"""Bijections in closed form: act-norm, squeeze, logit, flatten, and factoring out half."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._bijection import AbstractBijection, FixedPointSolver, InverseInfo, closed_form


class ActNorm(AbstractBijection):
    r"""A scale and a shift for each channel, set by a batch to mean 0 and deviation 1.

    $$ y = (x - b)\, e^{s}, \qquad \ln|\det| = n \sum_c s_c $$

    with n positions a channel: one for vectors, whose entries are the channels; height times width
    for images `[channel, height, width]`.

    Args:
        channels: their number.

    Source: Kingma and Dhariwal, Glow, arXiv 1807.03039, section 3.1.
    """

    log_scale: Float[Array, "..."]
    shift: Float[Array, "..."]

    def __init__(self, channels: int):
        self.log_scale = jnp.zeros(channels)
        self.shift = jnp.zeros(channels)

    def forward_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        key: PRNGKeyArray | None = None,
        shared: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        """Shifted and scaled; nothing is random."""
        positions = x.size // self.log_scale.size
        return (x - self._wide(self.shift, x)) * jnp.exp(
            self._wide(self.log_scale, x)
        ), positions * jnp.sum(self.log_scale)

    def inverse(
        self, y: Float[Array, "..."], solver: FixedPointSolver, max_steps: int
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """In closed form."""
        x = y * jnp.exp(-self._wide(self.log_scale, y)) + self._wide(self.shift, y)
        return x, closed_form(y.dtype)

    def initialise(
        self, x: Float[Array, "batch ..."]
    ) -> tuple[AbstractBijection, Float[Array, "batch ..."]]:
        """Mean and deviation of the batch; a channel that is constant keeps its scale."""
        rows = jnp.moveaxis(x, 1, -1).reshape(-1, self.shift.size)
        deviation = jnp.std(rows, axis=0)
        safe = jnp.where(deviation > 0, deviation, jnp.ones_like(deviation))
        fitted = eqx.tree_at(
            lambda norm: (norm.shift, norm.log_scale),
            self,
            (jnp.mean(rows, axis=0), -jnp.log(safe)),
        )
        return fitted, jax.vmap(lambda row: fitted.forward_and_log_det(row)[0])(x)

    def _wide(self, values: Array, x: Array) -> Array:
        return values.reshape(-1, *(1,) * (x.ndim - 1))


class Squeeze(AbstractBijection):
    """Blocks of 2 by 2 positions become channels: `[c, 2h, 2w]` to `[4c, h, w]`.

    Source: Dinh et al., Density Estimation Using Real NVP, arXiv 1605.08803, section 3.6.
    """

    def forward_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        key: PRNGKeyArray | None = None,
        shared: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        """A permutation: its log-determinant is 0."""
        if x.ndim != 3 or x.shape[1] % 2 or x.shape[2] % 2:
            raise ValueError(
                f"an image [channel, height, width] of even height and width is needed to squeeze; "
                f"got the shape {x.shape}."
            )
        c, h, w = x.shape
        x = x.reshape(c, h // 2, 2, w // 2, 2).transpose(0, 2, 4, 1, 3)
        return x.reshape(4 * c, h // 2, w // 2), jnp.zeros((), x.dtype)

    def inverse(
        self, y: Float[Array, "..."], solver: FixedPointSolver, max_steps: int
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """Channels become positions again."""
        c, h, w = y.shape
        x = y.reshape(c // 4, 2, 2, h, w).transpose(0, 3, 1, 4, 2)
        return x.reshape(c // 4, 2 * h, 2 * w), closed_form(y.dtype)

    def initialise(
        self, x: Float[Array, "batch ..."]
    ) -> tuple[AbstractBijection, Float[Array, "batch ..."]]:
        """Nothing of it depends on the data."""
        return self, jax.vmap(lambda image: self.forward_and_log_det(image)[0])(x)


class Logit(AbstractBijection):
    r"""From (0, 1) to the line: $y = \mathrm{logit}(a + (1 - 2a) x)$.

    Args:
        margin: a, which keeps the ends finite: 0.05, or 1e-6 for MNIST.

    Raises:
        ValueError: `margin` is not in [0, 0.5).

    Source: Dinh et al., Density Estimation Using Real NVP, arXiv 1605.08803, section 4.1.
    """

    margin: float = eqx.field(static=True, default=0.05)

    def __check_init__(self) -> None:
        if not 0 <= self.margin < 0.5:
            raise ValueError(f"`margin` must be in [0, 0.5), got {self.margin}.")

    def forward_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        key: PRNGKeyArray | None = None,
        shared: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        """Entry by entry."""
        width = 1 - 2 * self.margin
        p = self.margin + width * x
        log_det = jnp.sum(math.log(width) - jnp.log(p) - jnp.log1p(-p))
        return jnp.log(p) - jnp.log1p(-p), log_det

    def inverse(
        self, y: Float[Array, "..."], solver: FixedPointSolver, max_steps: int
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """A sigmoid."""
        x = (jax.nn.sigmoid(y) - self.margin) / (1 - 2 * self.margin)
        return x, closed_form(y.dtype)

    def initialise(
        self, x: Float[Array, "batch ..."]
    ) -> tuple[AbstractBijection, Float[Array, "batch ..."]]:
        """Nothing of it depends on the data."""
        return self, jax.vmap(lambda row: self.forward_and_log_det(row)[0])(x)


class FactorOut(AbstractBijection):
    """A multi-scale split: half of the channels are done, the other half goes on.

    The image comes out as one vector: the channels that are done, then what `inner` makes of the
    others. So `inner` may squeeze and split again.

    Args:
        inner: for the first half of the channels.
        shape: `(channel, height, width)` of what comes in.

    Raises:
        ValueError: the number of channels is odd.

    Source: Dinh et al., Density Estimation Using Real NVP, arXiv 1605.08803, section 3.6.
    """

    inner: AbstractBijection
    shape: tuple[int, int, int] = eqx.field(static=True)
    inside: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, inner: AbstractBijection, shape: tuple[int, int, int]):
        channels, height, width = shape
        if channels % 2:
            raise ValueError(f"`shape` must have an even number of channels, got {shape}.")
        self.inner, self.shape = inner, shape
        half = jax.ShapeDtypeStruct((channels // 2, height, width), jnp.result_type(float))
        # A log-determinant that is estimated changes no shape, and would ask for a key here.
        out = eqx.filter_eval_shape(lambda x: inner.initialise(x[None])[1][0], half)
        self.inside = out.shape

    def forward_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        key: PRNGKeyArray | None = None,
        shared: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        """One vector of both halves."""
        on, done = jnp.split(x, 2)
        on, log_det = self.inner.forward_and_log_det(on, key=key, shared=shared)
        return jnp.concatenate([done.reshape(-1), on.reshape(-1)]), log_det

    def inverse(
        self, y: Float[Array, "..."], solver: FixedPointSolver, max_steps: int
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """Both halves, side by side again."""
        done, on = jnp.split(y, [math.prod(self.shape) // 2])
        on, info = self.inner.inverse(on.reshape(self.inside), solver, max_steps)
        return jnp.concatenate([on, done.reshape(on.shape)]), info

    def initialise(
        self, x: Float[Array, "batch ..."]
    ) -> tuple[AbstractBijection, Float[Array, "batch ..."]]:
        """The inner map, on its half."""
        on, done = jnp.split(x, 2, axis=1)
        inner, on = self.inner.initialise(on)
        flat = [part.reshape(len(x), -1) for part in (done, on)]
        return eqx.tree_at(lambda f: f.inner, self, inner), jnp.concatenate(flat, axis=1)

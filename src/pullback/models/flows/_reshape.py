"""Bijections in closed form: act-norm, squeeze, reverse, logit, flatten, factoring out half."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._inputs import positive
from pullback._location_scale import location_and_scale
from pullback.nn import Constant

from ._bijection import AbstractBijection, FixedPointSolver, InverseInfo, closed_form


class ActNorm(AbstractBijection):
    r"""A scale and a shift for each channel, of data that a batch has brought to mean 0 and
    deviation 1.

    $$ y = (\hat x - b)\, e^{s}, \qquad \hat x = (x - m) / d, \qquad
       \ln|\det| = n \sum_c (s_c - \ln d_c) $$

    with n positions a channel: one for vectors, whose entries are the channels; height times width
    for images `[channel, height, width]`. The mean m and the deviation d are set by `init_actnorm`
    and are no parameters: s and b are, in units of d, so that training does not depend on the units
    of the data.

    Args:
        channels: their number.

    Raises:
        ValueError: `channels` is below 1, or the data have another number of them.

    Source: Kingma and Dhariwal, Glow, arXiv 1807.03039, section 3.1.
    """

    log_scale: Float[Array, "..."]
    shift: Float[Array, "..."]
    units: Constant

    def __init__(self, channels: int):
        positive(channels=channels)
        self.log_scale = jnp.zeros(channels)
        self.shift = jnp.zeros(channels)
        self.units = Constant(jnp.stack([jnp.zeros(channels), jnp.ones(channels), self.shift]))

    def forward_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        key: PRNGKeyArray | None = None,
        shared: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        """Shifted and scaled; nothing is random."""
        mean, deviation, centre = self._units(x)
        positions = x.size // self.log_scale.size
        log_det = positions * jnp.sum(self.log_scale - jnp.log(deviation.reshape(-1)))
        x = (x - mean) / deviation - centre
        return (x - _wide(self.shift, x)) * jnp.exp(_wide(self.log_scale, x)), log_det

    def inverse(
        self,
        y: Float[Array, "..."],
        solver: FixedPointSolver,
        max_steps: int,
        *,
        context: Float[Array, "..."] | None = None,
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """In closed form."""
        mean, deviation, centre = self._units(y)
        x = y * jnp.exp(-_wide(self.log_scale, y)) + _wide(self.shift, y)
        return (x + centre) * deviation + mean, closed_form(y.dtype)

    def initialise(
        self, x: Float[Array, "batch ..."], *, context: Float[Array, "batch ..."] | None = None
    ) -> tuple[AbstractBijection, Float[Array, "batch ..."]]:
        """Mean and deviation of the batch; a channel that is constant keeps its scale."""
        self._check(x.shape[1:])
        if not len(x):
            raise ValueError("`x` must hold at least one example to be set by, got none.")
        rows = jnp.moveaxis(x, 1, -1).reshape(-1, self.shift.size)
        mean, deviation, _ = location_and_scale(rows)
        # A mean far from zero is known to the rounding of its dtype; what it misses is the centre.
        centre = jnp.mean((rows - mean[None]) / deviation[None], axis=0)
        zero = jnp.zeros_like(self.shift)
        fitted = eqx.tree_at(
            lambda norm: (norm.log_scale, norm.shift, norm.units),
            self,
            (zero, zero, Constant(jnp.stack([mean, deviation, centre]))),
        )
        return fitted, jax.vmap(lambda row: fitted.forward_and_log_det(row)[0])(x)

    def _units(self, x: Array) -> list[Array]:
        self._check(x.shape)
        return [_wide(row, x) for row in self.units.values.astype(x.dtype)]

    def _check(self, shape: tuple[int, ...]) -> None:
        if not shape or shape[0] != self.shift.size:
            raise ValueError(
                f"one example must have {self.shift.size} channels, on its first axis; got the "
                f"shape {shape}."
            )


def _wide(values: Array, x: Array) -> Array:
    return values.reshape(-1, *(1,) * (x.ndim - 1))


class Squeeze(AbstractBijection):
    """Blocks of 2 by 2 positions become channels: `[c, 2h, 2w]` to `[4c, h, w]`.

    Source: Dinh et al., Density Estimation Using Real NVP, arXiv 1605.08803, section 3.6.
    """

    def forward_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
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
        self,
        y: Float[Array, "..."],
        solver: FixedPointSolver,
        max_steps: int,
        *,
        context: Float[Array, "..."] | None = None,
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """Channels become positions again."""
        if y.ndim != 3 or y.shape[0] % 4:
            raise ValueError(
                "an image [channel, height, width] of 4 channels, or a multiple of it, is needed "
                f"to go back; got the shape {y.shape}."
            )
        c, h, w = y.shape
        x = y.reshape(c // 4, 2, 2, h, w).transpose(0, 3, 1, 4, 2)
        return x.reshape(c // 4, 2 * h, 2 * w), closed_form(y.dtype)

    def initialise(
        self, x: Float[Array, "batch ..."], *, context: Float[Array, "batch ..."] | None = None
    ) -> tuple[AbstractBijection, Float[Array, "batch ..."]]:
        """Nothing of it depends on the data."""
        return self, jax.vmap(lambda image: self.forward_and_log_det(image)[0])(x)


class Reverse(AbstractBijection):
    """The last channel comes first, so that the next coupling moves what the one before left alone.

    Example:
        >>> import jax.numpy as jnp
        >>> y, log_det = Reverse().forward_and_log_det(jnp.array([1.0, 2.0, 3.0]))
        >>> y.tolist(), float(log_det)
        ([3.0, 2.0, 1.0], 0.0)

    Source: Dinh et al., Density Estimation Using Real NVP, arXiv 1605.08803, section 3.5, where
        couplings alternate.
    """

    def forward_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        key: PRNGKeyArray | None = None,
        shared: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        """A permutation: its log-determinant is 0."""
        return _reversed(x), jnp.zeros((), x.dtype)

    def inverse(
        self,
        y: Float[Array, "..."],
        solver: FixedPointSolver | None,
        max_steps: int,
        *,
        context: Float[Array, "..."] | None = None,
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """Its own inverse."""
        return _reversed(y), closed_form(y.dtype)

    def initialise(
        self, x: Float[Array, "batch ..."], *, context: Float[Array, "batch ..."] | None = None
    ) -> tuple[AbstractBijection, Float[Array, "batch ..."]]:
        """Nothing of it depends on the data."""
        return self, jax.vmap(_reversed)(x)


def _reversed(x: Array) -> Array:
    if not x.ndim:
        raise ValueError("one example must have channels, on its first axis; got a scalar.")
    return x[::-1]


class Logit(AbstractBijection):
    r"""From (0, 1) to the line: $y = \mathrm{logit}(a + (1 - 2a) x)$.

    Beyond the ends, where $a + (1 - 2a) x$ is not in (0, 1), the log-determinant is $-\infty$.

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
        context: Float[Array, "..."] | None = None,
        key: PRNGKeyArray | None = None,
        shared: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        """Entry by entry."""
        width = 1 - 2 * self.margin
        p = self.margin + width * x
        outside = (p <= 0) | (p >= 1)  # NaN is neither, and stays
        p = jnp.where(outside, 0.5, p)
        slopes = math.log(width) - jnp.log(p) - jnp.log1p(-p)
        return jnp.log(p) - jnp.log1p(-p), jnp.sum(jnp.where(outside, -jnp.inf, slopes))

    def inverse(
        self,
        y: Float[Array, "..."],
        solver: FixedPointSolver,
        max_steps: int,
        *,
        context: Float[Array, "..."] | None = None,
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """A sigmoid."""
        x = (jax.nn.sigmoid(y) - self.margin) / (1 - 2 * self.margin)
        return x, closed_form(y.dtype)

    def initialise(
        self, x: Float[Array, "batch ..."], *, context: Float[Array, "batch ..."] | None = None
    ) -> tuple[AbstractBijection, Float[Array, "batch ..."]]:
        """Nothing of it depends on the data."""
        return self, jax.vmap(lambda row: self.forward_and_log_det(row)[0])(x)


class Flatten(AbstractBijection):
    """Entries in a row: an image to a vector.

    Args:
        shape: of one example.

    Raises:
        ValueError: an example has another shape.
    """

    shape: tuple[int, ...] = eqx.field(static=True)

    def forward_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        key: PRNGKeyArray | None = None,
        shared: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        """Its log-determinant is 0."""
        if x.shape != self.shape:
            raise ValueError(f"one example must have the shape {self.shape}, got {x.shape}.")
        return x.reshape(-1), jnp.zeros((), x.dtype)

    def inverse(
        self,
        y: Float[Array, "..."],
        solver: FixedPointSolver,
        max_steps: int,
        *,
        context: Float[Array, "..."] | None = None,
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """The image again."""
        return y.reshape(self.shape), closed_form(y.dtype)

    def initialise(
        self, x: Float[Array, "batch ..."], *, context: Float[Array, "batch ..."] | None = None
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
        ValueError: the number of channels is odd, or an example has another shape.

    Source: Dinh et al., Density Estimation Using Real NVP, arXiv 1605.08803, section 3.6.
    """

    inner: AbstractBijection
    shape: tuple[int, int, int] = eqx.field(static=True)
    inside: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, inner: AbstractBijection, shape: tuple[int, int, int]):
        if len(shape) != 3 or shape[0] % 2:
            raise ValueError(
                "`shape` must be (channel, height, width) with an even number of channels, got "
                f"{shape}."
            )
        channels, height, width = shape
        self.inner, self.shape = inner, shape
        half = jax.ShapeDtypeStruct((channels // 2, height, width), jnp.result_type(float))
        # A log-determinant that is estimated changes no shape, and would ask for a key here.
        out = eqx.filter_eval_shape(lambda x: inner.initialise(x[None])[1][0], half)
        self.inside = out.shape

    def forward_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        key: PRNGKeyArray | None = None,
        shared: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        """One vector of both halves."""
        if x.shape != self.shape:
            raise ValueError(f"one example must have the shape {self.shape}, got {x.shape}.")
        on, done = jnp.split(x, 2)
        on, log_det = self.inner.forward_and_log_det(on, context=context, key=key, shared=shared)
        return jnp.concatenate([done.reshape(-1), on.reshape(-1)]), log_det

    def inverse(
        self,
        y: Float[Array, "..."],
        solver: FixedPointSolver,
        max_steps: int,
        *,
        context: Float[Array, "..."] | None = None,
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """Both halves, side by side again."""
        done, on = jnp.split(y, [math.prod(self.shape) // 2])
        on, info = self.inner.inverse(on.reshape(self.inside), solver, max_steps, context=context)
        return jnp.concatenate([on, done.reshape(on.shape)]), info

    def initialise(
        self, x: Float[Array, "batch ..."], *, context: Float[Array, "batch ..."] | None = None
    ) -> tuple[AbstractBijection, Float[Array, "batch ..."]]:
        """The inner map, on its half."""
        on, done = jnp.split(x, 2, axis=1)
        inner, on = self.inner.initialise(on, context=context)
        flat = [part.reshape(len(x), -1) for part in (done, on)]
        return eqx.tree_at(lambda f: f.inner, self, inner), jnp.concatenate(flat, axis=1)

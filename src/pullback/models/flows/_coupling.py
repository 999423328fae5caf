"""Couplings, which bend half of the channels as the other half says, and flows of images."""

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key
from pullback.nn import convolve_same
from pullback.sampling import StandardNormal

from ._bijection import (
    AbstractBijection,
    Chain,
    FixedPointSolver,
    InverseInfo,
    Stacked,
    closed_form,
    stack,
)
from ._reshape import ActNorm, Flatten, Reverse, Squeeze
from ._residual_flow import ResidualFlow

Mix = Literal["conv", "reverse"]


class AffineCoupling(AbstractBijection):
    r"""Half of the channels shift and scale the other half, in closed form both ways.

    $$ y = (a, (b + t)\, e^{s}), \qquad (t, r) = g(a), \quad s = 2 \tanh(r / 2), \qquad
       \ln|\det| = \sum s $$

    with x = (a, b) along the first axis; where the number of channels is odd, b has one more. Only
    b changes, so put an `InvertibleConv1x1` or a `Reverse` between two couplings.

    Args:
        net: g, from a to the shifts t and the raw scales r, in this order along the first axis.

    Raises:
        ValueError: there are fewer than two channels, or `net` gives another shape.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> coupling = AffineCoupling(eqx.nn.Linear(1, 4, key=jax.random.key(0)))
        >>> y, log_det = coupling.forward_and_log_det(jnp.array([0.5, 1.0, -1.0]))
        >>> x, _ = coupling.inverse(y, None, 0)
        >>> float(y[0]), bool(jnp.allclose(x, jnp.array([0.5, 1.0, -1.0])))
        (0.5, True)

    Source: Dinh et al., Density Estimation Using Real NVP, arXiv 1605.08803, sections 3.2 and 3.3.
    """

    net: Callable[..., Any]

    def forward_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        key: PRNGKeyArray | None = None,
        shared: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        """Nothing is random, and the context is left alone."""
        a, b = _halves(x)
        shift, log_scale = self._of(a, b)
        return jnp.concatenate([a, (b + shift) * jnp.exp(log_scale)]), jnp.sum(log_scale)

    def inverse(
        self,
        y: Float[Array, "..."],
        solver: FixedPointSolver | None,
        max_steps: int,
        *,
        context: Float[Array, "..."] | None = None,
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """In closed form."""
        a, b = _halves(y)
        shift, log_scale = self._of(a, b)
        return jnp.concatenate([a, b * jnp.exp(-log_scale) - shift]), closed_form(y.dtype)

    def initialise(
        self, x: Float[Array, "batch ..."], *, context: Float[Array, "batch ..."] | None = None
    ) -> tuple[AbstractBijection, Float[Array, "batch ..."]]:
        """Nothing of it depends on the data."""
        return self, jax.vmap(lambda row: self.forward_and_log_det(row)[0])(x)

    def _of(self, a: Array, b: Array) -> tuple[Array, Array]:
        out = self.net(a)
        if out.shape != (2 * len(b), *b.shape[1:]):
            raise ValueError(
                f"`net` must give two channels for each of the {len(b)} that change, of shape "
                f"{(2 * len(b), *b.shape[1:])}; got {out.shape}."
            )
        shift, raw = jnp.split(out, 2)
        return shift, 2 * jnp.tanh(raw / 2)


def _halves(x: Array) -> tuple[Array, Array]:
    if not x.ndim or len(x) < 2:
        raise ValueError(
            f"a coupling needs two channels or more, on the first axis; got the shape {x.shape}. "
            "`Squeeze` makes four of one."
        )
    half = len(x) // 2
    return x[:half], x[half:]


class InvertibleConv1x1(AbstractBijection):
    r"""One matrix mixes the channels of every position; of a vector it is a linear map.

    $$ y_{\cdot p} = W x_{\cdot p}, \qquad \ln|\det| = n \ln|\det W| $$

    with n positions a channel. W begins as a rotation.

    Args:
        channels: their number.
        key: for the rotation.

    Raises:
        ValueError: `channels` is below 1, or an example has another number of them.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> mix = InvertibleConv1x1(2, key=jax.random.key(0))
        >>> y, log_det = mix.forward_and_log_det(jnp.ones((2, 3, 3)))
        >>> y.shape, bool(abs(log_det) < 1e-5)
        ((2, 3, 3), True)

    Source: Kingma and Dhariwal, Glow, arXiv 1807.03039, section 3.2.
    """

    weight: Float[Array, "channels channels"]

    def __init__(self, channels: int, *, key: PRNGKeyArray):
        key = checked_key(key)
        positive(channels=channels)
        self.weight = jr.orthogonal(key, channels, dtype=jnp.zeros(()).dtype)

    def forward_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        key: PRNGKeyArray | None = None,
        shared: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        """Nothing is random."""
        self._check(x)
        positions = x.size // len(x)
        return jnp.tensordot(self.weight, x, 1), positions * jnp.linalg.slogdet(self.weight)[1]

    def inverse(
        self,
        y: Float[Array, "..."],
        solver: FixedPointSolver | None,
        max_steps: int,
        *,
        context: Float[Array, "..."] | None = None,
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """By the inverse matrix."""
        self._check(y)
        back = jnp.linalg.solve(self.weight, y.reshape(len(y), -1))
        return back.reshape(y.shape), closed_form(y.dtype)

    def initialise(
        self, x: Float[Array, "batch ..."], *, context: Float[Array, "batch ..."] | None = None
    ) -> tuple[AbstractBijection, Float[Array, "batch ..."]]:
        """Nothing of it depends on the data."""
        return self, jax.vmap(lambda row: self.forward_and_log_det(row)[0])(x)

    def _check(self, x: Array) -> None:
        if not x.ndim or len(x) != len(self.weight):
            raise ValueError(
                f"one example must have {len(self.weight)} channels, on its first axis; got the "
                f"shape {x.shape}."
            )


class _ConvNet(eqx.Module):
    """Kernels of 3x3, 1x1 and 3x3 with ReLU between, whose last begins at zero."""

    first: eqx.nn.Conv2d
    middle: eqx.nn.Conv2d
    last: eqx.nn.Conv2d

    def __init__(self, into: int, hidden: int, out: int, *, key: PRNGKeyArray):
        keys = jr.split(key, 3)
        self.first = eqx.nn.Conv2d(into, hidden, 3, padding=1, key=keys[0])
        self.middle = eqx.nn.Conv2d(hidden, hidden, 1, key=keys[1])
        last = eqx.nn.Conv2d(hidden, out, 3, padding=1, key=keys[2])
        self.last = jax.tree.map(jnp.zeros_like, last)

    def __call__(self, x: Array) -> Array:
        x = jax.nn.relu(convolve_same(self.first, x))
        mixed = jnp.tensordot(self.middle.weight[..., 0, 0], x, 1)
        x = jax.nn.relu(mixed if self.middle.bias is None else mixed + self.middle.bias)
        return convolve_same(self.last, x)


def image_coupling_flow(
    shape: tuple[int, int, int],
    *,
    scales: int = 3,
    blocks: int = 16,
    hidden: int = 512,
    dense_blocks: int = 0,
    dense_width: int = 128,
    mix: Mix = "conv",
    before: AbstractBijection | None = None,
    key: PRNGKeyArray,
) -> ResidualFlow:
    """A flow of images by couplings: what an `image_residual_flow` is compared with.

    Scales, of which each begins with a squeeze, of blocks that mix the channels, as Glow or as
    RealNVP does, then an `AffineCoupling` by three convolutions, and an act-norm. Densities and
    inverses have closed forms.

    Args:
        shape: `(channel, height, width)`; height and width divide by 2 at every scale.
        scales: how many.
        blocks: a scale.
        hidden: channels inside the network of a coupling.
        dense_blocks: blocks of all entries at the end, whose networks have one hidden layer.
        dense_width: of it.
        mix: the channels before each coupling: "conv" by an `InvertibleConv1x1`, as Glow does;
            "reverse" by a `Reverse`, so that the halves change in turn, as RealNVP's masks of
            channels make them.
        before: a map of the image before the first scale, such as `Logit()`.
        key: for the weights.

    Raises:
        ValueError: a number is below 1, the image cannot be squeezed so often, or `mix` is unknown.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> flow = image_coupling_flow((1, 2, 2), scales=1, blocks=1, hidden=2,
        ...                            key=jax.random.key(0))
        >>> flow.log_prob(jnp.zeros((3, 1, 2, 2))).shape
        (3,)

    Source: Dinh et al., arXiv 1605.08803, section 3; Kingma and Dhariwal, arXiv 1807.03039,
        section 3.
    """
    key = checked_key(key)
    positive(scales=scales, blocks=blocks, hidden=hidden, dense_width=dense_width)
    if dense_blocks < 0:
        raise ValueError(f"`dense_blocks` must be 0 or more, got {dense_blocks}.")
    if len(shape) != 3 or any(size % 2**scales for size in shape[1:]):
        raise ValueError(
            f"`shape` must be (channel, height, width), the last two divisible by {2**scales} for "
            f"{scales} scales, got {shape}."
        )
    if mix not in get_args(Mix):
        raise ValueError(
            f"`mix` must be one of {', '.join(map(repr, get_args(Mix)))}; got {mix!r}."
        )
    dense_key, *keys = jr.split(key, scales + 1)
    parts: list[Any] = [] if before is None else [before]
    parts.append(ActNorm(shape[0]))
    channels = shape[0]
    for scale_key in keys:
        channels *= 4
        net = _conv_net(hidden)
        parts += [Squeeze(), Stacked(stack(_block(channels, net, mix), blocks, scale_key))]
    size = math.prod(shape)
    last = (channels, *(side // 2**scales for side in shape[1:]))
    parts.append(Flatten(last))
    if dense_blocks:
        dense = _block(size, _dense_net(dense_width), mix)
        parts.append(Stacked(stack(dense, dense_blocks, dense_key)))
    return ResidualFlow(Chain(parts), StandardNormal(size), shape=tuple(shape))


def _block(
    channels: int, net: Callable[..., Any], mix: Mix
) -> Callable[[PRNGKeyArray], AbstractBijection]:
    def make(key: PRNGKeyArray) -> AbstractBijection:
        mix_key, net_key = jr.split(key)
        moved = channels - channels // 2
        coupling = AffineCoupling(net(channels // 2, 2 * moved, net_key))
        first = InvertibleConv1x1(channels, key=mix_key) if mix == "conv" else Reverse()
        return Chain([first, coupling, ActNorm(channels)])

    return make


def _conv_net(hidden: int) -> Callable[..., Any]:
    return lambda into, out, key: _ConvNet(into, hidden, out, key=key)


def _dense_net(width: int) -> Callable[..., Any]:
    def net(into: int, out: int, key: PRNGKeyArray) -> eqx.nn.MLP:
        made = eqx.nn.MLP(into, out, width, 1, key=key)
        last = jax.tree.map(jnp.zeros_like, made.layers[-1])
        return eqx.tree_at(lambda mlp: mlp.layers[-1], made, last)

    return net

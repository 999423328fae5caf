"""Flows as the papers build them: of vectors and of images."""

import math
from functools import partial
from typing import Any, Literal

import diffrax
import equinox as eqx
import jax.random as jr
from jaxtyping import PRNGKeyArray

from pullback import ode
from pullback._inputs import positive
from pullback._key import checked_key
from pullback.calculus import AbstractDivergence, AbstractLogDet, ExactLogDet
from pullback.nn import ConcatSquashMLP, LipschitzConvNet, LipschitzMLP
from pullback.sampling import StandardNormal

from ._bijection import AbstractBijection, Chain, Stacked, stack
from ._cnf import CNF
from ._context_nets import ConditionalNormal, ContextField, ContextMLP
from ._mapped_flow import MappedFlow
from ._reshape import ActNorm, FactorOut, Squeeze
from ._residual_block import ResidualBlock
from ._residual_flow import ResidualFlow
from ._rows import shape_of_context
from ._support import OntoLine


def residual_flow(
    dim: int,
    *,
    blocks: int = 8,
    width: int = 64,
    depth: int = 2,
    bound: float = 0.97,
    activation: Any = None,
    log_det: AbstractLogDet | None = None,
    remat: bool = False,
    context: int | tuple[int, ...] | None = None,
    support: Any = None,
    key: PRNGKeyArray,
) -> ResidualFlow:
    """A residual flow of vectors: an act-norm, then blocks of a small network and an act-norm each.

    Call `init_actnorm` with some data before training. With a `context` the networks depend on it,
    and so does the base, a `ConditionalNormal`.

    Args:
        dim: entries of a point.
        blocks: their number.
        width: of the networks' hidden layers.
        depth: hidden layers of a network.
        bound: on the norm of each linear layer, so that a block's is at most
            `bound ** (depth + 1)`.
        activation: of the networks; `LipSwish` when None.
        log_det: how log-determinants are found: exactly when None, which costs `dim` products a
            block and is right for the few columns of a table; `RouletteLogDet()` for many.
        remat: as for `Stacked`.
        context: shape of a context on which the density depends, or its size. None: there is none.
        support: what the columns keep, if not all numbers: as for `pullback.sampling.SupportMap`,
            such as `{0: "positive", (1, 2, 3): "simplex"}`. The density is in the data's units and
            0 outside. Of whole numbers `log_prob` estimates a bound; see `OntoLine`.
        key: for the weights.

    Raises:
        ValueError: a number is below 1, the product of the bounds is not, or the support is not
            known.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> flow = residual_flow(3, blocks=1, width=8, context=4, key=jax.random.key(0))
        >>> flow.log_prob(jnp.zeros((5, 3)), context=jnp.ones(4)).shape
        (5,)

    Source: Chen et al., Residual Flows for Invertible Generative Modeling, arXiv 1906.02735, and
        `train_toy.py` of its code.
    """
    key = checked_key(key)
    positive(dim=dim, blocks=blocks)
    log_det = ExactLogDet() if log_det is None else log_det
    line, before = onto_line(dim, support)
    shape = shape_of_context(context)
    net_of: Any = LipschitzMLP if shape is None else partial(_context_net, shape)

    def make(key: PRNGKeyArray) -> AbstractBijection:
        net = net_of(line, width, depth, bound=bound, activation=activation, key=key)
        takes_context = shape is not None
        return Chain([ResidualBlock(net, log_det=log_det, takes_context=takes_context),
                      ActNorm(line)])  # fmt: skip

    layers = Stacked(stack(make, blocks, key), remat)
    return ResidualFlow(
        Chain([*before, ActNorm(line), layers]), base_of(line, shape, width, key),
        shape=(dim,), context_shape=shape,
    )  # fmt: skip


def cnf(
    dim: int,
    *,
    width: int = 64,
    depth: int = 2,
    context: int | tuple[int, ...] | None = None,
    support: Any = None,
    divergence: AbstractDivergence | None = None,
    t1: float | int = 1.0,
    solver: diffrax.AbstractSolver | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    steps: int | None = None,
    stepping: Literal["joint", "per_sample"] = "per_sample",
    adjoint: ode.AbstractAdjoint | diffrax.AbstractAdjoint | None = None,
    max_steps: int = 4096,
    key: PRNGKeyArray,
) -> MappedFlow:
    """A continuous flow of vectors: an act-norm, then a `CNF` whose field is a `ConcatSquashMLP`.

    Call `init_actnorm` with some data before training. With a `context` the field depends on it,
    and so does the base, a `ConditionalNormal`.

    Args:
        dim: entries of a point.
        width: of the field's hidden layers.
        depth: hidden layers.
        context: shape of a context on which the density depends, or its size. None: there is none.
        support: as for `residual_flow`.
        divergence: how the trace is found; exactly when None.
        t1: the time of the data; that of the base is 0.
        solver: this and the next as `CNF` has them.
        rtol: relative tolerance of one step.
        atol: absolute tolerance of one step.
        steps: take this many equal steps, with no error control.
        stepping: "per_sample", or "joint".
        adjoint: how a gradient goes back through the solve.
        max_steps: the most steps tried.
        key: for the weights.

    Raises:
        ValueError: a number is below 1, or the support is not known.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> flow = cnf(2, width=8, support="positive", key=jax.random.key(0))
        >>> print(flow.log_prob(jnp.array([1.0, -1.0])))
        -inf

    Source: Grathwohl et al., FFJORD, arXiv 1810.01367.
    """
    key = checked_key(key)
    positive(dim=dim, width=width)
    line, before = onto_line(dim, support)
    shape = shape_of_context(context)
    net = ConcatSquashMLP(line + math.prod(shape or (0,)), width=width, depth=depth, key=key)
    field = net if shape is None else ContextField(net, line)
    base = base_of(line, shape, width, key)
    flow = CNF(
        field, base, divergence, t1=t1, solver=solver, rtol=rtol, atol=atol, steps=steps,
        stepping=stepping, adjoint=adjoint, max_steps=max_steps, context_shape=shape,
    )  # fmt: skip
    return MappedFlow(flow, Chain([*before, ActNorm(line)]), shape=(dim,))


def onto_line(dim: int, support: Any) -> tuple[int, list[AbstractBijection]]:
    """Entries on the line, and what leads there."""
    if support is None:
        return dim, []
    onto = OntoLine(dim, support)
    return onto.map.line, [onto]


def base_of(line: int, context: tuple[int, ...] | None, width: int, key: PRNGKeyArray) -> Any:
    if context is None:
        return StandardNormal(line)
    return ConditionalNormal(line, context, width, key=jr.fold_in(key, 1))


def _context_net(context: tuple[int, ...], dim: int, *args: Any, **options: Any) -> ContextMLP:
    return ContextMLP(dim, context, *args, **options)


def image_residual_flow(
    shape: tuple[int, int, int],
    *,
    scales: int = 3,
    blocks: int = 16,
    hidden: int = 512,
    bound: float = 0.98,
    dense_blocks: int = 4,
    dense_width: int = 128,
    factor_out: bool = False,
    before: AbstractBijection | None = None,
    activation: Any = None,
    log_det: AbstractLogDet,
    remat: bool = False,
    key: PRNGKeyArray,
) -> ResidualFlow:
    """A residual flow of images: scales of convolutional blocks with a squeeze between.

    Args:
        shape: `(channel, height, width)`; height and width divide by 2 at every squeeze.
        scales: how many.
        blocks: a scale.
        hidden: channels inside a block.
        bound: on the operator norm of each convolution.
        dense_blocks: fully connected blocks at the end.
        dense_width: of their hidden layers.
        factor_out: split off half of the channels after each scale but the last.
        before: a map of the image before the first scale, such as `Logit()`.
        activation: of the networks; `LipSwish` when None.
        log_det: how log-determinants are found, `RouletteLogDet()` or `TruncatedLogDet()`.
        remat: as for `Stacked`.
        key: for the weights.

    Raises:
        ValueError: a number is below 1, or the image cannot be squeezed so often.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.calculus import TruncatedLogDet
        >>> flow = image_residual_flow((1, 2, 2), scales=1, blocks=1, hidden=2, dense_width=2,
        ...                            log_det=TruncatedLogDet(1), key=jax.random.key(0))
        >>> flow.log_prob(jnp.zeros((3, 1, 2, 2)), key=jax.random.key(1)).shape
        (3,)

    Source: Chen et al., arXiv 1906.02735, appendix, and `train_img.py` of its code; `factor_out`
        as in Behrmann et al., arXiv 1811.00995.
    """
    key = checked_key(key)
    positive(scales=scales, blocks=blocks, hidden=hidden)
    if len(shape) != 3:
        raise ValueError(f"`shape` must be (channel, height, width), got {shape}.")
    if dense_blocks < 0:
        raise ValueError(f"`dense_blocks` must be 0 or more, got {dense_blocks}.")
    if any(size % 2 ** (scales - 1) for size in shape[1:]):
        raise ValueError(
            f"`shape` must have a height and a width that divide by {2 ** (scales - 1)} for "
            f"{scales} scales, got {shape}."
        )
    dense_key, *keys = jr.split(key, scales + 1)

    def scale(shape: tuple[int, int, int], key: PRNGKeyArray) -> Stacked:
        def make(key: PRNGKeyArray) -> AbstractBijection:
            net = LipschitzConvNet(
                shape[0], hidden, size=shape[1:], bound=bound, activation=activation, key=key
            )
            return Chain([ResidualBlock(net, log_det=log_det), ActNorm(shape[0])])

        return Stacked(stack(make, blocks, key), remat)

    def dense(shape: tuple[int, int, int]) -> list[AbstractBijection]:
        if dense_blocks == 0:
            return []
        size = math.prod(shape)

        def make(key: PRNGKeyArray) -> AbstractBijection:
            net = LipschitzMLP(size, dense_width, 1, bound=bound, activation=activation, key=key)
            return ResidualBlock(_OnImage(net, shape), log_det=log_det)

        return [Stacked(stack(make, dense_blocks, dense_key), remat)]

    def from_scale(number: int, shape: tuple[int, int, int]) -> AbstractBijection:
        parts: list[AbstractBijection] = [scale(shape, keys[number])]
        if number == scales - 1:
            return Chain(parts + dense(shape))
        channels, height, width = shape
        squeezed = (4 * channels, height // 2, width // 2)
        parts.append(Squeeze())
        if factor_out:
            half = (2 * channels, *squeezed[1:])
            parts.append(FactorOut(from_scale(number + 1, half), squeezed))
        else:
            parts.append(from_scale(number + 1, squeezed))
        return Chain(parts)

    first = ([] if before is None else [before]) + [ActNorm(shape[0])]
    bijection = Chain([*first, from_scale(0, shape)])
    grown = 4 ** (scales - 1)
    last = (shape[0] * grown, *(size // 2 ** (scales - 1) for size in shape[1:]))
    base = StandardNormal(math.prod(shape) if factor_out and scales > 1 else last)
    return ResidualFlow(bijection, base, shape=tuple(shape))


class _OnImage(eqx.Module):
    """A network of vectors, as one of images."""

    net: LipschitzMLP
    shape: tuple[int, int, int] = eqx.field(static=True)

    def __call__(self, image: Any) -> Any:
        return self.net(image.reshape(-1)).reshape(self.shape)

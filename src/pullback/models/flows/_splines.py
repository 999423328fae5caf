"""Flows of couplings by rational-quadratic splines, built of FlowJAX's bijections."""

import math
import numbers
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key
from pullback._promotion import standard_promotion

from ._bijection import Chain
from ._build import base_of, onto_line
from ._flowjax import FromFlowJAX
from ._reshape import ActNorm
from ._residual_flow import ResidualFlow
from ._rows import shape_of_context

_NARROWEST = 1e-3  # bin of FlowJAX's splines


def spline_coupling_flow(
    dim: int,
    *,
    layers: int = 4,
    width: int = 64,
    depth: int = 1,
    knots: int = 8,
    interval: float | int = 5.0,
    activation: Callable[..., Any] = jax.nn.relu,
    context: int | tuple[int, ...] | None = None,
    support: Any = None,
    key: PRNGKeyArray,
) -> ResidualFlow:
    """A flow of vectors in closed form both ways: an act-norm, then couplings by splines.

    A layer bends half of the columns by rational-quadratic splines whose knots a network of the
    other half says, turns the columns round, and mixes them by a matrix that is the product of two
    triangular ones (LU). Outside of the interval a spline is the identity, so tails are those of
    the base. With an even number of layers it starts as the act-norm. A single column, of no
    context, has splines alone.

    Call `init_actnorm` with some data before training. With a `context` the networks depend on it,
    and so does the base, a `ConditionalNormal`. The layers are FlowJAX's, in a `FromFlowJAX`.

    Args:
        dim: entries of a point.
        layers: their number; from 2 on every column is bent.
        width: of the networks' hidden layers.
        depth: hidden layers of a network.
        knots: of a spline, within the interval.
        interval: splines bend what is between minus this and this.
        activation: of the networks.
        context: shape of a context on which the density depends, or its size. None: there is none.
        support: as for `residual_flow`.
        key: for the weights.

    Raises:
        ValueError: a number is below 1 or not above 0, or the interval too narrow for its knots, or
            the support is not known.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> flow = spline_coupling_flow(3, layers=2, width=8, context=4, key=jax.random.key(0))
        >>> x = flow.sample(jax.random.key(1), (5,), context=jnp.ones(4))
        >>> flow.log_prob(x, context=jnp.ones(4)).shape
        (5,)

    Source: Durkan et al., Neural Spline Flows, arXiv 1906.04032, sections 3.1 and 3.2; Ward,
        FlowJAX.
    """
    key = checked_key(key)
    positive(dim=dim, layers=layers, width=width, depth=depth, knots=knots)
    if isinstance(interval, bool) or not isinstance(interval, numbers.Real):
        raise TypeError(f"`interval` must be a number, got {interval!r}.")
    if not 0 < interval < math.inf:
        raise ValueError(f"`interval` must be above 0 and finite, got {interval}.")
    narrowest = (knots + 1) * _NARROWEST / 2
    if interval <= narrowest:
        raise ValueError(
            f"`interval` must be above {narrowest:g} for {knots} `knots`, got "
            f"{interval}: bins of a spline are at least {_NARROWEST} wide. Bring the data to "
            "a deviation of about 1, or take fewer `knots`."
        )
    if not callable(activation):
        raise TypeError(f"`activation` must be a function, got {activation!r}.")
    line, before = onto_line(dim, support)
    shape = shape_of_context(context)
    with standard_promotion():
        bijection = _couplings(
            line, layers, width, depth, knots, float(interval), activation, shape, key
        )
    return ResidualFlow(
        Chain([*before, ActNorm(line), FromFlowJAX(bijection)]), base_of(line, shape, width, key),
        shape=(dim,), context_shape=shape,
    )  # fmt: skip


def _couplings(
    dim: int,
    layers: int,
    width: int,
    depth: int,
    knots: int,
    interval: float,
    activation: Callable[..., Any],
    context: tuple[int, ...] | None,
    key: PRNGKeyArray,
) -> Any:
    """As FlowJAX has them, from the base to the data."""
    from flowjax import bijections as fj

    with jax.ensure_compile_time_eval():
        spline = fj.RationalQuadraticSpline(knots=knots, interval=interval)
    size = None if context is None else math.prod(context)

    def bend(key: PRNGKeyArray) -> Any:
        if dim == 1 and size is None:
            return fj.Vmap(jax.tree.map(_in_front, spline), in_axes=eqx.if_array(0))
        # A coupling closes over where its splines start, which no tracer may be.
        with jax.ensure_compile_time_eval():
            coupling = fj.Coupling(
                key, transformer=spline, untransformed_dim=dim // 2, dim=dim, cond_dim=size,
                nn_width=width, nn_depth=depth, nn_activation=activation,
            )  # fmt: skip
        last = lambda made: made.conditioner.layers[-1]
        return eqx.tree_at(last, coupling, jax.tree.map(_zeros, last(coupling)))

    def make(key: PRNGKeyArray) -> Any:
        mix = [
            fj.TriangularAffine(jnp.zeros(dim), jnp.eye(dim), lower=lower)
            for lower in (True, False)
        ]
        return fj.Chain([bend(key), fj.Flip((dim,)), *mix])

    # `Scan` leads from the data to the base, where no triangular system is solved.
    whole = fj.Invert(fj.Scan(eqx.filter_vmap(make)(jr.split(key, layers))))
    if context is None or len(context) == 1:
        return whole
    return fj.EmbedCondition(whole, jnp.ravel, context)


def _in_front(leaf: Any) -> Any:
    return leaf[None] if eqx.is_array(leaf) else leaf


def _zeros(leaf: Any) -> Any:
    return jnp.zeros_like(leaf) if isinstance(leaf, Array) else leaf

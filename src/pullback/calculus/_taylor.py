"""Truncated Taylor polynomials pushed through any JAX function.

A value on its way is a tuple of coefficients `(c_0, ..., c_K)`: the polynomial
`c_0 + c_1 s + ... + c_K s^K` in one scalar `s`, without factorials. A tuple of length one is a
constant. A function is traced to a jaxpr once, and each equation is then taken by the first of

1. constant in, constant out: evaluate it;
2. a call (`jit`, `checkpoint`, `custom_vjp`): go inside;
3. linear in what varies: apply it to each coefficient;
4. `tanh`, whose rule in `jax.experimental.jet` loses small arguments;
5. the rule of `jax.experimental.jet`, where there is a sound one;
6. its own JVP, one order at a time: with `u(s)` the input path, `d/ds h(u(s)) = jvp(h, u, u')`, so
   the coefficients of `h(u)` of order 1 to K are those of the tangent to order K-1, divided by
   1 to K.

Rule 6 keeps user-made derivatives (`jax.custom_jvp`: relu, softplus, logaddexp, ...), on which
`jet` itself fails, and covers what `jet` lacks (scan, cond, tan, ...).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.jet import jet, jet_rules
from jaxtyping import Array

Coefficients = tuple[Any, ...]

_CALLS = frozenset("jit pjit closed_call core_call remat2 checkpoint remat custom_vjp_call".split())
_PIECEWISE_CONSTANT = frozenset({"sign", "floor", "ceil", "round", "stop_gradient"})
_BILINEAR = frozenset({"mul", "dot_general", "conv_general_dilated"})

# Rules of `jet` that do not give the derivatives of JAX's other modes: at a kink (abs) or a tie
# under cumulation (cummax), where there is no pole (pow, atan2), in the value itself (rem), by
# cancellation (log1p, expm1, erfc, asinh, atanh); and those that cannot broadcast a scalar (min,
# clamp). Their own JVP is sound, and at worst slower.
_UNSOUND = frozenset(
    "abs max min clamp cummax cummin cumprod pow rem atan2 log1p expm1 erfc erf_inv "
    "asinh acosh atanh".split()
)
_SOUND = frozenset(primitive.name for primitive in jet_rules) - _UNSOUND


def _propagate(
    function: Callable[..., Sequence[Array]], inputs: Sequence[Coefficients], order: int
) -> list[Coefficients]:
    """Push polynomials of degree `order` through a function from arrays to a list of arrays."""
    closed = jax.make_jaxpr(function)(*(value[0] for value in inputs))
    return interpret(closed, inputs, order)


def interpret(closed: Any, inputs: Sequence[Coefficients], order: int) -> list[Coefficients]:
    """Push polynomials of degree `order` through a jaxpr, which may be closed or open."""
    jaxpr = getattr(closed, "jaxpr", closed)
    values: dict[Any, Coefficients] = {}

    def read(atom: Any) -> Coefficients:
        return (atom.val,) if hasattr(atom, "val") else values[atom]

    values.update(zip(jaxpr.constvars, ((c,) for c in getattr(closed, "consts", ())), strict=True))
    values.update(zip(jaxpr.invars, inputs, strict=True))
    for equation in jaxpr.eqns:
        outputs = _equation(equation, [read(atom) for atom in equation.invars], order)
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _equation(equation: Any, inputs: list[Coefficients], order: int) -> list[Coefficients]:
    """Push polynomials through one equation of a jaxpr."""
    primitive, name = equation.primitive, equation.primitive.name
    varying = [index for index, value in enumerate(inputs) if len(value) > 1]
    if name in _CALLS and varying:
        inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
        return interpret(inner, inputs, order)

    parameters = primitive.get_bind_params(equation.params)

    def apply(*arguments: Any) -> list[Any]:
        """The equation as a function of what varies."""
        filled = [value[0] for value in inputs]
        for index, argument in zip(varying, arguments, strict=True):
            filled[index] = argument
        outputs = primitive.bind(*filled, **parameters)
        return list(outputs) if primitive.multiple_results else [outputs]

    polynomials = [inputs[index] for index in varying]
    if not varying or name in _PIECEWISE_CONSTANT:
        return [(output,) for output in apply(*(value[0] for value in polynomials))]
    if (name in _BILINEAR and len(varying) == 1) or (name == "div" and varying == [0]):
        return [tuple(apply(c)[0] for c in polynomials[0])]
    if name == "tanh":
        return [_tanh(polynomials[0])]
    if name in _SOUND:
        return _by_jet(apply, polynomials)
    return _by_jvp(apply, polynomials, order)


def _by_jet(apply: Callable, polynomials: list[Coefficients]) -> list[Coefficients]:
    # Without factorials a longer run repeats the arithmetic of a shorter one, and XLA merges them.
    heads, tails = jet(
        apply,
        [value[0] for value in polynomials],
        [list(value[1:]) for value in polynomials],
        factorial_scaled=False,
    )
    return [
        (head, *tail) if jnp.issubdtype(head.dtype, jnp.inexact) else (head,)
        for head, tail in zip(heads, tails, strict=True)
    ]


def _by_jvp(apply: Callable, polynomials: list[Coefficients], order: int) -> list[Coefficients]:
    outputs = apply(*(value[0] for value in polynomials))
    smooth = [jnp.issubdtype(output.dtype, jnp.inexact) for output in outputs]
    count = len(polynomials)

    def velocity(*arguments: Any) -> list[Any]:
        _, tangents = jax.jvp(apply, arguments[:count], arguments[count:])
        return [tangent for tangent, keep in zip(tangents, smooth, strict=True) if keep]

    rates = [tuple(k * c for k, c in enumerate(value[1:], 1)) for value in polynomials]
    tangents = iter(
        _propagate(velocity, [*(value[:-1] for value in polynomials), *rates], order - 1)
    )
    return [
        (output, *_integrate(next(tangents), order)) if keep else (output,)
        for output, keep in zip(outputs, smooth, strict=True)
    ]


def _integrate(rate: Coefficients, order: int) -> Coefficients:
    """Coefficients 1 to `order` of the polynomial whose derivative is `rate`."""
    return tuple(c / k for k, c in enumerate(pad(rate, order - 1), 1))


def pad(value: Coefficients, order: int) -> Coefficients:
    """A constant written out as a polynomial of degree `order`."""
    constant, *rest = value
    return value if rest else (constant, *[jnp.zeros_like(constant)] * order)


def _tanh(u: Coefficients) -> Coefficients:
    # v = tanh u and w = 1 - v^2 give v' = w u'.
    v: list[Any] = [jnp.tanh(u[0])]
    w: list[Any] = [(1 - v[0]) * (1 + v[0])]
    for k in range(1, len(u)):
        v.append(sum(j * u[j] * w[k - j] for j in range(1, k + 1)) / k)
        w.append(-sum(v[j] * v[k - j] for j in range(k + 1)))
    return tuple(v)

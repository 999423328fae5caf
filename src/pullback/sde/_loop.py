"""The compiled loop over fixed steps, and its replay in reverse."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from pullback._lanes import add, put, take, zeros_like

from ._equation import Equation
from ._grid import Grid
from ._methods import AbstractMethod


class Program(eqx.Module):
    """All that a solve on fixed steps needs, but what it is differentiated with respect to."""

    equation: Equation
    method: AbstractMethod
    grid: Grid
    draw: Callable[[Array, Array, Array], list[Any]]
    outputs: int = eqx.field(static=True)

    def step(self, number: Array, carry: "Carry", params: PyTree) -> "Carry":
        """The state and the KL after step `number`."""
        row = take(self.grid, number)
        increments = self.draw(number, row.t, row.dt)
        state = self.method.step(self.equation, row.t, row.dt, increments, carry.state, params)
        if carry.kl is None:
            return Carry(state, None)
        y = self.method.value(carry.state)
        return Carry(
            state,
            carry.kl + self.equation.kl_increment(row.t, y, params, row.dt, increments),
        )


class Carry(NamedTuple):
    """What a step turns into what comes next."""

    state: PyTree
    kl: Array | None


class Outputs(NamedTuple):
    """The values at the times asked for, with time as the leading axis."""

    ys: PyTree
    kl: Array | None


def first(program: Program, y0: PyTree, kl_shape: tuple[int, ...] | None) -> Carry:
    """The carry before the first step."""
    dtype = jax.tree.leaves(y0)[0].dtype
    kl = None if kl_shape is None else jnp.zeros(kl_shape, dtype)
    return Carry(program.method.start(y0), kl)


def run(
    program: Program, carry: Carry, params: PyTree, *, every: int | None = None
) -> tuple[Outputs, Carry, Carry | None]:
    """All steps: the outputs, the last carry, and the carry before every `every`-th step."""

    def output(carry: Carry) -> Outputs:
        return Outputs(program.method.value(carry.state), carry.kl)

    def step(number: Array, loop: tuple[Carry, Outputs]) -> tuple[Carry, Outputs]:
        carry, outputs = loop
        carry = program.step(number, carry, params)
        return carry, put(outputs, output(carry), program.grid.slot[number])

    steps = program.grid.t.shape[0]
    rows = jax.tree.map(lambda x: jnp.zeros((program.outputs, *x.shape), x.dtype), output(carry))
    loop = carry, put(rows, output(carry), jnp.zeros((), jnp.int32))
    if every is None:
        carry, outputs = lax.fori_loop(0, steps, step, loop)
        return outputs, carry, None

    def block(loop: tuple[Carry, Outputs], number: Array) -> tuple[tuple[Carry, Outputs], Carry]:
        if every == 1:
            return step(number, loop), loop[0]
        start = number * every
        # With a number of turns that is known, the loop itself can be differentiated.
        return lax.fori_loop(0, every, lambda k, loop: step(start + k, loop), loop), loop[0]

    (carry, outputs), kept = lax.scan(block, loop, jnp.arange(steps // every, dtype=jnp.int32))
    return outputs, carry, kept


def replay(
    program: Program,
    params: PyTree,
    kept: Carry,
    cuts: tuple[int, ...],
    cotangent: Outputs,
) -> tuple[Carry, PyTree]:
    """Pull the outputs' cotangent back through all steps, to the first carry and the parameters.

    `cuts` says how the steps are nested in blocks, `kept` has the carry before each largest block.
    """

    def pull_step(number: Array, carry: Carry, bars: tuple) -> tuple:
        bar, grad = bars
        bar = add(bar, _at_output(program, carry, cotangent, number))
        _, pull = jax.vjp(lambda c, p: program.step(number, c, p), carry, params)
        bar, new = pull(bar)
        return bar, add(grad, new)

    def pull_blocks(level: int, start: Array, kept: Carry, bars: tuple) -> tuple:
        size = 1
        for cut in cuts[:level]:
            size *= cut

        def one(bars: tuple, x: tuple[Array, Carry]) -> tuple[tuple, None]:
            number, carry = x
            begin = start + number * size
            if level == 0:
                return pull_step(begin, carry, bars), None
            inner = size // cuts[level - 1]
            return pull_blocks(level - 1, begin, restart(begin, inner, level, carry), bars), None

        return lax.scan(one, bars, (jnp.arange(cuts[level], dtype=jnp.int32), kept), reverse=True)[
            0
        ]

    def restart(begin: Array, inner: int, level: int, carry: Carry) -> Carry:
        """The carry before each of the blocks inside one."""

        def block(carry: Carry, number: Array) -> tuple[Carry, Carry]:
            start = begin + number * inner
            after = lax.fori_loop(0, inner, lambda k, c: program.step(start + k, c, params), carry)
            return after, carry

        return lax.scan(block, carry, jnp.arange(cuts[level - 1], dtype=jnp.int32))[1]

    zero = jax.tree.map(lambda x: jnp.zeros(x.shape[1:], x.dtype), kept)
    top = len(cuts) - 1
    return pull_blocks(top, jnp.zeros((), jnp.int32), kept, (zero, zeros_like(params)))


def _at_output(program: Program, like: Carry, cotangent: Outputs, number: Array) -> Carry:
    """The cotangent that enters at the end of step `number`: zero unless an output is there."""
    row = take(program.grid, number)
    bar = jax.tree.map(lambda c: jnp.where(row.ends, c, 0.0), take(cotangent, row.slot))
    _, pull = jax.vjp(program.method.value, like.state)
    (state,) = pull(bar.ys)
    return Carry(state, bar.kl)

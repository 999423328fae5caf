"""The stochastic adjoint: a backward Stratonovich SDE on the same Brownian path."""

from typing import NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from pullback._lanes import add, take, zeros_like
from pullback.ode import advance, tableau_of

from ._loop import Carry, Outputs, Program
from ._methods import ReversibleHeun, RungeKutta


class StochasticAdjoint(eqx.Module):
    r"""Solve the adjoint SDE backwards in time on the same Brownian path.

    For $dZ = b(Z, t)\,dt + \sigma(Z, t) \circ dW$ and $A_t = \partial L / \partial Z_t$,

    $$ dA = -A \frac{\partial b}{\partial z} dt
            - \sum_j A \frac{\partial \sigma_j}{\partial z} \circ dW_j, \qquad
       dA_\theta = -A \frac{\partial b}{\partial \theta} dt
            - \sum_j A \frac{\partial \sigma_j}{\partial \theta} \circ dW_j, $$

    from the last time to the first, together with $Z$ itself. Memory is a few states, whatever the
    number of steps. The time reversal holds for Stratonovich integrals only, so with an Ito solver
    it is refused, unless noise is additive, where the two integrals agree.

    The backward solve takes the steps of the forward one, by the same Runge-Kutta method (Heun's
    after Milstein's), and starts from the stored solution again at each of the times asked for.
    The gradient is that of the true solution up to the error of the two solves; with
    `diffrax.ReversibleHeun()` the steps are taken back exactly, and the gradient is that of the
    numbers which the solve returned, to rounding. Where a path contracts strongly it cannot be
    traced back: `pullback.ode.Replay`, the default, always can.

    Example:
        >>> import diffrax, jax, jax.numpy as jnp, jax.random as jr, pullback as pb
        >>> def end(b, adjoint):
        ...     sol = pb.sde.solve(
        ...         lambda t, y, b: -y, lambda t, y, b: b * y, jnp.ones(3), [0.0, 1.0], b,
        ...         key=jr.key(0), solver=diffrax.Midpoint(), steps=200, adjoint=adjoint,
        ...     )
        ...     return jnp.sum(sol.ys[-1])
        >>> backwards = jax.grad(end)(0.5, pb.sde.StochasticAdjoint())
        >>> bool(abs(backwards / jax.grad(end)(0.5, pb.ode.Replay()) - 1) < 0.02)
        True

    Source: Li et al., Scalable Gradients for Stochastic Differential Equations (2020), section 3.
    """


class Residuals(NamedTuple):
    """What the forward pass leaves behind: the outputs and the last carry."""

    ys: PyTree
    state: PyTree


class _Back(NamedTuple):
    y: PyTree
    a: PyTree
    grad: PyTree


def pull_back(
    program: Program, params: PyTree, residuals: Residuals, cotangent: Outputs
) -> tuple[Carry, PyTree]:
    """The cotangents of the first carry and of the parameters."""
    if isinstance(program.method, ReversibleHeun):
        return _reverse(program, program.method, params, residuals, cotangent)
    method = program.method
    tableau = method.tableau if isinstance(method, RungeKutta) else tableau_of(diffrax.Heun())
    assert tableau is not None

    def step(back: tuple[_Back, Array | None], number: Array) -> tuple[tuple, None]:
        (y, a, grad), kl_bar = back
        row = take(program.grid, number)
        increments = program.draw(number, row.t, row.dt)
        # At an output the path is known, so the backward solve starts afresh there.
        here = take(cotangent, row.slot)
        y = jax.tree.map(lambda b, k: jnp.where(row.ends, k, b), y, take(residuals.ys, row.slot))
        a = jax.tree.map(lambda a, c: a + jnp.where(row.ends, c, 0.0), a, here.ys)

        def field(s: Array, back: _Back, params: PyTree) -> _Back:
            at = row.t + s * row.dt
            value, pull = jax.vjp(
                lambda y, p: program.equation.increment(at, y, p, row.dt, increments),
                back.y,
                params,
            )
            return _Back(value, *jax.tree.map(jnp.negative, pull(back.a)))

        unit = jnp.ones((), row.dt.dtype)
        result = advance(tableau, field, unit, -unit, _Back(y, a, grad), params)
        if kl_bar is not None:
            kl_bar = kl_bar + jnp.where(row.ends, here.kl, 0.0)
            _, pull = jax.vjp(
                lambda y, p: program.equation.kl_increment(row.t, y, p, row.dt, increments),
                result.y,
                params,
            )
            y_bar, new = pull(kl_bar)
            result = _Back(result.y, add(result.a, y_bar), add(result.grad, new))
        return (result, kl_bar), None

    y = jax.tree.map(lambda x: x[-1], residuals.ys)
    kl_bar = None if cotangent.kl is None else jnp.zeros_like(cotangent.kl[0])
    start = _Back(y, zeros_like(y), zeros_like(params)), kl_bar
    steps = program.grid.t.shape[0]
    (back, kl_bar), _ = lax.scan(step, start, jnp.arange(steps, dtype=jnp.int32), reverse=True)
    return Carry(back.a, kl_bar), back.grad


def _reverse(
    program: Program,
    method: ReversibleHeun,
    params: PyTree,
    residuals: Residuals,
    cotangent: Outputs,
) -> tuple[Carry, PyTree]:
    """Take each step back exactly, and pull back through it."""

    def step(loop: tuple, number: Array) -> tuple[tuple, None]:
        state, bar, grad = loop
        row = take(program.grid, number)
        increments = program.draw(number, row.t, row.dt)
        here = jax.tree.map(lambda c: jnp.where(row.ends, c, 0.0), take(cotangent, row.slot))
        bar = Carry(
            (add(bar.state[0], here.ys), bar.state[1]),
            None if bar.kl is None else bar.kl + here.kl,
        )
        before = method.back(program.equation, row.t, row.dt, increments, state, params)
        # The KL is a sum, so its value does not matter to its derivative.
        _, pull = jax.vjp(lambda c, p: program.step(number, c, p), Carry(before, bar.kl), params)
        bar, new = pull(bar)
        return (before, bar, add(grad, new)), None

    kl = None if cotangent.kl is None else jnp.zeros_like(cotangent.kl[0])
    start = residuals.state, Carry(zeros_like(residuals.state), kl), zeros_like(params)
    steps = program.grid.t.shape[0]
    (_, bar, grad), _ = lax.scan(step, start, jnp.arange(steps, dtype=jnp.int32), reverse=True)
    return bar, grad

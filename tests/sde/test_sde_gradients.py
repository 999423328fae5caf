"""Gradients of SDE solves, against closed forms on the same path and against a bare scan."""

import diffrax
import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import pullback as pb
from pullback.sde import _solve as solve_module
from pullback.sde._equation import Equation
from pullback.sde._methods import method_of

PATHS = 64
REPLAY, STOCHASTIC = pb.ode.Replay(), pb.sde.StochasticAdjoint()


def gbm_errors(steps, adjoint, keys, *, solver):
    """Relative errors of the gradient of sum Z_T^2 in (a, b, z0), for dZ = aZ dt + bZ o dW.

    The truth is Z_T = z0 exp(aT + bW_T) on the path W that the solver saw. Mean over `keys`.
    """
    z0 = jnp.linspace(0.5, 1.5, PATHS)
    args = (jnp.asarray(0.3), jnp.asarray(0.6))

    @jax.jit
    def both(key):
        def loss(args, z0):
            sol = pb.sde.solve(
                lambda t, y, args: args[0] * y,
                lambda t, y, args: args[1] * y,
                z0,
                [0.0, 1.0],
                args,
                key=key,
                solver=solver,
                steps=steps,
                adjoint=adjoint,
                throw=False,
            )
            return jnp.sum(sol.ys[-1] ** 2)

        w = pb.sde.brownian_path(key, z0, [0.0, 1.0], steps=steps)[-1]
        exact = lambda p, z0: jnp.sum((z0 * jnp.exp(p[0] + p[1] * w)) ** 2)
        return jax.grad(loss, (0, 1))(args, z0), jax.grad(exact, (0, 1))(args, z0)

    pairs = zip(*map(jax.tree.leaves, jax.vmap(both)(keys)), strict=True)
    norm = lambda x: jnp.sqrt(jnp.sum(jnp.square(x.reshape(len(keys), -1)), axis=1))
    return jnp.array([jnp.mean(norm(got - want) / norm(want)) for got, want in pairs])


def test_gradients_converge_to_the_closed_form_on_the_same_path_by_both_adjoints(key):
    found = {}
    for adjoint in (REPLAY, STOCHASTIC):
        for steps in (16, 64, 256):
            keys = jr.split(key, 5)
            found[adjoint, steps] = gbm_errors(steps, adjoint, keys, solver=diffrax.Heun())
    for adjoint in (REPLAY, STOCHASTIC):
        for coarse, fine in ((16, 64), (64, 256)):
            assert jnp.all(found[adjoint, coarse] > 2.5 * found[adjoint, fine])
    assert jnp.all(found[STOCHASTIC, 256] < 0.01)
    assert jnp.all(jnp.abs(found[STOCHASTIC, 256] - found[REPLAY, 256]) < 1.5e-3)


@pytest.mark.parametrize("solver", [diffrax.Midpoint(), diffrax.StratonovichMilstein()])
def test_the_stochastic_adjoint_of_other_methods_is_near_the_closed_form(solver, key):
    assert jnp.all(gbm_errors(256, STOCHASTIC, key[None], solver=solver) < 0.01)


def test_another_path_in_the_backward_pass_gives_a_wrong_gradient(key, monkeypatch):
    right = solve_module.pull_back

    def other_path(program, *rest):
        return right(eqx.tree_at(lambda p: p.draw.key, program, jr.key(99)), *rest)

    monkeypatch.setattr(solve_module, "pull_back", other_path)
    # The gradient in a is 2 T Z_T^2 whatever the path back; those in b and z0 are not. No other
    # test takes this number of steps: what is compiled already does not see the patch.
    assert jnp.all(gbm_errors(60, STOCHASTIC, key[None], solver=diffrax.Heun())[1:] > 0.3)


def network(key, width=5):
    """A small drift and diffusion with time, and their bare functions of one path."""
    f, g = (eqx.nn.MLP(3, 2, width, 1, jnp.tanh, key=k) for k in jr.split(key))
    at = lambda net: (
        lambda t, y, args: jax.vmap(lambda y: net(jnp.concatenate([jnp.reshape(t, (1,)), y])))(y)
    )
    return f, g, at


def bare_midpoint(f, g, at, y0, times, steps, key):
    """The midpoint method as a plain scan, differentiated by JAX alone."""
    size = jnp.diff(times) / steps
    starts = (times[:-1, None] + size[:, None] * jnp.arange(steps, dtype=times.dtype)[None]).ravel()
    sizes = jnp.repeat(size, steps)

    def step(y, row):
        number, t, dt = row
        noise = jr.normal(jr.fold_in(jr.fold_in(key, number), 0), y.shape) * jnp.sqrt(dt)
        half = y + 0.5 * (at(f)(t, y, None) * dt + at(g)(t, y, None) * noise)
        t = t + 0.5 * dt
        y = y + at(f)(t, half, None) * dt + at(g)(t, half, None) * noise
        return y, y

    numbers = jnp.arange(len(sizes), dtype=jnp.int32)
    _, ys = jax.lax.scan(step, y0, (numbers, starts, sizes))
    return jnp.concatenate([y0[None], ys[steps - 1 :: steps]])


@pytest.mark.parametrize(("segment", "checkpoints"), [(128, 16), (4, 2), (1, 3)])
def test_replay_is_the_gradient_of_a_bare_scan_to_rounding(segment, checkpoints, key):
    f, g, at = network(key)
    y0, times, steps = jr.normal(key, (4, 2)), jnp.array([0.0, 0.3, 1.0]), 7
    weights = jr.normal(key, (3, 4, 2))

    def ours(nets, y0):
        sol = pb.sde.solve(
            at(nets[0]),
            at(nets[1]),
            y0,
            times,
            key=key,
            solver=diffrax.Midpoint(),
            steps=steps,
            adjoint=pb.ode.Replay(segment=segment, checkpoints=checkpoints),
        )
        return jnp.sum(weights * sol.ys)

    def bare(nets, y0):
        return jnp.sum(weights * bare_midpoint(*nets, at, y0, times, steps, key))  # pyrefly: ignore

    nets, static = eqx.partition((f, g), eqx.is_array)
    call = lambda fn: jax.jit(
        jax.value_and_grad(lambda p, y0: fn(eqx.combine(p, static), y0), (0, 1))
    )(nets, y0)
    for a, b in zip(jax.tree.leaves(call(ours)), jax.tree.leaves(call(bare)), strict=True):
        assert jnp.allclose(a, b, rtol=1e-10, atol=1e-12)


def test_reversible_heun_has_the_exact_gradient_in_constant_memory(key):
    f, g, at = network(key)
    y0 = jr.normal(key, (4, 2))
    nets, static = eqx.partition((f, g), eqx.is_array)

    def loss_of(adjoint):
        def loss(p, y0):
            f, g = eqx.combine(p, static)
            sol = pb.sde.solve(
                at(f),
                at(g),
                y0,
                [0.0, 0.5, 1.0],
                key=key,
                solver=diffrax.ReversibleHeun(),
                steps=20,
                adjoint=adjoint,
                prior=lambda t, y, args: -y,
                kl="monte_carlo",
            )
            return jnp.sum(sol.ys**3) + jnp.sum(sol.kl[-1])

        return jax.jit(jax.value_and_grad(loss, (0, 1)))

    replay, stochastic = loss_of(REPLAY), loss_of(STOCHASTIC)
    of = lambda loss: jax.tree.leaves(loss(nets, y0)[1])
    for a, b in zip(of(replay), of(stochastic), strict=True):
        assert jnp.allclose(a, b, rtol=1e-8, atol=1e-8)
    # Both go back by the same code, so by differences of the value, which does not, along a line.
    flat, unravel = jax.flatten_util.ravel_pytree((nets, y0))
    line = jr.normal(jr.key(5), flat.shape)
    value = lambda h: float(replay(*unravel(flat + h * line))[0])
    slope = (value(1e-7) - value(-1e-7)) / 2e-7
    along = jax.flatten_util.ravel_pytree(stochastic(nets, y0)[1])[0] @ line
    np.testing.assert_allclose(along, slope, rtol=1e-6)


def test_the_stochastic_adjoint_pulls_back_outputs_on_the_way_and_the_kl(key):
    f, g, at = network(key)
    y0 = jr.normal(key, (4, 2))
    nets, static = eqx.partition((f, g), eqx.is_array)
    positive = lambda g: lambda t, y, args: 0.5 + jax.nn.sigmoid(at(g)(t, y, args))

    def gradient(adjoint, steps, kl):
        def loss(p, y0):
            f, g = eqx.combine(p, static)
            sol = pb.sde.solve(
                at(f),
                positive(g),
                y0,
                [0.0, 0.4, 1.0],
                key=key,
                solver=diffrax.Midpoint(),
                steps=steps,
                adjoint=adjoint,
                prior=lambda t, y, args: -y,
                kl=kl,
            )
            return jnp.sum(sol.ys[1] ** 2) + jnp.sum(sol.ys[2]) + jnp.sum(sol.kl[1:])

        return jax.jit(jax.grad(loss, (0, 1)))(nets, y0)

    def gap(steps, kl):
        pairs = zip(
            jax.tree.leaves(gradient(STOCHASTIC, steps, kl)),
            jax.tree.leaves(gradient(REPLAY, steps, kl)),
            strict=True,
        )
        return max(float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b)) for a, b in pairs)

    fine = gap(400, "analytic")
    assert fine < 0.03
    assert gap(400, "sticking_the_landing") < 0.03
    assert fine < 0.6 * gap(25, "analytic")


def test_memory_of_the_stochastic_adjoint_is_flat_and_that_of_replay_bounded(key):
    f, g, at = network(key, width=32)
    y0 = jnp.zeros((64, 2))
    nets, static = eqx.partition((f, g), eqx.is_array)

    def memory(adjoint, steps):
        def loss(p):
            f, g = eqx.combine(p, static)
            sol = pb.sde.solve(
                at(f),
                at(g),
                y0,
                [0.0, 1.0],
                key=key,
                solver=diffrax.Midpoint(),
                steps=steps,
                adjoint=adjoint,
                throw=False,
            )
            return jnp.sum(sol.ys[-1] ** 2)

        compiled = jax.jit(jax.grad(loss)).lower(nets).compile()
        # Besides states, a step has two times, a number and a mark.
        return compiled.memory_analysis().temp_size_in_bytes - 40 * steps  # pyrefly: ignore

    assert memory(STOCHASTIC, 1024) < 1.05 * memory(STOCHASTIC, 64)
    state = y0.size * 8
    small = pb.ode.Replay(segment=8, checkpoints=4)
    assert memory(small, 1024) < memory(small, 64) + 4 * 8 * state
    assert memory(pb.ode.Replay(segment=1024), 1024) > memory(STOCHASTIC, 1024) + 900 * state


def step_back(interpretation, steps, key):
    """|z0 - z0_hat| after GBM forwards and backwards again on the same path."""
    drift, diffusion = lambda t, y, p: 0.3 * y, lambda t, y, p: 0.8 * y
    ito = interpretation == "ito"
    method = method_of(diffrax.Euler() if ito else diffrax.Heun(), "diagonal")
    equation = Equation(drift, diffusion, None, "analytic")
    w = pb.sde.brownian_path(key, jnp.zeros(200), jnp.linspace(0.0, 1.0, steps + 1), steps=1)
    increments = jnp.diff(w, axis=0)
    dt = jnp.asarray(1.0 / steps)
    t = jnp.zeros(())
    forward = lambda y, dw: (method.step(equation, t, dt, [dw], y, None), None)  # pyrefly: ignore
    backward = lambda y, dw: (method.step(equation, t, -dt, [-dw], y, None), None)  # pyrefly: ignore
    start = jnp.ones(200)
    end, _ = jax.lax.scan(forward, start, increments)
    again, _ = jax.lax.scan(backward, end, increments, reverse=True)
    return float(jnp.mean(jnp.abs(again - start)))


def test_the_flow_is_inverted_in_stratonovich_form_and_not_in_itos(key):
    assert step_back("stratonovich", 400, key) < 0.3 * step_back("stratonovich", 25, key)
    assert step_back("stratonovich", 400, key) < 0.01
    # In Ito's form the backward path ends a factor exp(-b^2 T) away: 1 - exp(-0.64) = 0.47.
    assert abs(step_back("ito", 400, key) - 0.47) < 0.05

"""Time that runs backward: the same path, to where it came from, and what has no way back."""

import inspect

import diffrax
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import pullback as pb

solve = inspect.unwrap(pb.sde.solve)
DRIFT = lambda t, y, p: p[0] * y
NOISE = lambda t, y, p: p[1] * y
P = jnp.array([0.3, 0.5])


def closed_form(p, w, t):
    """Of dZ = aZ dt + bZ o dW from Z = 1 at time 1, where w = W_t - W_1."""
    return jnp.exp(p[0] * (t - 1) + p[1] * w)


@pytest.mark.parametrize("dt", [{"dt": 0.05}, {"steps": 12}])
def test_the_path_is_that_of_the_same_times_in_increasing_order(dt, key):
    ts = np.array([0.0, 0.3, 0.3, 1.0])
    forward = pb.sde.brownian_path(key, jnp.zeros(3), ts, **dt)
    backward = pb.sde.brownian_path(key, jnp.zeros(3), ts[::-1], **dt)
    assert jnp.allclose(backward[::-1], forward - forward[-1:], rtol=0, atol=1e-12)
    traced = jax.jit(lambda ts: pb.sde.brownian_path(key, jnp.zeros(3), ts, steps=12))
    if "steps" in dt:
        assert jnp.allclose(traced(ts[::-1].copy()), backward, rtol=0, atol=1e-14)
        assert jnp.allclose(traced(ts), forward, rtol=0, atol=1e-14)


@pytest.mark.parametrize("solver", [diffrax.Heun(), diffrax.ReversibleHeun(), diffrax.EulerHeun()])
def test_values_and_gradients_are_those_of_the_closed_form_on_the_path(solver, key):
    ts, steps = [1.0, 0.4, 0.0], 256
    w = pb.sde.brownian_path(key, jnp.zeros(()), ts, steps=steps)
    if isinstance(solver, diffrax.EulerHeun):  # Diffrax draws the path from a tree
        tree = diffrax.VirtualBrownianTree(0.0, 1.0, 1e-4, (), jr.key(7))
        w = jnp.stack([tree.evaluate(t) - tree.evaluate(1.0) for t in ts])
        noise, adjoints = {"key": None, "path": tree}, [None]
    else:
        noise, adjoints = {"key": key}, [pb.ode.Replay(), pb.sde.StochasticAdjoint()]
    want, slope = jax.jit(jax.value_and_grad(lambda p: closed_form(p, w, jnp.array(ts)).sum()))(P)

    @jax.jit
    def found(p):
        def total(p, adjoint):
            sol = solve(
                DRIFT, NOISE, 1.0, ts, p, solver=solver, steps=steps, adjoint=adjoint, **noise,
                throw=False,
            )  # fmt: skip
            return jnp.sum(sol.ys)

        return [jax.value_and_grad(lambda p, a=a: total(p, a))(p) for a in adjoints]

    for value, grad in found(P):
        assert jnp.allclose(value, want, rtol=1e-2)
        assert jnp.allclose(grad, slope, rtol=2e-2, atol=1e-2)


def test_a_flow_goes_back_to_where_it_came_from_by_the_order_of_its_steps(key):
    """Heun's error in one direction, at commuting noise, falls as the steps' own length."""

    def lost(steps):
        drift, noise = (lambda t, y, _: jnp.sin(y) + jnp.cos(t)), lambda t, y, _: 0.5 + 0.3 * y
        s = {"key": key, "solver": diffrax.Heun(), "steps": steps}
        there = solve(drift, noise, jnp.ones(50), [0.0, 0.3, 1.0], **s)
        back = solve(drift, noise, there.ys[-1], [1.0, 0.3, 0.0], **s)
        return np.sqrt(np.mean((np.asarray(back.ys[-1]) - 1) ** 2))

    coarse, fine = lost(8), lost(64)
    assert fine < 0.01
    assert fine < 0.25 * coarse


def test_steps_that_adapt_go_back_on_the_same_tree(key):
    s = {"key": key, "solver": diffrax.Heun(), "rtol": 1e-4, "atol": 1e-6}
    there = solve(DRIFT, NOISE, jnp.ones(4), [0.0, 1.0], P, **s)
    back = solve(DRIFT, NOISE, there.ys[-1], [1.0, 0.0], P, **s)
    assert jnp.allclose(back.ys[-1], 1.0, atol=5e-3)
    assert float(jnp.max(jnp.abs(there.ys[-1] - 1))) > 0.1
    assert back.t_reached == 0


def test_rows_of_times_go_back_each_on_its_own_clock(key):
    ts = jnp.array([[0.0, 0.5, 1.0], [0.0, 2.0, 2.0]])
    s = {"key": key, "solver": diffrax.Euler(), "steps": 4, "noise": "additive"}
    one = lambda t, y, _: jnp.ones_like(y)
    zero = lambda t, y, _: jnp.zeros_like(y)
    there = solve(zero, one, jnp.zeros((2, 3)), ts, **s).ys
    back = solve(zero, one, there[-1], ts[:, ::-1], **s).ys
    assert jnp.allclose(back[::-1], there, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"solver": diffrax.Euler()}, "integral has no way back: convert the drift"),
        ({"solver": diffrax.ItoMilstein()}, "ito_to_stratonovich"),
        ({"solver": diffrax.SPaRK()}, "SPaRK steps forward alone"),
        ({"prior": DRIFT}, "KL to a prior is that of a path in its own direction"),
        ({"ts": [0.0, 1.0, 0.5]}, "all increasing or all decreasing.*entries 1 and 2"),
        ({"ts": [1.0, 0.2, 0.5, 0.0]}, "all increasing or all decreasing.*entries 1 and 2"),
        ({"ts": [[0.0, 1.0], [1.0, 0.0]], "y0": jnp.ones((2, 3))}, "every row in the same"),
        (
            {"key": None, "path": diffrax.VirtualBrownianTree(0.1, 1.0, 0.01, (3,), jr.key(0))},
            "path is known from t = 0.1 to 1.0, and ts goes from 0.0 to 1.0",
        ),
    ],
)
def test_what_has_no_way_back_is_refused(change, message, key):
    arguments = {"key": key, "solver": diffrax.Heun(), "steps": 4, "y0": jnp.ones(3)}
    arguments |= {"ts": [1.0, 0.0], **change}
    y0, ts = arguments.pop("y0"), arguments.pop("ts")
    with pytest.raises(ValueError, match=message):
        solve(DRIFT, NOISE, y0, ts, P, **arguments)


def test_traced_times_that_have_no_way_back_fail_by_their_code(key):
    def code(ts, solver):
        s = {"key": key, "solver": solver, "steps": 2, "throw": False}
        return solve(DRIFT, NOISE, jnp.ones(3), ts, P, **s).result

    ts = jnp.array([1.0, 0.0])
    assert jax.jit(lambda ts: code(ts, diffrax.Heun()))(ts) == pb.ode.Result.SUCCESSFUL
    wrong = pb.ode.Result.TIMES_NOT_MONOTONE
    assert jax.jit(lambda ts: code(ts, diffrax.Euler()))(ts) == wrong
    assert jax.jit(lambda ts: code(ts, diffrax.SPaRK()))(ts) == wrong
    assert jax.jit(lambda ts: code(ts, diffrax.Euler()))(ts[::-1]) == pb.ode.Result.SUCCESSFUL


@pytest.mark.parametrize("solver", [diffrax.SPaRK()])
def test_a_path_of_the_callers_goes_to_what_diffrax_runs(solver, key):
    area = diffrax.SpaceTimeLevyArea
    tree = diffrax.VirtualBrownianTree(2.0, 3.0, 1e-3, (2,), jr.key(5), levy_area=area)
    sigma = lambda t, y, p: jnp.sin(y) * p[1]
    ours = solve(
        DRIFT, sigma, jnp.ones(2), [2.0, 3.0], P, key=None, path=tree, solver=solver, steps=16
    )
    terms = diffrax.MultiTerm(
        diffrax.ODETerm(DRIFT),
        diffrax.ControlTerm(lambda t, y, p: jnp.diag(sigma(t, y, p)), tree),
    )
    theirs = diffrax.diffeqsolve(terms, solver, 2.0, 3.0, 1 / 16, jnp.ones(2), P)
    assert jnp.allclose(ours.ys[-1], theirs.ys[-1], rtol=1e-10)

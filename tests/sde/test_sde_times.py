"""Where times repeat, end, or are known: by closed forms on the path, and by differences."""

import inspect

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pullback as pb

solve = inspect.unwrap(pb.sde.solve)
ADJOINTS = [pb.ode.Replay(), pb.sde.StochasticAdjoint(), diffrax.DirectAdjoint()]
TIMES = [[0.0, 0.0, 1.0], [0.0, 0.5, 0.5, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]]


def weighted(p, ts, **settings):
    """A weighted sum of all outputs of dZ = aZ dt + bZ o dW from z0, where p = (z0, a, b)."""
    sol = solve(
        lambda t, y, p: p[1] * y, lambda t, y, p: p[2] * y, p[0], ts, p, throw=False, **settings
    )
    return jnp.sum(sol.ys * jnp.arange(1.0, 1.0 + len(ts))), sol.result


P = jnp.array([1.2, 0.3, 0.5])


@pytest.mark.parametrize(
    ("solver", "ts"),
    [(diffrax.ReversibleHeun(), ts) for ts in TIMES]
    + [(diffrax.EulerHeun(), [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]), (diffrax.EulerHeun(), [0.0, 0.0])],
)
def test_gradients_at_repeated_times_are_those_of_differences_on_the_same_path(solver, ts, key):
    adjoints = ADJOINTS if isinstance(solver, diffrax.ReversibleHeun) else ADJOINTS[:1]

    @jax.jit
    def all_of(p):
        loss = lambda p, adjoint: weighted(p, ts, key=key, solver=solver, steps=3, adjoint=adjoint)
        value = lambda p: loss(p, ADJOINTS[0])
        h = 1e-5
        ends = jnp.stack([p + h * e for e in jnp.eye(3)] + [p - h * e for e in jnp.eye(3)])
        high, low = jnp.split(jax.lax.map(lambda p: value(p)[0], ends), 2)
        return (
            value(p)[1],
            (high - low) / (2 * h),
            [jax.grad(lambda p, a=adjoint: loss(p, a)[0])(p) for adjoint in adjoints],
        )

    code, want, found = all_of(P)
    assert code == pb.ode.Result.SUCCESSFUL
    for got in found:
        assert jnp.allclose(got, want, rtol=1e-7, atol=1e-7)
    if ts[-1] == 0:
        assert jnp.array_equal(found[0], jnp.array([3.0 * len(ts) - 3.0, 0.0, 0.0]))


def test_steps_that_adapt_meet_repeated_times(key):
    def values(p):
        sol = solve(
            lambda t, y, p: p[1] * y,
            lambda t, y, p: p[2] * y,
            p[0],
            [0.0, 0.0, 1.0, 1.0],
            p,
            key=key,
            solver=diffrax.Heun(),
            rtol=1e-2,
            atol=1e-2,
        )
        return sol.ys, sol.ys

    slopes, ys = jax.jit(jax.jacrev(values, has_aux=True))(P)
    assert jnp.array_equal(ys[::2], ys[1::2])
    assert jnp.array_equal(slopes[::2], slopes[1::2])
    # The equation is linear in its start.
    assert jnp.allclose(slopes[:, 0], ys / P[0], rtol=1e-12)
    assert jnp.array_equal(slopes[0], jnp.array([1.0, 0.0, 0.0]))


def test_a_gradient_by_the_times_is_refused_and_not_zero(key):
    end = lambda ts: weighted(P, ts, key=key, solver=diffrax.Heun(), steps=2)[0]
    for of in (end, jax.jit(end)):
        with pytest.raises(ValueError, match="no gradient with respect to ts"):
            jax.grad(of)(jnp.array([0.0, 1.0]))
    stopped = jax.grad(lambda ts: end(jax.lax.stop_gradient(ts)))(jnp.array([0.0, 1.0]))
    assert jnp.all(stopped == 0)


@pytest.mark.parametrize(
    "solver",
    [
        diffrax.Heun(),
        diffrax.SRA1(),
        diffrax.ShARK(),
        diffrax.SPaRK(),
        diffrax.SEA(),
        diffrax.EulerHeun(),
    ],
    ids=lambda solver: type(solver).__name__,
)
def test_dt_counts_steps_for_every_solver(solver):
    ts = np.array([0.0, 0.3, 1.0])
    eager = lambda y0, key: solve(
        lambda t, y, args: jnp.full_like(y, 2.0) * t,
        lambda t, y, args: jnp.zeros_like(y),
        y0,
        ts,
        key=key,
        solver=solver,
        noise="additive",
        dt=0.1,
    )
    for run in (eager, jax.jit(eager)):
        sol = run(jnp.ones(2), jax.random.key(0))
        assert sol.stats.accepted == 10
        # The integral of 2 t, which those of order 1 read at the left of each step.
        left = 0.1 if isinstance(solver, diffrax.EulerHeun | diffrax.SEA) else 0.0
        assert jnp.allclose(sol.ys[-1], 2.0 - left, rtol=1e-12)
    with pytest.raises(ValueError, match="make ts a NumPy array"):
        jax.jit(
            lambda ts: (
                solve(
                    lambda t, y, args: y,
                    lambda t, y, args: y,
                    jnp.ones(2),
                    ts,
                    key=jax.random.key(0),
                    solver=diffrax.Heun(),
                    dt=0.1,
                ).ys
            )
        )(ts)


def test_no_function_is_asked_beyond_the_last_time(x32):
    ends = np.random.default_rng(0).uniform(0.1, 3.0, (40, 2)).cumsum(axis=1).astype(np.float32)

    @jax.jit
    def codes(ts):
        def one(ts):
            root = lambda t, y, args: jnp.sqrt(args - t) + 0 * y
            return [
                solve(
                    root,
                    lambda t, y, args: jnp.ones_like(y),
                    jnp.zeros(1),
                    ts,
                    ts[1],
                    key=jax.random.key(0),
                    solver=solver,
                    noise="additive",
                    steps=7,
                    throw=False,
                ).result
                for solver in (diffrax.Heun(), diffrax.ReversibleHeun(), diffrax.SRA1())
            ]

        return jax.lax.map(one, ts)

    for found in codes(jnp.asarray(ends)):
        assert jnp.all(found == pb.ode.Result.SUCCESSFUL)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_solves_keep_their_dtype_and_are_near_single(dtype, x32, key):
    def of(y0, **settings):
        sol = solve(
            lambda t, y, args: -y,
            lambda t, y, args: jnp.full_like(y, 0.5),
            y0,
            [0.0, 0.3, 0.7, 1.0],
            key=key,
            noise="additive",
            **settings,
        )
        return sol.ys

    for settings in (
        {"solver": diffrax.SRA1(), "steps": 3},
        {"solver": diffrax.Heun(), "rtol": 0.1, "atol": 0.1},
    ):
        narrow, wide = of(jnp.ones(2, dtype), **settings), of(jnp.ones(2), **settings)
        assert narrow.dtype == dtype
        assert jnp.allclose(narrow.astype(jnp.float32), wide, atol=0.03)
    assert of(jnp.ones(2, dtype), solver=diffrax.Midpoint(), steps=3).dtype == dtype


def test_a_start_that_is_not_finite_ends_at_once(key):
    solved = lambda **settings: solve(
        lambda t, y, args: jnp.ones_like(y),
        lambda t, y, args: jnp.ones_like(y),
        jnp.array([jnp.nan, 1.0]),
        [0.0, 1.0],
        key=key,
        solver=diffrax.Heun(),
        noise="additive",
        throw=False,
        **settings,
    )
    for settings in ({"rtol": 1e-2, "atol": 1e-2}, {"steps": 2}):
        sol = solved(**settings)
        assert sol.result == pb.ode.Result.NON_FINITE
        assert sol.t_reached == 0
        assert sol.stats.accepted + sol.stats.rejected <= 2


@pytest.mark.parametrize("solver", [diffrax.Heun(), diffrax.EulerHeun()])
def test_times_far_from_zero_are_those_counted_from_the_first(solver, x32, key):
    def of(ts, **settings):
        return solve(
            lambda t, y, args: -0.1 * y,
            lambda t, y, args: 0.2 * y,
            jnp.ones(2),
            ts,
            key=key,
            solver=solver,
            steps=3,
            **settings,
        )

    since = np.array([0.0, 5.0, 5.0, 10.0])
    far = of(1.7e9 + since)
    assert jnp.array_equal(far.ys, of(since).ys)
    compiled = jax.jit(lambda: of(1.7e9 + since).ys)()
    assert jnp.allclose(compiled, far.ys, rtol=1e-6)
    assert far.ys.dtype == jnp.float32
    assert np.array_equal(far.ts, 1.7e9 + since)
    with pytest.raises(ValueError, match="different times that the cast to float32 makes equal"):
        of(np.array([0.0, 1e9, 1e9 + 1]))
    for wrong in (jnp.array([0.0, 1.0, 0.5]), jnp.array([0.0, jnp.nan])):
        code = jax.jit(lambda ts: of(ts, throw=False).result)(wrong)
        assert code == pb.ode.Result.TIMES_NOT_MONOTONE

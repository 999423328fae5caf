"""Values of `solve`: against SciPy, closed forms and Diffrax, in every mode of stepping."""

import functools
import inspect
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pullback.ode import Backsolve, Euler, PIDController, Replay, Result, SolveError, solve

SOLVERS = [
    diffrax.Euler(),
    diffrax.Heun(),
    diffrax.Midpoint(),
    diffrax.Ralston(),
    diffrax.Bosh3(),
    diffrax.Dopri5(),
    diffrax.Tsit5(),
    diffrax.Dopri8(),
]
ADAPTIVE = [s for s in SOLVERS if not isinstance(s, diffrax.Euler)]
name = lambda s: type(s).__name__


# DETEST (Hull et al., 1972): one problem or two of each class of non-stiff ones, t from 0 to 20.
def a1(t, y):
    return -y


def a3(t, y):
    return y * np.cos(t)


def a4(t, y):
    return y / 4 * (1 - y / 20)


def b1(t, y):
    return 2 * (y - y * y[::-1]) * np.array([1.0, -1.0])


def b5(t, y):
    return np.array([1.0, -1.0, -0.51]) * y[np.array([1, 0, 0])] * y[np.array([2, 2, 1])]


def c1(t, y):
    n = len(y)
    decay = np.eye(n, k=-1) - np.eye(n)
    decay[-1, -1] = 0.0
    return decay @ y


def d1(t, y):
    r3 = (y[0] ** 2 + y[1] ** 2) ** 1.5
    return (jnp if isinstance(y, jax.Array) else np).array([y[2], y[3], -y[0] / r3, -y[1] / r3])


def e2(t, y):
    return (jnp if isinstance(y, jax.Array) else np).array([y[1], (1 - y[0] ** 2) * y[1] - y[0]])


DETEST = {
    "A1": (a1, [1.0]),
    "A4": (a4, [1.0]),
    "B1": (b1, [1.0, 3.0]),
    "B5": (b5, [0.0, 1.0, 1.0]),
    "C1": (c1, [1.0] + [0.0] * 9),
    "D1": (d1, [0.9, 0.0, 0.0, np.sqrt(1.1 / 0.9)]),
    "E2": (e2, [2.0, 0.0]),
}


@pytest.mark.parametrize("problem", DETEST)
def test_detest_against_scipy(problem):
    f, y0 = DETEST[problem]
    ts = np.array([0.0, 0.5, 7.3, 7.4, 20.0])
    sol = solve(lambda t, y, args: f(t, y), jnp.array(y0), ts, rtol=1e-9, atol=1e-9)
    want = solve_ivp(f, (0, 20), y0, "DOP853", t_eval=ts, rtol=1e-12, atol=1e-12).y.T
    np.testing.assert_allclose(sol.ys, want, rtol=1e-5, atol=1e-6)
    assert int(sol.stats.nfe) == 2 + 6 * int(sol.stats.accepted + sol.stats.rejected)


def test_time_dependence_and_cosine_growth():
    sol = solve(
        lambda t, y, args: y * jnp.cos(t), jnp.array(1.0), [0.0, 20.0], rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(sol.ys[-1], np.exp(np.sin(20.0)), rtol=1e-6)


def pendulum(t, y, args):
    return jnp.stack([y[..., 1], -jnp.sin(y[..., 0]) + 0.1 * jnp.cos(t)], axis=-1)


START = jnp.array([[1.0, 0.0], [2.5, 0.3], [0.1, -2.0]])


@pytest.mark.parametrize("solver", SOLVERS, ids=name)
def test_fixed_steps_equal_diffrax(solver):
    ts = jnp.array([0.0, 0.4, 2.0])
    sol = solve(pendulum, START, ts, solver=solver, steps=4)
    nodes = np.concatenate([np.linspace(0, 0.4, 4, endpoint=False), np.linspace(0.4, 2.0, 5)])
    want = diffrax.diffeqsolve(
        diffrax.ODETerm(pendulum),
        solver,
        0.0,
        2.0,
        None,
        START,
        stepsize_controller=diffrax.StepTo(jnp.asarray(nodes)),
        saveat=diffrax.SaveAt(ts=ts),
    ).ys
    np.testing.assert_allclose(sol.ys, np.asarray(want), rtol=1e-12, atol=1e-14)
    assert (int(sol.stats.accepted), int(sol.stats.rejected)) == (8, 0)


@pytest.mark.parametrize("solver", SOLVERS, ids=name)
def test_order_of_convergence(solver):
    want = solve_ivp(
        lambda t, y: np.asarray(pendulum(t, jnp.asarray(y), None)),
        (0, 1),
        START[0],
        "DOP853",
        rtol=1e-13,
        atol=1e-13,
    ).y[:, -1]
    order = solver.order(diffrax.ODETerm(pendulum))
    few = {1: 32, 2: 16, 3: 8, 5: 4, 8: 1}[order]
    error = [
        float(
            jnp.max(
                jnp.abs(solve(pendulum, START[0], [0.0, 1.0], solver=solver, steps=n).ys[-1] - want)
            )
        )
        for n in (few, 2 * few)
    ]
    assert abs(np.log2(error[0] / error[1]) - order) < 0.7


@pytest.mark.parametrize("solver", ADAPTIVE, ids=name)
def test_dense_output_follows_the_tolerance(solver):
    ts = np.linspace(0, 3, 7)
    want = solve_ivp(
        lambda t, y: np.asarray(pendulum(t, jnp.asarray(y), None)),
        (0, 3),
        START[0],
        "DOP853",
        t_eval=ts,
        rtol=1e-12,
        atol=1e-12,
    ).y.T
    sol = solve(pendulum, START[0], ts, solver=solver, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(sol.ys, want, atol=3e-3)
    np.testing.assert_array_equal(sol.ts, ts)


@pytest.mark.parametrize("ts", [[0.0, 3.0], [0.0, 0.2, 0.3, 3.0]], ids=["ends", "dense"])
def test_per_sample_equals_one_at_a_time(ts):
    tight = functools.partial(solve, rtol=1e-6, atol=1e-6)
    batch = tight(pendulum, START, ts, stepping="per_sample")
    for i, start in enumerate(START):
        one = tight(pendulum, start, ts)
        np.testing.assert_allclose(batch.ys[i], one.ys, rtol=1e-12, atol=1e-14)
        for field in ("nfe", "accepted", "rejected"):
            assert int(getattr(batch.stats, field)[i]) == int(getattr(one.stats, field))
    assert len(set(batch.stats.accepted.tolist())) > 1


def test_each_sample_may_have_its_own_times_and_direction():
    ts = jnp.array([[0.0, 0.5, 3.0], [1.0, 1.0, 1.0], [2.0, 0.1, -1.0]])
    sol = solve(pendulum, START, ts, stepping="per_sample", rtol=1e-6, atol=1e-6)
    assert sol.ok.all()
    for i in (0, 2):
        one = solve(pendulum, START[i], ts[i], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(sol.ys[i], one.ys, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(sol.ys[1], jnp.broadcast_to(START[1], (3, 2)))


def test_there_and_back():
    ts = jnp.linspace(0.0, 4.0, 5)
    there = solve(pendulum, START, ts, rtol=1e-9, atol=1e-9)
    back = solve(pendulum, there.ys[-1], ts[::-1], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(back.ys[::-1], there.ys, atol=1e-7)


def test_repeated_times_repeat_the_value():
    sol = solve(pendulum, START[0], [0.0, 0.0, 1.0, 1.0, 2.0, 2.0])
    for i in (0, 2, 4):
        np.testing.assert_array_equal(sol.ys[i], sol.ys[i + 1])


@pytest.mark.parametrize(
    "controller",
    [PIDController(), PIDController(pcoeff=0.4, icoeff=0.3), PIDController(0.3, 0.3, 0.1)],
)
def test_controllers_hold_the_tolerance(controller):
    sol = solve(
        lambda t, y, args: -2 * t * y**2,
        jnp.array(1.0),
        [0.0, 3.0],
        rtol=1e-7,
        atol=1e-9,
        controller=controller,
    )
    np.testing.assert_allclose(sol.ys[-1], 1 / (1 + 9.0), rtol=1e-6)


def test_pid_gives_diffraxs_factors():
    """Errors of a run with a refusal; Diffrax never shrinks a passed step, and none asks for it."""
    mine = PIDController(0.3, 0.4, 0.1)
    theirs: Any = diffrax.PIDController(rtol=1.0, atol=1.0, pcoeff=0.3, icoeff=0.4, dcoeff=0.1)
    term, y, h = diffrax.ODETerm(lambda t, y, args: y), jnp.zeros(1), jnp.array(0.1)
    state = theirs.init(term, 0.0, 1.0, y, 0.1, None, lambda t, y, args: y, 5)[1]
    errors = [jnp.array(1.0), jnp.array(1.0)]
    for error in map(jnp.asarray, (0.5, 0.3, 1.7, 0.1, 0.05)):
        left = jnp.array(0.0)
        passed, start, end, _, state, _ = theirs.adapt_step_size(
            left, left + h, y, y, None, error[None], 5, state
        )
        factor = mine.factor(5, error, errors[0], errors[1], error <= 1)
        np.testing.assert_allclose(factor, (end - start) / h, rtol=1e-12)
        assert bool(passed) == bool(error <= 1)
        errors = [error, errors[0]] if passed else errors


def test_pid_changes_the_steps_as_diffrax_does():
    """The same controller on the same problem takes as many steps, but for where it starts."""
    for mine in (PIDController(), PIDController(pcoeff=0.4, icoeff=0.3)):
        theirs = diffrax.diffeqsolve(
            diffrax.ODETerm(pendulum),
            diffrax.Dopri5(),
            0.0,
            20.0,
            None,
            START[1],
            stepsize_controller=diffrax.PIDController(
                rtol=1e-6, atol=1e-6, pcoeff=mine.pcoeff, icoeff=mine.icoeff
            ),
        ).stats["num_accepted_steps"]
        ours = solve(pendulum, START[1], [0.0, 20.0], rtol=1e-6, atol=1e-6, controller=mine)
        assert abs(int(ours.stats.accepted) / int(theirs) - 1) < 0.06


def test_the_norm_may_leave_out_what_rides_along():
    def f(t, state, args):
        y, _ = state
        return -y, jnp.sin(200 * t)

    from pullback.ode import state_norm

    start = (jnp.array(1.0), jnp.array(0.0))
    free = solve(f, start, [0.0, 1.0], rtol=1e-8, atol=1e-8, norm=state_norm)
    full = solve(f, start, [0.0, 1.0], rtol=1e-8, atol=1e-8)
    assert int(free.stats.nfe) < int(full.stats.nfe) / 3


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_dtype_follows_the_state(dtype):
    sol = solve(pendulum, START.astype(dtype), [0.0, 1.0], rtol=1e-5)
    assert sol.ys.dtype == dtype
    assert sol.ts.dtype == jnp.float64
    want = solve(pendulum, START, [0.0, 1.0], rtol=1e-11, atol=1e-11).ys
    np.testing.assert_allclose(sol.ys.astype(float), want, atol=1e-4)


def test_half_precision_keeps_its_times_apart():
    sol = solve(lambda t, y, args: -y, jnp.ones(3, jnp.bfloat16), [0.0, 1.0], rtol=1e-1, atol=1e-1)
    assert sol.ys.dtype == jnp.bfloat16
    np.testing.assert_allclose(sol.ys[-1].astype(float), np.exp(-1), atol=0.03)


def test_stiff_problems_go_to_an_implicit_diffrax_solver():
    """Robertson's reaction, against SciPy's Radau."""

    def f(t, y, args):
        r = jnp.stack([0.04 * y[0], 3e7 * y[1] ** 2, 1e4 * y[1] * y[2]])
        return jnp.stack([-r[0] + r[2], r[0] - r[1] - r[2], r[1]])

    y0, ts = jnp.array([1.0, 0.0, 0.0]), [0.0, 1.0, 100.0]
    sol = solve(f, y0, ts, solver=diffrax.Kvaerno5(), rtol=1e-8, atol=1e-10)
    rate = jax.jit(lambda y: f(0.0, y, None))
    want = solve_ivp(
        lambda t, y: np.asarray(rate(y)),
        (0, 100),
        y0,
        "Radau",
        t_eval=ts,
        rtol=1e-9,
        atol=1e-12,
    ).y.T
    np.testing.assert_allclose(sol.ys, want, rtol=1e-5, atol=1e-9)
    assert int(sol.stats.nfe) == -1


def test_the_vector_field_is_traced_once(key):
    traces = 0

    def f(t, y, w):
        nonlocal traces
        traces += 1
        return jnp.tanh(w @ y)

    def loss(w):
        return jnp.sum(solve(f, START[0], [0.0, 0.5, 1.0], w, throw=False).ys)

    grad = jax.jit(jax.grad(loss))
    grad(jr.normal(key, (2, 2)))
    first = traces
    grad(jnp.ones((2, 2)))
    # Once to check what it returns, once to make the program.
    assert first == traces <= 2


def test_a_new_tolerance_compiles_nothing():
    f = eqx.debug.assert_max_traces(lambda t, y, args: -y, max_traces=2)
    ends = [
        float(solve(f, jnp.array(1.0), [0.0, 1.0], rtol=r, throw=False).ys[-1])
        for r in (1e-3, 1e-7)
    ]
    assert abs(ends[1] - np.exp(-1)) < abs(ends[0] - np.exp(-1))


def test_solves_over_a_mesh_of_devices_equal_those_on_one():
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    y0 = jnp.concatenate([START, START + 0.1, START[:2]])

    @jax.jit
    def grad(y0):
        return jax.grad(
            lambda y0: jnp.sum(solve(pendulum, y0, [0.0, 1.0], throw=False).ys[-1] ** 2)
        )(y0)

    np.testing.assert_allclose(grad(jax.device_put(y0, sharding)), grad(y0), rtol=1e-12)


def test_a_mesh_with_explicit_axes_is_refused():
    """That is what `jax.make_mesh` gives by default; gradients fail deep in the loop over it."""
    sharding = jax.sharding.NamedSharding(
        jax.make_mesh((4,), ("batch",)), jax.sharding.PartitionSpec("batch")
    )
    x = jax.device_put(jnp.ones((8, 2)), sharding)
    remedy = r"jax.make_mesh\(\(4,\), \('batch',\), axis_types=\(jax.sharding.AxisType.Auto,\)"
    with pytest.raises(ValueError, match=f"y0 is sharded .*{remedy}"):
        solve(pendulum, x, [0.0, 1.0])
    with pytest.raises(ValueError, match=f"args is sharded .*{remedy}"):
        jax.jit(lambda x: solve(lambda t, y, x: -y * jnp.sum(x), jnp.ones(()), [0.0, 1.0], x).ys)(x)
    closed = lambda x: solve(lambda t, y, _: -y * jnp.sum(x), jnp.ones(()), [0.0, 1.0]).ys[-1]
    for run in (closed, jax.jit(closed), jax.grad(closed)):
        with pytest.raises(ValueError, match=f"what f closes over is sharded .*{remedy}"):
            run(x)


# Failures: which, where, and what to try.


def test_too_few_steps_says_so():
    with pytest.raises(SolveError, match=r"t = 0\.\d+: the limit of `max_steps`"):
        solve(pendulum, START, [0.0, 100.0], max_steps=3)


def test_failure_inside_jit_is_raised_when_it_runs():
    @jax.jit
    def end(y0):
        return solve(pendulum, y0, [0.0, 100.0], max_steps=3).ys[-1]

    with pytest.raises(Exception, match="the limit of `max_steps`"):
        jax.block_until_ready(end(START))


def test_checks_survive_vmap():
    end = lambda y0, stop: solve(lambda t, y, args: y**2, y0, jnp.stack([jnp.zeros(()), stop])).ys[
        -1
    ]
    ends = jax.jit(jax.vmap(end, (0, None)))
    np.testing.assert_allclose(ends(jnp.array([-1.0, 0.5]), jnp.array(1.0)), [-0.5, 1.0], rtol=1e-3)
    with pytest.raises(Exception, match="t = 1"):
        jax.block_until_ready(ends(jnp.array([-1.0, 1.0]), jnp.array(2.0)))


def test_failures_are_reported_when_not_thrown():
    sol = solve(lambda t, y, args: y**2, jnp.array(1.0), [0.0, 0.5, 2.0], throw=False)
    assert Result(int(sol.result)) in (Result.STEP_UNDERFLOW, Result.NON_FINITE)
    np.testing.assert_allclose(sol.t_reached, 1.0, atol=1e-2)
    np.testing.assert_allclose(sol.ys[1], 2.0, rtol=1e-3)
    assert np.isnan(sol.ys[2])
    assert "t = 1" in sol.explain() or "t = 0.99" in sol.explain()


@pytest.mark.parametrize("steps", [None, 10])
def test_a_derivative_that_is_not_finite_is_named(steps):
    f = lambda t, y, args: jnp.where(t < 0.5, -y, jnp.nan)
    sol = solve(f, jnp.ones(2), [0.0, 1.0], steps=steps, throw=False)
    assert Result(int(sol.result)) is Result.NON_FINITE
    assert 0.3 <= float(sol.t_reached) <= 0.5
    first = solve(lambda t, y, args: jnp.log(-y), jnp.ones(2), [0.0, 1.0], throw=False)
    assert Result(int(first.result)) is Result.NON_FINITE


def test_explain_lists_the_samples_that_failed():
    y0 = jnp.array([-1.0, 1.0, -2.0, 2.0])
    sol = solve(lambda t, y, args: y**2, y0, [0.0, 2.0], stepping="per_sample", throw=False)
    assert "2 of 4 samples (index 1, 3)" in sol.explain()
    with pytest.raises(SolveError, match="index 1, 3"):
        solve(lambda t, y, args: y**2, y0, [0.0, 2.0], stepping="per_sample")


def test_traced_times_out_of_order_are_reported():
    sol = jax.jit(lambda ts: solve(pendulum, START, ts, throw=False))(jnp.array([0.0, 2.0, 1.0]))
    assert Result(int(sol.result)) is Result.TIMES_NOT_MONOTONE


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"ts": [0.0]}, ValueError, r"ts must have shape \[T\] with T at least 2"),
        ({"ts": [0.0, 2.0, 1.0]}, ValueError, "all increasing or all decreasing"),
        ({"ts": [0.0, np.nan]}, ValueError, "ts must be finite"),
        ({"ts": np.zeros((3, 2))}, ValueError, r"ts must have shape \[T\]"),
        ({"y0": jnp.arange(3)}, TypeError, "floating arrays, got int"),
        ({"y0": ()}, ValueError, "y0 has no arrays"),
        (
            {"y0": (jnp.ones(2), jnp.ones(2, jnp.float32))},
            TypeError,
            "one dtype, got float32, float64",
        ),
        ({"rtol": 0.0}, ValueError, "rtol must be positive, got 0"),
        ({"atol": -1.0}, ValueError, "atol must be positive"),
        ({"rtol": np.ones(7)}, ValueError, "rtol of a leaf must be one number"),
        ({"steps": 0}, ValueError, "steps must be at least 1"),
        ({"max_steps": 0}, ValueError, "max_steps must be at least 1"),
        ({"stepping": "each"}, ValueError, 'stepping must be "joint" or "per_sample"'),
        ({"solver": "dopri5"}, TypeError, "solver must be a Diffrax solver"),
        ({"adjoint": "backsolve"}, TypeError, "adjoint must be Replay"),
        ({"solver": Euler()}, ValueError, "Euler has no error estimate"),
        ({"f": 3}, TypeError, "f must be a function"),
        ({"f": lambda t, y: y}, TypeError, r"f\(t, y, args\), but what was given takes \(t, y\)"),
        ({"f": lambda t, y, args: [y, y]}, ValueError, r"f must return .* jnp\.stack\(\[\.\.\.\]"),
        ({"f": lambda t, y, args: None}, ValueError, "f must return .* lack a return"),
        ({"f": lambda t, y, args: np.sin(y)}, TypeError, "f is traced.* use jax.numpy for NumPy"),
        ({"f": lambda t, y, args: y if y[0, 0] > 0 else -y}, TypeError, "f is traced.* jnp.where"),
        (
            {"f": lambda t, y, args: y.astype(jnp.float32)},
            ValueError,
            r"got float32\[3, 2\].*with \.astype\(float64\)",
        ),
        (
            {"f": lambda t, y, args: jax.lax.complex(y, y)},
            ValueError,
            r"got complex128\[3, 2\].*give y0 as a complex array, or take .* jnp.real\(...\)$",
        ),
        ({"y0": jr.key(0)}, TypeError, "floating arrays, got key<fry>$"),
        ({"y0": "a"}, TypeError, "floating arrays, got str"),
        ({"rtol": "a"}, TypeError, "rtol must be made of numbers, got 'a'"),
        ({"steps": 2.0}, TypeError, "steps must be a Python integer.*got 2.0"),
        ({"max_steps": None}, TypeError, "max_steps must be a Python integer.*got None"),
        ({"norm": "max"}, TypeError, "norm must be a function"),
        (
            {"controller": diffrax.PIDController(rtol=1e-3, atol=1e-3)},
            TypeError,
            "controller must be pullback.ode.PIDController.*got PIDController",
        ),
        (
            {"solver": diffrax.EulerHeun(), "steps": 2},
            ValueError,
            "EulerHeun is not for.*sde.solve",
        ),
        ({"solver": diffrax.SemiImplicitEuler()}, ValueError, "equation in parts"),
        (
            {"solver": diffrax.HalfSolver(diffrax.Kvaerno3())},
            ValueError,
            "HalfSolver cannot wrap .* give the method itself",
        ),
        ({"solver": diffrax.LeapfrogMidpoint()}, ValueError, "no error estimate.*give steps=N"),
        ({"adjoint": diffrax.ImplicitAdjoint()}, ValueError, "ImplicitAdjoint.* steady states"),
        ({"f": lambda t, y, args: y[:1]}, ValueError, r"f must return what y is, float64\[3, 2\]"),
        ({"f": lambda t, y, args: (y, y)}, ValueError, "f must return the structure of y"),
        ({"y0": jnp.array(1.0), "stepping": "per_sample"}, ValueError, "same leading axis"),
        (
            {"ts": np.zeros((2, 2)), "stepping": "per_sample"},
            ValueError,
            "ts has 2 rows, but y0 has 3",
        ),
    ],
)
def test_wrong_arguments_are_named(change, error, message):
    arguments = {"f": pendulum, "y0": START, "ts": [0.0, 1.0]} | change
    # Without the type checker that the tests put in front of every function.
    with pytest.raises(error, match=message):
        inspect.unwrap(solve)(**arguments)


@pytest.mark.parametrize("field", ["segment", "checkpoints"])
def test_replay_needs_room(field):
    with pytest.raises(ValueError, match=f"Replay\\({field}"):
        Replay(**{field: 0})


def test_a_pulse_is_passed_over_unless_the_solve_is_split():
    """What the docstring warns of: a dose of 1, of which exp(-0.499) is left at the end."""
    pulse = lambda t, y, args: jnp.where((t >= 5.0) & (t < 5.01), 100.0, 0.0) - 0.1 * y
    whole = solve(pulse, jnp.array(0.0), [0.0, 5.0, 5.01, 10.0]).ys[-1]
    y = jnp.array(0.0)
    for start, end, inflow in [(0.0, 5.0, 0.0), (5.0, 5.01, 100.0), (5.01, 10.0, 0.0)]:
        y = solve(lambda t, y, u: u - 0.1 * y, y, [start, end], jnp.array(inflow)).ys[-1]
    assert float(whole) == 0.0
    np.testing.assert_allclose(y, np.exp(-0.1 * 5) * np.expm1(0.1 * 0.01) / 0.001, rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [{}, {"steps": 2}, {"solver": diffrax.Kvaerno3()}, {"adjoint": diffrax.DirectAdjoint()}],
)
@pytest.mark.parametrize("stepping", ["joint", "per_sample"])
@pytest.mark.parametrize("ts", [[0.0, 1.0], [0.0, 0.0]])
def test_a_start_that_is_not_finite_is_seen_where_the_field_does_not_pass_it_on(
    ts, stepping, options
):
    f = lambda t, y, args: jnp.ones_like(y)
    eager = lambda y0: solve(f, y0, ts, stepping=stepping, throw=False, **options)
    for bad, run in ((jnp.nan, eager), (jnp.inf, eager), (jnp.nan, eqx.filter_jit(eager))):
        sol = run(jnp.array([[1.0], [bad]]))
        codes = np.broadcast_to(sol.result, (2,)).tolist()
        assert codes == ([0, 3] if stepping == "per_sample" else [3, 3])
        assert int(np.max(sol.stats.accepted + sol.stats.rejected)) < 50


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "options",
    [{}, {"steps": 4}, {"adjoint": Backsolve()}, {"solver": diffrax.Kvaerno3()}],
    ids=["adaptive", "fixed", "backsolve", "kvaerno3"],
)
def test_half_precision_keeps_its_dtype(dtype, options):
    """At the ends and between them, and its gradient; y' = -y."""
    ts = jnp.array([0.0, 0.0, 0.4, 1.0], jnp.float32)

    def total(y0):
        ys = solve(lambda t, y, args: -y, y0, ts, rtol=1e-2, atol=1e-2, **options).ys
        return jnp.sum(ys.astype(jnp.float32)), ys

    run = jax.grad(total, has_aux=True)
    # Each way by one of the dtypes, for compiling is what this costs.
    grad, ys = (jax.jit(run) if dtype == "float16" else run)(jnp.array([1.0, 2.0], dtype))
    assert ys.dtype == grad.dtype == dtype
    decay = np.exp(-np.asarray(ts))
    np.testing.assert_allclose(ys.astype(float)[:, 0], decay, atol=2e-2)
    np.testing.assert_allclose(grad.astype(float), np.sum(decay), atol=4e-2)

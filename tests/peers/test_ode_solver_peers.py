"""What the forward suites of Diffrax, torchdiffeq, torchode and SciPy ask of a solver of ODEs.

The cases are told again in our words; a comment names the peer. Right values are closed forms, or
SciPy's.
"""

import functools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pullback import ode
from pullback.ode import SDIRK, PIDController, Result, state_norm

TIGHT = {"rtol": 1e-8, "atol": 1e-9}
STATIC = ("solver", "steps", "stepping", "controller", "norm", "max_steps")


@functools.partial(jax.jit, static_argnums=0, static_argnames=STATIC)
def compiled(f, y0, ts, args, **options):
    return ode.solve(f, y0, ts, args, throw=False, **options)


def solve(f, y0, ts, args=None, **options):
    """The eager solution, after it was seen that the compiled one is the same."""
    found = ode.solve(f, y0, ts, args, throw=False, **options)
    times = ts if isinstance(ts, jax.Array) else np.asarray(ts)
    same = compiled(f, y0, times, args, **options)
    np.testing.assert_array_equal(same.result, found.result)
    np.testing.assert_array_equal(same.stats.nfe, found.stats.nfe)
    for a, b in zip(jax.tree.leaves(same.ys), jax.tree.leaves(found.ys), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-4 if a.dtype == np.float32 else 1e-9, atol=1e-12)
    return found


tight = functools.partial(solve, **TIGHT)
name = lambda x: type(x).__name__


def logistic(t, y, args):
    return y * (1 - y) * (1 + 0.5 * jnp.sin(t))


def logistic_solution(t, y0):
    growth = np.exp(t + 0.5 * (1 - np.cos(t)))
    return y0 * growth / (1 + y0 * (growth - 1))


# Diffrax's test_solver, torchdiffeq's and torchode's convergence tests: each method has its order.
# The error of four steps over a span h falls as h^(order + 1), and one program serves both spans.
ORDERS = [
    (diffrax.Euler(), 1, 0.4),
    (diffrax.Heun(), 2, 0.4),
    (diffrax.Midpoint(), 2, 0.4),
    (diffrax.Ralston(), 2, 0.4),
    (diffrax.Bosh3(), 3, 0.4),
    (diffrax.Dopri5(), 5, 2.0),
    (diffrax.Tsit5(), 5, 2.0),
    (diffrax.Dopri8(), 8, 3.0),
    (diffrax.ImplicitEuler(), 1, 0.4),
    (SDIRK(1), 1, 0.4),
    (SDIRK(2), 2, 0.4),
]


@pytest.mark.parametrize(("solver", "order", "span"), ORDERS, ids=lambda x: name(x))
def test_order_of_convergence(solver, order, span):
    errors = []
    for h in (span, span / 2):
        end = tight(logistic, jnp.array([0.3]), [0.0, h], solver=solver, steps=4).ys[-1, 0]
        errors.append(abs(float(end) - logistic_solution(h, 0.3)))
    assert np.log2(errors[0] / errors[1]) > order + 0.3


# torchdiffeq's odeint_tests: three problems, forward and backward, by every adaptive method.
A = np.array([[-0.5, 1.0, 0.0], [-1.0, -0.5, 0.3], [0.0, -0.3, -0.2]])


def linear_solution(t):
    values, vectors = np.linalg.eig(A)
    start = np.linalg.solve(vectors, np.ones(3))
    return (vectors @ (np.exp(np.multiply.outer(t, values)) * start)[..., None])[..., 0].real


PROBLEMS = {
    "constant": (
        lambda t, y, args: 0.2 + (y - (0.2 * t + 3.0)) ** 5,
        lambda t: (0.2 * t + 3.0)[:, None],
    ),
    "sine": (
        lambda t, y, args: 2 * y / t + t**4 * jnp.sin(2 * t) - t**2 + 4 * t**3,
        lambda t: (
            -(t**4) * np.cos(2 * t) / 2
            + t**3 * np.sin(2 * t) / 2
            + t**2 * np.cos(2 * t) / 4
            - t**3
            + 2 * t**4
            + (np.pi - 0.25) * t**2
        )[:, None],
    ),
    "linear": (lambda t, y, args: jnp.asarray(A) @ y, linear_solution),
}


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("solver", [None, diffrax.Tsit5(), diffrax.Dopri8()], ids=name)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_known_solutions_in_both_directions(problem, solver, direction):
    f, exact = PROBLEMS[problem]
    ts = np.linspace(1.0, 4.0, 6)
    ts = ts if direction == "forward" else ts[::-1]
    want = exact(ts)
    sol = tight(f, jnp.asarray(want[0]), ts, solver=solver)
    assert sol.ok
    np.testing.assert_array_equal(sol.ys[0], want[0])
    np.testing.assert_allclose(sol.ys, want, rtol=3e-5, atol=3e-5)


# SciPy's test_ivp: a rational solution, over spans that leave the start in both directions.
@pytest.mark.parametrize("span", [[5.0, 9.0], [5.0, 1.0], [5.0, 5.0], [9.0, 9.001]])
@pytest.mark.parametrize("solver", [None, diffrax.Kvaerno5()], ids=name)
def test_rational_solution(solver, span):
    def f(t, y, args):
        return jnp.stack([y[1] / t, y[1] * (y[0] + 2 * y[1] - 1) / (t * (y[0] - 1))])

    exact = lambda t: np.stack([t / (t + 10), 10 * t / (t + 10) ** 2], axis=-1)
    ts = np.linspace(span[0], span[1], 5)
    sol = tight(f, jnp.asarray(exact(ts[0])), ts, solver=solver, max_steps=512)
    np.testing.assert_allclose(sol.ys, exact(ts), rtol=1e-6)


# Diffrax's test_detest, against SciPy where there is no closed form.
@pytest.mark.parametrize(
    ("f", "y0"),
    [
        (lambda t, y: -(y**3) / 2, [1.0]),
        (lambda t, y: (y - t) / (y + t), [4.0]),
        (lambda t, y: np.array([[-1.0, 1, 0], [1, -2, 1], [0, 1, -1]]) @ y, [2.0, 0.0, 1.0]),
    ],
    ids=["A2", "A5", "B2"],
)
def test_detest(f, y0):
    ts = np.array([0.0, 0.1, 5.0, 20.0])
    want = solve_ivp(f, (0, 20), y0, "DOP853", t_eval=ts, rtol=1e-11, atol=1e-11).y.T
    np.testing.assert_allclose(
        tight(lambda t, y, a: f(t, y), jnp.array(y0), ts).ys, want, rtol=1e-5
    )


# Diffrax's and torchdiffeq's API tests: states of any structure are solved as one vector is.
STATES = {
    "scalar": jnp.array(0.3),
    "tuple": (jnp.array(0.3), jnp.full((2, 3), 0.6)),
    "dict": {"a": jnp.array([0.1]), "b": (jnp.array(0.2), [jnp.array([0.4, 0.9])])},
    "none inside": (jnp.array([0.2]), None),
    "empty leaf": (jnp.array([0.2]), jnp.zeros((0, 3))),
    "matrix": jnp.full((2, 2, 2), 0.5),
}


@pytest.mark.parametrize("steps", [None, 20])
@pytest.mark.parametrize("state", STATES)
def test_states_of_any_structure(state, steps):
    y0, ts = STATES[state], np.array([0.0, 1.0, 2.5])
    f = lambda t, y, args: jax.tree.map(lambda leaf: logistic(t, leaf, args), y)
    sol = tight(f, y0, ts, steps=steps)
    assert jax.tree.structure(sol.ys) == jax.tree.structure(y0)
    for got, start in zip(jax.tree.leaves(sol.ys), jax.tree.leaves(y0), strict=True):
        assert got.shape == (3, *start.shape)
        want = np.stack([logistic_solution(t, np.asarray(start)) for t in ts])
        np.testing.assert_allclose(got, want, rtol=1e-5)


# Diffrax's test_saveat_solution, SciPy's dense output: what else is asked for changes no value.
@pytest.mark.parametrize("solver", [None, diffrax.Bosh3(), diffrax.Dopri8()], ids=name)
def test_other_outputs_change_no_step(solver):
    y0 = jnp.array([0.01])
    few = tight(logistic, y0, [0.0, 4.0, 8.0], solver=solver)
    many = tight(logistic, y0, np.linspace(0.0, 8.0, 65), solver=solver)
    assert int(few.stats.nfe) == int(many.stats.nfe)
    np.testing.assert_allclose(many.ys[jnp.array([0, 32, 64])], few.ys, rtol=1e-13)
    exact = logistic_solution(np.asarray(many.ts), 0.01)[:, None]
    np.testing.assert_allclose(many.ys, exact, rtol=2e-5)


# Diffrax's test_adaptive_stepsize_controller.
def test_steps_follow_the_unit_of_time():
    """Time in seconds or in days: as many steps, and the same values."""
    slow = lambda t, y, unit: logistic(t / unit, y, None) / unit
    one, day = (
        solve(slow, jnp.array([0.01]), [0.0, 8.0 * unit], jnp.array(unit), rtol=1e-6)
        for unit in (1.0, 86400.0)
    )
    # All but the first few, which grow from a guess.
    assert abs(int(one.stats.accepted) - int(day.stats.accepted)) <= 5
    np.testing.assert_allclose(one.ys, day.ys, rtol=1e-5)


@pytest.mark.parametrize(
    "controller",
    [PIDController(), PIDController(pcoeff=0.2, icoeff=0.4), PIDController(factormax=2.0)],
)
def test_a_sudden_change_is_met_by_refused_steps(controller):
    f = lambda t, y, args: -y + jnp.tanh(200 * (t - 5))
    sol = solve(f, -jnp.ones(1), [0.0, 10.0], rtol=1e-6, atol=1e-8, controller=controller)
    # The jump is met at 5, to the order of its width.
    np.testing.assert_allclose(sol.ys[-1], 1 - 2 * np.exp(-5), rtol=1e-4)
    assert int(sol.stats.rejected) > 0


@pytest.mark.parametrize("rtol", [1e-3, 1e-5, 1e-7])
def test_the_error_follows_the_tolerance(rtol):
    sol = solve(logistic, jnp.array([0.01]), [0.0, 8.0], rtol=rtol, atol=rtol * 1e-3)
    assert abs(sol.ys[-1, 0] / logistic_solution(8.0, 0.01) - 1) < 10 * rtol


def test_the_norm_decides_what_is_controlled():
    """As torchdiffeq's `norm` option."""
    f = lambda t, s, args: (-s[0], jnp.cos(40 * t))
    start = (jnp.ones(1), jnp.zeros(()))
    counts = [int(tight(f, start, [0.0, 2.0], norm=n).stats.nfe) for n in (state_norm, jnp_max)]
    assert counts[0] < counts[1] / 2


def jnp_max(x):
    return functools.reduce(jnp.maximum, [jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(x)])


# Diffrax's test_vmap: over each argument, a mapped solve is the solves one by one.
@pytest.mark.parametrize("over", ["y0", "ts", "args"])
@pytest.mark.parametrize("options", [{}, {"steps": 10}, {"solver": diffrax.Kvaerno3()}], ids=str)
def test_vmap_over_each_argument(over, options):
    base = {"y0": jnp.array([0.3]), "ts": jnp.array([0.0, 0.5, 2.0]), "args": jnp.array(1.0)}
    f = lambda t, y, rate: rate * logistic(t, y, None)
    options = {"max_steps": 256, "throw": False, **TIGHT, **options}
    one = lambda v: ode.solve(f, **(base | {over: v}), **options).ys
    values = jnp.stack([base[over] * scale for scale in (0.5, 1.0, 2.0)])
    mapped = jax.jit(jax.vmap(one))(values)
    for got, value in zip(mapped, values, strict=True):
        np.testing.assert_allclose(got, one(value), rtol=1e-9)


# torchode: samples of a batch do not touch each other.
def test_a_hard_sample_costs_the_easy_ones_nothing():
    f = lambda t, y, args: -y * jnp.where(y[1] > 0.5, 1.0, 1000.0) * jnp.array([1.0, 0.0])
    easy, hard = jnp.array([[1.0, 1.0]] * 2), jnp.array([[1.0, 0.0]])
    alone = solve(f, easy, [0.0, 1.0], stepping="per_sample")
    together = solve(f, jnp.concatenate([easy, hard]), [0.0, 1.0], stepping="per_sample")
    np.testing.assert_array_equal(alone.ys, together.ys[:2])
    np.testing.assert_array_equal(alone.stats.nfe, together.stats.nfe[:2])
    assert int(together.stats.nfe[2]) > 5 * int(alone.stats.nfe[0])


def test_each_sample_has_its_own_result():
    f = lambda t, y, args: jnp.where(y > 1e3, jnp.nan, y**2)
    sol = tight(f, jnp.array([-1.0, 0.2, 2.0]), [0.0, 1.0], stepping="per_sample")
    assert sol.result.tolist()[:2] == [0, 0]
    assert Result(sol.result.tolist()[2]) in (Result.NON_FINITE, Result.STEP_UNDERFLOW)
    np.testing.assert_allclose(sol.ys[:2, 1], [-0.5, 0.25], rtol=1e-6)
    assert np.isnan(sol.ys[2, 1])
    np.testing.assert_allclose(sol.t_reached, [1.0, 1.0, 0.5], atol=1e-3)


@pytest.mark.parametrize("rows", [1, 3])
def test_spans_of_each_sample(rows):
    ts = np.array([[0.0, 1.0, 2.0], [1.0, 0.5, -1.0], [3.0, 3.0, 3.0]])[:rows]
    start = logistic_solution(ts[:, 0], 0.3)
    sol = tight(logistic, jnp.asarray(start), ts, stepping="per_sample")
    np.testing.assert_allclose(sol.ys, logistic_solution(ts, 0.3), rtol=1e-6)


# How solves fail in SciPy, Diffrax and torchode, and what they say.
@pytest.mark.parametrize(
    ("f", "options", "code"),
    [
        (lambda t, y, a: y**2, {}, tuple(Result)[1:4]),
        (lambda t, y, a: y**2, {"steps": 50}, (Result.NON_FINITE, Result.SUCCESSFUL)),
        (lambda t, y, a: y, {"max_steps": 2}, (Result.MAX_STEPS_REACHED,)),
        (lambda t, y, a: y * jnp.nan, {}, (Result.NON_FINITE,)),
        (lambda t, y, a: y * jnp.nan, {"steps": 3}, (Result.NON_FINITE,)),
        (lambda t, y, a: -1e6 * (y - 1), {"max_steps": 64}, (Result.MAX_STEPS_REACHED,)),
        (
            lambda t, y, a: y,
            {"max_steps": 2, "solver": diffrax.Kvaerno3()},
            (Result.MAX_STEPS_REACHED,),
        ),
    ],
)
def test_failures_are_told_apart(f, options, code):
    sol = tight(f, jnp.array([2.0]), [0.0, 1.0, 2.0], **options)
    assert Result(int(sol.result)) in code
    assert sol.ok or np.isnan(sol.ys[-1]).all()
    np.testing.assert_array_equal(sol.ys[0], 2.0)


# SciPy's and torchdiffeq's inputs: lists, integers, Python numbers, no entries at all.
@pytest.mark.parametrize(
    ("y0", "ts"),
    [
        (0.3, [0, 1]),
        (np.array([0.3]), (0, 1)),
        (jnp.array([0.3]), np.array([0, 1], np.int32)),
        (np.float32(0.3), jnp.array([0.0, 1.0], jnp.float32)),
        (jnp.array([0.3]), jnp.array([0.0, 1.0], jnp.float16)),
    ],
)
def test_inputs_of_many_kinds(y0, ts):
    sol = solve(logistic, y0, ts, rtol=1e-6)
    np.testing.assert_allclose(np.ravel(sol.ys[-1])[0], logistic_solution(1.0, 0.3), rtol=1e-5)


@pytest.mark.parametrize("ts", [[0.0, 10.0], [10.0, 0.0]])
def test_jumps_are_those_of_diffrax(ts):
    """test/test_adaptive_stepsize_controller.py of Diffrax, jump_ts."""
    jumps = jnp.array([7.5, 2.0, 2.25, 11.0])
    f = lambda t, y, _: jnp.sum(t < jumps).astype(y.dtype) - jnp.sin(t) * y
    y0 = jnp.array([1.0, -2.0])
    ours = solve(f, y0, ts, jumps=jumps, rtol=1e-8, atol=1e-10)
    controller = diffrax.ClipStepSizeController(
        diffrax.PIDController(rtol=1e-8, atol=1e-10), jump_ts=jumps
    )
    theirs = diffrax.diffeqsolve(
        diffrax.ODETerm(f), diffrax.Dopri5(), *ts, None, y0, stepsize_controller=controller
    )
    np.testing.assert_allclose(ours.ys[-1], theirs.ys[-1], rtol=1e-6)
    steps = int(ours.stats.accepted), int(theirs.stats["num_accepted_steps"])
    assert steps[0] <= steps[1] + 2

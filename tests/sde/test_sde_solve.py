"""SDE solves: strong orders, moments, noise of every kind, grids, and what is refused."""

import inspect

import diffrax
import jax
import jax.numpy as jnp
import jax.random as jr
import lineax
import numpy as np
import pytest
from jaxtyping import Array, Float
from scipy.linalg import expm, solve_continuous_lyapunov

import pullback as pb


def arctan_drift(t, y, p):
    return -(p**2) * jnp.sin(y) * jnp.cos(y) ** 3


def arctan_diffusion(t, y, p):
    return p * jnp.cos(y) ** 2


class Table(diffrax.AbstractBrownianPath):
    """A Brownian path on [0, 1] that is known at equal times."""

    values: Float[Array, "times paths"]  # pyrefly: ignore
    t0 = 0.0
    t1 = 1.0
    levy_area = diffrax.BrownianIncrement

    def evaluate(self, t0, t1=None, left=True, use_levy=False):
        at = lambda t: self.values[jnp.round(t * (len(self.values) - 1)).astype(jnp.int32)]
        return at(t1) - at(t0)


STRATONOVICH = pb.sde.ito_to_stratonovich(arctan_drift, arctan_diffusion)


@pytest.mark.parametrize(
    ("solver", "order"),
    [
        (diffrax.Euler(), 0.5),
        (diffrax.ItoMilstein(), 1.0),
        (diffrax.Heun(), 1.0),
        (diffrax.Midpoint(), 1.0),
        (diffrax.StratonovichMilstein(), 1.0),
        (diffrax.ReversibleHeun(), 1.0),
    ],
)
def test_strong_order_by_regression_on_one_brownian_path(solver, order, key):
    # dX = -p^2 sin X cos^3 X dt + p cos^2 X dW (Ito) has X = arctan(pW + tan X0).
    paths, p = 400, jnp.asarray(0.8)
    rises = jr.normal(key, (64, paths)) / 8
    tree = Table(jnp.concatenate([jnp.zeros((1, paths)), jnp.cumsum(rises, axis=0)]))  # pyrefly: ignore
    ito = isinstance(solver, diffrax.AbstractItoSolver)
    start = jnp.full(paths, 0.3)
    truth = jnp.arctan(p * tree.values[-1] + jnp.tan(0.3))
    sizes = (8, 16, 64)
    found = []
    for steps in sizes:
        sol = pb.sde.solve(
            arctan_drift if ito else STRATONOVICH,
            arctan_diffusion,
            start,
            [0.0, 1.0],
            p,
            key=None,
            path=tree,
            solver=solver,
            steps=steps,
        )
        found.append(float(jnp.mean(jnp.abs(sol.ys[-1] - truth))))
    slope = np.polyfit(np.log(sizes), np.log(found), 1)[0]
    assert abs(-slope - order) < 0.2


def test_converting_there_and_back_is_the_identity_and_general_agrees_with_diagonal():
    y = jnp.array([0.2, -0.7])
    t, p = jnp.zeros(()), jnp.asarray(0.8)
    back = pb.sde.stratonovich_to_ito(STRATONOVICH, arctan_diffusion)
    assert jnp.allclose(back(t, y, p), arctan_drift(t, y, p), rtol=1e-14)
    matrix = lambda t, y, p: jnp.diag(arctan_diffusion(t, y, p))
    general = pb.sde.ito_to_stratonovich(arctan_drift, matrix, noise="general")
    assert jnp.allclose(general(t, y, p), STRATONOVICH(t, y, p), rtol=1e-14)
    # b_S = b_I - sigma sigma' / 2, with sigma' = -2 p cos X sin X.
    slope = -2 * p * jnp.cos(y) * jnp.sin(y)
    want = arctan_drift(t, y, p) - 0.5 * arctan_diffusion(t, y, p) * slope
    assert jnp.allclose(STRATONOVICH(t, y, p), want, rtol=1e-14)


def ou(t, y, args):
    return -args[0] * y


def ou_noise(t, y, args):
    return args[1] * jnp.ones_like(y)


OU = (jnp.asarray(1.3), jnp.asarray(0.7))


def test_moments_of_the_ornstein_uhlenbeck_process(key):
    n, (theta, sigma), ts = 10_000, OU, jnp.array([0.0, 0.5, 2.0])
    sol = pb.sde.solve(
        ou,
        ou_noise,
        jnp.full(n, 1.5),
        ts,
        OU,
        key=key,
        solver=diffrax.Midpoint(),
        noise="additive",
        dt=0.02,
    )
    for t, y in zip(ts[1:], sol.ys[1:], strict=True):
        var = sigma**2 * (1 - jnp.exp(-2 * theta * t)) / (2 * theta)
        assert abs(jnp.mean(y) - 1.5 * jnp.exp(-theta * t)) < 4 * jnp.sqrt(var / n)
        # 1e-3: the midpoint method's own error in the variance.
        assert abs(jnp.var(y) - var) < 4 * var * jnp.sqrt(2 / n) + 1e-3


def test_general_noise_has_the_covariance_of_the_lyapunov_equation(key):
    a = jnp.array([[-1.0, 0.4], [-0.3, -0.8]])
    b = jnp.array([[0.5, 0.1, 0.0], [0.0, 0.3, 0.6]])
    n, t = 20_000, 1.0
    sol = pb.sde.solve(
        lambda t, y, args: y @ a.T,
        lambda t, y, args: jnp.broadcast_to(b[None], (n, 2, 3)),
        jnp.zeros((n, 2)),
        [0.0, t],
        key=key,
        solver=diffrax.Heun(),
        noise="general",
        steps=50,
    )
    stationary = solve_continuous_lyapunov(np.asarray(a), -np.asarray(b @ b.T))
    decay = expm(np.asarray(a) * t)
    want = stationary - decay @ stationary @ decay.T
    got = np.cov(np.asarray(sol.ys[-1]).T)
    # The standard error of any entry is below the largest variance * sqrt(2 / n).
    assert np.all(np.abs(got - want) < 4 * want.max() * np.sqrt(2 / n) + 1e-3)


def test_a_diagonal_matrix_is_diagonal_noise_on_the_same_path(key):
    y0 = jnp.array([[0.3, 1.0, -0.5], [0.1, 0.2, 0.3]])
    sigma = lambda t, y, args: 0.4 + 0.2 * jnp.tanh(y)
    solve = lambda noise, diffusion: pb.sde.solve(
        lambda t, y, args: -y,
        diffusion,
        y0,
        jnp.linspace(0.0, 1.0, 4),
        key=key,
        solver=diffrax.Heun(),
        noise=noise,
        steps=5,
    )
    matrix = lambda t, y, args: jax.vmap(jnp.diag)(sigma(t, y, args))
    assert jnp.allclose(
        solve("diagonal", sigma).ys, solve("general", matrix).ys, rtol=1e-13, atol=1e-13
    )


def test_the_path_is_repeatable_and_its_increments_are_independent_normals(key):
    like, ts = jnp.zeros(10_000), jnp.array([0.0, 0.4, 1.0, 1.2])
    path = pb.sde.brownian_path(key, like, ts, dt=0.1)
    assert jnp.array_equal(path, pb.sde.brownian_path(key, like, ts, dt=0.1))
    assert not jnp.allclose(path, pb.sde.brownian_path(jr.key(1), like, ts, dt=0.1))
    rises = jnp.diff(path, axis=0)
    n = like.size
    for rise, gap in zip(rises, jnp.diff(ts), strict=True):
        assert abs(jnp.mean(rise)) < 4 * jnp.sqrt(gap / n)
        assert abs(jnp.var(rise) / gap - 1) < 4 * jnp.sqrt(2 / n)
    correlation = jnp.corrcoef(rises) - jnp.eye(3)
    assert jnp.all(jnp.abs(correlation) < 4 / jnp.sqrt(n))


def test_dt_takes_whole_steps_between_times_and_counts_them():
    ts = jnp.array([0.0, 0.3, 1.0])
    sol = pb.sde.solve(
        lambda t, y, args: -y,
        lambda t, y, args: jnp.zeros_like(y),
        jnp.ones(()),
        ts,
        key=jr.key(0),
        solver=diffrax.Euler(),
        dt=0.1,
    )
    # 3 and 7 steps of 0.1: a gap of a whole number of steps takes no more.
    assert sol.stats.accepted == 10
    assert jnp.allclose(sol.ys, jnp.array([1.0, 0.9**3, 0.9**10]), rtol=1e-12)


def test_rows_of_times_are_padded_by_repeating_and_each_path_has_its_own_clock(key):
    ts = jnp.array([[0.0, 0.5, 1.0], [0.0, 2.0, 2.0]])
    n = 20_000
    sol = pb.sde.solve(
        lambda t, y, args: jnp.broadcast_to(t[:, None], y.shape),
        lambda t, y, args: jnp.full_like(y, 0.5),
        jnp.zeros((2, n)),
        ts,
        key=key,
        solver=diffrax.Midpoint(),
        noise="additive",
        steps=4,
    )
    mean, var = jnp.mean(sol.ys, axis=2), jnp.var(sol.ys, axis=2)
    want = ts.T**2 / 2
    assert jnp.all(jnp.abs(mean - want) <= 4 * 0.5 * jnp.sqrt(ts.T / n))
    assert jnp.all(jnp.abs(var - 0.25 * ts.T) <= 4 * 0.25 * ts.T * jnp.sqrt(2 / n))
    assert jnp.array_equal(sol.ys[1, 1], sol.ys[2, 1])


def test_a_part_of_the_state_may_have_no_noise(key):
    # The integral of the noisy part rides along; its truth is the sum of the left ends.
    sol = pb.sde.solve(
        lambda t, y, args: {"integral": y["w"], "w": jnp.zeros_like(y["w"])},
        lambda t, y, args: {"integral": None, "w": jnp.ones_like(y["w"])},
        {"integral": jnp.zeros(3), "w": jnp.zeros(3)},
        jnp.linspace(0.0, 1.0, 11),
        key=key,
        solver=diffrax.Euler(),
        steps=1,
    )
    assert jnp.allclose(sol.ys["integral"][-1], 0.1 * jnp.sum(sol.ys["w"][:-1], axis=0))


def geometric(b, key, **settings):
    """The mean square of log Z_1 of dZ = 0.1 Z dt + bZ o dW: 0.01 + b^2, by Diffrax."""
    sol = pb.sde.solve(
        lambda t, y, b: 0.1 * y,
        lambda t, y, b: b * y,
        jnp.ones(400),
        [0.0, 1.0],
        b,
        key=key,
        **settings,
    )
    return jnp.mean(jnp.log(sol.ys[-1]) ** 2)


def test_steps_that_adapt_are_taken_on_a_virtual_brownian_tree(key):
    options = {"rtol": 1e-2, "atol": 1e-3, "adjoint": pb.sde.StochasticAdjoint()}
    of = lambda mu: geometric(mu, key, solver=diffrax.Heun(), **options)
    value, slope = jax.jit(jax.value_and_grad(of))(jnp.asarray(0.4))
    assert abs(value - 0.17) < 4 * 0.17 * np.sqrt(2 / 400)
    assert abs(slope - 0.8) < 4 * 0.8 * np.sqrt(2 / 400)


class Seven(diffrax.Heun):
    """A solver whose steps are its own."""

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        y1, error, dense, state, result = super().step(
            terms, t0, t1, y0, args, solver_state, made_jump
        )
        sevens = jax.tree.map(lambda y: jnp.full_like(y, 7.0), y1)
        return sevens, error, {**dense, "y1": sevens}, state, result


@pytest.mark.parametrize(
    "solver",
    [Seven(), diffrax.HalfSolver(diffrax.Euler()), diffrax.SRA1(), diffrax.ShARK(), diffrax.SEA()],
)
def test_what_diffrax_runs_is_what_diffrax_says_with_a_matrix_of_noise(solver, key):
    sigma = jnp.array([[0.5, 0.2, 0.1], [0.0, 0.3, -0.4]])
    y0, nodes = jnp.array([1.0, 2.0]), jnp.linspace(0.0, 1.0, 5)
    simple = isinstance(solver, Seven | diffrax.HalfSolver)
    area = diffrax.BrownianIncrement if simple else diffrax.SpaceTimeLevyArea

    def both(y0):
        path = diffrax.VirtualBrownianTree(0.0, 1.0, 1 / 16, (3,), key, area)
        noise = lambda t, y, args: lineax.MatrixLinearOperator(jnp.exp(t) * sigma)
        peer = diffrax.diffeqsolve(
            diffrax.MultiTerm(
                diffrax.ODETerm(lambda t, y, args: -jnp.sin(y)), diffrax.ControlTerm(noise, path)
            ),
            solver,
            0.0,
            1.0,
            None,
            y0,
            stepsize_controller=diffrax.StepTo(nodes),
            max_steps=8,
        )
        ours = inspect.unwrap(pb.sde.solve)(
            lambda t, y, args: -jnp.sin(y),
            lambda t, y, args: jnp.exp(t) * sigma,
            y0,
            nodes,
            key=key,
            solver=solver,
            noise="additive",
            steps=1,
        )
        assert peer.ys is not None
        return ours.ys[-1], peer.ys[-1]

    for ours, peer in (both(y0), jax.jit(both)(y0)):
        assert jnp.allclose(ours, peer, rtol=1e-12)
        assert not isinstance(solver, Seven) or jnp.all(ours == 7)


def test_any_other_solver_of_diffrax_runs_behind_the_same_call(key):
    value = geometric(jnp.asarray(0.4), key, solver=diffrax.SPaRK(), steps=4)
    assert abs(value - 0.17) < 4 * 0.17 * np.sqrt(2 / 400)


def test_functions_are_traced_a_fixed_number_of_times_and_not_again(key):
    calls = []

    def drift(t, y, args):
        calls.append(1)
        return -y

    @jax.jit
    def end(y0, key):
        solve = lambda y0: pb.sde.solve(
            drift,
            lambda t, y, args: jnp.ones_like(y),
            y0,
            [0.0, 1.0],
            key=key,
            solver=diffrax.Heun(),
            steps=200,
            throw=False,
        )
        return jax.grad(lambda y0: jnp.sum(solve(y0).ys[-1]))(y0)

    end(jnp.ones(2), key)
    first = len(calls)
    end(jnp.zeros(2), jr.key(1))
    assert first <= 2
    assert len(calls) == first


def test_a_solution_that_is_not_finite_is_an_error_that_says_where(key):
    blow_up = lambda **kwargs: pb.sde.solve(
        lambda t, y, args: y**3,
        lambda t, y, args: jnp.zeros_like(y),
        jnp.full(2, 10.0),
        jnp.linspace(0.0, 10.0, 11),
        key=key,
        solver=diffrax.Euler(),
        steps=2,
        **kwargs,
    )
    with pytest.raises(pb.ode.SolveError, match="not finite"):
        blow_up()
    sol = blow_up(throw=False)
    assert sol.result == pb.ode.Result.NON_FINITE
    assert 0 <= sol.t_reached < 10


GOOD = {
    "drift": lambda t, y, args: -y,
    "diffusion": lambda t, y, args: jnp.ones_like(y),
    "y0": np.ones((3, 2)),
    "ts": [0.0, 1.0],
    "solver": diffrax.Midpoint(),
    "steps": 4,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"solver": diffrax.Tsit5()}, "not a solver for SDEs"),
        ({"solver": "midpoint"}, "solver must be a Diffrax solver"),
        ({"adjoint": diffrax.BacksolveAdjoint()}, "or diffrax.DirectAdjoint"),
        (
            {"solver": diffrax.Euler(), "adjoint": pb.sde.StochasticAdjoint()},
            "runs a Stratonovich equation backwards",
        ),
        ({"interpretation": "ito"}, "Midpoint solves one of Stratonovich"),
        ({"drift": STRATONOVICH, "solver": diffrax.Euler()}, "stratonovich_to_ito"),
        ({"noise": "white"}, "noise must be one of"),
        ({"noise": "additive", "diffusion": lambda t, y, a: 0.1 * y}, "does not depend on y"),
        ({"noise": "general"}, "one axis more"),
        ({"diffusion": lambda t, y, a: jnp.ones(2)}, "diffusion must return the shape of y"),
        ({"diffusion": lambda t, y, a: None}, "pullback.ode.solve"),
        ({"drift": lambda t, y, a: y[0]}, "drift must return what y is"),
        ({"drift": None}, "drift must be a function"),
        ({"prior": lambda t, y, a: y[0]}, "prior must return what y is"),
        ({"prior": lambda t, y, a: y, "kl": "exact"}, "kl must be one of"),
        ({"steps": None}, "in one way"),
        ({"dt": 0.1}, "in one way"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"steps": None, "dt": -0.1}, "dt must be positive"),
        ({"steps": None, "dt": "a"}, "dt must be one number, got 'a'"),
        ({"steps": None, "dt": 1e-12}, r"dt=1e-12 makes 1e\+12 steps"),
        ({"steps": None, "rtol": "a", "atol": 1e-3}, "rtol must be one number, got 'a'"),
        ({"steps": 2.0}, "steps must be a Python integer"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
        ({"steps": None, "rtol": 1e-3}, "need both rtol and atol"),
        ({"ts": [0.0, 1.0, 0.5]}, "all increasing or all decreasing"),
        ({"ts": [0.0, float("nan"), 1.0]}, "finite"),
        ({"ts": [0.0]}, "T at least 2"),
        ({"ts": np.zeros((4, 2))}, "a row for each path"),
        ({"key": None}, "give a key, or path"),
        ({"key": 0}, r"key must be one random key of JAX's, got 0: give jax.random.key\(0\)"),
        ({"key": jr.split(jr.key(0))}, "one of them, or jax.vmap"),
        ({"drift": lambda t, y, a: [-y, -y]}, "make one array of it"),
        ({"y0": np.ones((3, 2), complex)}, r"y0 must be real.*jnp.stack\(\[z.real, z.imag"),
        ({"ts": np.array(["2024-01-01", "2024-01-02"], "M8[D]")}, "ts must be numbers"),
        ({"solver": diffrax.ItoMilstein(), "noise": "general"}, "Milstein"),
        ({"solver": diffrax.SRA1()}, 'SRA1 is right for noise="additive" only'),
        ({"solver": diffrax.HalfSolver(diffrax.SEA())}, 'right for noise="additive" only'),
        ({"solver": diffrax.ALIGN()}, "Langevin's equation alone"),
        (
            {"solver": diffrax.SPaRK(), "adjoint": pb.sde.StochasticAdjoint()},
            "cannot take the backward equation",
        ),
        (
            {
                "path": diffrax.VirtualBrownianTree(0.0, 1.0, 0.1, (2,), jr.key(0)),
                "key": None,
            },
            "path must have the shape of the noise",
        ),
        (
            {"prior": GOOD["drift"], "kl": "monte_carlo", "solver": diffrax.SPaRK()},
            "needs fixed steps",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_with_what_fits(change, message):
    arguments = {**GOOD, "key": jr.key(0), **change}
    positional = [arguments.pop(name) for name in ("drift", "diffusion", "y0", "ts")]
    with pytest.raises((ValueError, TypeError), match=message):
        inspect.unwrap(pb.sde.solve)(*positional, **arguments)


def test_a_mesh_with_explicit_axes_is_refused(key):
    """That is what `jax.make_mesh` gives by default."""
    sharding = jax.sharding.NamedSharding(
        jax.make_mesh((4,), ("batch",)), jax.sharding.PartitionSpec("batch")
    )
    x = jax.device_put(jnp.ones((8, 2)), sharding)

    def ends(y0, drift, args):
        one = lambda t, y, args: jnp.ones_like(y)
        return jnp.sum(
            pb.sde.solve(
                drift, one, y0, [0.0, 1.0], args, key=key, solver=diffrax.Heun(), steps=2
            ).ys
        )

    given = {
        "y0": lambda x: ends(x, lambda t, y, args: -y, None),
        "args": lambda x: ends(jnp.ones(2), lambda t, y, x: -y * jnp.sum(x), x),
        "drift": lambda x: ends(jnp.ones(2), jax.tree_util.Partial(lambda x, t, y, a: -y, x), None),
        "what drift closes over": lambda x: ends(
            jnp.ones(2), lambda t, y, args: -y * jnp.sum(x), None
        ),
    }
    remedy = r"jax.make_mesh\(\(4,\), \('batch',\), axis_types=\(jax.sharding.AxisType.Auto,\)"
    for name, run in given.items():
        for of in (run, jax.jit(run), jax.jit(jax.grad(run))):
            with pytest.raises(ValueError, match=f"^{name} is sharded .*{remedy}"):
                of(x)
    with pytest.raises(ValueError, match=f"y0 is sharded .*{remedy}"):
        pb.sde.brownian_path(key, x, [0.0, 1.0], steps=2)

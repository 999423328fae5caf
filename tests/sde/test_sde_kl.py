"""The path-space KL: exact evidence of linear-Gaussian problems, its three forms, their noise."""

import diffrax
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

import pullback as pb

FORMS = ("analytic", "monte_carlo", "sticking_the_landing")


def constant_control(kl, u, y0, sigma, key, **settings):
    """The KL at time 2 of a drift that exceeds the prior's by `sigma u`."""
    sol = pb.sde.solve(
        lambda t, y, args: -y + sigma * u,
        lambda t, y, args: jnp.full_like(y, sigma),
        y0,
        [0.0, 0.5, 2.0],
        key=key,
        solver=diffrax.Euler(),
        noise="additive",
        prior=lambda t, y, args: -y,
        kl=kl,
        **settings,
    )
    return sol


def test_a_constant_control_has_kl_of_half_its_square_a_unit_of_time(key):
    u, y0 = 0.8, jnp.zeros((5, 3))
    sol = constant_control("analytic", u, y0, 0.5, key, steps=4)
    want = 0.5 * 3 * u**2 * jnp.array([0.0, 0.5, 2.0])
    assert jnp.allclose(sol.kl, jnp.broadcast_to(want[:, None], (3, 5)), rtol=1e-12)
    # The second integral is u W exactly.
    full = constant_control("monte_carlo", u, y0, 0.5, key, steps=4)
    w = pb.sde.brownian_path(key, y0, [0.0, 0.5, 2.0], steps=4)
    assert jnp.allclose(full.kl, sol.kl + u * jnp.sum(w, axis=-1), rtol=1e-12, atol=1e-12)


def test_equal_drifts_have_no_kl(key):
    for kl in FORMS:
        sol = constant_control(kl, 0.0, jnp.ones((2, 2)), 0.5, key, steps=3)
        assert jnp.all(sol.kl == 0)


def test_the_kl_where_steps_adapt(key):
    sol = pb.sde.solve(
        lambda t, y, args: -y + 0.4,
        lambda t, y, args: jnp.full_like(y, 0.5),
        jnp.zeros((2, 3)),
        [0.0, 2.0],
        key=key,
        solver=diffrax.Heun(),
        rtol=1e-2,
        atol=1e-2,
        prior=lambda t, y, args: -y,
    )
    assert jnp.allclose(sol.kl[-1], 0.5 * 3 * 0.8**2 * 2.0, rtol=1e-6)


def test_the_kl_with_a_matrix_of_noise_is_that_of_the_least_control(key):
    sigma = jnp.array([[0.5, 0.2, 0.1], [0.0, 0.3, -0.4]])
    shift = jnp.array([0.3, -0.6])
    u = np.linalg.pinv(np.asarray(sigma)) @ np.asarray(shift)
    sol = pb.sde.solve(
        lambda t, y, args: -y + shift,
        lambda t, y, args: sigma,
        jnp.zeros(2),
        [0.0, 1.0],
        key=key,
        solver=diffrax.Euler(),
        noise="general",
        steps=5,
        prior=lambda t, y, args: -y,
    )
    assert jnp.allclose(sol.kl[-1], 0.5 * u @ u, rtol=1e-10)


def low_rank(shift, sigma, scale=1.0, **settings):
    """The KL at time 2, and the code, of a drift that exceeds the prior's by `shift`."""
    settings = {"solver": diffrax.Euler(), "steps": 3, **settings}
    return pb.sde.solve(
        lambda t, y, args: -y + args[0],
        lambda t, y, args: args[1],
        jnp.ones(2),
        [0.0, 0.0, 2.0],
        (jnp.asarray(shift) * scale, jnp.asarray(sigma) * scale),
        prior=lambda t, y, args: -y,
        **{"throw": False, **settings},
    )


COLUMN, SQUARE = [[3.0], [4.0]], [[3.0, 0.0], [4.0, 0.0]]


@pytest.mark.parametrize("solver", [diffrax.Euler(), diffrax.SPaRK()])
@pytest.mark.parametrize("scale", [1.0, 1e-9])
def test_the_kl_of_noise_that_spans_a_part_of_the_state(solver, scale, key):
    # shift = sigma u, so the KL is |u|^2 / 2 a unit of time; where there is no u it is infinite.
    for sigma in (COLUMN, SQUARE):
        options = {"noise": "additive", "key": key, "solver": solver}
        inside = low_rank([1.5, 2.0], sigma, scale, **options)
        assert jnp.allclose(inside.kl, jnp.array([0.0, 0.0, 0.25]), rtol=1e-7)
        outside = low_rank([1.5, 2.1], sigma, scale, **options)
        assert jnp.array_equal(outside.kl, jnp.array([0.0, 0.0, jnp.inf]))
        assert outside.result == pb.ode.Result.INFINITE_KL


def test_the_kl_of_diagonal_noise_that_vanishes_somewhere(key):
    for scale in (1.0, 1e-9):
        inside = low_rank([0.5, 0.0], [1.0, 0.0], scale, key=key)
        assert jnp.allclose(inside.kl[-1], 0.25, rtol=1e-7)
        for kl in FORMS:
            outside = low_rank([0.5, 0.1], [1.0, 0.0], scale, key=key, kl=kl)
            assert outside.kl[-1] == jnp.inf
            assert outside.result == pb.ode.Result.INFINITE_KL
    with pytest.raises(pb.ode.SolveError, match="does not span the difference"):
        low_rank([0.5, 0.1], [1.0, 0.0], key=key, throw=True)


def test_an_infinite_kl_is_the_same_compiled():
    """Also to whoever takes the divergence alone, and not the paths."""
    key = jr.key(0)
    of = lambda shift, throw: low_rank(shift, COLUMN, noise="general", key=key, throw=throw)
    assert jax.jit(lambda shift: of(shift, False).kl)(jnp.array([1.5, 2.1]))[-1] == jnp.inf
    kl = jax.jit(lambda shift: of(shift, True).kl)
    assert jnp.allclose(kl(jnp.array([1.5, 2.0])), jnp.array([0.0, 0.0, 0.25]), rtol=1e-7)
    with pytest.raises(Exception, match="does not span the difference"):
        kl(jnp.array([1.5, 2.1])).block_until_ready()


def test_the_gradient_of_a_kl_of_low_rank_is_that_of_its_closed_form(key):
    @jax.jit
    def kl(p):
        # u = p0 / p1 along the column, so the KL is p0^2 / p1^2.
        shift, sigma = p[0] * jnp.array([0.6, 0.8]), p[1] * jnp.array([[0.6, 0.0], [0.8, 0.0]])
        return low_rank(shift, sigma, noise="general", key=key).kl[-1]

    p = jnp.array([0.5, 2.0])
    want = jnp.array([2 * p[0] / p[1] ** 2, -2 * p[0] ** 2 / p[1] ** 3])
    assert jnp.allclose(jax.grad(kl)(p), want, rtol=1e-9)


# A stationary OU process seen with noise at a few times, so its evidence is a Gaussian process's.
THETA, SIGMA, SEEN = 1.0, 0.5, 0.1
TIMES = np.array([0.2, 0.4, 0.6, 1.4, 1.6])
VALUES = np.cos(2 * np.pi * TIMES / 1.5)
T = 2.0


def evidence():
    gaps = np.abs(TIMES[:, None] - TIMES[None])
    cov = SIGMA**2 / (2 * THETA) * np.exp(-THETA * gaps) + SEEN**2 * np.eye(len(TIMES))
    return multivariate_normal(np.zeros(len(TIMES)), cov).logpdf(VALUES)  # pyrefly: ignore


def information(steps):
    """Precision and information at t_k of the strictly later observations, k = 0 .. steps - 1."""
    dt = T / steps
    alpha = np.exp(-THETA * dt)
    q = SIGMA**2 * (1 - alpha**2) / (2 * THETA)
    seen = np.round(TIMES / dt).astype(int)
    precision, info = np.zeros(steps), np.zeros(steps)
    lam, eta = 0.0, 0.0
    for k in reversed(range(steps)):
        for i in np.flatnonzero(seen == k + 1):
            lam, eta = lam + 1 / SEEN**2, eta + VALUES[i] / SEEN**2
        lam, eta = alpha**2 * lam / (1 + q * lam), alpha * eta / (1 + q * lam)
        precision[k], info[k] = lam, eta
    return precision, info


def log_ratio(steps, paths, key):
    """log p(y | z) - log q(z) / p(z) on paths of the optimally controlled process."""
    precision, info = map(jnp.asarray, information(steps))
    dt = T / steps
    # The start's posterior: the stationary distribution times the message of all observations.
    prior_var = SIGMA**2 / (2 * THETA)
    var = 1 / (1 / prior_var + precision[0])
    mean = var * info[0]
    start_key, key = jr.split(key)
    z0 = mean + jnp.sqrt(var) * jr.normal(start_key, (paths, 1))

    def control(t, z):
        k = jnp.round(t / dt).astype(jnp.int32)
        return SIGMA * (info[k] - precision[k] * z)

    sol = pb.sde.solve(
        lambda t, z, args: -THETA * z + SIGMA * control(t, z),
        lambda t, z, args: jnp.full_like(z, SIGMA),
        z0,
        np.concatenate([[0.0], TIMES]),
        key=key,
        solver=diffrax.Euler(),
        noise="additive",
        dt=dt,
        prior=lambda t, z, args: -THETA * z,
        kl="monte_carlo",
    )
    log_q = jax.scipy.stats.norm.logpdf(z0, mean, jnp.sqrt(var))
    log_p = jax.scipy.stats.norm.logpdf(z0, 0.0, jnp.sqrt(prior_var))
    seen = jax.scipy.stats.norm.logpdf(jnp.asarray(VALUES)[:, None, None], sol.ys[1:], SEEN)
    # After the last observation the control is zero, and the KL stands still.
    return jnp.sum(seen, axis=0)[:, 0] - sol.kl[-1] - (log_q - log_p)[:, 0]


def test_the_optimal_control_has_the_exact_evidence_on_every_path(key):
    coarse, fine = (log_ratio(n, 2000, key) for n in (100, 1600))
    truth = evidence()
    # The spread falls like the root of the step, by 4; the bias like the step.
    assert 3.0 < jnp.std(coarse) / jnp.std(fine) < 6.5
    assert jnp.std(fine) < 0.35
    assert abs(jnp.mean(fine) - truth) < 0.06
    assert jnp.mean(coarse) < jnp.mean(fine)


# dw = -w dt + sigma dB from w0, one noisy observation y of w_1: all in closed form.
RATE, NOISE, END, SPREAD, Y, W0 = 1.0, 0.7, 1.0, 0.3, 1.2, 0.4


def optimal(t, w):
    left = jnp.exp(-RATE * (END - t))
    v = NOISE**2 * (1 - left**2) / (2 * RATE)
    return NOISE * left * (Y - w * left) / (v + SPREAD**2)


def objective(phi, key, kl, steps):
    """log p(y | w_1) - KL of a path with the control phi_1 u* + phi_2."""
    sol = pb.sde.solve(
        lambda t, w, phi: -RATE * w + NOISE * (phi[0] * optimal(t, w) + phi[1]),
        lambda t, w, phi: jnp.full_like(w, NOISE),
        jnp.full(1, W0),
        [0.0, END],
        phi,
        key=key,
        solver=diffrax.Euler(),
        noise="additive",
        steps=steps,
        prior=lambda t, w, phi: -RATE * w,
        kl=kl,
        throw=False,
    )
    return jax.scipy.stats.norm.logpdf(Y, sol.ys[-1, 0], SPREAD) - sol.kl[-1]


def values_and_gradients(phi, kl, steps, paths, key):
    each = jax.vmap(jax.value_and_grad(objective), in_axes=(None, 0, None, None))
    return jax.jit(each, static_argnums=(2, 3))(jnp.asarray(phi), jr.split(key, paths), kl, steps)


@pytest.fixture(scope="module")
def at_the_optimum():
    key = jr.key(11)
    return {
        (kl, steps): values_and_gradients((1.0, 0.0), kl, steps, 1000, key)
        for kl in FORMS
        for steps in (50, 400)
    }


def test_the_linear_gaussian_evidence(at_the_optimum):
    mean = W0 * np.exp(-RATE * END)
    var = NOISE**2 * (1 - np.exp(-2 * RATE * END)) / (2 * RATE)
    truth = norm.logpdf(Y, mean, np.sqrt(var + SPREAD**2))
    assert abs(truth + 2.15622) < 1e-5
    values, _ = at_the_optimum["monte_carlo", 400]
    assert abs(jnp.mean(values) - truth) < 4 * jnp.std(values) / np.sqrt(1000) + 5e-3
    assert jnp.std(values) < 0.09
    assert jnp.std(at_the_optimum["analytic", 400][0]) > 1.5
    sticking, _ = at_the_optimum["sticking_the_landing", 400]
    assert jnp.array_equal(sticking, values)


def test_gradients_at_the_optimum_have_no_variance_but_the_steps(at_the_optimum):
    std = {k: jnp.std(gradients, axis=0) for k, (_, gradients) in at_the_optimum.items()}
    for steps, sticking in ((50, (0.118, 0.046)), (400, (0.0142, 0.0055))):
        got = std["sticking_the_landing", steps]
        assert jnp.all(jnp.abs(got / jnp.array(sticking) - 1) < 0.25)
    for steps, analytic, full in ((400, (1.01, 0.60), (1.77, 1.02)),):
        assert jnp.all(jnp.abs(std["analytic", steps] / jnp.array(analytic) - 1) < 0.25)
        assert jnp.all(jnp.abs(std["monte_carlo", steps] / jnp.array(full) - 1) < 0.25)
    assert jnp.all(std["analytic", 400] > 50 * std["sticking_the_landing", 400])


def test_away_from_the_optimum_the_three_forms_agree_in_mean(key):
    found = {kl: values_and_gradients((0.5, 0.3), kl, 50, 4000, key)[1] for kl in FORMS}
    for kl in FORMS[1:]:
        # On the same paths, so that only the difference has noise.
        gap = found[kl] - found["analytic"]
        assert jnp.all(jnp.abs(jnp.mean(gap, axis=0)) < 4 * jnp.std(gap, axis=0) / np.sqrt(4000))


def test_the_state_is_held_to_a_shape_that_says_what_a_path_is():
    zero = lambda t, y, args: jax.tree.map(jnp.zeros_like, y)
    one = lambda t, y, args: jax.tree.map(jnp.ones_like, y)
    with pytest.raises(ValueError, match="must agree among the arrays"):
        pb.sde.solve(
            zero,
            one,
            (jnp.zeros((2, 3)), jnp.zeros((4, 3))),
            [0.0, 1.0],
            key=jr.key(0),
            solver=diffrax.Euler(),
            steps=1,
            prior=zero,
        )


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.float32, jnp.float64])
@pytest.mark.parametrize("matrix", [False, True])
def test_noise_that_trains_away_leaves_a_number_for_the_kl_and_its_gradient(dtype, matrix, key):
    # The drift is `prior + sigma u`, so the KL is |u|^2 / 2 whatever sigma is; the reciprocal of a
    # tiny one's square overflows, and beside a large prior `sigma u` is lost in the rounding.
    @jax.jit
    def kl(sigma, h):
        each = jnp.eye(2, dtype=dtype) if matrix else jnp.ones(2, dtype)
        return pb.sde.solve(
            lambda t, y, a: jnp.full(2, h + sigma * 0.5), lambda t, y, a: sigma * each,
            jnp.zeros(2, dtype), jnp.array([0.0, 1.0]), key=key, steps=2,
            solver=diffrax.EulerHeun() if matrix else diffrax.Euler(),
            noise="general" if matrix else "diagonal",
            prior=lambda t, y, a: jnp.full(2, h),
        ).kl[-1]  # fmt: skip

    for sigma in (0.0, 1e-30, 1e-20, 1e-12, 1e-6, 1e-3, 0.5):
        for h in (0.0, 1.0):
            value, slope = jax.value_and_grad(kl)(jnp.asarray(sigma, dtype), jnp.asarray(h, dtype))
            assert jnp.all(jnp.isfinite(jnp.stack([value, slope]))), (sigma, h)
            if sigma > max(100 * jnp.finfo(dtype).eps * h, 1e-4):
                assert jnp.allclose(value, 0.25, rtol=0.05), (sigma, h)

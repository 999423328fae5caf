"""The Gaussian process beside scikit-learn's, and expected improvement beside Monte Carlo."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from pullback.models.sequences import (
    GaussianProcess,
    expected_improvement,
    log_expected_improvement,
)
from pullback.models.sequences._expected_improvement import _log_hope
from pullback.models.sequences._gaussian_process import believing, with_room


def some_data(n=40, d=3, seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    x = 2 * rng.standard_normal((n, d)) + 50
    return x, 7 + 3 * np.sin(x.sum(axis=1)) + noise * rng.standard_normal(n)


def theirs(x, y, length, variance, noise):
    kernel = ConstantKernel(variance) * RBF(length)
    process = GaussianProcessRegressor(kernel, alpha=noise, optimizer=None, normalize_y=True)
    return process.fit(x, y)


NUMBERS = {"length_scale": 1.7, "variance": 1.3, "noise": 0.02}
X, Y = some_data()
PROCESS = GaussianProcess(X, Y, **NUMBERS)
NEW = np.concatenate([some_data(20, seed=1)[0], X[:3], X[:1] + 1e3])


@pytest.mark.parametrize(("n", "d"), [(40, 3), (8, 30), (1, 2)])
def test_mean_sd_and_likelihood_are_those_of_scikit_learn(n, d):
    x, y = some_data(n, d)
    y = y if n > 1 else np.array([7.0])
    ours = GaussianProcess(x, y, **NUMBERS)
    want = theirs(x, y, *NUMBERS.values())
    new = np.concatenate([some_data(20, d, seed=1)[0], x[:3], x[:1] + 1e3])
    mean, sd = want.predict(new, return_std=True)
    for run in (jax.vmap(ours.predict), jax.jit(jax.vmap(ours.predict))):
        found = run(jnp.asarray(new))
        np.testing.assert_allclose(found[0], mean, atol=1e-6, rtol=0)
        np.testing.assert_allclose(found[1], sd, atol=1e-6, rtol=0)
    np.testing.assert_allclose(jax.vmap(ours)(jnp.asarray(new)), mean, atol=1e-6, rtol=0)
    likelihood = want.log_marginal_likelihood_value_
    np.testing.assert_allclose(ours.log_marginal_likelihood, likelihood, atol=1e-6, rtol=0)


def test_fit_finds_what_scikit_learn_finds():
    x, y = some_data(60, 2, noise=0.8)
    ours = GaussianProcess.fit(x, y)
    kernel = ConstantKernel(1.0, (1e-2, 1e2)) * RBF(3.0, (0.1, 100)) + WhiteKernel(
        0.1, (1e-4, 10.0)
    )
    want = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=3).fit(x, y)
    best = want.log_marginal_likelihood_value_
    np.testing.assert_allclose(ours.log_marginal_likelihood, best, atol=1e-3)
    np.testing.assert_allclose(
        [ours.variance, ours.length_scale, ours.noise], np.exp(want.kernel_.theta), rtol=0.02
    )
    # Of some rows the numbers, of all rows the process.
    few = GaussianProcess.fit(x, y, most=20)
    assert len(few.points) == 60
    assert few.length_scale != ours.length_scale


def test_single_precision_keeps_the_digits_that_it_has(x32):
    single = GaussianProcess(jnp.asarray(X, jnp.float32), Y, **NUMBERS)
    assert {leaf.dtype for leaf in jax.tree.leaves(single)} == {jnp.dtype(jnp.float32)}
    new = NEW[:-1]
    mean, sd = theirs(X, Y, *NUMBERS.values()).predict(new, return_std=True)
    found = jax.vmap(single.predict)(jnp.asarray(new, jnp.float32))
    np.testing.assert_allclose(found[0], mean, atol=2e-4)
    np.testing.assert_allclose(found[1], sd, atol=2e-4)


def test_slopes_are_those_of_differences():
    best = Y.max()
    parts = {
        "mean": PROCESS,
        "sd": lambda z: PROCESS.predict(z)[1],
        "ei": lambda z: expected_improvement(PROCESS, z, best, margin=0.1),
        "log ei": lambda z: log_expected_improvement(PROCESS, z, best),
    }
    z = jnp.asarray(some_data(4, seed=2)[0])
    step = 1e-5
    for name, part in parts.items():
        values, slopes = jax.jit(jax.vmap(part)), jax.jit(jax.vmap(jax.grad(part)))(z)
        for axis in range(3):
            move = step * jnp.eye(3)[axis][None]
            want = (values(z + move) - values(z - move)) / (2 * step)
            np.testing.assert_allclose(slopes[:, axis], want, atol=1e-6, err_msg=name)


def test_expected_improvement_is_that_of_monte_carlo():
    best, margin = float(np.quantile(Y, 0.9)), 0.2
    z = jnp.asarray(some_data(5, seed=3)[0])
    found = jax.vmap(lambda z: expected_improvement(PROCESS, z, best, margin=margin))(z)
    mean, sd = jax.vmap(PROCESS.predict)(z)
    # Draws at the middles of a million equal parts of the normal law: no noise, error below 1e-5.
    noise = norm.ppf((np.arange(10**6) + 0.5) / 10**6)
    want = [
        np.maximum(m + s * noise - best - margin, 0).mean() for m, s in zip(mean, sd, strict=True)
    ]
    assert min(want) < 0.1 < max(want)
    np.testing.assert_allclose(found, want, atol=1e-3, rtol=0)
    log = jax.vmap(lambda z: log_expected_improvement(PROCESS, z, best, margin=margin))(z)
    np.testing.assert_allclose(np.exp(log), found, rtol=1e-12)


def test_hope_keeps_its_digits_everywhere():
    at = np.array([-1e4, -300, -60, -20, -10.001, -9.999, -5, -1.001, -0.999, 0, 3, 40])
    want = np.array([norm.logpdf(u) + _log_hope_over_density(u) for u in at])
    found = jax.vmap(_log_hope)(jnp.asarray(at))
    np.testing.assert_allclose(found, want, rtol=1e-6)
    single = jax.vmap(_log_hope)(jnp.asarray(at, jnp.float32))
    np.testing.assert_allclose(single, want, rtol=1e-5, atol=1e-4)
    slopes = jax.vmap(jax.grad(_log_hope))(jnp.asarray(at))
    np.testing.assert_allclose(slopes, np.exp(norm.logcdf(at) - want), rtol=1e-4)


def _log_hope_over_density(u):
    """Log of the integral of t exp(u t - t^2 / 2) over t above 0, by quadrature."""
    scale, shift = max(1.0, -u), max(u, 0.0) ** 2 / 2
    part = lambda s: s * np.exp(u * s / scale - (s / scale) ** 2 / 2 - shift)
    points = (0, 60) if u < 0 else (max(0, u - 12), u + 12)
    found = integrate.quad(part, *points, epsabs=0, epsrel=1e-11)[0]
    return np.log(found) + shift - 2 * np.log(scale)


def test_targets_that_are_all_equal():
    process = GaussianProcess.fit(X, np.full(40, 3.25))
    mean, sd = jax.vmap(process.predict)(jnp.asarray(NEW))
    np.testing.assert_array_equal(mean, 3.25)
    np.testing.assert_allclose(sd[-1], 1, rtol=1e-6)
    assert (sd[20:23] < 0.15).all()


def test_repeated_codes_and_one_code():
    x, y = np.repeat(X[:1], 50, axis=0), np.tile([1.0, 3.0], 25)
    mean, sd = GaussianProcess.fit(x, y).predict(jnp.asarray(x[0]))
    np.testing.assert_allclose(mean, 2, atol=1e-6)
    assert 0 < sd < 0.5
    # As sure as one can be, in single precision: rounding makes no variance negative.
    single = GaussianProcess(x.astype(np.float32), y, length_scale=1.0, noise=1e-4)
    value, slope = jax.value_and_grad(lambda z: single.predict(z)[1])(single.centre)
    np.testing.assert_allclose(value, (1e-4 / 50) ** 0.5, rtol=0.5)
    assert jnp.isfinite(slope).all()
    line = np.linspace(0, 1, 80, dtype=np.float32)[:, None]
    sure = GaussianProcess(line, np.sin(9 * line[:, 0]), length_scale=1.0, noise=1e-7)
    assert (jax.vmap(sure.predict)(jnp.asarray(line))[1] > 0).all()
    one = GaussianProcess.fit(X[:1], Y[:1])
    mean, sd = one.predict(jnp.asarray(X[0]))
    np.testing.assert_allclose(mean, Y[0])
    assert 0 < sd < one.predict(jnp.asarray(X[1]))[1] < 1


def test_a_believed_target_is_the_mean_and_narrows_the_rest():
    z = jnp.asarray(NEW[:2])
    padded = with_room(PROCESS, 45)
    points = jnp.asarray(NEW)
    for process in (padded, PROCESS):
        np.testing.assert_allclose(
            jax.vmap(process.predict)(points)[1], jax.vmap(PROCESS.predict)(points)[1], rtol=1e-12
        )
    believed = believing(believing(padded, z[0], 40), z[1], 41)
    # The long way: two rows more, with the means as targets, and the same scaling.
    mean, _ = jax.vmap(PROCESS.predict)(z)
    scaled = lambda y: (y - Y.mean()) / Y.std()
    kernel = ConstantKernel(1.3) * RBF(1.7)
    want = GaussianProcessRegressor(kernel, alpha=0.02, optimizer=None)
    want.fit(np.concatenate([X, z]), scaled(np.concatenate([Y, mean])))
    mean, sd = want.predict(NEW, return_std=True)
    found = jax.vmap(believed.predict)(points)
    np.testing.assert_allclose(found[0], Y.mean() + Y.std() * mean, atol=1e-8)
    np.testing.assert_allclose(found[1], Y.std() * sd, atol=1e-8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros(3)}, "`y` must be one target a row of `x`, of which there are 40"),
        ({"y": np.where(np.arange(40) == 7, np.nan, Y)}, "1 of 40 targets are not, row 7"),
        ({"x": X[0]}, "`x` must be floating codes"),
        ({"x": np.where(X == X[5], np.inf, X)}, "1 of 40 rows are not, row 5"),
    ],
)
def test_what_a_process_refuses(change, message):
    x, y = change.get("x", X), change.get("y", Y)
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(GaussianProcess.fit.__func__)(GaussianProcess, x, y)


def test_numbers_that_are_none():
    with pytest.raises(ValueError, match="`noise` must be above 0"):
        GaussianProcess(X, Y, length_scale=1.0, noise=0.0)
    with pytest.raises(ValueError, match="`length_scale` must be above 0 and finite, got nan"):
        GaussianProcess(X, Y, length_scale=float("nan"))
    with pytest.raises(ValueError, match="`most` must be 1 or more"):
        GaussianProcess.fit(X, Y, most=0)

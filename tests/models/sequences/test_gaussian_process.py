"""The Gaussian process beside scikit-learn's, and expected improvement beside Monte Carlo."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special
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
    near = np.nextafter(np.float32(-3), np.float32([-4, 0]))
    tail = [-1e4, -300, -60, -20, -10.001, -10, -9.99, -5, -3.5, *near]
    at = [*tail, -3, -2.5, -1, -0.999, 0, 3, 40]
    at = np.array(at, np.float32).astype(float)
    over = np.array([_log_hope_over_density(u) for u in at])
    want = norm.logpdf(at) + over
    both = jax.vmap(jax.value_and_grad(_log_hope))
    mills = np.sqrt(np.pi / 2) * special.erfcx(np.maximum(-at, -5) / 2**0.5)
    slope = np.where(at < -1, np.log(mills) - over, norm.logcdf(at) - want)
    slope = np.exp(slope)
    for run in (both, jax.jit(both)):
        # Of the logarithm what counts is the error itself, but for that of u^2 / 2.
        for dtype, rtol in ((jnp.float64, 1e-13), (jnp.float32, 2e-7)):
            value, slopes = run(jnp.asarray(at, dtype))
            assert value.dtype == slopes.dtype == dtype
            off = np.abs(np.asarray(value, float) - want)
            assert (off <= 20 * rtol + rtol * at**2).all()
            np.testing.assert_allclose(slopes, slope, rtol=20 * rtol)
    # The slope of the slope, for second-order climbs: by differences.
    at = np.array([-40, -3.1, -2.9, 1.0])
    second = jax.vmap(jax.grad(jax.grad(_log_hope)))(jnp.asarray(at))
    by = [jax.vmap(jax.grad(_log_hope))(jnp.asarray(at + h)) for h in (1e-5, -1e-5)]
    np.testing.assert_allclose(second, (by[0] - by[1]) / 2e-5, rtol=1e-6)
    # Beyond any number that single precision has, the slope is one still.
    value, slope = jax.value_and_grad(_log_hope)(jnp.float32(-1e20))
    assert value == -jnp.inf
    np.testing.assert_allclose(slope, 1e20, rtol=1e-6)


def _log_hope_over_density(u):
    """Log of the integral of t exp(u t - t^2 / 2) over t above 0, by quadrature."""
    scale, shift = max(1.0, -u), max(u, 0.0) ** 2 / 2
    part = lambda s: s * np.exp(u * s / scale - (s / scale) ** 2 / 2 - shift)
    points = (0, 60) if u < 0 else (max(0, u - 12), u + 12)
    found = integrate.quad(part, *points, epsabs=0, epsrel=1e-11)[0]
    return np.log(found) + shift - 2 * np.log(scale)


def reference(process, x, y):
    """The same process in double precision."""
    numbers = [float(getattr(process, each)) for each in NUMBERS]
    kernel = ConstantKernel(numbers[1]) * RBF(numbers[0])
    want = GaussianProcessRegressor(kernel, alpha=numbers[2], optimizer=None, normalize_y=True)
    return want.fit(np.asarray(x, float), y)


def smooth(name):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((150, 8 if name == "8 axes" else 2))
    if name == "sine":
        x = np.linspace(-3, 3, 60)[:, None]
    targets = {"line": x[:, 0], "sine": np.sin(x[:, 0])}
    return x.astype(np.float32), targets.get(name, np.square(x).sum(axis=1))


@pytest.mark.parametrize("name", ["bowl", "line", "8 axes", "sine"])
def test_smooth_targets_in_single_precision_by_what_fit_finds(x32, name):
    x, y = smooth(name)
    process = GaussianProcess.fit(x, y)
    new = np.concatenate([x[:40], x[:40] + np.float32(0.1), 3 * x[:10]])
    mean, sd = reference(process, x, y).predict(new.astype(float), return_std=True)
    found = jax.vmap(process.predict)(jnp.asarray(new))
    assert found[1].dtype == jnp.float32
    np.testing.assert_allclose(found[0], mean, atol=1e-3 * y.std())
    np.testing.assert_allclose(found[1], sd, rtol=0.15)
    # It is no floor that is found, for it has a slope.
    slopes = jax.vmap(jax.grad(lambda z: process.predict(z)[1]))(jnp.asarray(x[:40]))
    assert (jnp.abs(slopes).max(axis=1) > 0).mean() > 0.9


def test_noise_too_little_for_the_digits_is_refused(x32):
    x, y = smooth("line")
    noisy = y + 0.3 * np.random.default_rng(1).standard_normal(len(y))
    with pytest.raises(ValueError, match=r"`noise` 0.0001 is too little .* in float32: the mean"):
        GaussianProcess(x, noisy, length_scale=10.0, variance=100.0, noise=1e-4)
    with pytest.raises(ValueError, match=r"`noise` 1e-10 is too little .* in float32"):
        GaussianProcess(x, noisy, length_scale=1.0, noise=1e-10)
    twice = np.repeat(x, 2, axis=0)
    with pytest.raises(ValueError, match=r"`noise` 1e-18 is too little .* lie so near each other"):
        GaussianProcess(twice, np.repeat(y, 2), length_scale=1.0, noise=1e-18)


def test_targets_that_differ_in_late_digits_are_not_equal():
    x = X[:, :1]
    y = 1e7 + np.sin(x[:, 0])
    process = GaussianProcess.fit(x, y)
    plain = GaussianProcess.fit(x, y - 1e7)
    np.testing.assert_allclose(process.scale, np.sin(x).std(), rtol=1e-6)
    found = jax.vmap(process)(jnp.asarray(x))
    np.testing.assert_allclose(found - 1e7, jax.vmap(plain)(jnp.asarray(x)), atol=1e-4)
    # Rounding alone is none of it: that of the dtype of the targets.
    equal = np.full(40, 0.1, np.float32)
    equal[3] = np.nextafter(equal[3], np.float32(1))
    assert GaussianProcess.fit(x, equal).scale == 1
    assert GaussianProcess.fit(x, np.full(40, 1e7) * (1 + 1e-16)).scale == 1


@pytest.mark.parametrize("size", [1e20, 1e-25, 1e30])
def test_codes_of_any_size(x32, size):
    x = (X - 50).astype(np.float32)
    plain = GaussianProcess(x, Y, **NUMBERS)
    numbers = NUMBERS | {"length_scale": 1.7 * size}
    process = GaussianProcess(x * np.float32(size), Y, **numbers)
    want = jax.vmap(plain.predict)(jnp.asarray(x))
    found = jax.vmap(process.predict)(jnp.asarray(x * np.float32(size)))
    np.testing.assert_allclose(found[0], want[0], atol=1e-3)
    np.testing.assert_allclose(found[1], want[1], rtol=1e-2)
    # Far away nothing is known, however far.
    far = jnp.full(3, 3e38, jnp.float32)
    mean, sd = process.predict(far)
    np.testing.assert_allclose(mean, Y.mean(), rtol=1e-5)
    np.testing.assert_allclose(sd, Y.std() * 1.3**0.5, rtol=1e-5)
    assert (jax.grad(process)(far) == 0).all()


@pytest.mark.parametrize("y", [np.array([1e39, -1e39]), np.array([1e-50, -1e-50])])
def test_targets_beyond_single_precision_are_refused(x32, y):
    x = np.array([[0.0], [1.0]], np.float32)
    for make in (
        lambda: GaussianProcess(x, y, length_scale=1.0),
        lambda: GaussianProcess.fit(x, y),
    ):
        with pytest.raises(ValueError, match=r"beyond the range of float32.*: rescale the targets"):
            make()
    with pytest.raises(ValueError, match=r"`length_scale` 1e-30 is beyond what float32 can hold"):
        GaussianProcess(x, np.array([1.0, 2.0]), length_scale=1e-30)


def test_targets_beyond_single_precision_in_double():
    for size in (1e39, 1e-50, 1e300):
        process = GaussianProcess(X, Y * size, **NUMBERS)
        mean, sd = process.predict(jnp.asarray(X[0]))
        np.testing.assert_allclose(
            np.array([mean, sd]) / size, PROCESS.predict(jnp.asarray(X[0])), rtol=1e-10
        )


def test_a_process_is_made_on_the_host():
    with pytest.raises(TypeError, match=r"`x` came from within `jax\.jit`"):
        jax.jit(lambda x: GaussianProcess(x, Y, length_scale=1.0).centre)(jnp.asarray(X))
    with pytest.raises(TypeError, match="`y` came from within"):
        jax.grad(lambda y: GaussianProcess(X, y, length_scale=1.0)(jnp.asarray(X[0])))(
            jnp.asarray(Y)
        )
    with pytest.raises(TypeError, match="`noise` came from within"):
        jax.grad(lambda s: GaussianProcess(X, Y, length_scale=1.0, noise=s).noise)(0.1)


def test_a_best_target_that_is_none():
    z = jnp.asarray(X[0])
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match=f"`best` must be finite, got {value}"):
            expected_improvement(PROCESS, z, value)
        with pytest.raises(ValueError, match=f"`margin` must be finite, got {value}"):
            log_expected_improvement(PROCESS, z, 1.0, margin=value)
    traced = jax.jit(lambda best: expected_improvement(PROCESS, z, best))
    np.testing.assert_allclose(traced(8.0), expected_improvement(PROCESS, z, 8.0))


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
    bump = np.exp(-np.square(line[:, 0] - 0.5) / 2)
    sure = GaussianProcess(line, bump, length_scale=1.0, noise=1e-7)
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
        ({"y": np.array(["a"] * 40)}, "`y` must be numbers, one a row of `x`: could not convert"),
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
    with pytest.raises(ValueError, match=r"`variance` must be a number, got 'a'"):
        inspect.unwrap(GaussianProcess.__init__)(PROCESS, X, Y, length_scale=1.0, variance="a")
    with pytest.raises(
        ValueError, match=r"`z` must be one code of 3 entries, got the shape \(2,\)"
    ):
        PROCESS(jnp.zeros(2))

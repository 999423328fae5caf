"""Langevin dynamics against known distributions: of the discretised chain, and of the target."""

import functools
import inspect

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.sampling import langevin, mala


def standard(x):
    return -jnp.sum(jnp.square(x)) / 2


@jax.jit
def many_steps(x, step_size, noise, key):
    return langevin(standard, x, steps=100, step_size=step_size, noise=noise, key=key)


def test_the_variance_is_that_of_the_discretised_chain(key):
    """x' = (1 - a) x + s e is an AR(1): its variance is s^2 / (1 - (1 - a)^2)."""
    alpha, n = 0.2, 16_000
    start = jr.normal(key, (n, 1))
    for noise in (np.sqrt(2 * alpha), 0.01):
        x, _ = many_steps(start, jnp.asarray(alpha), jnp.asarray(noise), key)
        settled = (1 - alpha) ** 200  # of the start's variance, 1
        limit = noise**2 / (1 - (1 - alpha) ** 2)
        variance = settled + (1 - settled) * limit
        # 4 standard errors of a Gaussian sample's variance.
        assert abs(jnp.var(x) / variance - 1) < 4 * np.sqrt(2 / n), noise
    # The temperature s^2 / (2 alpha) of the last, cooled chain.
    assert jnp.var(x) < 1.2 * 0.01**2 / (2 * alpha)


def test_without_noise_given_it_is_that_of_the_temperature_one(key):
    start = jr.normal(key, (5, 2, 3))
    default = langevin(standard, start, steps=3, step_size=0.3, key=key)[0]
    given = langevin(standard, start, steps=3, step_size=0.3, noise=np.sqrt(0.6), key=key)[0]
    np.testing.assert_allclose(default, given, rtol=1e-12)


def test_chains_do_not_see_each_other_and_gradients_flow(key):
    """Each row's slope is that of its own density: not divided by their number."""
    x = jr.normal(key, (4, 2))

    def end(x):
        return langevin(standard, x, steps=3, step_size=0.25, noise=0.0, key=key)[0]

    moved, info = langevin(standard, x, steps=3, step_size=0.25, noise=0.0, key=key)
    np.testing.assert_allclose(moved, 0.75**3 * x, rtol=1e-12)
    np.testing.assert_allclose(info.log_prob[0], -jnp.mean(jnp.sum(x**2, axis=1)) / 2, rtol=1e-12)
    norms = jnp.mean(jnp.linalg.norm(x, axis=1)) * 0.75 ** np.arange(3)
    np.testing.assert_allclose(info.grad_norm, norms, rtol=1e-12)
    jacobian = jax.jacobian(end)(x).reshape(8, 8)
    np.testing.assert_allclose(jacobian, 0.75**3 * np.eye(8), atol=1e-12)


def skew(x):
    """A mixture that is neither centred nor even: 0.8 N(-1, 0.5^2) + 0.2 N(2, 1)."""
    one = jnp.log(0.8) - jnp.sum((x + 1) ** 2) / (2 * 0.25) - jnp.log(0.5)
    return jnp.logaddexp(one, jnp.log(0.2) - jnp.sum((x - 2) ** 2) / 2)


def test_the_corrected_chain_has_the_exact_moments_at_a_step_that_is_not_small(key):
    n = 16_000
    walk = jax.jit(lambda x: mala(skew, x, steps=80, step_size=0.4, target_accept=None, key=key))
    starts, which = jr.normal(key, (n, 1)), jr.uniform(jr.fold_in(key, 1), (n, 1))
    # From the distribution itself, so that what is tested is that the walk keeps it.
    x, info = walk(jnp.where(which < 0.8, 0.5 * starts - 1, starts + 2))
    mean, second = -0.8 + 0.4, 0.8 * 1.25 + 0.2 * 5
    fourth = 0.8 * (1 + 6 * 0.25 + 3 / 16) + 0.2 * (16 + 6 * 4 + 3)
    assert abs(jnp.mean(x) - mean) < 4 * np.sqrt((second - mean**2) / n)
    assert abs(jnp.mean(x**2) - second) < 4 * np.sqrt((fourth - second**2) / n)
    # And it moves: else to keep the distribution would be nothing.
    assert 0.3 < info.accepted < 0.95
    assert float(info.step_size) == pytest.approx(0.4)
    plain, _ = jax.jit(lambda x: langevin(skew, x, steps=80, step_size=0.4, key=key))(x)
    assert abs(jnp.mean(plain**2) - second) > 8 * np.sqrt((fourth - second**2) / n)
    np.testing.assert_allclose(info.log_prob, jax.vmap(skew)(x), rtol=1e-9)


@pytest.mark.parametrize("start", [1e-4, 30.0])
def test_the_step_size_is_found_from_far_off(start, key):
    x = jr.normal(key, (500, 6))
    walk = jax.jit(lambda x, size: mala(standard, x, steps=120, step_size=size, key=key))
    x, info = walk(x, jnp.asarray(start))
    assert abs(info.accepted - 0.57) < 0.06
    # 4 standard errors of the variance of 3000 entries.
    assert abs(jnp.var(x) - 1) < 4 * np.sqrt(2 / 3000)


def test_where_the_density_is_no_number_nothing_goes(key):
    half = lambda x: jnp.sum(jnp.log(x) - x)  # Gamma(2, 1), NaN below 0
    x, info = mala(half, jnp.ones((2000, 1)), steps=60, step_size=0.5, key=key)
    assert bool(jnp.all(x > 0))
    assert bool(jnp.all(jnp.isfinite(info.log_prob)))
    assert abs(jnp.mean(x) - 2) < 4 * np.sqrt(2 / 2000)


def test_float32_stays_float32(x32):
    x = jnp.ones((3, 2))
    assert langevin(standard, x, steps=2, step_size=0.1, key=jr.key(0))[0].dtype == jnp.float32
    assert mala(standard, x, steps=2, step_size=0.1, key=jr.key(0))[0].dtype == jnp.float32


@pytest.mark.parametrize("sampler", [mala, langevin])
def test_a_numpy_array_is_taken_as_jax_takes_it(sampler, x32, key):
    walk = functools.partial(sampler, standard, steps=2, step_size=0.1, key=key)
    x = np.ones((3, 2))
    np.testing.assert_array_equal(walk(x)[0], walk(jnp.asarray(x))[0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "`steps` must be at least 1, got 0"),
        ({"step_size": 0.0}, "`step_size` must be above 0, and finite; got 0.0"),
        ({"step_size": np.inf}, "`step_size` must be above 0, and finite; got inf"),
        ({"noise": -1.0}, "`noise` must be 0 or more, and finite; got -1.0"),
        ({"noise": np.inf}, "`noise` must be 0 or more, and finite; got inf"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, message, key):
    with pytest.raises(ValueError, match=message):
        langevin(standard, jnp.ones((2, 1)), **{"steps": 1, "step_size": 0.1, "key": key, **wrong})


def test_a_share_beyond_one_is_refused(key):
    with pytest.raises(ValueError, match=r"`target_accept` must be between 0 and 1, got 1\.5"):
        mala(standard, jnp.ones((2, 1)), steps=1, step_size=0.1, target_accept=1.5, key=key)


def half_line(x):
    """An exponential distribution, of which the left half has no density."""
    return jnp.where(x[0] >= 0, -x[0], -jnp.inf)


def root(x):
    """Of log x the slope at 0 is infinite, and the value no number below."""
    return jnp.sum(jnp.log(x) - x)


@pytest.mark.parametrize("sampler", [mala, langevin])
@pytest.mark.parametrize("log_prob", [half_line, root, lambda x: jnp.sum(x) * jnp.nan])
def test_a_start_without_density_is_named_or_comes_out_as_nan(sampler, log_prob, key):
    x = jnp.array([[1.0], [-1.0], [2.0], [-0.5]])
    walk = lambda x: sampler(log_prob, x, steps=4, step_size=1e-3, key=key)
    everywhere = bool(jnp.isnan(log_prob(jnp.ones(1))))
    rows = "0, 1, 2, 3" if everywhere else "1, 3"
    with pytest.raises(ValueError, match=f"of the 4 chains start where.*: row {rows} of `x`"):
        walk(x)
    moved = jax.jit(lambda x: walk(x)[0])(x)
    finite = [False] * 4 if everywhere else [True, False, True, False]
    assert jnp.isfinite(moved[:, 0]).tolist() == finite
    if not everywhere:
        assert bool(jnp.isfinite(walk(jnp.abs(x))[0]).all())


@pytest.mark.parametrize("sampler", [mala, langevin])
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((2, 1), int), r"`x` must be floating, got int64: use `x.astype\(float\)`"),
        (np.ones((2, 1), np.uint8), "got uint8"),
        (np.ones((0, 1)), "at least one chain"),
        (np.ones(()), r"shape \[n, ...\], a row a chain; got the number 1"),
    ],
)
def test_chains_that_cannot_be_are_refused(sampler, x, message, key):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(sampler)(standard, jnp.asarray(x), steps=1, step_size=0.1, key=key)


def test_the_slope_of_a_chain_that_starts_on_the_mode_is_a_number(key):
    def end(x):
        return jnp.sum(langevin(standard, x, steps=3, step_size=0.25, noise=0.0, key=key)[0])

    np.testing.assert_allclose(jax.jit(jax.grad(end))(jnp.zeros((2, 3))), 0.75**3, rtol=1e-12)

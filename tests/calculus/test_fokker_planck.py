"""Dimension-wise derivatives, and the Fokker-Planck equation of known diffusions."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.calculus import (
    dimensionwise_derivatives,
    fokker_planck_objective,
    fokker_planck_rate,
    fokker_planck_residual,
)

RATE, NOISE, START = jnp.array([0.5, 2.0]), jnp.array([0.3, 1.2]), jnp.array([1.5, -0.4])
TIMES = jr.uniform(jr.key(0), (64,), minval=0.2, maxval=2.0)


def ou_moments(t):
    mean = START * jnp.exp(-RATE * t)
    return mean, NOISE**2 * (1 - jnp.exp(-2 * RATE * t)) / (2 * RATE) + 0.01 * jnp.exp(
        -2 * RATE * t
    )


def ou_log_prob(t, x):
    """The density of dx = -rate x dt + noise dW from N(start, 0.01)."""
    mean, variance = ou_moments(t)
    return jnp.sum(-((x - mean) ** 2) / (2 * variance) - jnp.log(2 * jnp.pi * variance) / 2)


def ou_drift(t, x, rate):
    return -rate * x


def ou_squared(t, x, rate):
    return NOISE**2 * jnp.ones_like(x)


def lognormal_log_prob(t, x):
    """The density of dx = 0.4 x dt + 0.7 x dW from log x ~ N(0.1, 0.3)."""
    mean, variance = 0.1 + (0.4 - 0.7**2 / 2) * t, 0.3 + 0.7**2 * t
    z = jnp.log(x)
    return jnp.sum(-((z - mean) ** 2) / (2 * variance) - jnp.log(2 * jnp.pi * variance) / 2 - z)


LOGNORMAL = (lambda t, x, args: 0.4 * x, lambda t, x, args: 0.49 * x**2)


def ou_points():
    mean, variance = jax.vmap(ou_moments)(TIMES)
    return mean + jnp.sqrt(variance) * jr.normal(jr.key(1), mean.shape)


def residuals(log_prob, drift, squared, xs, args=None):
    one = lambda t, x: fokker_planck_residual(log_prob, drift, squared, t, x, args)
    return np.asarray(jax.jit(jax.vmap(one))(TIMES, xs))


def test_an_ornstein_uhlenbeck_process_has_no_residual():
    np.testing.assert_allclose(
        residuals(ou_log_prob, ou_drift, ou_squared, ou_points(), RATE), 0, atol=1e-11
    )


def test_a_lognormal_has_no_residual_so_the_derivatives_of_the_noise_are_right():
    xs = jnp.exp(jr.normal(jr.key(2), (64, 3)))
    found = residuals(lognormal_log_prob, *LOGNORMAL, xs)
    np.testing.assert_allclose(found, 0, atol=1e-10)
    # Stratonovich's drift, or a noise without its derivatives, is no match.
    wrong = lambda t, x, args: 0.645 * x
    assert np.max(np.abs(residuals(lognormal_log_prob, wrong, LOGNORMAL[1], xs))) > 0.1


def test_the_rate_is_that_of_the_density_itself():
    # d/dt log p at a point against -div(f p)/p + (1/2) sum_i d^2(G_i p)/dx_i^2 / p, which are
    # derivatives of the density and not of its logarithm.
    drift = lambda x: jnp.stack([jnp.sin(x[1]) - x[0] ** 2, x[0] * x[1]])
    squared = lambda x: jnp.stack([1 + x[0] ** 2 * x[1] ** 2, jnp.exp(x[1]) + x[0]])
    density = lambda x: jnp.exp(-jnp.sum(x**4) / 4 + x[0] * x[1])
    x = jnp.array([0.7, -0.3])
    flow = jnp.trace(jax.jit(jax.jacfwd(lambda x: drift(x) * density(x)))(x))
    second = jax.jit(jax.jacfwd(jax.jacfwd(lambda x: squared(x) * density(x))))(x)
    want = (-flow + sum(second[i, i, i] for i in range(2)) / 2) / density(x)
    score = jax.grad(lambda x: jnp.log(density(x)))

    @jax.jit
    def rate(x):
        parts = [
            dimensionwise_derivatives(lambda t, x, args, f=f: f(x), 0.0, x, order=order)
            for f, order in ((drift, 1), (squared, 2), (score, 1))
        ]
        return fokker_planck_rate(*parts)  # pyrefly: ignore

    found = rate(x)
    np.testing.assert_allclose(found, want, rtol=1e-12)


class CheapScore:
    """The score of the OU density, with its own diagonal."""

    def __call__(self, t, x, args):
        raise AssertionError("its own derivatives are asked for")

    def with_diagonal(self, t, x, args=None, *, order=1):
        mean, variance = ou_moments(t)
        return -(x - mean) / variance, -1 / variance


def test_a_score_that_knows_its_diagonal_is_used():
    t, x = TIMES[0], ou_points()[0]
    drift = lambda t, x, args: jnp.sin(x)
    plain, own = (
        fokker_planck_residual(ou_log_prob, drift, ou_squared, t, x, score=score)
        for score in (None, CheapScore())
    )
    assert abs(float(plain)) > 0.1
    np.testing.assert_allclose(own, plain, rtol=1e-12)


def test_matching_recovers_the_drift_of_a_known_density():
    # The residual is linear in the rates, so that one Newton step from anywhere is the minimum.
    xs = ou_points()
    loss = lambda rate: fokker_planck_objective(ou_log_prob, ou_drift, ou_squared, TIMES, xs, rate)
    start = jnp.array([3.0, 0.1])
    slope, bend = jax.jit(lambda rate: (jax.grad(loss)(rate), jax.hessian(loss)(rate)))(start)
    step = jnp.linalg.solve(bend, slope)
    np.testing.assert_allclose(start - step, RATE, rtol=1e-9)


def test_the_loss_is_the_mean_of_the_squares_or_of_the_sizes():
    penalties: tuple[Any, ...] = ("squared", "absolute")
    xs = ou_points()
    off = residuals(ou_log_prob, ou_drift, ou_squared, xs, RATE + 0.3)
    for penalty, want in zip(penalties, (np.mean(off**2), np.mean(np.abs(off))), strict=True):
        found = jax.jit(
            lambda rate, penalty=penalty: fokker_planck_objective(
                ou_log_prob, ou_drift, ou_squared, TIMES, xs, rate, penalty=penalty
            )
        )(RATE + 0.3)
        np.testing.assert_allclose(found, want, rtol=1e-12)


def test_errors_name_the_argument():
    y = jnp.ones(2)
    with pytest.raises(ValueError, match="`order` must be 1 or more"):
        dimensionwise_derivatives(lambda t, y, args: y, 0.0, y, order=0)
    with pytest.raises(ValueError, match="one of the same size"):
        dimensionwise_derivatives(lambda t, y, args: y[:1], 0.0, y)

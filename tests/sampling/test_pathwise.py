"""Gradients along the sample, against closed forms, quadrature and zero variance at the target."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

from pullback.sampling import (
    DoublyReparameterised,
    LogMeanExp,
    PathDerivative,
    Reparameterised,
    Replicated,
    ScoreFunction,
    expectation,
    grad_stats,
    value_and_grad,
)

pytestmark = pytest.mark.usefixtures("promotion")

N = 100_000


class ELBO(eqx.Module):
    """The sampled ELBO of the normal (m, log s) with the target N(0, 1), as a loss."""

    estimator: Any
    f: Any = None
    count: int = 0

    def __call__(self, params, *, key):
        q: Any = dist.Normal(params[0], jnp.exp(params[1]))
        if self.count:
            q = Replicated(q, self.count)
        return expectation(self.f or log_weight, q, estimator=self.estimator, key=key)


def log_weight(z, q):
    return dist.Normal(0.0, 1.0).log_prob(z) - q.log_prob(z)


def moments(loss, params, key, n=N):
    found = grad_stats(loss, params, jr.split(key, n), batch_size=25_000)
    return found, found.standard_error


@pytest.mark.parametrize(("m", "s"), [(0.7, 0.3), (-1.0, 0.8), (0.4, 1.5)])
def test_mean_and_variance_have_their_closed_forms(m, s, key):
    # Roeder et al., for the target N(0, 1); derived in the sheet and checked here.
    exact = np.array([-m, 1 - s**2])
    variance = (
        (Reparameterised(), [s**2, m**2 * s**2 + 2 * s**4]),
        (PathDerivative(), [(1 / s - s) ** 2, m**2 * s**2 + 2 * (1 - s**2) ** 2]),
    )
    params = jnp.array([m, np.log(s)])
    for estimator, expected in variance:
        found, error = moments(ELBO(estimator), params, key)
        assert np.all(np.abs(found.mean - exact) < 4 * error)
        # A variance's own standard error: sqrt(kurtosis - 1) / sqrt(n), of a chi-square at most
        # sqrt(14).
        assert np.all(np.abs(found.variance / np.array(expected) - 1) < 4 * np.sqrt(14 / N))
    found, error = moments(ELBO(ScoreFunction()), params, key)
    assert np.all(np.abs(found.mean - exact) < 4 * error)


def two_sample_bound(params):
    """The exact importance-weighted bound of two samples, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = jnp.asarray(weights / weights.sum())
    q = dist.Normal(params[0], jnp.exp(params[1]))
    log_w = log_weight(params[0] + jnp.exp(params[1]) * jnp.asarray(nodes), q)
    pairs = jnp.logaddexp(log_w[:, None], log_w[None, :]) - jnp.log(2.0)
    return weights @ pairs @ weights


def test_importance_weighted_gradients_against_quadrature(key):
    params = jnp.array([1.0, np.log(0.8)])
    value, exact = jax.jit(jax.value_and_grad(two_sample_bound))(params)
    loss = lambda estimator: ELBO(estimator, LogMeanExp(log_weight), 2)
    for estimator in (Reparameterised(), DoublyReparameterised(), ScoreFunction()):
        found, error = moments(loss(estimator), params, key)
        assert np.all(np.abs(found.mean - exact) < 4 * error), estimator
        assert abs(found.value - value) < 0.01
    biased, error = moments(loss(PathDerivative(allow_bias=True)), params, key)
    assert np.all(np.abs(biased.mean - exact) > 20 * error)


def test_the_signal_of_the_doubly_reparameterised_gradient_does_not_fade(key):
    # Measured in the sheet at q = N(1, 0.8^2): d/dm, its variance, for k = 5 and 50.
    params = jnp.array([1.0, np.log(0.8)])
    table = {5: (-0.506, 0.319, -1.278, 0.113), 50: (-0.159, 0.136, -1.473, 0.040)}
    for k, (mean, variance, biased, doubly_variance) in table.items():
        loss = lambda estimator, k=k: ELBO(estimator, LogMeanExp(log_weight), k)
        total, total_error = moments(loss(Reparameterised()), params, key, 40_000)
        doubly, doubly_error = moments(loss(DoublyReparameterised()), params, key, 40_000)
        path, _ = moments(loss(PathDerivative(allow_bias=True)), params, key, 40_000)
        # The sheet's figures have errors of about the same size as these.
        assert abs(total.mean[0] - mean) < 0.012
        assert abs(doubly.mean[0] - total.mean[0]) < 4 * np.hypot(total_error, doubly_error)[0]
        assert abs(path.mean[0] - biased) < 0.012
        np.testing.assert_allclose(total.variance[0], variance, rtol=0.05)
        np.testing.assert_allclose(doubly.variance[0], doubly_variance, rtol=0.05)
        assert doubly.snr[0] > 1.5 * total.snr[0]


class Flow(eqx.Module):
    """A distribution of a user's own: z = scale * sinh(shift + x), x ~ N(0, 1)."""

    shift: jax.Array
    log_scale: jax.Array

    def sample(self, key, sample_shape=()):
        x = jr.normal(key, sample_shape, self.shift.dtype)
        return jnp.exp(self.log_scale) * jnp.sinh(self.shift + x)

    def log_prob(self, value):
        y = value * jnp.exp(-self.log_scale)
        log_slope = -0.5 * jnp.log1p(y**2) - self.log_scale
        return dist.Normal(0.0, 1.0).log_prob(jnp.arcsinh(y) - self.shift) + log_slope


def lower(flat):
    return jnp.zeros((3, 3)).at[jnp.tril_indices(3)].set(flat) + jnp.eye(3)


FAMILIES = {
    "normal": (
        lambda p: dist.Normal(p[0], jnp.exp(p[1])).to_event(1),
        jnp.array([[0.3, -0.2, 1.0], [0.1, -1.0, 0.4]]),
    ),
    "full normal": (
        lambda p: dist.MultivariateNormal(p[0], scale_tril=lower(p[1])),
        [jnp.array([0.3, -0.2, 1.0]), jnp.array([0.5, 0.2, 0.1, -0.3, 0.4, 0.7])],
    ),
    "mixture": (
        lambda p: dist.MixtureSameFamily(
            dist.Categorical(logits=p[0]), dist.Normal(p[1], jnp.exp(p[2]))
        ),
        jnp.array([[0.2, -0.5, 0.0], [-1.5, 0.0, 2.0], [-0.3, 0.1, 0.5]]),
    ),
    "numpyro's flow": (
        lambda p: dist.TransformedDistribution(
            dist.Normal(p[0], jnp.exp(p[1])),
            [dist.transforms.SigmoidTransform(), dist.transforms.AffineTransform(1.0, 2.0)],
        ),
        jnp.array([0.3, -0.2]),
    ),
    "a user's flow": (lambda p: Flow(p[0], p[1]), jnp.array([0.3, -0.2])),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_at_the_target_every_draw_of_the_path_derivative_is_zero(name, key):
    family, params = FAMILIES[name]
    target = family(params)
    gradient = value_and_grad(
        lambda z, q: target.log_prob(z) - q.log_prob(z), family, estimator=PathDerivative()
    )
    draws = jax.vmap(lambda k: gradient(params, key=k).params)(jr.split(key, 100))
    assert max(np.max(np.abs(leaf)) for leaf in jax.tree.leaves(draws)) < 1e-12
    noisy = value_and_grad(
        lambda z, q: target.log_prob(z) - q.log_prob(z), family, estimator=Reparameterised()
    )
    draws = jax.vmap(lambda k: noisy(params, key=k).params)(jr.split(key, 100))
    assert min(np.std(leaf, axis=0).min() for leaf in jax.tree.leaves(draws)) > 1e-3


def test_of_a_linear_model_only_the_whole_covariance_lands(key):
    """x = W z + noise: of a diagonal q at its optimum each gradient's covariance is known.

    With the posterior's precision P and its diagonal D: (P - D) D^-1 (P - D) along the path and
    P D^-1 P in all, of the mean; within 4 standard errors of a variance.
    """
    w, x, noise, draws = jnp.array([[1.0, 0.5], [0.3, 1.2]]), jnp.array([0.7, -0.4]), 0.8, 4000
    precision = np.eye(2) + np.asarray(w.T @ w) / noise**2
    mean = np.linalg.solve(precision, np.asarray(w.T @ x) / noise**2)

    def log_joint(z):
        given = dist.Normal(w @ z, noise).log_prob(x)
        return jnp.sum(dist.Normal(0.0, 1.0).log_prob(z)) + jnp.sum(given)

    f = lambda z, q: log_joint(z) - q.log_prob(z)
    keys = jr.split(key, draws)
    whole = lambda m: dist.MultivariateNormal(m, precision_matrix=jnp.asarray(precision))
    landed = value_and_grad(f, whole, estimator=PathDerivative())
    found = jax.vmap(lambda k: landed(jnp.asarray(mean), key=k).params)(keys[:100])
    assert np.max(np.abs(found)) < 1e-12

    diagonal = np.diag(precision)
    family = lambda m: dist.Normal(m, jnp.asarray(diagonal**-0.5)).to_event(1)
    for estimator, left in ((PathDerivative(), np.diag(diagonal)), (Reparameterised(), 0.0)):
        gradient = value_and_grad(f, family, estimator=estimator)
        found = jax.vmap(lambda k, g=gradient: g(jnp.asarray(mean), key=k).params)(keys)
        rest = precision - left
        want = np.diag(rest @ np.diag(1 / diagonal) @ rest)
        assert np.all(np.abs(np.var(found, axis=0) / want - 1) < 4 * np.sqrt(2 / draws))


def test_in_float32_it_is_zero_to_rounding(x32):
    family, params = FAMILIES["full normal"]
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    target = family(params)
    gradient = value_and_grad(
        lambda z, q: target.log_prob(z) - q.log_prob(z), family, estimator=PathDerivative()
    )
    draws = jax.vmap(lambda k: gradient(params, key=k).params)(jr.split(jr.key(0), 100))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(draws))
    assert max(np.max(np.abs(leaf)) for leaf in jax.tree.leaves(draws)) < 1e-5


@pytest.mark.parametrize("estimator", [Reparameterised(), PathDerivative()])
def test_a_mixture_has_the_gradient_of_its_weights_too(estimator, key):
    family, params = FAMILIES["mixture"]
    target = dist.Normal(0.5, 1.3)
    grid = jnp.linspace(-12, 14, 4001)

    def exact(params):
        density = family(params).log_prob(grid)
        return jnp.trapezoid(jnp.exp(density) * (target.log_prob(grid) - density), grid)

    loss = lambda params, *, key: expectation(
        lambda z, q: target.log_prob(z) - q.log_prob(z),
        family(params),
        estimator=estimator,
        key=key,
    )
    found, error = moments(loss, params, key)
    assert np.all(np.abs(found.mean - jax.grad(exact)(params)) < 4 * error + 1e-7)
    assert np.all(np.abs(jax.grad(exact)(params)) > 0.01)


def test_paired_draws_differ_by_the_score_alone(key):
    # Unbiasedness in general: the mean of the difference is zero, parameter by parameter.
    family, params = FAMILIES["full normal"]
    target = dist.MultivariateNormal(jnp.zeros(3), jnp.diag(jnp.array([1.0, 2.0, 0.5])))
    f = lambda z, q: target.log_prob(z) - q.log_prob(z)
    run = lambda estimator: value_and_grad(f, family, estimator=estimator)

    @jax.vmap
    def apart(key):
        both = [run(e)(params, key=key).params for e in (Reparameterised(), PathDerivative())]
        return jax.tree.map(jnp.subtract, *both)

    for difference in apart(jr.split(key, 5000)):
        mean, error = difference.mean(axis=0), difference.std(axis=0) / np.sqrt(5000)
        assert np.all(np.abs(mean) < 4 * error)


def test_parameters_that_the_integrand_closes_over_have_their_gradient(key):
    # E[-(z - c)^2] at z ~ N(m, s): d/dc = 2 (m - c), and c is no parameter of q.
    q = dist.Normal(1.0, 0.5)
    for estimator in (Reparameterised(), PathDerivative(), ScoreFunction()):
        slope = jax.grad(
            lambda c, e=estimator: expectation(
                lambda z, q: -((z - c) ** 2), q, estimator=e, num_samples=N, key=key
            )
        )(0.2)
        assert abs(slope - 1.6) < 4 * 2 * 0.5 / np.sqrt(N)
    for estimator in (Reparameterised(), DoublyReparameterised()):

        def bound(c, estimator=estimator):
            weight = LogMeanExp(lambda z, q: -0.5 * (z - c) ** 2 - q.log_prob(z))
            return expectation(weight, Replicated(q, 3), estimator=estimator, key=key)

        step = 1e-6
        numeric = (bound(0.2 + step) - bound(0.2 - step)) / (2 * step)
        np.testing.assert_allclose(jax.grad(bound)(0.2), numeric, rtol=1e-7)


@pytest.mark.parametrize(
    "estimator", [Reparameterised(), PathDerivative(), ScoreFunction("leave_one_out")]
)
def test_chunks_of_samples_change_nothing(estimator, key):
    params = jnp.array([0.7, -0.3])
    run = lambda batch_size: jax.value_and_grad(
        lambda p: expectation(
            log_weight,
            dist.Normal(p[0], jnp.exp(p[1])),
            estimator=estimator,
            num_samples=7,
            batch_size=batch_size,
            key=key,
        )
    )(params)
    whole, chunked = run(None), run(3)
    np.testing.assert_allclose(whole[0], chunked[0], rtol=1e-12)
    np.testing.assert_allclose(whole[1], chunked[1], rtol=1e-10)


def f(z, q):
    return jnp.sum(z)


class Coin(eqx.Module):
    logit: jax.Array

    def sample(self, key, sample_shape=()):
        return jr.bernoulli(key, jax.nn.sigmoid(self.logit), sample_shape)

    def log_prob(self, value):
        return jnp.where(value, jax.nn.log_sigmoid(self.logit), jax.nn.log_sigmoid(-self.logit))


BERNOULLI = dist.Bernoulli(logits=jnp.array(0.3))
NORMAL = dist.Normal(0.0, 1.0)
MIXTURE = FAMILIES["mixture"][0](FAMILIES["mixture"][1])


@pytest.mark.parametrize(
    ("q", "estimator", "integrand", "message"),
    [
        (BERNOULLI, Reparameterised(), f, "`estimator` Reparameterised needs samples.*Bernoulli"),
        (BERNOULLI, PathDerivative(), f, "`estimator` PathDerivative needs.*take `ScoreFunction`"),
        (Coin(jnp.array(0.3)), Reparameterised(), f, "`q` is a Coin"),
        (NORMAL, DoublyReparameterised(), f, "must be a `LogMeanExp`"),
        (NORMAL, DoublyReparameterised(), LogMeanExp(f), "`q` must be `Replicated`"),
        (Replicated(NORMAL, 2), PathDerivative(), LogMeanExp(f), "`DoublyReparameterised`, or"),
        (Replicated(BERNOULLI, 2), DoublyReparameterised(), LogMeanExp(f), "Bernoulli"),
        (Replicated(MIXTURE, 2), Reparameterised(), LogMeanExp(f), "one sample at a time"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(q, estimator, integrand, message, key):
    with pytest.raises(ValueError, match=message):
        expectation(integrand, q, estimator=estimator, key=key)


class Closed:
    """A distribution that keeps its parameters from JAX."""

    def __init__(self, mean):
        self.mean = mean

    def sample(self, key, sample_shape=()):
        return self.mean + jr.normal(key, sample_shape)

    def log_prob(self, value):
        return dist.Normal(self.mean, 1.0).log_prob(value)


def test_parameters_that_cannot_be_held_are_refused_and_not_silently_followed(key):
    f = lambda z, q: -q.log_prob(z)
    value = expectation(f, Closed(0.3), estimator=Reparameterised(), key=key)
    assert np.isfinite(value)
    with pytest.raises(ValueError, match=r"`q` must be a PyTree.* and Closed is none"):
        expectation(f, Closed(0.3), estimator=PathDerivative(), key=key)


def test_the_samples_of_a_gamma_have_gradients(key):
    mean = lambda a, *, key: expectation(f, dist.Gamma(a), estimator=Reparameterised(), key=key)
    found, error = moments(mean, jnp.array(2.0), key, 20_000)
    assert abs(found.mean - 1) < 4 * error


def test_one_sample_of_a_weighted_bound_is_no_bound_at_all_and_allowed(key):
    params = jnp.array([0.7, -0.3])
    path = jax.grad(ELBO(PathDerivative(), LogMeanExp(log_weight), 1))(params, key=key)
    doubly = jax.grad(ELBO(DoublyReparameterised(), LogMeanExp(log_weight), 1))(params, key=key)
    np.testing.assert_allclose(path, doubly, rtol=1e-12)


@pytest.mark.parametrize("name", ["num_samples", "batch_size"])
def test_counts_below_one_are_refused(name, key):
    with pytest.raises(ValueError, match=f"`{name}` must be 1 or more, got 0"):
        expectation(f, NORMAL, estimator=Reparameterised(), key=key, **{name: 0})
    with pytest.raises(ValueError, match="`count` must be 1 or more, got 0"):
        Replicated(NORMAL, 0)

"""The latent SDE, on an Ornstein-Uhlenbeck process whose posterior and evidence are known."""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

import pullback as pb
from pullback.models.timeseries import (
    FirstFramesContext,
    LatentSDELoss,
    NeuralPrior,
    NoContext,
    Normal,
    Observations,
    OrnsteinUhlenbeck,
    PathContext,
    RecurrentContext,
    TrainingSeries,
    forecast,
    latent_sde,
    sample_paths,
)

RATE, SIGMA, SEEN = 1.0, 0.5, 0.1
TIMES = np.array([0.2, 0.4, 0.6, 1.4, 1.6])
VALUES = np.cos(2 * np.pi * TIMES / 1.5)
GRID = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0])
PLACES = np.array([1, 2, 3, 7, 8])
PRIOR = OrnsteinUhlenbeck(1, rate=RATE, sigma=SIGMA)


def ou_cov(s, t):
    return SIGMA**2 / (2 * RATE) * np.exp(-RATE * np.abs(s[:, None] - t[None]))


def conditioned(query):
    """Mean and deviation at `query`, by conditioning the joint Gaussian."""
    both = np.concatenate([TIMES, query])
    joint = ou_cov(both, both)
    n = len(TIMES)
    seen = joint[:n, :n] + SEEN**2 * np.eye(n)
    gain = joint[n:, :n] @ np.linalg.inv(seen)
    cov = joint[n:, n:] - gain @ joint[:n, n:]
    return gain @ VALUES, np.sqrt(np.diag(cov)), seen


def euler_evidence(steps):
    """The log-evidence of the process as Euler's method with `steps` equal steps makes it."""
    dt = 2.0 / steps
    alpha, places = 1 - RATE * dt, np.rint(TIMES / dt).astype(int)
    var = [SIGMA**2 / (2 * RATE)]
    for _ in range(steps):
        var.append(alpha**2 * var[-1] + SIGMA**2 * dt)
    cov = [[var[min(i, j)] * alpha ** abs(i - j) for j in places] for i in places]
    cov: Any = np.array(cov) + SEEN**2 * np.eye(len(TIMES))
    return multivariate_normal(np.zeros(len(TIMES)), cov).logpdf(VALUES)


def information(t):
    """Lambda and eta: the log-density of what is seen after `t` is -lambda z^2 / 2 + eta z + c."""
    lam = eta = 0.0
    later = [i for i in reversed(range(len(TIMES))) if TIMES[i] > t]
    before = [*TIMES[later[1:]], t]
    for i, start in zip(later, before[: len(later)], strict=True):
        lam, eta = lam + 1 / SEEN**2, eta + VALUES[i] / SEEN**2
        alpha = math.exp(-RATE * (TIMES[i] - start))
        q = SIGMA**2 * (1 - alpha**2) / (2 * RATE)
        lam, eta = alpha**2 * lam / (1 + q * lam), alpha * eta / (1 + q * lam)
    return lam, eta


def euler_bound(steps):
    """The expected bound of the exact control under Euler's method, by moments step by step."""
    dt = 2.0 / steps
    places = dict(zip(np.rint(TIMES / dt).astype(int), VALUES, strict=True))
    prior = SIGMA**2 / (2 * RATE)
    mean, std, _ = conditioned(np.zeros(1))
    mean, var = mean.item(), std.item() ** 2
    bound = -0.5 * (np.log(prior / var) + (var + mean**2) / prior - 1)
    for n in range(steps):
        # A time that is rounded to below its observation would see it still.
        lam, eta = information(n * dt + 1e-9)
        bound -= dt * SIGMA**2 * ((eta - lam * mean) ** 2 + lam**2 * var) / 2
        mean, var = (
            mean + dt * (SIGMA**2 * eta - (RATE + SIGMA**2 * lam) * mean),
            (1 - dt * (RATE + SIGMA**2 * lam)) ** 2 * var + dt * SIGMA**2,
        )
        if n + 1 in places:
            bound += norm.logpdf(places[n + 1], mean, SEEN) - var / (2 * SEEN**2)
    return bound


class Optimal(eqx.Module):
    """The exact control, or a part of it."""

    share: float

    def __call__(self, t, z, context):
        times, values = jnp.asarray(TIMES), jnp.asarray(VALUES)[:, None]
        return self.share * PRIOR.control(t, z, times, values, noise=SEEN)


def exact_start(context):
    mean, std, _ = conditioned(np.zeros(1))
    return jnp.concatenate([jnp.asarray(mean), jnp.log(jnp.expm1(jnp.asarray(std)))])


def optimal_model(steps, share=1.0):
    """A latent SDE that is the posterior; `steps` from 0 to 2 in all."""
    model = latent_sde(
        1,
        latent=1,
        encoder=NoContext(),
        prior=PRIOR,
        decoder=lambda z: z,
        likelihood=Normal(SEEN),
        steps=steps // 10,
        key=jr.key(0),
    )
    return dataclasses.replace(model, start=exact_start, control=Optimal(share))


def the_points():
    values = np.zeros((1, 11, 1))
    values[0, PLACES, 0] = VALUES
    mask = np.isin(np.arange(11), PLACES)[None, :, None]
    grid = GRID.copy()
    grid[PLACES] = TIMES
    return Observations(jnp.asarray(grid)[None], jnp.asarray(values), jnp.asarray(mask))


def test_posterior_and_evidence_are_those_of_the_joint_gaussian():
    query = np.array([0.0, 0.4, 1.0, 1.5, 2.0])
    mean, std, seen = conditioned(query)
    found = PRIOR.posterior(*map(jnp.asarray, (TIMES, VALUES, query)), noise=SEEN)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-10)
    np.testing.assert_allclose(found.std, std, rtol=1e-10)
    evidence = PRIOR.log_evidence(jnp.asarray(TIMES), jnp.asarray(VALUES), noise=SEEN)
    np.testing.assert_allclose(evidence, multivariate_normal(np.zeros(5), seen).logpdf(VALUES))


def test_the_control_is_that_of_the_backward_information_filter():
    z = 0.3
    for t in (0.0, 0.3, 0.4, 1.0, 1.5, 1.6, 1.9):
        lam, eta = information(t)
        found = Optimal(1.0)(jnp.asarray(t), jnp.full(1, z), None)
        np.testing.assert_allclose(found[0], SIGMA * (eta - lam * z), rtol=1e-9, atol=1e-12)


def test_with_the_exact_control_the_bounds_meet_the_evidence(key):
    exact = multivariate_normal(np.zeros(5), conditioned(np.zeros(1))[2]).logpdf(VALUES)
    # One series 40 times over, 100 paths each, so that the means' errors can be measured.
    points = jax.tree.map(lambda x: jnp.repeat(x, 40, axis=0), the_points())
    for steps in (100, 400):
        # The form of the KL in which the exact control's bound has no spread but the steps'.
        model = dataclasses.replace(optimal_model(steps), kl="monte_carlo")
        elbo = eqx.filter_jit(model.elbo_terms)(points, samples=100, key=key).elbo
        error = float(jnp.std(elbo)) / math.sqrt(40)
        assert error < 0.03
        assert abs(float(jnp.mean(elbo)) - euler_bound(steps)) < 4 * error
        # Importance weights are unbiased for the process that the steps make.
        tight = eqx.filter_jit(model.iwae)(points, samples=100, key=key)
        weights = jnp.exp(tight - euler_evidence(steps))
        error = float(jnp.std(weights)) / math.sqrt(40)
        assert error < 0.03
        assert abs(float(jnp.mean(weights)) - 1) < 4 * error
        assert jnp.mean(tight) > jnp.mean(elbo)
    # What is left between the bound and the evidence is Euler's, of the first order in the step.
    gaps = exact - np.array([euler_bound(steps) for steps in (400, 800, 1600)])
    np.testing.assert_allclose(gaps[:-1] / gaps[1:], 2, rtol=0.06)
    assert 0 < gaps[-1] < 0.02


def test_the_posterior_paths_have_the_exact_moments(key):
    query, paths = np.array([0.0, 0.4, 1.0, 1.5, 2.0]), 4000
    # 100 steps in each piece; the last piece has no observation.
    model = optimal_model(1000)
    found = sample_paths(model, the_points(), jnp.asarray(query)[None], samples=paths, key=key)
    mean, std, _ = conditioned(query)
    bias = 0.01  # of steps of 0.004 to 0.006, beside 4 standard errors
    assert np.all(np.abs(found[:, 0, :, 0].mean(axis=0) - mean) < 4 * std / paths**0.5 + bias)
    assert np.all(np.abs(found[:, 0, :, 0].std(axis=0) - std) < 4 * std / (2 * paths) ** 0.5 + bias)


def test_forecasts_go_as_the_prior_does_after_the_last_observation(key):
    paths, steps = 4000, 40
    model = optimal_model(10 * steps)
    times = np.array([1.6, 2.5, 4.0])
    # A control that would be felt, if it were asked after the last observation.
    model = dataclasses.replace(model, control=lambda t, z, c: jnp.full_like(z, 3.0))
    drawn = sample_paths(model, the_points(), jnp.asarray(times)[None], samples=paths, key=key)
    at, mean, var = drawn[:, 0, :, 0], [], []
    mean.append(float(at[:, 0].mean()))
    var.append(float(at[:, 0].var()))
    for gap in np.diff(times):
        dt = gap / steps
        alpha = 1 - RATE * dt
        shrunk = alpha ** (2 * steps)
        mean.append(alpha**steps * mean[-1])
        var.append(shrunk * var[-1] + SIGMA**2 * dt * (1 - shrunk) / (1 - alpha**2))
    std = np.sqrt(var)
    assert np.all(np.abs(at.mean(axis=0) - np.array(mean))[1:] < 4 * std[1:] / paths**0.5)
    assert np.all(np.abs(at.std(axis=0) / std - 1)[1:] < 4 / (2 * paths) ** 0.5)
    band = forecast(model, the_points(), jnp.array([[2.5, 4.0]]), level=0.9, samples=paths, key=key)
    # The density of a normal at its 95 % quantile gives the quantile's standard error.
    seen = np.sqrt(std[1:] ** 2 + SEEN**2)
    error = math.sqrt(0.05 * 0.95 / paths) / norm.pdf(norm.ppf(0.95)) * seen
    # The band's paths come from 0 in one piece to 2.5: a coarser step than above.
    upper = np.array(mean[1:]) + norm.ppf(0.95) * seen
    assert np.all(np.abs(band.upper[0, :, 0] - upper) < 4 * error + 0.03)


def test_more_paths_tighten_the_importance_weighted_bound(key):
    model, total = optimal_model(100, share=0.7), 4096
    bound = eqx.filter_jit(
        lambda keys: jax.vmap(lambda k: model.iwae(the_points(), samples=1, key=k)[0])(keys)
    )
    weights = np.asarray(bound(jr.split(key, total)))
    means, errors = [], []
    for samples in (1, 16, 256):
        each = np.logaddexp.reduce(weights.reshape(-1, samples), axis=1) - math.log(samples)
        means.append(each.mean())
        errors.append(each.std() / len(each) ** 0.5)
    truth = euler_evidence(100)
    assert means[0] < means[1] < means[2] < truth + 4 * errors[2]
    assert truth - means[2] < 0.2 * (truth - means[0])
    # A call with all the samples is the same bound.
    whole = eqx.filter_jit(model.iwae)(the_points(), samples=total, key=key)[0]
    assert abs(whole - truth) < 0.3


def stirred(model, key):
    """The model with all of its weights moved, so that its control is not zero."""
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    leaves, tree = jax.tree.flatten(params)
    keys = jr.split(key, len(leaves))
    moved = [w + 0.3 * jr.normal(k, w.shape) for k, w in zip(keys, leaves, strict=True)]
    return eqx.combine(jax.tree.unflatten(tree, moved), rest)


def small(key):
    return latent_sde(2, latent=3, encoder_size=5, context=4, width=6, steps=2, key=key)


def a_batch(key):
    times = jnp.array([[0.0, 0.3, 0.7, 1.0], [0.0, 0.2, 0.5, 0.9]])
    mask = jr.bernoulli(key, 0.6, (2, 4, 2)).at[:, -1].set(True)
    return Observations(times, jnp.where(mask, jr.normal(key, (2, 4, 2)), 0.0), mask)


def test_what_lies_under_a_mask_and_padding_change_nothing(key):
    model, batch = stirred(small(key), key), a_batch(key)
    evidence = eqx.filter_jit(lambda batch: model.elbo_terms(batch, samples=3, key=key))
    clean = evidence(batch)
    assert jnp.all(clean.kl_path > 0.01)
    filled = batch._replace(values=jnp.where(batch.mask, batch.values, 1e6))
    padded = Observations(
        jnp.concatenate([batch.times, batch.times[:, -1:], batch.times[:, -1:]], axis=1),
        jnp.pad(batch.values, ((0, 0), (0, 2), (0, 0)), constant_values=1e6),
        jnp.pad(batch.mask, ((0, 0), (0, 2), (0, 0))),
    )
    for other in (filled, padded):
        for a, b in zip(clean, evidence(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10)


def test_the_gradient_of_the_loss_is_its_finite_difference(key):
    model, batch = stirred(small(key), key), TrainingSeries(a_batch(key))
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    loss = LatentSDELoss(beta=0.3, samples=2)

    @jax.jit
    def at(params):
        def value(params):
            return loss(eqx.combine(params, rest), batch, key=key)

        return jax.value_and_grad(value, has_aux=True)(params)

    along = jax.tree.map(lambda w: jr.normal(key, w.shape), params)
    moved = lambda h: jax.tree.map(lambda w, d: w + h * d, params, along)
    difference = (at(moved(1e-6))[0][0] - at(moved(-1e-6))[0][0]) / 2e-6
    (total, parts), gradient = at(params)
    slopes = jax.tree.map(lambda g, d: jnp.sum(g * d), gradient, along)
    np.testing.assert_allclose(sum(jax.tree.leaves(slopes)), difference, rtol=1e-6)
    bound = parts["log_likelihood"] - 0.3 * (parts["kl_start"] + parts["kl_path"])
    np.testing.assert_allclose(total, -bound, rtol=1e-12)


def test_an_untrained_posterior_is_the_prior(key):
    model, batch = small(key), a_batch(key)
    found = eqx.filter_jit(model.elbo_terms)(batch, samples=2, key=key)
    assert jnp.all(found.kl_path == 0)
    # KL(q(z0) || p(z0)) by numpy.
    posterior, _ = model.encode(batch)
    m, s = np.asarray(posterior.mean), np.asarray(posterior.std)
    p, r = (np.asarray(a)[None] for a in model.prior.start())
    kl = np.sum(np.log(r / s) + (s**2 + (m - p) ** 2) / (2 * r**2) - 0.5, axis=1)
    np.testing.assert_allclose(found.kl_start, kl, rtol=1e-10)


def test_a_context_is_that_of_the_next_observation():
    context = PathContext(jnp.array([0.0, 1.0, 2.0]), jnp.array([[10.0], [11.0], [12.0]]))
    for t, value in ((0.0, 11.0), (0.5, 11.0), (1.0, 12.0), (1.9, 12.0)):
        found, known = context.at(jnp.asarray(t))
        assert known
        assert found[0] == value
    assert not context.at(jnp.asarray(2.0))[1]


def test_a_recurrent_context_knows_the_future_alone_and_ends_with_the_last_observation(key):
    encoder = RecurrentContext(1, size=3, context=2, key=key)
    times, values = jnp.arange(4.0), jr.normal(key, (4, 1))
    seen = jnp.array([True, True, True, False])[:, None]
    context = encoder(times, values, seen)
    value = lambda c, t: np.asarray(c.at(jnp.asarray(t))[0])
    changed = encoder(times, values.at[1].set(5.0), seen)
    np.testing.assert_array_equal(value(context, 1.5), value(changed, 1.5))
    assert np.all(value(context, 0.5) != value(changed, 0.5))
    assert context.at(jnp.asarray(1.9))[1]
    assert not context.at(jnp.asarray(2.0))[1]


def test_the_first_frames_last_for_ever(key):
    encoder = FirstFramesContext(2, frames=2, context=3, width=4, key=key)
    values = jr.normal(key, (4, 2))
    context = encoder(jnp.arange(4.0), values, jnp.ones((4, 2), bool))
    for t in (-1.0, 0.0, 3.0, 1e9):
        found, known = context.at(jnp.asarray(t))
        assert known
        np.testing.assert_array_equal(found, context.values[0])
    later = encoder(jnp.arange(4.0), values.at[2:].set(9.0), jnp.ones((4, 2), bool))
    np.testing.assert_array_equal(later.values, context.values)
    with pytest.raises(ValueError, match="a series has 1 rows"):
        encoder(jnp.zeros(1), values[:1], jnp.ones((1, 2), bool))


def test_the_learned_diffusion_is_diagonal_and_bounded(key):
    prior = stirred(NeuralPrior(3, width=5, most=0.7, key=key), key)
    z = jr.normal(key, (3,))
    slopes = jax.jacobian(lambda z: prior.diffusion(0.0, z))(z)
    assert jnp.all(slopes[~np.eye(3, dtype=bool)] == 0)
    assert jnp.all(jnp.diag(slopes) != 0)
    many = jax.vmap(lambda z: prior.diffusion(0.0, z))(10 * jr.normal(key, (50, 3)))
    assert jnp.all((many > 0) & (many < 0.7))


def test_samples_of_the_prior_are_stationary(key):
    model = optimal_model(100)
    paths = model.sample_prior(jnp.asarray(GRID), samples=4000, key=key)[..., 0]
    cov = np.cov(np.asarray(paths)[:, [0, 5, 10]].T)
    exact = ou_cov(GRID, GRID)[np.ix_([0, 5, 10], [0, 5, 10])]
    # A covariance of 4000 draws, and what steps of 0.02 change.
    assert np.all(np.abs(cov - exact) < 4 * exact[0, 0] * math.sqrt(2 / 4000) + 0.002)


def test_a_model_in_float32_stays_there(key):
    model = latent_sde(
        1, latent=1, encoder=NoContext(), prior=PRIOR, likelihood=Normal(0.1), steps=1,
        dtype=jnp.float32, key=key,
    )  # fmt: skip
    times, values, mask = the_points()
    batch = Observations(times.astype(jnp.float32), values.astype(jnp.float32), mask)
    for bound in (model.elbo, model.iwae):
        found = eqx.filter_eval_shape(bound, batch, samples=2, key=key)
        assert found.dtype == jnp.float32


def test_wrong_arguments_are_refused(key):
    with pytest.raises(ValueError, match="`samples` must be 1 or more, got 0"):
        optimal_model(10).elbo(the_points(), samples=0, key=key)
    with pytest.raises(ValueError, match="`sigma` must be positive, got 0"):
        OrnsteinUhlenbeck(1, sigma=0.0)
    with pytest.raises(ValueError, match="`latent` must be 1 or more"):
        latent_sde(1, latent=0, key=key)
    bad = dataclasses.replace(optimal_model(10), control=lambda t, z, c: z / 0.0)
    with pytest.raises(pb.ode.SolveError):
        sample_paths(bad, the_points(), jnp.array([[0.5, 1.0]]), samples=2, key=key)

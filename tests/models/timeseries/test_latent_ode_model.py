"""The latent ODE: a linear-Gaussian model whose evidence is exact, masks, grids and heads."""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import multivariate_normal, norm

from pullback import data, ode
from pullback.models import timeseries as ts
from pullback.models.likelihoods import masked_log_prob

# Slow: minutes of compiling.

NOISE = 0.3
TIMES = np.array([0.2, 0.5, 1.1, 1.6])
MASK = np.array([[True, True], [True, False], [False, True], [True, True]])
VALUES = np.random.default_rng(0).normal(size=(4, 2))
# Of these two the posterior of z is diagonal: a rotation, of which both coordinates are observed at
# every time; and two decays that do not mix, observed here and there.
ROTATION = np.array([[0.0, -1.5], [1.5, 0.0]])
DECAYS = np.diag([-0.4, 0.3])
CASES = {
    "rotation": (ROTATION, np.eye(2) * 0.8, np.ones_like(MASK)),
    "decays": (DECAYS, np.diag([1.2, -0.7]), MASK),
}


class Exact(eqx.Module):
    """The posterior of a linear model, by Bayesian linear regression of the values on z."""

    mean: np.ndarray
    std: np.ndarray

    def __call__(self, times, values, mask, *, anchor):
        return ts.Posterior(jnp.asarray(self.mean), jnp.asarray(self.std))


def regression(case, anchor):
    """The design matrix of the observed values, and those."""
    matrix, decoder, mask = CASES[case]
    start = TIMES[0] if anchor == "first" else TIMES[-1]
    rows = np.concatenate([decoder @ expm(matrix * (t - start)) for t in TIMES])
    return rows[mask.ravel()], VALUES.ravel()[mask.ravel()]


def model_of(case, anchor="first", shift=0.0, **options: Any):
    matrix, decoder, _ = CASES[case]
    design, x = regression(case, anchor)
    precision = np.eye(2) + design.T @ design / NOISE**2
    covariance = np.linalg.inv(precision)
    assert abs(covariance[0, 1]) < 1e-12
    mean = covariance @ design.T @ x / NOISE**2
    settings: dict[str, Any] = {"steps": 8} | options
    return ts.LatentODE(
        encoder=Exact(mean + shift, np.sqrt(np.diag(covariance)) * np.exp(shift)),
        field=lambda t, z, args: jnp.asarray(matrix) @ z,
        decoder=lambda z: jnp.asarray(decoder) @ z,
        likelihood=ts.Normal(NOISE),
        anchor=anchor,  # pyrefly: ignore
        **settings,
    )


def observed_of(case, garbage=0.0):
    mask = CASES[case][2]
    values = np.where(mask, VALUES, garbage)
    return ts.Observations(*(jnp.asarray(a)[None] for a in (TIMES, values, mask)))


def evidence(case, anchor):
    design, x = regression(case, anchor)
    covariance = design @ design.T + NOISE**2 * np.eye(len(x))
    return float(multivariate_normal(np.zeros(len(x)), covariance).logpdf(x))  # pyrefly: ignore


@pytest.mark.parametrize("anchor", ["first", "last"])
@pytest.mark.parametrize("case", CASES)
def test_at_the_exact_posterior_the_bounds_are_the_evidence(case, anchor, key):
    model, observed, truth = model_of(case, anchor), observed_of(case), evidence(case, anchor)
    # p(x | z) p(z) / q(z | x) is p(x) for every z, so one sample will do.
    assert float(model.iwae(observed, samples=1, key=key)[0]) == pytest.approx(truth, abs=1e-6)
    found = model.elbo_terms(observed, samples=4000, key=key)
    # The KL is exact, so only the likelihood's mean over samples scatters.
    design, _ = regression(case, anchor)
    spread = _likelihood_spread(model.encoder, case, anchor) / math.sqrt(4000)
    assert abs(float(found.elbo[0]) - truth) < 4 * spread
    assert len(design) > 2


def _likelihood_spread(encoder, case, anchor):
    """Standard deviation over z of the log-likelihood, a quadratic in z."""
    design, x = regression(case, anchor)
    quadratic = design.T @ design / NOISE**2
    slope = design.T @ (x - design @ encoder.mean) / NOISE**2
    cov = np.diag(encoder.std**2)
    return math.sqrt(np.trace(quadratic @ cov @ quadratic @ cov) / 2 + slope @ cov @ slope)


def exact_elbo(model, case, anchor):
    """The bound in closed form, for the Gaussian that the encoder gives."""
    design, x = regression(case, anchor)
    mean, std = model.encoder.mean, model.encoder.std
    residual = x - design @ mean
    expected = residual @ residual + np.trace(design @ np.diag(std**2) @ design.T)
    log_x = -expected / (2 * NOISE**2) - len(x) * math.log(NOISE * math.sqrt(2 * math.pi))
    kl = np.sum((mean**2 + std**2 - 1) / 2 - np.log(std))
    return log_x - kl, kl


def test_the_bound_is_the_evidence_in_closed_form_too():
    for case in CASES:
        assert exact_elbo(model_of(case), case, "first")[0] == pytest.approx(
            evidence(case, "first"), abs=1e-10
        )


def test_with_a_wrong_posterior_the_bound_is_below_and_many_samples_close_it(key):
    case = "decays"
    model, observed, truth = model_of(case, shift=0.1), observed_of(case), evidence(case, "first")
    expected, kl = exact_elbo(model, case, "first")
    assert expected < truth - 0.1
    found = model.elbo_terms(observed, samples=4000, beta=1.0, key=key)
    spread = _likelihood_spread(model.encoder, case, "first") / math.sqrt(4000)
    assert abs(float(found.elbo[0]) - expected) < 4 * spread
    assert float(found.kl[0]) == pytest.approx(kl, rel=1e-12)
    annealed = model.elbo_terms(observed, samples=4000, beta=0.3, key=key)
    assert float(annealed.elbo[0] - found.elbo[0]) == pytest.approx(0.7 * kl, rel=1e-9)
    many = float(model.iwae(observed, samples=5000, key=key)[0])
    assert many == pytest.approx(truth, abs=0.02)
    assert many > float(found.elbo[0])


def test_the_squared_error_is_that_of_the_observed_values_alone(key):
    case = "decays"
    model, observed = model_of(case), observed_of(case, garbage=7.0)
    design, x = regression(case, "first")
    found = model.elbo_terms(observed, samples=3, key=key)
    residuals = np.asarray(found.z0)[:, 0] @ design.T - x
    expected = np.square(residuals).sum(axis=1).mean()
    assert float(found.squared_error[0]) == pytest.approx(expected, rel=1e-5)
    _, metrics = ts.LatentODELoss(samples=3)(model, ts.TrainingSeries(observed), key=key)
    assert float(metrics["mse"]) == pytest.approx(expected / len(x), rel=1e-5)


def test_the_kl_is_its_monte_carlo_mean():
    posterior = ts.Posterior(jnp.asarray([0.5, -1.0]), jnp.asarray([0.3, 1.7]))
    draws = np.random.default_rng(0).normal(size=(200_000, 2))
    z = np.asarray(posterior.mean) + np.asarray(posterior.std) * draws
    log_q = np.asarray(jax.vmap(posterior.log_prob)(jnp.asarray(z)))
    normal = multivariate_normal(
        np.asarray(posterior.mean),
        np.diag(np.asarray(posterior.std) ** 2),  # pyrefly: ignore
    )
    np.testing.assert_allclose(log_q[:50], normal.logpdf(z[:50]), rtol=1e-10)
    terms = log_q - multivariate_normal(np.zeros(2), np.eye(2)).logpdf(z)  # pyrefly: ignore
    error = terms.std() / math.sqrt(len(terms))
    assert abs(float(posterior.kl()) - terms.mean()) < 4 * error


@pytest.mark.parametrize("anchor", ["first", "last"])
def test_paths_are_the_matrix_exponential_on_either_side_of_the_anchor(anchor):
    model = model_of("rotation", anchor, steps=16)
    z0 = np.random.default_rng(1).normal(size=(3, 2, 2))
    anchors = np.array([0.4, 0.9])
    times = np.array([[0.4, 0.7, 2.0], [0.9, 0.9, 1.2]])
    if anchor == "last":
        times = np.array([[0.1, 0.7, 2.0], [0.2, 0.8, 0.9]])
    arrays = [jnp.asarray(a) for a in (z0, anchors, times)]
    mean = model.decode(arrays[0], arrays[1], arrays[2]).mean
    for series in range(2):
        for query in range(3):
            flow = 0.8 * expm(ROTATION * (times[series, query] - anchors[series]))
            np.testing.assert_allclose(mean[:, series, query], z0[:, series] @ flow.T, atol=1e-7)


def test_times_before_the_anchor_are_an_error_and_not_a_number(key):
    model, observed = model_of("decays"), observed_of("decays")
    with pytest.raises(ode.SolveError, match="increasing"):
        ts.predict(model, observed, jnp.asarray([[0.1, 0.5]]), key=key)


def small(**options: Any):
    settings: dict[str, Any] = {
        "latent": 2, "encoder_size": 3, "gate_width": 4, "width": 4, "steps": 2, "encoder_steps": 4,
    }  # fmt: skip
    model = ts.latent_ode(2, key=jr.key(0), **(settings | options))
    return jax.tree.map(lambda w: 2 * w if eqx.is_inexact_array(w) else w, model)


@eqx.filter_jit
def gradient(model, batch, key):
    def loss(model):
        return ts.LatentODELoss()(model, batch, key=key)[0]

    return eqx.filter_value_and_grad(loss)(model)


def test_garbage_under_the_mask_reaches_neither_the_loss_nor_its_gradient(key):
    model = small(poisson=1, classes=2)
    label = jnp.asarray([1])
    results = [
        jax.tree.leaves(
            gradient(model, ts.TrainingSeries(observed_of("decays", g), None, label), key)
        )
        for g in (0.0, 1e6, math.nan)
    ]
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert np.array_equal(one, two)
    assert all(np.all(np.isfinite(leaf)) for leaf in results[0])


def test_the_gradient_is_a_finite_difference(key):
    model, batch = small(poisson=1), ts.TrainingSeries(observed_of("decays"))
    value, grads = gradient(model, batch, key)
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    flat, unravel = jax.flatten_util.ravel_pytree(params)  # pyrefly: ignore
    slope = jax.flatten_util.ravel_pytree(grads)[0]  # pyrefly: ignore
    direction = jr.normal(key, flat.shape) / math.sqrt(flat.size)
    step = 1e-5
    ends = [
        gradient(eqx.combine(unravel(flat + sign * step * direction), rest), batch, key)[0]
        for sign in (1, -1)
    ]
    assert float(slope @ direction) == pytest.approx(
        float(ends[0] - ends[1]) / (2 * step), rel=1e-6
    )
    assert np.isfinite(value)


@pytest.mark.parametrize("anchor", ["first", "last"])
def test_neither_padding_nor_an_empty_time_moves_the_posterior_or_the_bound(anchor, key):
    model, plain = small(anchor=anchor), observed_of("decays")
    longer = ts.Observations(
        jnp.pad(plain.times, ((0, 0), (0, 2)), mode="edge"),
        jnp.pad(plain.values, ((0, 0), (0, 2), (0, 0)), constant_values=5.0),
        jnp.pad(plain.mask, ((0, 0), (0, 2), (0, 0))),
    )
    empty = ts.Observations(
        jnp.insert(plain.times, 2, 0.8, axis=1),
        jnp.insert(plain.values, 2, 5.0, axis=1),
        jnp.insert(plain.mask, 2, False, axis=1),
    )
    model = dataclasses.replace(model, steps=None, rtol=1e-9, atol=1e-9)
    found = [model.elbo_terms(each, key=key) for each in (plain, longer, empty)]
    for other, tolerance in zip(found[1:], (1e-9, 1e-4), strict=True):
        for one, two in zip(found[0].posterior, other.posterior, strict=True):
            np.testing.assert_allclose(two, one, rtol=0, atol=tolerance)
        np.testing.assert_allclose(other.elbo, found[0].elbo, rtol=tolerance)


def test_a_series_does_not_depend_on_what_else_is_in_the_batch():
    model = dataclasses.replace(small(), steps=None)
    one = observed_of("decays")
    other = ts.Observations(3 * one.times, 10 * one.values, one.mask)
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), one, other)
    z0 = model.encode(both).mean[None]
    alone = model.decode(z0[:, :1], one.times[:, 0], one.times).mean
    together = model.decode(z0, both.times[:, 0], both.times).mean
    np.testing.assert_allclose(together[:, :1], alone, rtol=0, atol=1e-12)


def test_bands_hold_what_they_promise_and_imputing_keeps_what_was_seen(key):
    """Where the posterior is exact, new observations fall into the band as often as it says."""
    case, level = "decays", 0.8
    model, observed = model_of(case), observed_of(case)
    times = jnp.asarray([[0.9, 2.5]])
    found = ts.predict(model, observed, times, level=level, samples=4000, key=key)
    design = np.concatenate([CASES[case][1] @ expm(DECAYS * (t - TIMES[0])) for t in (0.9, 2.5)])
    mean = (design @ model.encoder.mean).reshape(2, 2)
    variance = np.square(design) @ np.square(model.encoder.std) + NOISE**2
    half = 1.2815515655446004 * np.sqrt(variance).reshape(2, 2)  # the normal's quantile at 0.9
    # The error of a quantile of n draws is sqrt(p (1 - p) / n) / density.
    error = 4 * np.sqrt(0.09 / 4000) / 0.1755 * np.sqrt(variance).reshape(2, 2)
    assert np.all(np.abs(found.mean[0] - mean) < error)
    assert np.all(np.abs(found.lower[0] - (mean - half)) < error)
    assert np.all(np.abs(found.upper[0] - (mean + half)) < error)
    filled = ts.impute(model, observed, samples=10, key=key)
    mask = np.asarray(observed.mask)
    for part in (filled.mean, filled.lower, filled.upper):
        assert np.array_equal(part[mask], observed.values[mask])
    assert np.all((filled.upper - filled.lower)[~mask] > 0)
    with pytest.raises(ValueError, match=r"series 0 ends at 1\.6 and is asked for 0\.9"):
        ts.forecast(model, observed, times, key=key)
    later = ts.forecast(model, observed, times + 1, samples=10, key=key)
    assert later.mean.shape == (1, 2, 2)


@pytest.mark.parametrize(("samples", "share"), [(39, 0.9), (19, 0.9), (9, 0.8)])
def test_a_band_of_few_samples_holds_its_share_too(key, samples, share):
    """On average over draws: of 19, the least and the greatest leave a twentieth on either side."""
    model = model_of("decays")
    many = jax.tree.map(lambda a: jnp.repeat(a, 1000, axis=0), observed_of("decays"))
    found = ts.predict(model, many, many.times[:, :1], level=0.9, samples=samples, key=key)
    decoder = CASES["decays"][1]
    distribution = norm(decoder @ model.encoder.mean, np.hypot(decoder @ model.encoder.std, NOISE))
    held = (distribution.cdf(found.upper) - distribution.cdf(found.lower)).ravel()
    assert held.mean() == pytest.approx(share, abs=4 * held.std() / np.sqrt(len(held)))


def test_batches_change_no_number(key):
    model = small()
    observed = jax.tree.map(lambda a: jnp.concatenate([a, a, a]), observed_of("decays"))
    times = jnp.tile(jnp.linspace(0.2, 3.0, 4)[None], (3, 1))
    whole, parts = (
        ts.sample_paths(model, observed, times, samples=4, batch_size=size, key=key)
        for size in (None, 2)
    )
    np.testing.assert_allclose(parts, whole, rtol=1e-12)
    # Every series has draws of its own.
    assert np.all(np.abs(whole[:, 0] - whole[:, 1]).max(axis=(0, 2)) > 1e-3)


def test_classes_are_scored_by_the_cross_entropy_of_the_known_labels(key):
    model = small(classes=3)
    observed = jax.tree.map(lambda a: jnp.concatenate([a, a]), observed_of("decays"))
    label = jnp.asarray([2, -1])
    weighted = ts.LatentODELoss(class_weight=7.0)
    loss, metrics = weighted(model, ts.TrainingSeries(observed, None, label), key=key)
    plain, _ = weighted(model, ts.TrainingSeries(observed), key=key)
    z0 = model.elbo_terms(observed, key=key).z0
    logits = np.asarray(model.logits(z0))[0, 0]
    expected = np.log(np.exp(logits).sum()) - logits[2]
    assert float(metrics["cross_entropy"]) == pytest.approx(expected, rel=1e-10)
    assert float(loss - plain) == pytest.approx(7 * expected, rel=1e-10)
    chance = model.classify(observed, samples=3, key=key)
    np.testing.assert_allclose(chance.sum(axis=1), 1.0, rtol=1e-12)
    with pytest.raises(ValueError, match="no classifier"):
        small().classify(observed, key=key)


def test_a_learned_deviation_tends_to_that_of_the_noise():
    errors = np.random.default_rng(0).normal(size=(5000, 2)) * np.array([0.2, 1.5])
    mask = jnp.asarray(np.random.default_rng(1).random((5000, 2)) < 0.7)
    noise = ts.Normal(0.5, variables=2)
    slope = lambda noise: jnp.sum(
        masked_log_prob(noise, jnp.zeros((5000, 2)), jnp.asarray(errors), mask), axis=0
    )
    # The likelihood is largest at the root mean square of what was observed.
    best = np.sqrt([np.square(errors[:, k][mask[:, k]]).mean() for k in range(2)])
    at_best = eqx.tree_at(lambda n: n.log_std, noise, jnp.log(jnp.asarray(best)))
    around = [
        eqx.tree_at(lambda n: n.log_std, noise, jnp.log(jnp.asarray(best)) + step)
        for step in (-0.05, 0.05)
    ]
    for other in around:
        assert np.all(np.asarray(slope(at_best)) > np.asarray(slope(other)))


def test_the_fitted_noise_is_where_the_bound_is_greatest(key):
    model, target = model_of("decays"), observed_of("decays", garbage=1e6)
    observed = target._replace(mask=target.mask & (target.times < 1.0)[..., None])
    noise = ts.fitted_noise(model, observed, target, samples=4000, key=key)

    @eqx.filter_jit
    def slope(noise):
        own = lambda n: jnp.sum(
            eqx.tree_at(lambda m: m.likelihood, model, n).elbo(
                observed, target, samples=4000, key=key
            )
        )
        return eqx.filter_grad(own)(noise).log_std

    # By log s it is (squared error) / s^2 - count: here of counts of three, and of other draws.
    np.testing.assert_allclose(slope(noise), 0.0, atol=0.1)
    blind = target._replace(mask=target.mask.at[..., 1].set(False))
    with pytest.raises(ValueError, match="`target` has no value of variable number 1"):
        ts.fitted_noise(model, blind, key=key)


def test_series_become_observations_and_bad_ones_are_named():
    series = data.irregular_series([([0.0, 1.0], [1.0, 2.0]), ([0.5], [3.0])])
    found = ts.observations(series, window=(-1.0, 2.0))
    assert found.times[1].tolist() == [-1.0, 0.5, 0.5, 2.0]
    assert found.mask[:, :, 0].tolist() == [[False, True, True, False], [False, True, False, False]]
    with pytest.raises(ValueError, match=r"lie in `window`.*series 0 does not"):
        ts.observations(series, window=(-1.0, 0.7))
    with pytest.raises(ValueError, match="series 1, place 0: an observed value that is not finite"):
        ts.observations(series._replace(values=np.where(series.values == 3, np.nan, 0.0)))
    with pytest.raises(ValueError, match="series 0, place 1: a time before"):
        ts.observations(series._replace(times=series.times[:, ::-1].copy() * [[1], [0]]))

"""The RNN-VAE: its decoder by hand, its bound where the evidence is known, times and masks."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from scipy.stats import multivariate_normal

from pullback import data, ode, train
from pullback.models import timeseries as ts

NOISE = 0.4
TIMES = np.array([[0.0, 0.5, 0.7, 2.0], [0.1, 0.3, 1.0, 1.0]])
MASK = np.array([[1, 1, 0, 1], [1, 1, 1, 0]], bool)[:, :, None] & np.ones(2, bool)
VALUES = np.random.default_rng(0).normal(size=(2, 4, 2))


def observed_of(garbage=0.0):
    arrays = TIMES, np.where(MASK, VALUES, garbage), MASK
    return ts.Observations(*map(jnp.asarray, arrays))


def small(**options: Any):
    settings: dict[str, Any] = {"latent": 2, "size": 3, "encoder_size": 2, "gate_width": 4}
    return ts.recurrent_vae(2, key=jr.key(3), **(settings | options))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(model, z, anchor, times):
    """The mean at `times`, gate by gate."""
    cell = model.cell
    w, u, b, own = (np.asarray(a) for a in (cell.weight_ih, cell.weight_hh, cell.bias, cell.bias_n))
    read = lambda h: np.asarray(model.readout.weight) @ h + np.asarray(model.readout.bias)
    h = np.asarray(model.start.weight) @ z + np.asarray(model.start.bias)
    said, last, path = read(h), anchor, []
    for t in times:
        given = w @ np.append(said, t - last) + b
        kept = u @ h
        (gr, gz, gn), (kr, kz, kn) = np.split(given, 3), np.split(kept, 3)
        update = sigmoid(gz + kz)
        new = np.tanh(gn + sigmoid(gr + kr) * (kn + own))
        h, last = (1 - update) * new + update * h, t
        said = read(h)
        path.append(said)
    return np.array(path)


@pytest.mark.parametrize("anchor", ["first", "last"])
def test_the_decoder_reads_back_what_it_wrote_and_how_long_ago(anchor):
    model, observed = small(anchor=anchor), observed_of()
    start = TIMES[:, 0 if anchor == "first" else -1]
    times = start[:, None] + np.array([[0.0, 0.2, 0.9], [0.1, 0.1, 3.0]])
    keys = jr.split(jr.key(0), 2)
    found, solution = model.paths(observed, jnp.asarray(times), samples=5, keys=keys)
    assert found.shape == (5, 2, 3, 2)
    assert not np.asarray(solution.result).any()
    posterior = model.encode(observed)
    # A series' draws are those of its own key.
    noise = np.stack([jr.normal(key, (5, 2)) for key in keys], axis=1)
    z = np.asarray(posterior.mean) + np.asarray(posterior.std) * noise
    expected = [[by_hand(model, z[s, i], start[i], times[i]) for i in range(2)] for s in range(5)]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


class Still(eqx.Module):
    """A cell that keeps its state: the series is then a constant, linear in the latent state."""

    def __call__(self, inputs, h):
        return h


class Exact(eqx.Module):
    mean: np.ndarray
    std: np.ndarray

    def __call__(self, times, values, mask, *, anchor):
        return ts.Posterior(jnp.asarray(self.mean), jnp.asarray(self.std))


def test_at_the_exact_posterior_the_bound_is_the_evidence():
    # x_i = 1.5 (2 z + 0.3) + noise at three times of one variable.
    x, slope, shift = np.array([0.4, 1.1, -0.2]), 3.0, 0.45
    variance = 1 / (1 + 3 * slope**2 / NOISE**2)
    mean = variance * slope * np.sum(x - shift) / NOISE**2
    model = ts.RecurrentVAE(
        encoder=Exact(np.array([mean]), np.array([math.sqrt(variance)])),
        start=lambda z: 2 * z + 0.3,
        cell=Still(),
        readout=lambda h: 1.5 * h,
        likelihood=ts.Normal(NOISE),
    )
    mask = np.array([True, True, False, True])
    values = np.insert(x, 2, 99.0)
    observed = ts.Observations(*(jnp.asarray(a) for a in (
        TIMES[:1], values[None, :, None], mask[None, :, None])))  # fmt: skip
    n = 4000
    log_x, kl, error = (float(a[0]) for a in model.elbo_parts(observed, samples=n, key=jr.key(0)))
    covariance = slope**2 * np.ones((3, 3)) + NOISE**2 * np.eye(3)
    truth = multivariate_normal(np.full(3, shift), covariance).logpdf(x)  # pyrefly: ignore
    gradient = slope * np.sum(x - shift - slope * mean) / NOISE**2
    quadratic = 3 * slope**2 / NOISE**2 * variance
    spread = math.sqrt(quadratic**2 / 2 + gradient**2 * variance)
    assert abs(log_x - kl - float(truth)) < 4 * spread / math.sqrt(n)
    assert kl == pytest.approx((mean**2 + variance - 1 - math.log(variance)) / 2, rel=1e-10)
    expected = np.sum((x - shift - slope * mean) ** 2) + 3 * slope**2 * variance
    assert abs(error - expected) < 4 * 2 * NOISE**2 * spread / math.sqrt(n)


def test_the_loss_is_minus_the_mean_bound_and_sees_no_masked_value():
    model = small()
    compiled = eqx.filter_jit(ts.recurrent_vae_loss)
    value = eqx.filter_value_and_grad(lambda m, b: compiled(m, b, key=jr.key(1))[0])
    clean, garbage = (value(model, ts.TrainingSeries(observed_of(g))) for g in (0.0, 1e6))
    for a, b in zip(jax.tree.leaves(clean), jax.tree.leaves(garbage), strict=True):
        np.testing.assert_array_equal(a, b)
    loss, metrics = ts.recurrent_vae_loss(model, ts.TrainingSeries(observed_of()), key=jr.key(1))
    log_x, kl, error = model.elbo_parts(observed_of(), key=jr.key(1))
    assert float(loss) == pytest.approx(float(jnp.mean(kl - log_x)), rel=1e-12)
    assert float(loss) == pytest.approx(float(clean[0]), rel=1e-12)
    assert float(metrics["mse"]) == pytest.approx(float(error.sum()) / MASK.sum(), rel=1e-12)
    assert loss.dtype == jnp.float64


def test_what_follows_a_window_is_written_from_its_end(key):
    series = data.irregular_series([(TIMES[i], VALUES[i]) for i in range(2)][:1])
    model, observed = small(anchor="last"), ts.observations(series)
    found = ts.forecast(model, observed, jnp.asarray([[2.5, 3.0]]), samples=30, key=key)
    assert found.mean.shape == (1, 2, 2)
    for times in ([[1.0, 3.0]], [[3.0, 2.5]]):
        with pytest.raises(ode.SolveError, match="increasing"):
            ts.predict(model, observed, jnp.asarray(times), samples=30, key=key)
    for wrong in (
        lambda: model.elbo_parts(observed, key=key),
        lambda: train.fit(
            model, ts.recurrent_vae_loss, ts.TrainingSeries(observed),
            optimiser=optax.sgd(0.1), steps=1, batch_size=1, key=key,
        ),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="series 0 is asked for a time before its last one"):
            wrong()


def test_of_classes_it_reads_back_their_probabilities(key):
    model = small(likelihood=ts.Categorical(3))
    assert model.cell.input_size == 2 * 3 + 1
    labels = jnp.asarray(np.random.default_rng(0).integers(0, 3, (2, 4, 2)), float)
    seen = observed_of()._replace(values=labels)
    found = ts.predict(model, seen, seen.times, samples=20, key=key)
    assert found.mean.shape == (2, 4, 2, 3)
    np.testing.assert_allclose(found.mean.sum(-1), 1, rtol=1e-6)


def test_wrong_settings_are_refused(key):
    with pytest.raises(ValueError, match="`size` must be 1 or more"):
        small(size=0)
    # Of the second kind where types are checked.
    with pytest.raises((ValueError, TypeError), match="anchor"):
        small(anchor="middle")
    with pytest.raises(ValueError, match="`samples` must be 1 or more"):
        small().elbo_parts(observed_of(), samples=0, key=key)

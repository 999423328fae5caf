"""Intensities with closed forms, and an intensity found from events."""

import inspect

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from pullback import data, train
from pullback.models import timeseries as ts

C, D, END = 2.0, 0.7, 5.0


def oscillating():
    """lambda = c + d sin t, read off a rotation."""
    rotation = jnp.asarray([[0.0, -1.0], [1.0, 0.0]])
    return ts.PoissonHead(lambda t, z, args: rotation @ z, lambda z: C + D * z[1:], 2)


def test_the_integral_of_an_oscillating_rate_is_the_closed_form():
    times = jnp.asarray([[0.0, 0.3, 2.0, END], [0.0, 1.0, 1.0, 1.0]])
    start = jnp.asarray([[1.0, 0.0]] * 2)
    found = oscillating().solve(start, times, rtol=1e-9, atol=1e-10, solver=diffrax.Dopri8())
    t = np.asarray(times)
    np.testing.assert_allclose(found.rate[:, :, 0], C + D * np.sin(t), atol=1e-7)
    np.testing.assert_allclose(
        found.integral[:, :, 0], C * t + D * (1 - np.cos(t)), rtol=0, atol=1e-7
    )


def test_the_log_likelihood_is_that_of_events_one_by_one():
    """Of n events at known times, and of nothing in the rest of the window: by small bins."""
    events, window = np.array([0.4, 1.3, 3.9]), (0.0, END)
    times = jnp.asarray([[window[0], *events, window[1], window[1]]])
    mask = jnp.asarray([[False, True, True, True, False, False]])[:, :, None]
    found = oscillating().solve(jnp.asarray([[1.0, 0.0]]), times, rtol=1e-8, atol=1e-9)
    log_prob = float(ts.poisson_log_prob(found.rate, found.integral, mask)[0])
    edges = np.linspace(*window, 2_000_001)
    middles, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    chance = width * (C + D * np.sin(middles))
    hit = np.searchsorted(edges, events) - 1
    bins = np.log1p(-np.delete(chance, hit)).sum() + np.log(chance[hit] / width).sum()
    assert log_prob == pytest.approx(bins, abs=1e-4)


def test_where_nothing_happened_a_rate_of_zero_does_no_harm():
    rate, integral = jnp.asarray([[0.0], [2.0]]), jnp.asarray([[0.0], [1.0]])
    mask = jnp.asarray([[False], [True]])
    value, slope = jax.value_and_grad(ts.poisson_log_prob)(rate, integral, mask)
    assert float(value) == pytest.approx(np.log(2) - 1)
    assert slope.tolist() == [[0.0], [0.5]]


def test_a_constant_rate_is_found_as_events_over_time():
    n = 7
    times = np.concatenate([[0.0], np.sort(np.random.default_rng(0).uniform(0, END, n)), [END]])
    mask = np.concatenate([[False], np.ones(n, bool), [False]])
    head = ts.PoissonHead(lambda t, z, args: 0 * z, jnp.exp, 1)

    def log_prob(level):
        found = head.solve(level[None, None], jnp.asarray(times)[None])
        return ts.poisson_log_prob(found.rate, found.integral, jnp.asarray(mask)[None, :, None])[0]

    slope = jax.jit(jax.grad(log_prob))
    best = jnp.log(jnp.asarray(n / END))
    # The likelihood's slope vanishes at N / T, rises below it and falls above it.
    assert abs(float(slope(best))) < 1e-8
    assert float(slope(best - 0.1)) == pytest.approx(n - END * np.exp(best - 0.1), rel=1e-6)
    assert float(slope(best + 0.1)) < 0 < float(slope(best - 0.1))


@pytest.mark.slow
def test_a_learned_process_comes_near_the_intensity_that_drew_the_events():
    rate = lambda t: 4 + 3 * np.sin(2 * np.pi * t / END)
    events = data.poisson_events(rate, 7.0, END, 100, seed=0)
    series = data.irregular_series([(times, np.ones(len(times))) for times in events])
    observed = ts.observations(series, window=(0.0, END))
    model, _ = train.fit(
        ts.PoissonProcess(1, latent=3, width=16, scale=4.0, key=jr.key(0)),
        ts.event_loss,
        observed,
        optimiser=optax.adam(optax.cosine_decay_schedule(2e-2, 150)),
        steps=150,
        batch_size=100,
        log_every=150,
        key=jr.key(1),
    )
    grid = jnp.linspace(0.0, END, 21)
    found = model.intensity(grid[None]).integral[0, :, 0]
    t = np.asarray(grid)
    truth = 4 * t + 3 * END / (2 * np.pi) * (1 - np.cos(2 * np.pi * t / END))
    # The number of events in 100 series has a deviation of 1 / sqrt(2000), 2 %: four of them.
    assert np.max(np.abs(found - truth)) / truth[-1] < 4 / np.sqrt(100 * truth[-1])
    # New events are as likely under it as under the truth, and not under a constant rate.
    events = data.poisson_events(rate, 7.0, END, 100, seed=1)
    new = data.irregular_series([(times, np.ones(len(times))) for times in events])
    new = ts.observations(new, window=(0.0, END))
    learned = np.asarray(model.log_prob(new.times, new.mask)[0])
    exact = np.array([np.log(rate(times)).sum() for times in events]) - truth[-1]
    level = float(np.mean(observed.mask.sum(axis=(1, 2))))
    constant = np.array([len(times) * np.log(level / END) for times in events]) - level
    assert np.mean(learned - constant) > 0.8 * np.mean(exact - constant) > 0.5


def test_a_latent_ode_scores_when_it_was_observed(key):
    """With a Poisson head the bound gains the log-likelihood of the times, with weight 1."""
    rate = 1.7
    model = ts.LatentODE(
        encoder=lambda t, x, m, *, anchor: ts.Posterior(jnp.zeros(3), jnp.ones(3)),
        field=lambda t, z, args: -z,
        decoder=lambda z: z,
        likelihood=ts.Normal(1.0),
        poisson=ts.PoissonHead(lambda t, z, args: -z, lambda z: jnp.full(2, rate), 1),
    )
    times = jnp.asarray([[0.0, 1.0, 4.0]])
    mask = jnp.asarray([[[False, False], [True, True], [True, False]]])
    found = model.elbo_terms(ts.Observations(times, jnp.zeros((1, 3, 2)), mask), key=key)
    assert float(found.log_times[0]) == pytest.approx(3 * np.log(rate) - 2 * rate * 4, rel=1e-6)
    assert float(found.elbo[0]) == pytest.approx(
        float(found.log_likelihood[0] + found.log_times[0] - found.kl[0]), rel=1e-12
    )


@pytest.mark.parametrize("unix", [0.0, 1.7e9])
def test_times_of_any_kind_keep_what_lies_between_them(unix, x32):
    """Whole numbers do not round `t0`, and NumPy's seconds since 1970 stay apart."""
    process = ts.PoissonProcess(1, t0=unix + 0.5, key=jr.key(0))
    mask = np.array([[[False], [True], [False]]])
    near = ts.PoissonProcess(1, t0=0.5, key=jr.key(0))
    want, _ = near.log_prob(np.array([[1.0, 2.0, 3.0]]), mask)
    given = [np.array([[1.0, 2.0, 3.0]]) + unix, np.array([[1, 2, 3]]) + int(unix)]
    for times in given + [jnp.array([[1, 2, 3]])] * (unix == 0):
        eager = lambda times=times: process.log_prob(times, mask)
        for run in (eager, jax.jit(eager)):
            found, result = run()
            assert int(result[0]) == 0
            np.testing.assert_allclose(found, want, rtol=1e-5)


def test_no_rows_and_what_does_not_fit():
    process = ts.PoissonProcess(1, key=jr.key(0))
    times, mask = np.array([[0.0, 0.4, 1.0]]), np.array([[[False], [True], [False]]])
    for run in (process.log_prob, eqx.filter_jit(process.log_prob)):
        assert run(times[:0], mask[:0])[0].shape == (0,)
    with pytest.raises(ValueError, match=r"no window may begin before t0=0.0, .* time -1.0"):
        process.log_prob(times - 1, mask)
    dates = np.array([["2024-01-01", "2024-01-02", "2024-01-02"]], "M8[D]")
    with pytest.raises(TypeError, match=r"times must be numbers, got datetime64: give the seconds"):
        inspect.unwrap(ts.PoissonProcess._from_t0)(process, dates)
    rate = jnp.ones((1, 3, 1))
    with pytest.raises(ValueError, match=r"one shape, .*, got \[1, 3, 1\], .* and \[1, 3\]"):
        inspect.unwrap(ts.poisson_log_prob)(rate, rate, jnp.ones((1, 3), bool))

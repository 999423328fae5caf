"""The process of the weights where it is known exactly: posteriors, moments, controls."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest

from pullback.models.bayes import BottleneckDrift, BrownianPrior, OUPrior, WeightProcess
from pullback.sampling import grad_stats

# dw = -w dt + 0.7 dB from 0.4, and y = 1.2 seen of w_1 with noise of standard deviation 0.3.
SIGMA, NOISE, SEEN, START = 0.7, 0.3, 1.2, 0.4
FORMS = ("analytic", "monte_carlo", "sticking_the_landing")


@pytest.fixture
def uncompiled(monkeypatch):
    """Operation by operation: two compiled programs may fuse, and so round, differently."""
    # The index of a loop is then a Python number, which its annotation does not allow.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with jax.disable_jit():
        yield


class Control(eqx.Module):
    """sigma (phi_1 u* + phi_2); at (1, 0) the process is the true posterior."""

    phi: jax.Array

    def __call__(self, t, w, args):
        shrink = jnp.exp(-(1 - t))
        variance = SIGMA**2 * (1 - shrink**2) / 2
        return SIGMA * (
            self.phi[0] * SIGMA * shrink * (SEEN - w * shrink) / (NOISE**2 + variance) + self.phi[1]
        )


def draws(control, key, *, form, steps, paths):
    """log p(y | w_1) - KL on each path."""
    process = WeightProcess(jnp.full(1, START), OUPrior(sigma=SIGMA), control)
    found = process.sample([0.0, 1.0], paths=paths, kl=form, steps=steps, throw=False, key=key)
    apart = (SEEN - found.weights[-1, :, 0]) / NOISE
    return -0.5 * apart**2 - np.log(NOISE * np.sqrt(2 * np.pi)) - found.kl[-1]


def log_evidence():
    mean, variance = START * np.exp(-1), SIGMA**2 * (1 - np.exp(-2)) / 2 + NOISE**2
    return -0.5 * ((SEEN - mean) ** 2 / variance + np.log(2 * np.pi * variance))


class Bound(eqx.Module):
    form: str = eqx.field(static=True)
    steps: int = eqx.field(static=True)

    def __call__(self, control, *, key):
        return draws(control, key, form=self.form, steps=self.steps, paths=1)[0]


def test_with_the_exact_control_every_path_knows_the_evidence(key):
    assert log_evidence() == pytest.approx(-2.15622, abs=5e-6)
    exact = Control(jnp.array([1.0, 0.0]))
    spread = {}
    for steps in (100, 400):
        errors = draws(exact, key, form="monte_carlo", steps=steps, paths=2000) - log_evidence()
        # Euler's error is of the order of the step's square root on a path, of the step on average.
        assert abs(jnp.mean(errors)) < 4 * jnp.std(errors) / np.sqrt(2000) + 1 / steps
        spread[steps] = float(jnp.std(errors))
    assert spread[400] == pytest.approx(0.0595, rel=0.15)
    assert spread[100] / spread[400] == pytest.approx(2, rel=0.15)
    same = draws(exact, key, form="sticking_the_landing", steps=400, paths=2000)
    np.testing.assert_allclose(same, errors + log_evidence(), rtol=1e-10)
    # The control group: without the martingale the bound is right on average alone.
    assert jnp.std(draws(exact, key, form="analytic", steps=400, paths=2000)) > 1.5


def test_only_sticking_the_landing_loses_its_variance_at_the_optimum(key):
    table = {
        ("analytic", 400): (1.01, 0.60),
        ("monte_carlo", 400): (1.77, 1.02),
        ("sticking_the_landing", 50): (0.118, 0.046),
        ("sticking_the_landing", 400): (0.0142, 0.0055),
    }
    exact, keys = Control(jnp.array([1.0, 0.0])), jr.split(key, 2000)
    found = {k: grad_stats(Bound(*k), exact, keys).std.phi for k in table}
    for case, want in table.items():
        # A standard deviation from 2000 draws of heavy tails.
        np.testing.assert_allclose(found[case], want, rtol=0.2, err_msg=str(case))
    assert jnp.all(found["analytic", 400] > 50 * found["sticking_the_landing", 400])


def test_away_from_the_optimum_the_three_forms_have_one_mean(key):
    # Stopping the gradient of the path too would be biased, and shows here.
    control = Control(jnp.array([0.5, 0.3]))
    moments = [
        grad_stats(Bound(form, 50), control, jr.split(jr.fold_in(key, i), 4000))
        for i, form in enumerate(FORMS)
    ]
    for i, a in enumerate(moments):
        for b in moments[:i]:
            error = jnp.sqrt((a.std.phi**2 + b.std.phi**2) / 4000)
            assert jnp.all(jnp.abs(a.mean.phi - b.mean.phi) < 4 * error)


def test_without_a_control_there_is_no_kl_and_the_distribution_is_the_prior(key, uncompiled):
    process = WeightProcess(jnp.arange(3.0), OUPrior(sigma=0.4), BottleneckDrift(3, (2,), key=key))
    posterior = process.sample([0.0, 1.0], paths=5, steps=5, key=key)
    prior = process.sample([0.0, 1.0], paths=5, distribution="prior", kl=None, steps=5, key=key)
    assert jnp.all(posterior.kl == 0)
    assert jnp.all(prior.kl == 0)
    np.testing.assert_array_equal(posterior.weights, prior.weights)


def test_the_kl_of_a_constant_control_has_its_half(key):
    # The paper's code gathers u^2, twice the KL.
    c = jnp.array([0.3, -1.0])
    process = WeightProcess(jnp.zeros(2), BrownianPrior(sigma=0.5), lambda t, w, args: 0.5 * c)
    found = process.sample([0.0, 1.5, 2.0], paths=4, kl="analytic", key=key)
    want = 0.5 * float(c @ c) * np.array([0.0, 1.5, 2.0])
    np.testing.assert_allclose(found.kl, np.repeat(want[:, None], 4, axis=1), rtol=1e-12)
    # Girsanov: u . B_T is what the Monte Carlo form adds.
    drawn = process.sample([0.0, 1.5, 2.0], paths=4, kl="monte_carlo", key=key)
    ends = (drawn.weights[-1] - 0.5 * c[None] * 2.0) / 0.5
    np.testing.assert_allclose(drawn.kl[-1], want[-1] + ends @ c, rtol=1e-10)


def test_twenty_steps_have_equal_lengths_and_reach_the_end(key):
    # In the paper's code half of them have no length, and depth ends at 0.526.
    clock = lambda t, w, args: jnp.array([1.0, 0.0]) + jnp.array([0.0, 1.0]) * t
    process = WeightProcess(jnp.zeros(2), BrownianPrior(sigma=1e-12), clock)
    found = process.sample([0.0, 1.0], paths=1, kl=None, steps=20, key=key)
    np.testing.assert_allclose(found.weights[-1, 0], [1.0, sum(range(20)) / 400], rtol=1e-9)
    assert int(found.solution.stats.accepted) == 20
    assert float(found.solution.t_reached) == 1.0
    decay = WeightProcess(jnp.ones(1), OUPrior(sigma=1e-12), lambda t, w, args: jnp.zeros_like(w))
    end = decay.sample([0.0, 1.0], paths=1, kl=None, steps=20, key=key).weights[-1, 0, 0]
    assert float(end) == pytest.approx((1 - 1 / 20) ** 20, rel=1e-9)


def test_the_martingale_is_taken_at_the_current_weights(key, uncompiled):
    # In the paper's code it is taken at the weights that the network was initialised with.
    pull = lambda t, w, args: jnp.sin(3 * w) * (1 + t)
    process = WeightProcess(jnp.array([0.5, -0.2]), OUPrior(sigma=0.8), pull)
    times = jnp.linspace(0.0, 1.0, 11)
    paths = process.sample(times, paths=3, kl="monte_carlo", steps=1, key=key)
    plain = process.sample(times, paths=3, kl="analytic", steps=1, key=key)
    np.testing.assert_array_equal(paths.weights, plain.weights)
    here, t = paths.weights[:-1], times[:-1, None, None]
    g = jnp.sin(3 * here) * (1 + t)
    noise = (paths.weights[1:] - here - (g - here) / 10) / 0.8
    martingale = jnp.sum(g / 0.8 * noise, axis=(0, 2))
    np.testing.assert_allclose(paths.kl[-1] - plain.kl[-1], martingale, rtol=1e-9)
    at_start = jnp.sum(g[:1] / 0.8 * noise, axis=(0, 2))
    assert jnp.all(jnp.abs(martingale - at_start) > 1e-2)


@pytest.mark.parametrize(
    ("prior", "mean", "variance"),
    [
        (OUPrior(sigma=0.5), np.exp(-1), 0.25 * (1 - np.exp(-2)) / 2),
        (OUPrior(sigma=0.5, rate=3.0), np.exp(-3), 0.25 * (1 - np.exp(-6)) / 6),
        (BrownianPrior(sigma=0.5), 1.0, 0.25),
    ],
)
def test_the_prior_has_the_moments_of_its_closed_form(prior, mean, variance, key):
    process = WeightProcess(jnp.ones(1), prior, lambda t, w, args: 10 + w)
    found = process.sample(
        [0.0, 1.0], paths=10_000, distribution="prior", kl=None, steps=400, key=key
    )
    w = found.weights[-1]
    # 4 standard errors, and Euler's bias, which is below 1 % of either at 400 steps.
    assert abs(jnp.mean(w) - mean) < 4 * np.sqrt(variance / 1e4) + 0.01 * mean
    assert abs(jnp.var(w) - variance) < 4 * variance * np.sqrt(2 / 1e4) + 0.01 * variance


def test_the_bottleneck_is_linear_in_the_number_of_weights(key):
    count = lambda dim: sum(
        leaf.size for leaf in jax.tree.leaves(BottleneckDrift(dim, (2, 64, 2), key=key))
    )
    assert count(2000) - count(1000) == 1000 * (2 + 2 + 4)
    drift, w = BottleneckDrift(7, (2, 3), key=key), jnp.arange(7.0)
    assert jnp.all(drift(0.4, w) == 0)
    # Zero in its last layer alone, so that it can learn, and it sees the time.
    moved = eqx.tree_at(lambda d: d.layers[-1].weight, drift, jnp.ones((7, 3)))
    assert jnp.any(moved(0.4, w) != moved(0.8, w))
    assert jnp.any(moved(0.4, w) != moved(0.4, 2 * w))


def test_settings_of_a_prior_are_not_trained(key):
    def loss(process):
        return jnp.sum(process.sample([0.0, 1.0], paths=2, kl="analytic", key=key).weights[-1])

    process = WeightProcess(jnp.ones(2), OUPrior(sigma=0.4), BottleneckDrift(2, (2,), key=key))
    grad = eqx.filter_grad(loss)(process)
    assert jax.tree.leaves(grad.prior) == []
    assert jnp.all(grad.start != 0)


def test_what_does_not_fit_is_refused(key):
    for sigma in (0.0, -1.0):
        with pytest.raises(ValueError, match="`sigma` must be positive"):
            OUPrior(sigma=sigma)
    with pytest.raises(ValueError, match="`rate` must be positive"):
        OUPrior(sigma=1.0, rate=0.0)
    with pytest.raises(ValueError, match="`widths\\[1\\]` must be 1 or more, got 0"):
        BottleneckDrift(3, (2, 0), key=key)
    process = WeightProcess(jnp.ones(2), OUPrior(sigma=0.4), BottleneckDrift(2, (2,), key=key))
    with pytest.raises(ValueError, match="`distribution` must be 'posterior' or 'prior'"):
        process.drift_of("likelihood")
    with pytest.raises(ValueError, match="`paths` must be 1 or more, got 0"):
        process.sample([0.0, 1.0], paths=0, key=key)

"""Training by the learned Stein discrepancy: its gradient is known, and where it leads."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from scipy.special import ndtri

from pullback.calculus import ExactDivergence, HutchinsonDivergence
from pullback.models.energy import (
    LinearICA,
    ScoreMatchingLoss,
    SteinStep,
    fit_stein,
)

N = 40_002  # rows of a batch, of which half are the model's
# Quantiles in place of draws: means over them are integrals.
HALF = jnp.asarray(ndtri((np.arange(N // 2) + 0.5) / (N // 2)))[:, None]


class Normal(eqx.Module):
    mean: jax.Array
    log_scale: jax.Array

    def log_density(self, x):
        z = (x - self.mean) * jnp.exp(-self.log_scale)
        return -jnp.sum(z**2) / 2 - jnp.sum(self.log_scale)


class Line(eqx.Module):
    """A field with a slope and an intercept; the best critic of two Gaussians is one."""

    slope: jax.Array
    intercept: jax.Array

    def __call__(self, x):
        return self.slope * x + self.intercept


MODEL = Normal(jnp.array([0.4]), jnp.array([0.2]))


def best_critic(l2):
    """Of the model above and standard normal data: the gap of scores over twice l2."""
    variance = jnp.exp(2 * MODEL.log_scale)
    return Line((1 - 1 / variance) / (2 * l2), MODEL.mean / variance / (2 * l2))


def test_at_the_best_critic_the_models_gradient_is_that_of_score_matching():
    l2 = 0.7
    step = SteinStep(optax.sgd(1.0), optax.sgd(0.0), l2, n_critic=1, divergence=ExactDivergence())
    state, metrics = step(
        step.init(MODEL, best_critic(l2)), jnp.concatenate([HALF, HALF]), key=jr.key(0)
    )
    slope = jax.grad(lambda model: ScoreMatchingLoss()(model, HALF, key=jr.key(0))[0])(MODEL)
    moved = jax.tree.map(lambda a, b: a - b, MODEL, state.model)
    m, v = 0.4, np.exp(0.4)
    # Closed form, of d/dm and d/d log_scale of E[(s_q - s_p)^2] / 2.
    exact = np.array([m / v**2, 2 / v * (1 - (1 + m**2) / v)])
    found = np.array([moved.mean[0], moved.log_scale[0]])
    np.testing.assert_allclose(found, exact / (2 * l2), atol=2e-4)
    np.testing.assert_allclose([slope.mean[0], slope.log_scale[0]], exact, atol=4e-4)
    # There the discrepancy is the Fisher divergence over 2 l2, and the penalty half of that.
    fisher = (1 - 1 / v) ** 2 + (m / v) ** 2
    np.testing.assert_allclose(metrics["discrepancy"], fisher / (2 * l2), atol=2e-4)
    np.testing.assert_allclose(l2 * metrics["penalty"], fisher / (4 * l2), atol=2e-4)


def test_the_critic_climbs_to_the_best_one_while_the_model_stands_still():
    l2 = 0.7
    still = SteinStep(optax.sgd(0.0), optax.sgd(0.3), l2, n_critic=40, divergence=ExactDivergence())
    few = jnp.asarray(ndtri((np.arange(2000) + 0.5) / 2000))[:, None]
    state, _ = jax.jit(lambda: still(
        still.init(MODEL, Line(jnp.zeros(1), jnp.zeros(1))), jnp.tile(few, (41, 1)), key=jr.key(0)
    ))()  # fmt: skip
    want = best_critic(l2)
    np.testing.assert_allclose(state.critic.slope, want.slope, atol=2e-3)
    np.testing.assert_allclose(state.critic.intercept, want.intercept, atol=1e-6)
    np.testing.assert_array_equal(state.model.mean, MODEL.mean)


def test_sliced_score_matching_takes_a_divergence(key):
    x = jr.normal(key, (4000, 1))
    exact = ScoreMatchingLoss()(MODEL, x, key=key)[0]
    sliced = ScoreMatchingLoss(HutchinsonDivergence("gaussian"))(MODEL, x, key=key)[0]
    # The Hessian is -1/v everywhere, and a squared normal has variance 2: 4 standard errors.
    assert abs(exact - sliced) < 4 * np.sqrt(2 / 4000) * np.exp(-0.4)
    assert exact != sliced


def test_a_stack_of_models_finds_the_data(key):
    """The answer of maximum likelihood is within 0.1 for each of two runs, from afar."""
    x = 1.0 + 0.5 * jr.normal(key, (3000, 1))
    start = Normal(jnp.array([[-1.0], [2.0]]), jnp.array([[0.5], [0.0]]))
    model, info = fit_stein(
        start, x, width=16, steps=400, batch_size=100, n_critic=3, learning_rate=0.02,
        critic_learning_rate=0.01, progress=False, key=jr.split(key, 2),
    )  # fmt: skip
    np.testing.assert_allclose(model.mean[:, 0], x.mean(), atol=0.1)
    np.testing.assert_allclose(jnp.exp(model.log_scale[:, 0]), x.std(), atol=0.1)
    assert info.history["discrepancy"].shape == (4, 2)
    assert (info.history["discrepancy"][0] > 10 * abs(info.history["discrepancy"][-1])).all()


@pytest.mark.slow
def test_linear_ica_closes_the_gap_to_maximum_likelihood(key):
    """Of the nats that the start is behind the truth, at most a twentieth is left."""
    data_key, start_key, fit_key = jr.split(key, 3)
    truth = LinearICA(jnp.array([[1.0, 0.5, 0.0], [-0.4, 1.2, 0.3], [0.2, 0.1, -0.8]]))
    x, test = truth.sample(data_key, (12_000,)), truth.sample(start_key, (5000,))
    start = LinearICA(jnp.eye(3) + 0.5 * jr.normal(start_key, (3, 3)))
    found, _ = fit_stein(
        start, x, width=32, steps=1500, batch_size=128, l2=0.5, learning_rate=2e-3,
        progress=False, key=fit_key,
    )  # fmt: skip
    nll = lambda model: -float(jnp.mean(jax.vmap(model.log_prob)(test)))
    assert nll(found) - nll(truth) < (nll(start) - nll(truth)) / 20


def bad(**change):
    arguments = {
        "model": MODEL, "x": jnp.zeros((60, 1)), "progress": False, "key": jr.key(0), **change
    }  # fmt: skip
    return fit_stein(arguments.pop("model"), arguments.pop("x"), **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": jnp.full((60, 1), jnp.nan)}, "`x` must be finite, and 60 of its entries are not"),
        ({"model": lambda x: x}, r"`model` must give a floating scalar at one point.*\(1,\)"),
        ({"model": lambda x: jnp.argmax(x)}, r"`model` must give a floating scalar.*dtype int"),
        ({"model": 3}, "`model` must have `score`, `log_density` or `log_prob`"),
        ({"critic": lambda x: x[0]}, r"`critic` must map a point of shape \(1,\)"),
        ({"batch_size": 30}, "Take 10 or less"),
        ({"l2": 0.0}, "`l2` must be above 0"),
        ({"n_critic": 0}, "`n_critic` must be at least 1, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        bad(**change)


def test_a_model_that_cannot_be_differentiated_is_refused():
    def opaque(x):
        return jax.pure_callback(
            lambda x: x.sum(), jax.ShapeDtypeStruct((), x.dtype), x, vmap_method="sequential"
        )

    with pytest.raises(ValueError, match="`model` cannot be differentiated"):
        bad(model=opaque)


def test_a_batch_that_does_not_divide_is_refused():
    step = SteinStep(optax.sgd(0.1), optax.sgd(0.1), n_critic=2)
    state = step.init(MODEL, Line(jnp.zeros(1), jnp.zeros(1)))
    with pytest.raises(ValueError, match=r"multiple of n_critic \+ 1 = 3 rows, got 4"):
        step(state, jnp.zeros((4, 1)), key=jr.key(0))

"""REBAR and RELAX, against enumeration, the score function and finite differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from discrete_problems import BINARY, PROBLEMS, SameSamples, exact_gradient

from pullback.sampling import (
    NeuralControlVariate,
    Relax,
    ScoreFunction,
    _relax,
    _relaxation,
    expectation,
    grad_stats,
    rebar,
    value_and_grad,
)


def neural(size, residual=False, seed=0):
    net = eqx.nn.MLP(size, "scalar", 5, 1, jnp.tanh, key=jr.key(seed))
    # Large, so that a term that is missing shows.
    net = jax.tree.map(lambda x: 3 * x if eqx.is_inexact_array(x) else x, net)
    return NeuralControlVariate(net, temperature=0.7, residual=residual)


def estimators(size):
    return {
        "score": ScoreFunction(),
        "relax": Relax(neural(size)),
        "residual": Relax(neural(size, residual=True)),
        "rebar": rebar(eta=0.8, temperature=0.6),
    }


@pytest.fixture(params=PROBLEMS)
def problem(request):
    return PROBLEMS[request.param]


def measured(problem, estimators, key, n=100_000):
    """Moments of the gradients of all estimators, in one program."""
    f, family, logits = problem

    def loss(all_logits, *, key):
        losses = [
            expectation(f, family(all_logits[name]), estimator=estimator, key=key)
            for name, estimator in estimators.items()
        ]
        return sum(losses, jnp.zeros(()))

    start = dict.fromkeys(estimators, logits)
    return grad_stats(loss, start, jr.split(key, n), batch_size=10_000)


def test_the_mean_gradient_is_the_exact_one(problem, key):
    truth = exact_gradient(*problem)
    found = measured(problem, estimators(problem[2].size), key)
    for name, mean in found.mean.items():
        z = (mean - truth) / found.standard_error[name]
        assert bool(jnp.all(jnp.abs(z) < 4)), (name, z)


@pytest.mark.parametrize("which", PROBLEMS)
def test_a_conditional_sample_that_is_not_differentiated_would_be_caught(which, monkeypatch, key):
    """The classic mistake: v' depends on the parameters."""
    name = {"binary": "_binary_given", "one_hot": "_one_hot_given"}[which]
    right = getattr(_relaxation, name)
    wrong = lambda b, x, noise: right(b, jax.lax.stop_gradient(x), noise)
    if which == "binary":
        # Only the v' is held, and not the location.
        wrong = lambda b, x, noise: (
            right(b, jax.lax.stop_gradient(x), noise) + (x - jax.lax.stop_gradient(x))
        )
    monkeypatch.setattr(_relaxation, name, wrong)
    f, family, logits = PROBLEMS[which]
    found = measured(PROBLEMS[which], {"relax": Relax(neural(logits.size))}, key, n=20_000)
    z = (found.mean["relax"] - exact_gradient(f, family, logits)) / found.standard_error["relax"]
    assert float(jnp.max(jnp.abs(z))) > 15


def no_network(size):
    return jax.tree.map(lambda x: 0 * x if eqx.is_inexact_array(x) else x, neural(size).net)


def gradient(f, family, logits, estimator, key, **options):
    run = value_and_grad(f, family, estimator=estimator, **options)
    return eqx.filter_jit(run)(logits, key=key)


def test_without_a_control_variate_it_is_the_score_function(problem, key):
    f, family, logits = problem
    same = lambda x: SameSamples(family(x))
    plain = gradient(f, same, logits, ScoreFunction(), key, num_samples=20)
    nothing = Relax(NeuralControlVariate(no_network(logits.size)))
    for estimator in (rebar(eta=0.0), nothing):
        found = gradient(f, family, logits, estimator, key, num_samples=20)
        # To a few roundings: sums over samples may be taken in another order.
        np.testing.assert_allclose(found.params, plain.params, rtol=1e-14, atol=1e-15)
        np.testing.assert_allclose(found.value, plain.value, rtol=1e-14)


def test_a_constant_in_the_control_variate_changes_nothing_on_average(key):
    """As a baseline: the mean stays, and the variance moves."""
    c = neural(BINARY.size)
    shifted = eqx.tree_at(lambda c: c.net.layers[-1].bias, c, replace_fn=lambda b: b + 20)
    both = {"plain": Relax(c), "shifted": Relax(shifted)}
    found = measured(PROBLEMS["binary"], both, key, n=50_000)
    gap = found.mean["plain"] - found.mean["shifted"]
    noise = jnp.hypot(found.standard_error["plain"], found.standard_error["shifted"])
    assert bool(jnp.all(jnp.abs(gap) < 4 * noise))
    assert bool(jnp.all(found.std["shifted"] > 2 * found.std["plain"]))


def test_the_control_variates_gradient_is_that_of_the_variance(problem, key):
    """Central differences of the mean of the squared gradient, at the same noise."""
    with_q, family, logits = problem
    # The objective is of the estimator's own part: not of what `f` has of q.
    f = lambda b, q: with_q(b, jax.lax.stop_gradient(q))
    n = 6
    start = Relax(NeuralControlVariate(neural(logits.size).net, temperature=0.7, residual=True))
    start = eqx.tree_at(lambda e: e.control_variate.net, start, no_network(logits.size))
    noise = jax.tree.map(
        lambda x: 0.5 * jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape),
        eqx.filter(start, eqx.is_inexact_array),
    )
    start = eqx.apply_updates(start, noise)

    @eqx.filter_jit
    def objective(estimator):
        def one(key):
            loss = lambda x: estimator(f, family(x), key[None], None)
            return jnp.sum(jax.grad(loss)(logits) ** 2)

        return jnp.mean(jax.vmap(one)(jr.split(key, n)))

    found = gradient(f, family, logits, start, key, num_samples=n).estimator
    step = 1e-5
    for direction in (found, noise):
        up = eqx.apply_updates(start, jax.tree.map(lambda d: step * d, direction))
        down = eqx.apply_updates(start, jax.tree.map(lambda d: -step * d, direction))
        slope = (objective(up) - objective(down)) / (2 * step)
        along = jax.tree.map(lambda a, b: jnp.sum(a * b), found, direction)
        expected = jax.tree.reduce(jnp.add, along)
        assert float(slope) == pytest.approx(float(expected), rel=1e-5)


def test_the_control_variate_touches_neither_the_decoder_nor_anything_else(key):
    """The decoder's gradient is that at the hard samples; both signs of the loss agree."""
    weight = jr.normal(key, (4, 3))

    def decoder(weight):
        return lambda b, q: jnp.sum(jnp.sin(weight @ b))

    def loss(weight, logits, sign, estimator, family):
        q = family(logits)
        return sign * expectation(decoder(weight), q, estimator=estimator, num_samples=5, key=key)

    bernoulli = dist.BernoulliLogits
    of_weight = eqx.filter_jit(jax.grad(loss))
    same = lambda x: SameSamples(bernoulli(x))
    plain = of_weight(weight, BINARY, 1.0, ScoreFunction(), same)
    estimator = Relax(neural(3, residual=True))
    np.testing.assert_allclose(
        of_weight(weight, BINARY, 1.0, estimator, bernoulli), plain, rtol=1e-12
    )

    @eqx.filter_jit
    @eqx.filter_grad
    def of_control(estimator, sign):
        return loss(weight, BINARY, sign, estimator, bernoulli)

    up, down = (jax.tree.leaves(of_control(estimator, sign)) for sign in (1.0, -1.0))
    for a, b in zip(up, down, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(bool(jnp.any(a != 0)) for a in up)


def test_a_black_box_is_called_once_a_sample(key):
    calls = []

    def black_box(b):
        calls.append(1)
        return np.asarray((b * np.array([1.0, 2.0, 4.0])).sum() ** 2)

    def f(b, q):
        shape = jax.ShapeDtypeStruct((), b.dtype)
        return jax.pure_callback(black_box, shape, b, vmap_method="sequential")

    family, estimator = dist.BernoulliLogits, Relax(neural(3))
    found = jax.block_until_ready(gradient(f, family, BINARY, estimator, key, num_samples=6))
    assert len(calls) == 6
    white = lambda b, q: jnp.sum(b * jnp.array([1.0, 2.0, 4.0])) ** 2
    same = gradient(white, family, BINARY, estimator, key, num_samples=6)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(same), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_batches_of_samples_change_nothing(key):
    f, family, logits = PROBLEMS["one_hot"]
    estimator = Relax(neural(logits.size, residual=True))
    whole, parts = (
        gradient(f, family, logits, estimator, key, num_samples=10, batch_size=size)
        for size in (None, 4)
    )
    for a, b in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_relaxations_at_the_right_place_correlate(monkeypatch, key):
    """Scores at a wrong place, the probability and not the logit, are unbiased too, but noisier."""
    logits = jnp.array([2.0, -2.0, 2.0])
    f = lambda b, q: jnp.sum(b.astype(float) * jnp.array([1.0, -2.0, 3.0]))
    problem = (f, dist.BernoulliLogits, logits)

    def variance(estimators):
        found = measured(problem, estimators, key, n=20_000)
        return {name: float(jnp.sum(v)) for name, v in found.variance.items()}

    right = variance({"score": ScoreFunction(), "rebar": rebar(temperature=1.0)})
    relaxed_from = _relax.relaxed_from

    def misplaced(distribution, first, second):
        b, z, z_tilde = relaxed_from(distribution, first, second)
        away = jax.nn.sigmoid(distribution.logits) - distribution.logits
        return _relaxation.RelaxedSample(b, z + away, z_tilde + away)

    monkeypatch.setattr(_relax, "relaxed_from", misplaced)
    wrong = variance({"rebar": rebar(temperature=1.0)})

    assert right["rebar"] < 0.5 * right["score"]
    assert wrong["rebar"] > 1.4 * right["rebar"]


def test_extremes_are_finite_in_low_precision(key):
    logits = jnp.array([1e4, -1e4, 0.0, 3.0], jnp.bfloat16)
    f = lambda b, q: jnp.sum(b * b)
    estimator = rebar(temperature=0.01)
    found = gradient(f, dist.BernoulliLogits, logits, estimator, key, num_samples=9)
    assert (found.value.dtype, found.params.dtype) == (jnp.bfloat16, jnp.bfloat16)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(found))


def test_what_does_not_fit_is_refused(key):
    with pytest.raises(ValueError, match="`temperature` must be positive, got 0"):
        rebar(temperature=0.0)
    with pytest.raises(ValueError, match="`residual`"):
        NeuralControlVariate(jnp.sum, temperature=None, residual=True)
    wrong = Relax(NeuralControlVariate(eqx.nn.MLP(3, 2, 4, 1, key=key)))
    f, family, logits = PROBLEMS["binary"]
    with pytest.raises(ValueError, match=r"`net` must give a scalar, got the shape \(2,\)"):
        expectation(f, family(logits), estimator=wrong, key=key)
    with pytest.raises(ValueError, match=r"`Reparameterised`, or `Lax`"):
        expectation(f, dist.Normal(0.0, 1.0), estimator=wrong, key=key)

"""Training without chains: against targets whose density, score or best generator is known."""

import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from pullback.models.energy import (
    JEM,
    DiagonalProposal,
    GaussNewtonProposal,
    LatentGenerator,
    VERAStep,
    entropy_score,
    entropy_surrogate,
    fit_vera,
    refine,
    vera_energy_objective,
)
from pullback.train import Stream, iterate

FROZEN = optax.set_to_zero()


def adam(rate):
    return optax.adam(rate, b1=0.0, b2=0.9)


class Linear(eqx.Module):
    """x = W z + b."""

    weight: jax.Array
    bias: jax.Array

    def __call__(self, z):
        return self.weight @ z + self.bias


class Quadratic(eqx.Module):
    """f(x) = c - (x - m)^T A (x - m) / 2, so that log Z is known."""

    precision: jax.Array
    mean: jax.Array

    def __call__(self, x):
        away = x - self.mean
        return -away @ self.precision @ away / 2


PRECISION = jnp.array([[2.0, 0.6], [0.6, 1.0]])


def linear(key, size=2):
    return LatentGenerator(
        Linear(0.5 * jr.normal(key, (size, size)), jnp.ones(size)), size, sigma=0.2
    )


def covariance(generator):
    weight = generator.net.weight
    return weight @ weight.T + generator.sigma**2 * jnp.eye(len(weight))


@pytest.fixture(scope="module")
def fitted():
    """Generators that follow a normal density, by the weight of their entropy."""
    falling = lambda: optax.adam(optax.exponential_decay(0.03, 150, 0.3), b1=0.0, b2=0.9)
    energy = Quadratic(PRECISION, jnp.zeros(2))
    found = {}
    for weight in (1.0, 2.0):
        step = VERAStep(
            FROZEN, falling(), entropy_weight=jnp.asarray(weight), samples=2,
            sigma_range=(0.05, 1.0),
        )  # fmt: skip
        state = step.init(energy, linear(jr.key(1)), GaussNewtonProposal(keep=False))
        found[weight], _ = iterate(
            step, state, Stream(jnp.zeros((60, 2)), 60), steps=600, log_every=600,
            progress=False, key=jr.key(2),
        )  # fmt: skip
    return found


@pytest.mark.parametrize("weight", [1.0, 2.0])
def test_a_linear_generator_goes_to_the_normal_density_at_the_entropys_temperature(fitted, weight):
    target = weight * np.linalg.inv(PRECISION)
    np.testing.assert_allclose(covariance(fitted[weight].generator), target, atol=0.1 * weight)
    np.testing.assert_allclose(fitted[weight].generator.net.bias, 0, atol=0.15 * weight)


def test_energy_and_entropy_never_exceed_the_normaliser(fitted):
    """Both in closed form: E_q f + H(q) <= log Z, nearly equal once it is trained."""
    log_z = np.log(2 * np.pi) - np.linalg.slogdet(PRECISION)[1] / 2

    def bound(generator):
        spread = covariance(generator) + jnp.outer(generator.net.bias, generator.net.bias)
        entropy = jnp.log(2 * jnp.pi * jnp.e) + jnp.linalg.slogdet(covariance(generator))[1] / 2
        return -jnp.trace(PRECISION @ spread) / 2 + entropy

    before, after = bound(linear(jr.key(1))), bound(fitted[1.0].generator)
    assert before < log_z - 0.3
    assert log_z - 0.02 < after <= log_z
    assert bound(fitted[2.0].generator) < log_z - 0.05  # another density


def test_with_no_energy_the_entropy_widens_the_generator():
    step = VERAStep(FROZEN, adam(0.01), adam(0.01), samples=5, sigma_range=(0.01, 2.0))
    start = linear(jr.key(1))
    state = step.init(Quadratic(jnp.zeros((2, 2)), jnp.zeros(2)), start, DiagonalProposal(
        jnp.full(2, jnp.log(0.3))))  # fmt: skip
    state, info = iterate(step, state, Stream(jnp.zeros((50, 2)), 50), steps=100,
                          progress=False, key=jr.key(2))  # fmt: skip
    assert state.generator.sigma > 1.3 * start.sigma
    norm = jnp.linalg.norm
    assert norm(state.generator.net.weight) > 1.1 * norm(start.net.weight)
    assert set(info.history) >= {"eta", "sigma", "effective_samples"}


def test_a_step_is_what_its_parts_are():
    """By hand, with plain descent: energy, generator, then width, each from the state before."""
    sgd = optax.sgd(0.1)
    step = VERAStep(
        sgd, sgd, sgd, entropy_weight=0.7, gradient_penalty=0.3, samples=4, inflate=1.5,
        sigma_range=(0.01, 5.0), eta_range=(1e-3, 5.0),
    )  # fmt: skip
    energy = Quadratic(PRECISION, jnp.ones(2))
    proposal = DiagonalProposal(jnp.full(2, -1.0))
    data, key = jr.normal(jr.key(5), (6, 2)), jr.key(6)
    state = step.init(energy, linear(jr.key(1)), proposal)
    new, metrics = eqx.filter_jit(step)(state, data, key=key)

    keys, score_keys, _ = (jr.split(k, 6) for k in jr.split(key, 3))
    make = lambda g: jax.vmap(lambda k: g.sample(key=k))(keys)
    x, z0 = make(state.generator)

    def energy_loss(mean):
        f = jax.vmap(Quadratic(PRECISION, mean))
        slopes = (mean[None] - data) @ PRECISION  # the precision is symmetric
        return jnp.mean(f(x)) - jnp.mean(f(data)) + 0.3 / 2 * jnp.mean(jnp.sum(slopes**2, axis=1))

    mean = jnp.ones(2) - 0.1 * jax.grad(energy_loss)(jnp.ones(2))
    np.testing.assert_allclose(new.energy.mean, mean, rtol=1e-9)
    scores = jnp.stack(
        [
            entropy_score(state.generator, proposal, *row, samples=4, inflate=1.5, key=k)[0]
            for *row, k in zip(x, z0, score_keys, strict=True)
        ]
    )

    def generator_loss(net):
        x, _ = make(eqx.tree_at(lambda g: g.net, state.generator, net))
        f = jax.vmap(Quadratic(new.energy.precision, mean))
        return -jnp.mean(f(x)) - 0.7 * entropy_surrogate(scores, x)

    slope = eqx.filter_grad(generator_loss)(state.generator.net)
    expected = state.generator.net.weight - 0.1 * slope.weight
    np.testing.assert_allclose(new.generator.net.weight, expected, rtol=1e-9)
    np.testing.assert_allclose(metrics["sigma"], 0.2)
    assert isinstance(new.proposal, DiagonalProposal)
    assert not jnp.allclose(new.proposal.log_eta, -1.0)


def test_neither_player_moves_the_others_parameters():
    energy, generator = Quadratic(PRECISION, jnp.ones(2)), linear(jr.key(1))
    data = jnp.ones((3, 2))

    def of_generator(generator):
        x = jax.vmap(lambda k: generator.sample(key=k)[0])(jr.split(jr.key(3), 4))
        return vera_energy_objective(energy, data, x)[0]

    leaves = jax.tree.leaves(eqx.filter_grad(of_generator)(generator))
    assert all(jnp.all(leaf == 0) for leaf in leaves)

    def of_scores(scale):
        x, z = linear(jr.key(1)).sample(key=jr.key(4))
        moved = LatentGenerator(lambda z: scale * generator.net(z), 2, sigma=0.2)
        score, _ = entropy_score(moved, GaussNewtonProposal(), x, z, samples=3, key=jr.key(5))
        return entropy_surrogate(score[None], x[None])

    assert jax.grad(of_scores)(1.0) == 0


def test_the_classifiers_terms_are_those_of_its_probabilities():
    model = JEM(eqx.nn.MLP(2, 3, 4, 1, key=jr.key(0)))
    data, samples = jr.normal(jr.key(1), (5, 2)), jr.normal(jr.key(2), (4, 2))
    rows, classes = jr.normal(jr.key(3), (2, 2)), jnp.array([2, 0])
    loss, parts = vera_energy_objective(
        model, data, samples, (rows, classes), gradient_penalty=0.0, label_weight=3.0,
        prediction_entropy_weight=0.5, energy_l2=0.1,
    )  # fmt: skip
    soft = lambda logits: np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    logits = lambda x: np.asarray(jax.vmap(model.classifier)(x))
    f = lambda x: np.log(np.exp(logits(x)).sum(axis=1))
    cross = -np.log(soft(logits(rows))[[0, 1], [2, 0]]).mean()
    spread = -(soft(logits(data)) * np.log(soft(logits(data)))).sum(axis=1).mean()
    expected = f(samples).mean() - f(data).mean() + 3 * cross + 0.5 * spread
    expected += 0.1 * ((f(data) ** 2).mean() + (f(samples) ** 2).mean())
    np.testing.assert_allclose(loss, expected, rtol=1e-9)
    np.testing.assert_allclose(parts["cross_entropy"], cross, rtol=1e-9)


def test_refined_samples_follow_the_energy_or_the_tilted_generator():
    """A normal energy: its distribution in the data's space, the product in the latents'."""
    energy = Quadratic(4 * jnp.eye(1), jnp.zeros(1))
    generator = LatentGenerator(Linear(jnp.full((1, 1), 0.8), jnp.ones(1)), 1, sigma=0.6)
    kinds: dict[Any, tuple[float, float]] = {
        "data": (0.0, 1 / 4),
        "latent": (1 / 5, 1 / 5),  # of N(1, 1) tilted: precision 1 + 4
    }
    for space, (mean, variance) in kinds.items():
        x, info = refine(
            energy, generator, samples=2000, steps=60, step_size=0.1, space=space, key=jr.key(0)
        )
        x = np.asarray(x)[:, 0]
        assert abs(x.mean() - mean) < 4 * np.sqrt(variance / 2000), space
        assert abs(x.var() / variance - 1) < 4 * np.sqrt(2 / 2000), space
        assert 0.45 < info.accepted < 0.7


@pytest.mark.slow
def test_an_energy_of_known_normaliser_ends_near_maximum_likelihood():
    """A mixture with free means, scored exactly though it was trained as if Z was unknown."""

    class Mixture(eqx.Module):
        means: jax.Array

        def __call__(self, x):
            return jax.nn.logsumexp(-jnp.sum((x[None] - self.means) ** 2, axis=1) / (2 * 0.25))

    places = jnp.array([[-1.5, 0.0], [1.5, 0.5], [0.0, 2.0]])
    rows = jr.randint(jr.key(0), (2000,), 0, 3)
    data = places[rows] + 0.5 * jr.normal(jr.key(1), (2000, 2))
    generator = LatentGenerator(eqx.nn.MLP(2, 2, 32, 2, jax.nn.silu, key=jr.key(2)), 2, sigma=0.3)
    step = VERAStep(adam(2e-3), adam(2e-3), gradient_penalty=0.0, samples=10,
                    sigma_range=(0.05, 0.6))  # fmt: skip
    start = Mixture(places + jnp.array([[0.6, -0.6], [-0.6, 0.6], [0.6, 0.6]]))
    state, _ = fit_vera(
        start, generator, np.asarray(data), step=step, steps=3000, progress=False, key=jr.key(3)
    )
    log_z = jnp.log(3 * 2 * jnp.pi * 0.25)
    nll = lambda means: log_z - jnp.mean(jax.vmap(Mixture(means))(data))
    assert nll(start.means) > nll(places) + 0.3
    assert nll(state.energy.means) < nll(places) + 0.1


def test_known_classes_train_a_classifier_of_all_rows():
    """One label of each of two far clusters, and the other rows without."""
    x = np.concatenate([np.full((30, 1), -2.0), np.full((30, 1), 2.0)])
    x = x + 0.3 * np.random.default_rng(0).normal(size=x.shape)
    y = np.full(60, -1)
    y[[0, 59]] = 0, 1
    model = JEM(eqx.nn.MLP(1, 2, 8, 1, jax.nn.silu, key=jr.key(0)))
    generator = LatentGenerator(eqx.nn.MLP(1, 1, 8, 1, jax.nn.silu, key=jr.key(1)), 1)
    step = VERAStep(adam(0.01), adam(0.01), samples=2, prediction_entropy_weight=0.3)
    state, info = fit_vera(
        model, generator, x, y, step=step, steps=100, batch_size=20, progress=False, key=jr.key(2)
    )
    found = jax.vmap(state.energy.logits)(jnp.asarray(x)).argmax(axis=1)
    assert (np.asarray(found) == np.repeat([0, 1], 30)).all()
    assert info.history["cross_entropy"].shape == (1,)


X = np.zeros((4, 2))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((4, 3)), None, r"`x` must hold examples of the shape .* \(2,\)"),
        (np.where(np.eye(4, 2) > 0, np.nan, 0.0), None, r"`x` must be finite, and 2 .* \(0, 0\)"),
        (X, np.zeros(3, int), r"`y` must be 4 classes, one for each row of `x`; got \(3,\)"),
        (X, np.full(4, 3), "`y` must be classes from 0 to 2, or -1 .* got 3 to 3"),
        (X, np.full(4, -1), "not all unknown; got -1 to -1"),
    ],
)
def test_data_that_does_not_fit_is_refused(x, y, message):
    model = JEM(eqx.nn.MLP(2, 3, 4, 1, key=jr.key(0)))
    with pytest.raises(ValueError, match=message):
        fit_vera(model, linear(jr.key(1)), x, y, progress=False, key=jr.key(2))


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="`entropy_weight` must be 0 or more, got -1"):
        VERAStep(FROZEN, FROZEN, entropy_weight=-1)
    with pytest.raises(ValueError, match="`sigma_range` must be above 0 and rising"):
        VERAStep(FROZEN, FROZEN, sigma_range=(0.3, 0.1))
    energy = Quadratic(PRECISION, jnp.zeros(2))
    with pytest.raises(ValueError, match="`proposal_optimiser` is None"):
        VERAStep(FROZEN, FROZEN).init(energy, linear(jr.key(1)), DiagonalProposal(jnp.zeros(2)))
    with pytest.raises(ValueError, match="`labelled` needs an `energy` with `logits`"):
        vera_energy_objective(Quadratic(PRECISION, jnp.zeros(2)), jnp.asarray(X), jnp.asarray(X),
                         (jnp.asarray(X), jnp.zeros(4, int)))  # fmt: skip
    with pytest.raises(ValueError, match="`samples` must be at least 1, got 0"):
        refine(lambda x: x[0], linear(jr.key(1)), samples=0, steps=1, key=jr.key(0))
    with pytest.raises(ValueError, match='`space` must be "data" or "latent", got \'pixel\''):
        inspect.unwrap(refine)(lambda x: x[0], linear(jr.key(1)), samples=1, steps=1, space="pixel",
                               key=jr.key(0))  # fmt: skip

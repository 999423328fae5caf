"""Inference gaps, where everything is known: linear-Gaussian models, and integrals over a plane."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

from pullback._traced import _run
from pullback.analysis import (
    Annealing,
    LocalSearch,
    evidence_by_annealing,
    evidence_sandwich,
    fit_local,
    inference_gaps,
)
from pullback.analysis._annealed_evidence import Evidence, evidence_of
from pullback.analysis._inference_gaps import _higher
from pullback.bounds import (
    AbstractFamily,
    AuxiliaryFlow,
    CouplingFlow,
    DiagonalNormal,
    FullCovarianceNormal,
    LatentModel,
    NormalMixture,
)
from pullback.sampling import StandardNormal

pytestmark = pytest.mark.usefixtures("promotion")

RNG = np.random.default_rng(0)
D, PIXELS, NOISE = 3, 5, 0.6
W = jnp.asarray(RNG.normal(size=(PIXELS, D)))
B = jnp.asarray(RNG.normal(size=PIXELS))


class Linear(eqx.Module):
    """x = W z + b + noise."""

    weight: jax.Array

    def model(self, x):
        mean = lambda z: self.weight @ z + B
        return LatentModel(
            lambda z: jnp.sum(dist.Normal(mean(z), NOISE).log_prob(x)), StandardNormal(D)
        )


class Exact:
    """What is known of it, in NumPy."""

    def __init__(self, x):
        w = np.asarray(W)
        self.precision = np.eye(D) + w.T @ w / NOISE**2
        self.mean = np.linalg.solve(self.precision, w.T @ (x - np.asarray(B)).T / NOISE**2).T
        covariance = w @ w.T + NOISE**2 * np.eye(PIXELS)
        apart = x - np.asarray(B)
        quadratic = np.einsum("ni,ij,nj->n", apart, np.linalg.inv(covariance), apart)
        log_det = np.linalg.slogdet(2 * np.pi * covariance)[1]
        self.log_evidence = -0.5 * (quadratic + log_det)
        diagonal = np.diag(self.precision)
        self.approximation = 0.5 * (np.sum(np.log(diagonal)) - np.linalg.slogdet(self.precision)[1])

    def amortisation(self, mean, std):
        scaled = np.diag(self.precision) * std**2
        apart = mean - self.mean
        quadratic = np.einsum("ni,ij,nj->n", apart, self.precision, apart)
        return 0.5 * (np.sum(scaled - 1 - np.log(scaled), axis=1) + quadratic)


X = jnp.asarray(RNG.normal(size=(4, PIXELS)) * 2)
EXACT = Exact(np.asarray(X))
SEARCH = LocalSearch(steps=1200, samples=10, learning_rate=0.05, evaluation_samples=4000)
V = jnp.asarray(RNG.normal(size=(2 * D, PIXELS)) * 0.2)
encoder = lambda x: V @ x - 1.0


@pytest.fixture(scope="module")
def linear():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return inference_gaps(
            Linear(W).model, encoder, DiagonalNormal(D), X,
            log_evidence=jnp.asarray(EXACT.log_evidence), search=SEARCH, key=jr.key(0),
        )  # fmt: skip


def test_both_gaps_of_a_linear_model_are_the_known_ones(linear):
    # The fit's own error is below 0.01 nats; that of its evaluation is 4 standard errors.
    assert np.all(
        np.abs(linear.approximation - EXACT.approximation) < 0.01 + 4 * linear.elbo_local_error
    )
    mean, log_std = np.split(np.asarray(jax.vmap(encoder)(X)), 2, axis=1)
    exact = EXACT.amortisation(mean, np.exp(log_std))
    assert np.all(np.abs(linear.amortisation - exact) < 0.01 + 4 * linear.amortisation_error)
    np.testing.assert_allclose(linear.inference, linear.approximation + linear.amortisation)
    # And it is the optimum itself that was found.
    mean, log_std = np.split(np.asarray(linear.local.params), 2, axis=1)
    std = np.exp(log_std)
    np.testing.assert_allclose(EXACT.amortisation(mean, std), 0, atol=0.01)
    lines = str(linear).splitlines()
    assert len(lines) == 7
    assert float(lines[-1].split()[1]) == pytest.approx(float(linear.inference.mean()), abs=1e-3)


def test_the_best_evidence_is_the_higher_of_the_two_for_each_example():
    one = Evidence(jnp.array([-3.0, -1.0]), jnp.array([0.1, 0.2]))
    other = Evidence(jnp.array([-2.0, -2.0]), jnp.array([0.3, 0.4]))
    for found in (_higher([one, other]), _higher([other, one])):
        assert found.value.tolist() == [-2.0, -1.0]
        assert found.standard_error.tolist() == [0.3, 0.2]


def test_a_full_covariance_leaves_no_approximation_gap(linear):
    found = inference_gaps(
        Linear(W).model, encoder, DiagonalNormal(D), X, local_family=FullCovarianceNormal(D),
        log_evidence=jnp.asarray(EXACT.log_evidence), search=SEARCH, key=jr.key(0),
    )  # fmt: skip
    assert np.all(np.abs(found.approximation) < 1e-4)
    np.testing.assert_allclose(found.inference, linear.inference, rtol=1e-9)


def test_chunks_change_nothing_and_models_of_one_shape_share_the_program(linear):
    fit = lambda weight, size: fit_local(
        Linear(weight).model, DiagonalNormal(D), X[:3], linear.local.params[:3, None],
        search=LocalSearch(steps=2, samples=2, evaluation_samples=3), batch_size=size,
        progress=False, key=jr.key(0),
    )  # fmt: skip
    whole, parts = fit(W, None), fit(W, 2)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)
    before = _run._cached._cache_size()
    other = fit(2 * W, 2)
    assert _run._cached._cache_size() == before
    assert not np.allclose(other.elbo, parts.elbo)


def test_the_best_start_wins_and_no_start_is_lost():
    # Two modes, the left one the smaller: from its foot a fit stays there.
    mixture = dist.MixtureSameFamily(
        dist.Categorical(probs=jnp.array([0.05, 0.95])),
        dist.Normal(jnp.array([-4.0, 4.0]), 0.5),
    )
    flat = dist.Normal(jnp.zeros(1), 10.0).to_event(1)
    prior = lambda z: flat.log_prob(z)
    model = lambda x: LatentModel(lambda z: mixture.log_prob(z[0]) + x - prior(z), flat)
    x = jnp.array([0.0, 1.0])
    left, right = jnp.array([-3.0, -1.0]), jnp.array([3.0, -1.0])
    starts = jnp.stack([jnp.stack([left, right]), jnp.stack([right, left])])
    search = LocalSearch(steps=300, samples=10, learning_rate=0.05, evaluation_samples=500)
    found = fit_local(model, DiagonalNormal(1), x, starts, search=search, key=jr.key(0))
    assert found.start.tolist() == [1, 0]
    np.testing.assert_allclose(found.elbo, np.log(0.95) + np.asarray(x), atol=0.01)
    # A search that ruins all leaves the start as it was.
    best = found.params[:, None]
    ruined = LocalSearch(steps=3, samples=2, learning_rate=1e3, evaluation_samples=500)
    kept = fit_local(model, DiagonalNormal(1), x, best, search=ruined, key=jr.key(1))
    np.testing.assert_array_equal(kept.params, best[:, 0])


class Tiny(eqx.Module):
    """A decoder whose posteriors bend, with a plane of latents."""

    net: eqx.nn.MLP

    def model(self, x):
        logits = lambda z: 4 * self.net(z)
        return LatentModel(
            lambda z: jnp.sum(x * logits(z) - jax.nn.softplus(logits(z))), StandardNormal(2)
        )


TINY = Tiny(eqx.nn.MLP(2, 9, 8, 1, jnp.tanh, key=jr.key(3)))
BINARY = jnp.asarray(RNG.integers(0, 2, (6, 9)), float)
AXIS = jnp.linspace(-6, 6, 241)
POINTS = jnp.stack(jnp.meshgrid(AXIS, AXIS), axis=-1).reshape(-1, 2)


@pytest.fixture(scope="module")
def truth():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        joint = jax.jit(lambda x: jax.vmap(TINY.model(x))(POINTS))
        area = float(AXIS[1] - AXIS[0]) ** 2
        return np.array([jax.nn.logsumexp(joint(x)) + np.log(area) for x in BINARY])


def test_annealing_agrees_with_integrals_over_the_plane(truth):
    found = evidence_by_annealing(
        TINY.model, BINARY, annealing=Annealing(100, 30, 4, pilot_rounds=10), batch_size=4,
        key=jr.key(0),
    )  # fmt: skip
    np.testing.assert_allclose(found.value, truth, atol=0.05)
    assert np.all(np.abs(found.value - truth) < 4 * found.standard_error)


def test_bounds_are_in_order_and_a_flow_is_closer(truth):
    encode = lambda x: jnp.concatenate([x[:2], x[2:4] - 1])
    arguments = (TINY.model, encode, DiagonalNormal(2), BINARY)
    search = LocalSearch(steps=300, samples=10, learning_rate=0.05, evaluation_samples=2000)
    normal = inference_gaps(
        *arguments, log_evidence="iwae", importance_samples=4000, search=search, key=jr.key(0)
    )
    # The bound of 4,000 samples is near the truth, and its error is as it says.
    assert np.all(np.abs(normal.log_evidence - truth) < 4 * normal.log_evidence_error + 0.01)
    assert np.all(normal.importance_weighted > normal.elbo)
    assert np.all(np.abs(normal.importance_weighted - truth) < 0.3)
    assert np.all(normal.amortisation > -4 * normal.amortisation_error)
    assert np.all(truth - normal.elbo_local > -4 * normal.elbo_local_error)
    flow = inference_gaps(
        *arguments, local_family=CouplingFlow(2, 4, 8, key=jr.key(1)), search=search,
        log_evidence=jnp.asarray(truth), batch_size=6, key=jr.key(0),
    )  # fmt: skip
    assert np.all(flow.approximation > -4 * flow.elbo_local_error)
    closer = normal.elbo_local < flow.elbo_local + 4 * flow.elbo_local_error
    assert np.all(closer)
    assert flow.approximation.mean() < 0.6 * (truth - normal.elbo_local).mean()
    # Each example has weights of its own.
    assert all(
        leaf.shape[0] == 6 for leaf in jax.tree.leaves(eqx.filter(flow.local.family, eqx.is_array))
    )


@pytest.mark.slow
@pytest.mark.parametrize("family", [NormalMixture(2, 2), AuxiliaryFlow(2, 2, 4, key=jr.key(0))])
def test_other_families_are_fitted_too(family, truth):
    encode = lambda x: jnp.concatenate([x[:2], x[2:4] - 1])
    found = inference_gaps(
        TINY.model, encode, DiagonalNormal(2), BINARY, local_family=family,
        log_evidence=lambda x: jnp.sum(x) - 4.0,
        search=LocalSearch(steps=200, samples=5, learning_rate=0.05, evaluation_samples=1000),
        key=jr.key(0),
    )  # fmt: skip
    np.testing.assert_allclose(found.log_evidence, BINARY.sum(axis=1) - 4)
    assert np.all(truth - found.elbo_local > -4 * found.elbo_local_error)
    assert np.mean(truth - found.elbo_local) < 0.5
    assert np.all(found.amortisation > 0)


def test_the_sandwich_holds_the_evidence_of_simulated_data():
    z = jr.normal(jr.key(0), (30, D))
    noise = jr.normal(jr.key(1), (30, PIXELS))
    x = z @ W.T + B + NOISE * noise
    found = evidence_sandwich(
        Linear(W).model, x, z, annealing=Annealing(60, 8, 3, pilot_rounds=10), key=jr.key(2)
    )
    exact = Exact(np.asarray(x)).log_evidence
    below, above = exact - found.lower, found.upper - exact
    assert below.mean() > -4 * below.std() / np.sqrt(30)
    assert above.mean() > -4 * above.std() / np.sqrt(30)
    assert 0 < found.width.mean() < 0.5


def test_the_error_of_a_log_of_a_mean_is_its_spread(key):
    # Log-weights of variance 0.25: E[w] = 1 with this mean.
    log_weights = 0.5 * jr.normal(key, (3000, 200)) - 0.125
    found = evidence_of(log_weights)
    np.testing.assert_allclose(found.value[:3], np.log(np.exp(log_weights[:3]).mean(axis=1)))
    # The standard deviation of 3,000 values has a relative error of 1.3 in a hundred.
    np.testing.assert_allclose(found.standard_error.mean(), found.value.std(), rtol=0.06)


@pytest.mark.slow
def test_the_weights_of_a_family_may_move_more_slowly_than_its_parameters():
    family = CouplingFlow(D, 2, 4, key=jr.key(1))
    first = jax.tree.leaves(eqx.filter(family, eqx.is_inexact_array))

    def moved(rate):
        search = LocalSearch(
            steps=1, samples=4, learning_rate=0.01, evaluation_samples=200,
            weights_learning_rate=rate,
        )  # fmt: skip
        found = fit_local(
            Linear(W).model, family, X[:1], jnp.zeros((1, 1, 2 * D)), search=search, key=jr.key(0)
        )
        last = jax.tree.leaves(eqx.filter(found.family, eqx.is_inexact_array))
        apart = [np.max(np.abs(a[0] - b)) for a, b in zip(last, first, strict=True)]
        return max(apart), np.max(np.abs(found.params))

    # The first step of Adam is as long as its rate.
    np.testing.assert_allclose(moved(None), (0.01, 0.01), rtol=1e-4)
    np.testing.assert_allclose(moved(0.001), (0.001, 0.01), rtol=1e-4)


class Unknown(AbstractFamily):
    shape: tuple[int, ...] = eqx.field(static=True, default=(2 * D,))

    def __call__(self, params):
        return DiagonalNormal(D)(params)

    def augment(self, model, params):
        return model


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoder": lambda x: x}, r"`encoder` must give .* \(6,\), got \(5,\)"),
        ({"log_evidence": "exact"}, "`log_evidence` must be .* got 'exact'"),
        ({"log_evidence": jnp.zeros(3)}, r"`log_evidence` must be one number .* \[4\], got \[3\]"),
        ({"local_family": Unknown()}, "`local_family` is a Unknown, .* call `fit_local`"),
        ({"importance_samples": 0}, "`importance_samples` must be 1 or more, got 0"),
        ({"x": jnp.zeros((0, PIXELS))}, "`x` must hold at least one example"),
        ({"batch_size": 0}, "`batch_size` must be 1 or more, got 0"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    arguments = {"x": X, "encoder": encoder, "log_evidence": jnp.zeros(4)} | arguments
    x, encode = arguments.pop("x"), arguments.pop("encoder")
    with pytest.raises(ValueError, match=message):
        inference_gaps(
            Linear(W).model, encode, DiagonalNormal(D), x,
            search=LocalSearch(steps=1, samples=1, evaluation_samples=2), **arguments,
            key=jr.key(0),
        )  # fmt: skip


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="`steps` must be 1 or more, got 0"):
        LocalSearch(steps=0)
    with pytest.raises(ValueError, match="`learning_rate` must be positive, got 0"):
        LocalSearch(learning_rate=0.0)
    with pytest.raises(ValueError, match="`weights_learning_rate` must be positive, got -1"):
        LocalSearch(weights_learning_rate=-1.0)
    with pytest.raises(ValueError, match="`chains` must be 1 or more, got 0"):
        Annealing(chains=0)
    with pytest.raises(ValueError, match="`accepted` must be between 0 and 1, got 1"):
        Annealing(accepted=1.0)
    with pytest.raises(ValueError, match=r"`starts` must have the shape \[4, start, \*\(6,\)\]"):
        fit_local(Linear(W).model, DiagonalNormal(D), X, jnp.zeros((4, 6)), key=jr.key(0))


def test_a_bound_that_is_not_finite_is_reported():
    broken = lambda x: LatentModel(lambda z: jnp.log(jnp.sum(x)) + 0 * z[0], StandardNormal(D))
    x = X.at[2].set(-1.0)
    with pytest.raises(ValueError, match="the ELBO of example"):
        fit_local(
            broken, DiagonalNormal(D), x, jnp.zeros((4, 1, 6)),
            search=LocalSearch(steps=1, samples=1, evaluation_samples=2), key=jr.key(0),
        )  # fmt: skip

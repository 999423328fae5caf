"""Densities at the rim of a support and beyond it, the same compiled or not."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from pullback.sampling import (
    ExpRelaxedOneHotCategorical,
    GumbelSoftmax,
    NeuralControlVariate,
    OneHotCategorical,
    Relax,
    RelaxedOneHotCategorical,
    ScoreFunction,
    StraightThrough,
    categorical_kl,
    draw,
    expectation,
    gumbel_softmax,
    log_prob,
    rebar,
    require_inside,
)

pytestmark = pytest.mark.usefixtures("promotion")

INF = float("inf")
# The distribution, a point, and the log-density there; slopes are numbers, and 0 outside.
POINTS = [
    (dist.Exponential(2.0), -1.0, -INF),
    (dist.Exponential(2.0), 0.0, stats.expon.logpdf(0, scale=0.5)),
    (dist.HalfNormal(1.0), -1e-3, -INF),
    (dist.LogNormal(0.0, 1.0), -1.0, -INF),
    (dist.Gamma(2.0, 1.0), -2.0, -INF),
    (dist.Beta(2.0, 2.0), 1.5, -INF),
    (dist.Beta(2.0, 2.0), 0.5, stats.beta.logpdf(0.5, 2, 2)),
    (dist.Uniform(0.0, 2.0), 2.5, -INF),
    (dist.Uniform(0.0, 2.0), 2.0, -np.log(2)),
    (dist.Uniform(jnp.zeros(2), jnp.ones(2)), jnp.array([0.5, 1.5]), -INF),
    (dist.Uniform(jnp.zeros(2), jnp.ones(2)).to_event(1), jnp.array([0.5, 1.5]), -INF),
    (dist.Uniform(0.0, 1.0).expand((2,)), jnp.array([0.5, 1.5]), -INF),
    (dist.Dirichlet(jnp.ones(3)), jnp.array([0.2, 0.2, 0.2]), -INF),
    (dist.Dirichlet(jnp.ones(3)), jnp.array([0.2, 0.3, 0.5]), np.log(2)),
    (dist.TruncatedNormal(0.0, 1.0, low=0.0), -0.5, -INF),
    (dist.Pareto(1.0, 2.0), 0.5, -INF),
    (dist.MixtureSameFamily(dist.Categorical(logits=jnp.zeros(2)), dist.Exponential(jnp.ones(2))),
     -1.0, -INF),
    (dist.Bernoulli(logits=0.3), 0.5, -INF),
    (dist.Poisson(2.0), 1.5, -INF),
    (dist.Poisson(2.0), -1, -INF),
    (dist.Categorical(logits=jnp.zeros(3)), 3, -INF),
    (dist.Binomial(3, logits=0.1), 4, -INF),
    (OneHotCategorical(jnp.zeros(2)), jnp.array([0.5, 0.5]), -INF),
    (dist.Normal(0.0, 1.0), 1.0, stats.norm.logpdf(1)),
]  # fmt: skip


@pytest.mark.parametrize("compiled", [False, True])
def test_outside_is_minus_infinity_with_a_slope_that_is_a_number(compiled):
    distributions, points, exact = (list(part) for part in zip(*POINTS, strict=True))

    def measure(distributions, points):
        rows = []
        for distribution, z in zip(distributions, points, strict=True):
            value = log_prob(distribution, z)
            by_distribution = jax.grad(log_prob, allow_int=True)(distribution, z)
            slopes = jax.tree.leaves(by_distribution)
            if jnp.issubdtype(jnp.asarray(z).dtype, jnp.inexact):
                slopes += [jax.grad(log_prob, argnums=1)(distribution, jnp.asarray(z))]
            worst = [jnp.sum(s) for s in slopes if jnp.issubdtype(s.dtype, jnp.inexact)]
            rows.append((value, sum(worst)))
        return rows

    rows = (jax.jit(measure) if compiled else measure)(distributions, points)
    values, slopes = (np.array(part, float) for part in zip(*rows, strict=True))
    np.testing.assert_allclose(values, exact, rtol=1e-6, atol=1e-6)
    assert np.isfinite(slopes).all()
    np.testing.assert_array_equal(slopes[np.array(exact) == -INF], 0)


def test_what_rounds_to_an_open_end_is_inside_and_nan_stays_nan():
    for distribution, z in [(dist.LogNormal(0.0, 1.0), 0.0), (dist.Exponential(1.0), 0.0)]:
        for dtype in (jnp.float32, jnp.float64):
            value, slope = jax.value_and_grad(
                lambda z, distribution=distribution: log_prob(distribution, z)
            )(jnp.asarray(z, dtype))
            assert np.isfinite(value)
            assert slope == 0
    for distribution in (dist.Exponential(1.0), dist.Normal(0.0, 1.0), dist.Beta(1.0, 1.0)):
        assert np.isnan(log_prob(distribution, jnp.nan))
        assert np.isnan(jax.jit(log_prob)(distribution, jnp.nan))
    # A softmax of many classes in float32 does not sum to one by NumPyro's standard.
    z = jax.nn.softmax(jax.random.normal(jax.random.key(0), (20_000,), jnp.float32))
    assert np.isfinite(log_prob(dist.Dirichlet(jnp.ones(20_000, jnp.float32)), z))


class OfItsOwn:
    """A distribution that says nothing of a support."""

    def log_prob(self, z):
        return -z

    def sample(self, key, shape=()):
        return jnp.ones(shape)


N, ONE = dist.Normal(0.0, 1.0), jnp.ones(2)
FITS = [
    (N, N),
    (dist.Exponential(1.0), N),
    (dist.LogNormal(0.0, 1.0), dist.Gamma(1.0, 1.0)),
    (dist.Gamma(1.0, 1.0), dist.Exponential(1.0)),
    (dist.Beta(1.0, 1.0), dist.Uniform(0.0, 1.0)),
    (dist.Uniform(0.2, 0.4), dist.Uniform(0.0, 1.0)),
    (dist.Normal(ONE, ONE).to_event(1), dist.MultivariateNormal(ONE, jnp.eye(2))),
    (dist.MultivariateNormal(ONE, jnp.eye(2)), dist.Normal(ONE, ONE)),
    (dist.Bernoulli(0.5), dist.Categorical(logits=jnp.zeros(2))),
    (dist.Bernoulli(0.5), dist.Poisson(1.0)),
    (OneHotCategorical(ONE), OneHotCategorical(ONE)),
    (OneHotCategorical(ONE), dist.Bernoulli(logits=ONE)),
    (RelaxedOneHotCategorical(1.0, ONE), dist.Dirichlet(ONE)),
    (OfItsOwn(), dist.Exponential(1.0)),
    (N, OfItsOwn()),
]
DO_NOT = [
    (N, dist.Exponential(1.0), "LogNormal"),
    (N, dist.Beta(1.0, 1.0), "Beta"),
    (N.expand((2,)).to_event(1), dist.Dirichlet(ONE), "Dirichlet"),
    (N, dist.Bernoulli(0.5), "Bernoulli"),
    (dist.Bernoulli(0.5), N, "Normal"),
    (OneHotCategorical(ONE), dist.Dirichlet(ONE), "Dirichlet"),
    (RelaxedOneHotCategorical(1.0, ONE), OneHotCategorical(ONE), "OneHotCategorical"),
    (dist.Dirichlet(ONE), dist.Normal(ONE, ONE), "Normal"),
    (dist.Poisson(1.0), dist.Binomial(3, 0.5), "of the same range"),
    (dist.Uniform(0.0, 2.0), dist.Uniform(0.0, 1.0), "Beta"),
    (dist.Normal(ONE, ONE), dist.ImproperUniform(dist.constraints.ordered_vector, (), (2,)),
     "of the same support"),
]  # fmt: skip


def test_a_support_inside_of_the_priors_is_told_from_one_that_is_not():
    for q, p in FITS:
        require_inside(q, p)
    for q, p, advice in DO_NOT:
        with pytest.raises(ValueError, match=f"must lie in the prior's.*{advice}"):
            require_inside(q, p)


MASKED = jnp.array([0.5, -INF, 1.0])
FREE = jnp.array([0.5, 1.0])


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_masked_class_is_as_if_it_were_not_there(compiled, dtype):
    keep = np.array([0, 2])

    def measure(logits):
        q = OneHotCategorical(logits)
        relaxed = ExpRelaxedOneHotCategorical(0.5, logits)
        y = RelaxedOneHotCategorical(0.5, logits)
        at = jnp.log(jnp.array([0.25, 0.75], dtype))
        if len(logits) == 3:
            at = jnp.insert(at, 1, -INF)
        outcome = jnp.eye(len(logits), dtype=dtype)[-1]
        return jnp.stack([
            log_prob(q, outcome), q.entropy(), categorical_kl(logits, logits + outcome),
            jnp.sum(jnp.square(q.variance)), log_prob(relaxed, at), log_prob(y, jnp.exp(at)),
        ])  # fmt: skip

    measured = jax.jit(measure) if compiled else measure
    np.testing.assert_allclose(measured(MASKED.astype(dtype)), measured(FREE.astype(dtype)), 1e-5)
    slopes = jax.jacrev(measured)(MASKED.astype(dtype))
    np.testing.assert_allclose(slopes[:, keep], jax.jacrev(measured)(FREE.astype(dtype)),
                               rtol=1e-4, atol=1e-5)  # fmt: skip
    np.testing.assert_array_equal(slopes[:, 1], 0)
    distribution = OneHotCategorical(MASKED.astype(dtype))
    assert log_prob(distribution, jnp.array([0, 1, 0], dtype)) == -INF


@pytest.mark.parametrize("compiled", [False, True])
def test_samples_and_every_estimator_of_a_masked_distribution(compiled, key):
    net = lambda z: jnp.sum(jnp.square(z))
    estimators = [
        ScoreFunction(), GumbelSoftmax(0.5), GumbelSoftmax(0.5, hard=True), StraightThrough(),
        rebar(), Relax(NeuralControlVariate(net)),
    ]  # fmt: skip
    weights = jnp.array([1.0, 100.0, 3.0])

    def gradient(logits, estimator):
        loss = lambda both: expectation(
            lambda z, q: z @ weights, OneHotCategorical(both[0]), estimator=both[1],
            num_samples=2000, key=key,
        )  # fmt: skip
        return eqx.filter_value_and_grad(loss)((logits, estimator))

    run = eqx.filter_jit(gradient) if compiled else gradient
    p = jax.nn.softmax(FREE)
    mean, exact = p @ jnp.array([1.0, 3.0]), 2 * p[0] * p[1]
    for estimator in estimators if compiled else estimators[1:2]:
        value, (slopes, rest) = run(MASKED, estimator)
        assert abs(value - mean) < 0.1
        np.testing.assert_allclose(slopes, exact * jnp.array([-1.0, 0, 1]), atol=0.15)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(rest))
    soft = gumbel_softmax(MASKED, 0.3, key=key)
    assert soft[1] == 0
    assert abs(soft.sum() - 1) < 1e-6
    for distribution in (
        RelaxedOneHotCategorical(0.7, MASKED),
        ExpRelaxedOneHotCategorical(0.7, MASKED),
    ):
        z = draw(distribution, key, (50,))
        assert np.isfinite(
            jax.vmap(lambda z, distribution=distribution: log_prob(distribution, z))(z)
        ).all()


def test_no_possible_class_is_an_error_and_nan_where_it_cannot_be_seen(key):
    nothing = jnp.full((2, 3), -INF).at[0].set(0.0)
    for distribution in (OneHotCategorical, lambda logits: RelaxedOneHotCategorical(1.0, logits)):
        with pytest.raises(ValueError, match=r"`logits` must not all be -inf"):
            distribution(nothing)
        with pytest.raises(ValueError, match=r"`probs` must not all be 0"):
            OneHotCategorical(probs=jnp.zeros(3))
        assert np.isnan(
            jax.jit(lambda logits, distribution=distribution: draw(distribution(logits), key))(
                nothing
            )[1]
        ).all()
    assert np.isnan(jax.jit(lambda logits: OneHotCategorical(logits).entropy())(nothing)[1])

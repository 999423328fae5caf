"""What the suites of other libraries ask of densities, asked of ours in our own words.

Peers: NumPyro (test/test_distributions.py: densities against SciPy, slopes, samples, moments,
shapes, divergences against Monte Carlo); FlowJAX, nflows and normflows (tests of distributions,
flows and bijections: inverses, log-determinants, batch and context shapes, no rows at all).
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from lazily import Lazily
from pullback.bounds import (
    AuxiliaryFlow,
    CouplingFlow,
    DiagonalNormal,
    FullCovarianceNormal,
    ImportanceWeightedPosterior,
    InverseAutoregressiveFlow,
    NormalMixture,
    kl_divergence,
)
from pullback.calculus import ExactLogDet
from pullback.models.flows import CNF, image_residual_flow, init_actnorm, residual_flow
from pullback.models.vae import (
    AR1Prior,
    AutoregressivePrior,
    DiscretisedLogisticMixture,
    MixturePrior,
    aggregate_normal,
)
from pullback.nn import RecurrentNet
from pullback.sampling import (
    ExpRelaxedOneHotCategorical,
    FixedDistribution,
    OneHotCategorical,
    RelaxedOneHotCategorical,
    Replicated,
    StandardNormal,
    draw,
    log_prob,
    log_prob_of_parts,
)

pytestmark = pytest.mark.usefixtures("promotion")

N = 20_000
P3, ALPHA = np.array([0.2, 0.5, 0.3]), np.array([1.5, 2.0, 0.8])
COV = np.array([[1.0, 0.4], [0.4, 0.7]])
SCIPYS_COV: Any = COV  # its stubs want a number

# NumPyro: (distribution, SciPy's, points inside, a point outside or None).
DISTRIBUTIONS = Lazily(
    {
        "Normal": lambda: (dist.Normal(0.3, 0.8), stats.norm(0.3, 0.8), [-2.0, 0.3, 4.0], None),
        "StudentT": lambda: (
            dist.StudentT(5.0, 0.3, 0.8),
            stats.t(5, 0.3, 0.8),
            [-2.0, 0.3, 9.0],
            None,
        ),
        "Laplace": lambda: (
            dist.Laplace(0.3, 0.8),
            stats.laplace(0.3, 0.8),
            [-2.0, 0.4, 4.0],
            None,
        ),
        "Logistic": lambda: (
            dist.Logistic(0.3, 0.8),
            stats.logistic(0.3, 0.8),
            [-2.0, 0.3, 4.0],
            None,
        ),
        "Gumbel": lambda: (dist.Gumbel(0.3, 0.8), stats.gumbel_r(0.3, 0.8), [-1.0, 0.3, 4.0], None),
        "LogNormal": lambda: (
            dist.LogNormal(0.3, 0.4),
            stats.lognorm(0.4, scale=np.exp(0.3)),
            [0.1, 1.0, 9.0],
            -0.1,
        ),
        "Exponential": lambda: (
            dist.Exponential(2.0),
            stats.expon(scale=0.5),
            [0.0, 0.1, 9.0],
            -0.1,
        ),
        "HalfNormal": lambda: (
            dist.HalfNormal(0.8),
            stats.halfnorm(scale=0.8),
            [0.1, 1.0, 4.0],
            -0.1,
        ),
        "Gamma": lambda: (
            dist.Gamma(2.5, 1.5),
            stats.gamma(2.5, scale=1 / 1.5),
            [0.1, 1.0, 9.0],
            -0.1,
        ),
        "InverseGamma": lambda: (
            dist.InverseGamma(6.0, 1.5),
            stats.invgamma(6, scale=1.5),
            [0.1, 1.0],
            -0.1,
        ),
        "Chi2": lambda: (dist.Chi2(3.0), stats.chi2(3), [0.1, 1.0, 9.0], -0.1),
        "Weibull": lambda: (
            dist.Weibull(1.2, 1.7),
            stats.weibull_min(1.7, scale=1.2),
            [0.1, 1.0, 3.0],
            -0.1,
        ),
        "Pareto": lambda: (dist.Pareto(1.0, 6.0), stats.pareto(6), [1.1, 2.0, 9.0], 0.9),
        "Beta": lambda: (dist.Beta(2.0, 3.0), stats.beta(2, 3), [0.1, 0.5, 0.9], 1.1),
        "Uniform": lambda: (
            dist.Uniform(-0.5, 2.0),
            stats.uniform(-0.5, 2.5),
            [-0.5, 0.0, 2.0],
            2.1,
        ),
        "TruncatedNormal": lambda: (
            dist.TruncatedNormal(0.0, 1.0, low=-1.0, high=2.0),
            stats.truncnorm(-1, 2),
            [-0.9, 0.0, 1.9],
            2.1,
        ),
        "Dirichlet": lambda: (
            dist.Dirichlet(jnp.asarray(ALPHA)),
            stats.dirichlet(ALPHA),
            [[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]],
            [0.6, 0.6, 0.1],
        ),
        "MultivariateNormal": lambda: (
            dist.MultivariateNormal(jnp.array([0.3, -1.0]), jnp.asarray(COV)),
            stats.multivariate_normal([0.3, -1.0], SCIPYS_COV),
            [[0.0, 0.0], [2.0, -3.0]],
            None,
        ),
        "Bernoulli": lambda: (dist.Bernoulli(logits=0.0), stats.bernoulli(0.5), [0, 1], 2),
        "Bernoulli by probs": lambda: (
            dist.Bernoulli(probs=0.3),
            stats.bernoulli(0.3),
            [0, 1],
            0.5,
        ),
        "Binomial": lambda: (dist.Binomial(5, logits=0.0), stats.binom(5, 0.5), [0, 2, 5], 6),
        "Binomial by probs": lambda: (
            dist.Binomial(5, probs=0.3),
            stats.binom(5, 0.3),
            [0, 2, 5],
            -1,
        ),
        "BetaBinomial": lambda: (
            dist.BetaBinomial(2.0, 3.0, 5),
            stats.betabinom(5, 2, 3),
            [0, 2, 5],
            6,
        ),
        "Geometric": lambda: (dist.Geometric(logits=0.0), stats.geom(0.5, loc=-1), [0, 1, 7], -1),
        "Geometric by probs": lambda: (
            dist.Geometric(probs=0.3),
            stats.geom(0.3, loc=-1),
            [0, 1, 7],
            1.5,
        ),
        "Poisson": lambda: (dist.Poisson(2.5), stats.poisson(2.5), [0, 2, 11], -1),
        "NegativeBinomial": lambda: (
            dist.NegativeBinomialProbs(4.0, 0.3),
            stats.nbinom(4, 0.7),
            [0, 2, 9],
            -1,
        ),
        "DiscreteUniform": lambda: (dist.DiscreteUniform(1, 4), stats.randint(1, 5), [1, 3, 4], 5),
        "Multinomial": lambda: (
            dist.Multinomial(4, logits=jnp.log(P3)),
            stats.multinomial(4, P3),
            [[1, 2, 1], [4, 0, 0]],
            [1, 1, 1],
        ),
        "OneHotCategorical": lambda: (
            OneHotCategorical(jnp.log(P3)),
            stats.multinomial(1, P3),
            [[1.0, 0, 0], [0, 0, 1.0]],
            [0.0, 1.0, 1.0],
        ),
    }
)


def logs(peer, z):
    return peer.logpmf(z) if hasattr(peer, "pmf") else peer.logpdf(z)


@functools.cache
def measured(way=jax.jit):
    """All distributions in one program: compiling is most of what it costs."""
    points = {name: [jnp.asarray(z) for z in case[2]] for name, case in DISTRIBUTIONS.items()}
    beyond = {
        name: jnp.asarray(case[3]) for name, case in DISTRIBUTIONS.items() if case[3] is not None
    }

    def run(key):
        inside, outside, draws, slopes = {}, {}, {}, {}
        for name, (distribution, *_) in DISTRIBUTIONS.items():
            inside[name] = jnp.stack([log_prob(distribution, z) for z in points[name]])
            draws[name] = draw(distribution, key, (N,))
            if name in beyond:
                outside[name] = log_prob(distribution, beyond[name])
            z = points[name][1]
            if jnp.issubdtype(z.dtype, jnp.inexact) and not distribution.support.is_discrete:
                step = 1e-6 * jnp.ones_like(z)
                if name == "Dirichlet":
                    step = jnp.array([1e-6, -1e-6, 0.0])  # along the simplex
                change = log_prob(distribution, z + step) - log_prob(distribution, z - step)
                slopes[name] = (
                    jnp.sum(jax.grad(log_prob, argnums=1)(distribution, z) * step),
                    change / 2,
                )
        return inside, outside, draws, slopes

    return jax.device_get(way(run)(jr.key(7)))


def eagerly(f):
    return f


def check_same(found, wanted, rtol=1e-6, atol=1e-7):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


@pytest.mark.slow
def test_densities_slopes_draws_and_divergences_are_the_same_eagerly():
    check_same(measured(eagerly), measured())
    check_same(divergences(eagerly), divergences())


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_densities_are_scipys_and_minus_infinity_outside(name):
    inside, outside, _, slopes = measured()
    exact = [logs(DISTRIBUTIONS[name][1], np.asarray(z)) for z in DISTRIBUTIONS[name][2]]
    np.testing.assert_allclose(inside[name], np.ravel(exact), rtol=1e-6, atol=1e-9)
    if name in outside:
        assert outside[name] == -np.inf
    if name in slopes:
        np.testing.assert_allclose(*slopes[name], rtol=1e-4, atol=1e-11)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_samples_lie_in_the_support_with_scipys_moments(name):
    distribution, peer = DISTRIBUTIONS[name][:2]
    z = measured()[2][name].astype(float)
    assert z.shape == (N, *distribution.batch_shape, *distribution.event_shape)
    assert bool(jnp.all(distribution.support(jnp.asarray(z))))
    if hasattr(peer, "cov"):
        mean = peer.mean if isinstance(peer.mean, np.ndarray) else peer.mean()
        cov = peer.cov() if callable(peer.cov) else peer.cov
        variance = np.diag(np.asarray(cov))
    else:
        mean, variance = peer.mean(), peer.var()
    slack = 5 * np.sqrt(variance / N)
    assert np.all(np.abs(z.mean(axis=0) - mean) < slack)
    assert np.all(np.abs(z.var(axis=0) / variance - 1) < 0.15)


PAIRS = Lazily(
    {
        "Normal": lambda: (dist.Normal(0.3, 0.8), dist.Normal(-0.5, 1.4)),
        "LogNormal": lambda: (dist.LogNormal(0.3, 0.8), dist.LogNormal(-0.5, 1.4)),
        "Laplace": lambda: (dist.Laplace(0.3, 0.8), dist.Laplace(-0.5, 1.4)),
        "Exponential": lambda: (dist.Exponential(2.0), dist.Exponential(0.7)),
        "Gamma": lambda: (dist.Gamma(2.0, 1.5), dist.Gamma(3.0, 1.5)),
        "Beta": lambda: (dist.Beta(2.0, 3.0), dist.Beta(1.5, 1.0)),
        "Dirichlet": lambda: (dist.Dirichlet(jnp.asarray(ALPHA)), dist.Dirichlet(jnp.ones(3))),
        "Poisson": lambda: (dist.Poisson(2.5), dist.Poisson(4.0)),
        "Geometric": lambda: (dist.Geometric(logits=0.0), dist.Geometric(probs=0.3)),
        "MultivariateNormal": lambda: (
            dist.MultivariateNormal(jnp.zeros(2), jnp.asarray(COV)),
            dist.Normal(jnp.array([0.5, 0.0]), 1.0).to_event(1),
        ),
        "expanded": lambda: (
            dist.Normal(0.3, 0.8).expand((2, 3)),
            dist.Normal(jnp.zeros(3), 1.0).expand((2, 3)),
        ),
        "OneHotCategorical": lambda: (
            OneHotCategorical(jnp.log(P3)),
            OneHotCategorical(jnp.zeros(3)),
        ),
    }
)


@functools.cache
def divergences(way=jax.jit):
    def run(key):
        found = {}
        for name, (q, p) in PAIRS.items():
            ratio = lambda z, q=q, p=p: log_prob(q, z) - log_prob(p, z)
            ratios = jax.vmap(ratio)(draw(q, key, (N,)))
            found[name] = (kl_divergence(q, p), jnp.mean(ratios), jnp.std(ratios) / N**0.5)
        return found

    return way(run)(jr.key(3))


@pytest.mark.parametrize("name", PAIRS)
def test_divergences_are_those_of_monte_carlo(name):
    exact, estimate, error = divergences()[name]
    assert abs(exact - estimate) < 5 * error + 1e-9


# FlowJAX, nflows, normflows. Each is a density with the shape of one point.
def near(tree, key):
    """A member away from where it starts."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jr.split(key, len(leaves))
    moved = [
        leaf + 0.15 * jr.normal(k, leaf.shape, leaf.dtype)
        if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
        else leaf
        for leaf, k in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(structure, moved)


def member(family, scale=0.5):
    return family(scale * jr.normal(jr.key(5), family.shape))


KEY = jr.key(1)
DENSITIES = Lazily(
    {
        "StandardNormal": lambda: (StandardNormal((2, 3)), (2, 3)),
        "OneHotCategorical": lambda: (OneHotCategorical(jnp.zeros(3)), (3,)),
        "RelaxedOneHotCategorical": lambda: (RelaxedOneHotCategorical(0.7, jnp.zeros(3)), (3,)),
        "ExpRelaxedOneHotCategorical": lambda: (
            ExpRelaxedOneHotCategorical(0.7, jnp.zeros(3)),
            (3,),
        ),
        "FixedDistribution": lambda: (
            FixedDistribution(dist.Normal(jnp.zeros(2), 1.0).to_event(1)),
            (2,),
        ),
        "DiagonalNormal": lambda: (member(DiagonalNormal(2)), (2,)),
        "FullCovarianceNormal": lambda: (member(FullCovarianceNormal(2)), (2,)),
        "NormalMixture": lambda: (member(NormalMixture(3, 2)), (2,)),
        "CouplingFlow": lambda: (
            member(near(CouplingFlow(2, width=4, context=2, key=KEY), KEY)),
            (2,),
        ),
        "InverseAutoregressiveFlow": lambda: (
            member(near(InverseAutoregressiveFlow(2, width=4, context=2, key=KEY), KEY)),
            (2,),
        ),
        "residual_flow": lambda: (residual_flow(2, blocks=2, width=4, key=KEY), (2,)),
        "CNF": lambda: (CNF(lambda t, y, args: jnp.tanh(y) - y[::-1], StandardNormal(2)), (2,)),
        "CNF, joint": lambda: (
            CNF(lambda t, y, args: jnp.tanh(y), StandardNormal(2), stepping="joint"),
            (2,),
        ),
        "AR1Prior": lambda: (AR1Prior((0.5, 0.2), steps=3), (3, 2)),
        "AutoregressivePrior": lambda: (
            AutoregressivePrior(RecurrentNet(2, 4, width=4, key=KEY), steps=3),
            (3, 2),
        ),
        "AggregateNormal": lambda: (
            aggregate_normal(dist.Normal(jr.normal(KEY, (9, 2)), jnp.ones((9, 2)))),
            (2,),
        ),
    }
)


scored = eqx.filter_jit(log_prob_of_parts)


@pytest.mark.parametrize("name", DENSITIES)
def test_shapes_of_draws_and_densities_and_no_rows_at_all(name, key):
    q, event = DENSITIES[name]
    for shape in ((), (2, 3), (0,), (2, 0)):
        z = q.sample(key, shape)
        assert z.shape == (*shape, *event)
        # A family's member can be NumPyro's, which has no sum over zero rows.
        found = log_prob_of_parts(q, z)
        assert found.shape == shape
        assert np.isfinite(found).all()
        assert scored(q, z).shape == shape
        np.testing.assert_allclose(scored(q, z), found, rtol=1e-4, atol=1e-5)
    # A row's density does not depend on the rows beside it.
    z = q.sample(key, (2, 3))
    np.testing.assert_allclose(q.log_prob(z)[1, 2], q.log_prob(z[1, 2]), rtol=1e-5)


@pytest.mark.parametrize("way", [eagerly, eqx.filter_jit], ids=["eagerly", "compiled"])
def test_no_draws_of_what_scores_one_point_at_a_time(way, key):
    prior = MixturePrior(2, 3, key=key)
    none = way(lambda law, key: law.sample(key, (0,)))
    assert none(prior, key).shape == (0, 3)
    scores = way(lambda prior, z: jax.vmap(prior.log_prob)(z))
    assert scores(prior, jnp.zeros((0, 3))).shape == (0,)
    implied = ImportanceWeightedPosterior(
        lambda z: log_prob(dist.Normal(1.0, 0.5), z), dist.Normal(0.0, 1.0), 3
    )
    assert none(implied, key).shape == (0,)
    assert none(Replicated(dist.Normal(0.0, 1.0), 3), key).shape == (0, 3)
    pair = member(AuxiliaryFlow(2, width=4, key=key))
    z = way(lambda pair, key: draw(pair, key, (0,)))(pair, key)
    assert [part.shape for part in z] == [(0, 2), (0, 2)]
    assert way(lambda pair, z: pair.log_prob(z))(pair, z).shape == (0,)


FLOWS = ("residual_flow", "CNF", "CNF, joint")


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_comes_back_with_the_log_determinant_of_its_jacobian(name, key):
    flow, _ = DENSITIES[name]
    x = jr.normal(key, (3, 2))
    z, log_det = flow.inverse_and_log_det(x)
    back, back_det = flow.transform_and_log_det(z)
    np.testing.assert_allclose(back, x, atol=2e-4)
    np.testing.assert_allclose(back_det, -log_det, atol=2e-4)
    step = 1e-4
    moved = jnp.stack([step * jnp.eye(2), -step * jnp.eye(2)])
    ends, _ = flow.inverse_and_log_det(x[:, None, None] + moved)
    jacobian = (ends[:, 0] - ends[:, 1]) / (2 * step)
    exact = np.linalg.slogdet(np.asarray(jacobian))[1]
    np.testing.assert_allclose(log_det, exact, atol=2e-3)
    np.testing.assert_allclose(flow.log_prob(x), flow.base.log_prob(z) + log_det, rtol=1e-6)
    same = eqx.filter_jit(lambda flow, x: (flow.inverse_and_log_det(x), flow.log_prob(x)))
    check_same(same(flow, x), ((z, log_det), flow.log_prob(x)), 1e-4, 1e-5)
    for size in (None, 2):
        assert flow.sample(key, (0,), batch_size=size).shape == (0, 2)
        assert flow.log_prob(jnp.zeros((0, 2)), batch_size=size).shape == (0,)
        for both in (flow.inverse_and_log_det, flow.transform_and_log_det):
            points, dets = both(jnp.zeros((4, 0, 2)), batch_size=size)
            assert (points.shape, dets.shape) == ((4, 0, 2), (4, 0))


@pytest.mark.parametrize("name", ["DiagonalNormal", "FullCovarianceNormal", "NormalMixture",
                                  "CouplingFlow", "InverseAutoregressiveFlow"])  # fmt: skip
def test_a_family_s_density_has_mass_one_and_is_the_one_of_its_draws(name, key):
    q, _ = DENSITIES[name]
    axis = jnp.linspace(-9, 9, 181)
    grid = jnp.stack(jnp.meshgrid(axis, axis, indexing="ij"), axis=-1)
    share = jnp.exp(eqx.filter_jit(log_prob_of_parts)(q, grid)) * (axis[1] - axis[0]) ** 2
    z = np.asarray(q.sample(key, (N,)))
    inside = np.all(np.abs(z) < 9, axis=1)
    # A bent normal can reach beyond the grid, and then its draws do as often.
    assert abs(jnp.sum(share) - inside.mean()) < 5 * np.sqrt(0.05 / N) + 1e-3
    z = z[inside]
    mean = jnp.einsum("ij,ijk->k", share, grid) / jnp.sum(share)
    assert np.all(np.abs(z.mean(axis=0) - mean) < 5 * z.std(axis=0) / N**0.5)


@pytest.mark.parametrize("make", [CouplingFlow, InverseAutoregressiveFlow, AuxiliaryFlow])
def test_a_context_of_every_length_is_taken_and_another_refused(make, key):
    for context in (0, 1, 3):
        family = make(2, layers=2, width=4, context=context, key=key)
        run = lambda params, key, family=family: log_prob(family(params), draw(family(params), key))
        inputs = jnp.ones((5, *family.shape)), jr.split(key, 5)
        found = jax.jit(jax.vmap(run))(*inputs)
        assert found.shape == (5,)
        assert np.isfinite(found).all()
        if context == 1:
            check_same(jax.vmap(run)(*inputs), found)
        with pytest.raises(ValueError, match="params"):
            family(jnp.zeros(family.shape[0] + 1))


def test_an_image_flow_of_no_images(key):
    flow = image_residual_flow(
        (1, 4, 4), scales=1, blocks=1, hidden=2, dense_blocks=0, log_det=ExactLogDet(), key=key
    )
    flow = init_actnorm(flow, jr.uniform(key, (8, 1, 4, 4)))
    none = lambda flow, key: (
        flow.sample(key, (0,)),
        flow.log_prob(jnp.zeros((0, 1, 4, 4)), key=key),
    )
    for way in (eagerly, eqx.filter_jit):
        images, found = way(none)(flow, key)
        assert (images.shape, found.shape) == ((0, 1, 4, 4), (0,))


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_the_mean_of_a_discretised_mixture_is_the_sum_over_its_levels(levels):
    likelihood = DiscretisedLogisticMixture(3, levels)
    params = 2 * jr.normal(KEY, (2, 3, 3))
    values = jnp.arange(levels)
    each = jax.vmap(jax.vmap(likelihood.log_prob, (None, 0)), (0, None))
    share = jnp.exp(each(params, values))
    for way in (eagerly, jax.jit):
        mean = way(likelihood.mean)(params)
        np.testing.assert_allclose(mean, share @ values.astype(float), rtol=1e-6)

"""Divergences in closed form against integrals and sums that SciPy's densities make."""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import integrate, stats

from pullback.bounds import ELBO, EnergyPrior, LatentModel, kl_divergence
from pullback.sampling import Enumeration, OneHotCategorical, StandardNormal, log_prob

pytestmark = pytest.mark.usefixtures("promotion")

LINE, HALF = (-60, 60), (1e-12, 200)


def integral(q, p, ends):
    # SciPy's own logarithms, so that no tail is 0 times infinity.
    inside = lambda x: np.exp(q.logpdf(x)) * (q.logpdf(x) - p.logpdf(x))
    return integrate.quad(inside, *ends, limit=500, points=[max(ends[0], q.median())])[0]


def series(q, p):
    k = np.arange(400)
    k = k[q.pmf(k) > 0]
    return np.sum(q.pmf(k) * (q.logpmf(k) - p.logpmf(k)))


CONTINUOUS = {
    "normal": (dist.Normal(0.3, 0.8), dist.Normal(-0.5, 1.4),
               stats.norm(0.3, 0.8), stats.norm(-0.5, 1.4), LINE),
    "lognormal": (dist.LogNormal(0.3, 0.8), dist.LogNormal(-0.5, 1.4),
                  stats.lognorm(0.8, scale=np.exp(0.3)), stats.lognorm(1.4, scale=np.exp(-0.5)),
                  HALF),
    "laplace": (dist.Laplace(0.3, 0.8), dist.Laplace(-0.5, 1.4),
                stats.laplace(0.3, 0.8), stats.laplace(-0.5, 1.4), LINE),
    "exponential": (dist.Exponential(2.0), dist.Exponential(0.7),
                    stats.expon(scale=0.5), stats.expon(scale=1 / 0.7), HALF),
    "half-normal": (dist.HalfNormal(0.8), dist.HalfNormal(1.7),
                    stats.halfnorm(scale=0.8), stats.halfnorm(scale=1.7), (0, 12)),
    "uniform": (dist.Uniform(0.2, 0.7), dist.Uniform(0.0, 2.0),
                stats.uniform(0.2, 0.5), stats.uniform(0, 2), (0.2, 0.7)),
    "gamma": (dist.Gamma(2.0, 1.5), dist.Gamma(3.0, 0.5),
              stats.gamma(2, scale=1 / 1.5), stats.gamma(3, scale=2), HALF),
    "beta": (dist.Beta(2.0, 3.0), dist.Beta(1.5, 1.0), stats.beta(2, 3), stats.beta(1.5, 1),
             (0, 1)),
}  # fmt: skip
DISCRETE = {
    "poisson": (dist.Poisson(2.5), dist.Poisson(4.0), stats.poisson(2.5), stats.poisson(4)),
    "geometric": (dist.Geometric(probs=0.3), dist.Geometric(logits=0.5),
                  stats.geom(0.3, loc=-1), stats.geom(1 / (1 + np.exp(-0.5)), loc=-1)),
    "binomial": (dist.Binomial(5, probs=0.3), dist.Binomial(5, logits=0.5),
                 stats.binom(5, 0.3), stats.binom(5, 1 / (1 + np.exp(-0.5)))),
    "bernoulli": (dist.Bernoulli(0.3), dist.Bernoulli(logits=0.5),
                  stats.bernoulli(0.3), stats.bernoulli(1 / (1 + np.exp(-0.5)))),
}  # fmt: skip


def test_against_integrals_and_sums():
    pairs = {**CONTINUOUS, **DISCRETE}
    found = jax.jit(lambda: {name: kl_divergence(*pair[:2]) for name, pair in pairs.items()})()
    exact = {name: integral(q, p, ends) for name, (_, _, q, p, ends) in CONTINUOUS.items()}
    exact |= {name: series(q, p) for name, (_, _, q, p) in DISCRETE.items()}
    for name, (q, p, *_) in pairs.items():
        np.testing.assert_allclose(found[name], exact[name], rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(kl_divergence(q, p), exact[name], rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(kl_divergence(q, q), 0, atol=1e-12, err_msg=name)
    # Cauchy's tails are beyond any range of integration; by a change of variable.
    q, p = (0.3, 0.8), (-0.5, 1.4)
    log_ratio = lambda z: stats.cauchy.logpdf(z, *q) - stats.cauchy.logpdf(z, *p)
    at = lambda u: log_ratio(stats.cauchy.ppf(u, *q))
    found = kl_divergence(dist.Cauchy(*q), dist.Cauchy(*p))
    np.testing.assert_allclose(found, integrate.quad(at, 0, 1)[0], rtol=1e-6)


def test_slopes_where_two_laplaces_meet():
    at = lambda m: kl_divergence(dist.Laplace(m, 0.5), dist.Laplace(0.0, 2.0))
    assert jax.grad(at)(0.0) == 0
    np.testing.assert_allclose(jax.grad(jax.grad(at))(0.0), 1 / (0.5 * 2))  # 1 / (s r)


def gaussian(mean, cov, other_mean, other_cov):
    inverse, apart = np.linalg.inv(other_cov), other_mean - mean
    logs = np.linalg.slogdet(other_cov)[1] - np.linalg.slogdet(cov)[1]
    return (np.trace(inverse @ cov) + apart @ inverse @ apart - len(mean) + logs) / 2


def test_normals_of_every_covariance_against_each_other():
    mean, other = jnp.array([0.3, -1.0, 0.2]), jnp.array([0.0, 0.5, 1.0])
    factor, diagonal = jnp.array([[1.0], [0.5], [-0.7]]), jnp.array([0.5, 1.0, 2.0])
    low = lambda m: dist.LowRankMultivariateNormal(m, factor, diagonal)
    full = lambda m: dist.MultivariateNormal(m, covariance_matrix=low(m).covariance_matrix + 0.3)
    apart = lambda m: dist.Normal(m, jnp.sqrt(diagonal)).to_event(1)
    for left in (low, full, apart):
        for right in (low, full, apart):
            q, p = left(mean), right(other)
            covs = [
                np.diag(np.asarray(diagonal))
                if distribution is apart
                else np.asarray(d.covariance_matrix)
                for distribution, d in ((left, q), (right, p))
            ]
            exact = gaussian(np.asarray(mean), covs[0], np.asarray(other), covs[1])
            np.testing.assert_allclose(kl_divergence(q, p), exact, rtol=1e-10)


def test_batch_shapes_are_broadcast_to_the_common_one():
    one = kl_divergence(dist.Bernoulli(0.3), dist.Bernoulli(jnp.array([0.6, 0.9])))
    k = lambda q, p: q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))
    np.testing.assert_allclose(one, k(0.3, 0.6) + k(0.3, 0.9), rtol=1e-9)  # 1.216
    np.testing.assert_allclose(one, 1.216, atol=1e-3)
    wide = jnp.array([[0.2], [0.5], [0.7]])
    found = kl_divergence(dist.Bernoulli(wide), dist.Bernoulli(jnp.array([0.6, 0.9])))
    exact = k(np.asarray(wide), np.array([0.6, 0.9])).sum()
    np.testing.assert_allclose(found, exact, rtol=1e-9)
    # What `expand` says counts, on either side.
    normal = kl_divergence(dist.Normal(1.0, 0.5), dist.Normal(0.0, 1.0))
    for q in (dist.Normal(1.0, 0.5).expand((3,)), dist.Normal(1.0, 0.5).expand((3,)).to_event(1)):
        np.testing.assert_allclose(kl_divergence(q, dist.Normal(0.0, 1.0)), 3 * normal)
        np.testing.assert_allclose(kl_divergence(q, StandardNormal(3)), 3 * normal)
    events = dist.Normal(jnp.ones(2), 0.5).to_event(1).expand((3,))
    np.testing.assert_allclose(kl_divergence(events, dist.Normal(0.0, 1.0)), 6 * normal)
    np.testing.assert_allclose(kl_divergence(events, StandardNormal((3, 2))), 6 * normal)
    np.testing.assert_allclose(
        kl_divergence(dist.Normal(1.0, 0.5), dist.Normal(0.0, 1.0).expand((4,))), 4 * normal
    )
    q, p = OneHotCategorical(jnp.array([0.0, 1.0])), OneHotCategorical(jnp.array([1.0, 0.5]))
    np.testing.assert_allclose(kl_divergence(q.expand((3,)), p), 3 * kl_divergence(q, p))
    np.testing.assert_allclose(kl_divergence(q, p.expand((2, 3))), 6 * kl_divergence(q, p))
    # A distribution that was made for a batch and is seen one at a time knows its old batch shape
    # alone.
    batch = dist.Normal(jnp.ones((5, 2)), 0.5 * jnp.ones((5, 2)))
    each = jax.vmap(lambda q: kl_divergence(q, dist.Normal(jnp.zeros(2), 1.0)))(batch)
    np.testing.assert_allclose(each, np.full(5, 2 * normal))


def test_pairs_of_another_shape_are_the_same_compiled():
    """0.062 for 1.216, where the batch shapes were not broadcast."""
    one_hot = lambda logits: OneHotCategorical(logits)

    @jax.jit
    def found(p, mean, logits):
        row = jnp.array([1.5, 0.3, 0.1, 0.1, 0.3])
        near, far = one_hot(logits), one_hot(2 * logits)
        return {
            "bernoulli": kl_divergence(dist.Bernoulli(0.3), dist.Bernoulli(p)),
            "expanded": kl_divergence(dist.Normal(p[0], 0.5).expand((3,)), StandardNormal(3)),
            "one-hot": kl_divergence(near.expand((3,)), far),
            "circulant": kl_divergence(
                dist.Normal(mean, 0.7).to_event(1),
                dist.CirculantNormal(jnp.zeros(5), covariance_row=row),
            ),
        }

    given = jnp.array([0.6, 0.9]), jnp.linspace(-1, 1, 5), jnp.array([0.0, 1.0])
    with jax.disable_jit():
        eager = found(*given)
    got = found(*given)
    np.testing.assert_allclose(got["bernoulli"], 1.2163400, rtol=1e-6)
    np.testing.assert_allclose(got["expanded"], 3 * (0.25 + 0.36 - 1 + np.log(4)) / 2, rtol=1e-9)
    p, r = (np.exp(x) / np.exp(x).sum() for x in (np.array([0.0, 1.0]), np.array([0.0, 2.0])))
    np.testing.assert_allclose(got["one-hot"], 3 * np.sum(p * np.log(p / r)), rtol=1e-9)
    for name, value in eager.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-9, err_msg=name)


def test_pairs_that_are_known_as_they_stand():
    size = 5
    row = jnp.array([1.5, 0.3, 0.1, 0.1, 0.3])
    p = dist.CirculantNormal(jnp.zeros(size), covariance_row=row)
    q = dist.Normal(jnp.linspace(-1, 1, size), 0.7).to_event(1)
    exact = gaussian(
        np.linspace(-1, 1, size), 0.49 * np.eye(size), np.zeros(size),
        np.asarray(p.covariance_matrix),
    )  # fmt: skip
    np.testing.assert_allclose(kl_divergence(q, p), exact, rtol=1e-9)
    at = dist.Delta(jnp.array(1.0))
    distribution = lambda t: kl_divergence(at, dist.Bernoulli(logits=t))
    np.testing.assert_allclose(jax.grad(distribution)(0.0), -0.5)
    assert kl_divergence(dist.Uniform(0.0, 2.0), dist.Uniform(0.0, 1.0)) == jnp.inf
    assert kl_divergence(dist.Binomial(2, 0.5), dist.Bernoulli(0.5)) == jnp.inf
    with pytest.raises(ValueError, match=r"no closed form for KL\(Normal \|\| Cauchy\)"):
        kl_divergence(dist.Normal(0.0, 1.0), dist.Cauchy(0.0, 1.0))


class Joint(eqx.Module):
    """A prior of one's own, which has one density of both variables."""

    weights: Any

    def sample(self, key, shape=()):
        return jax.random.bernoulli(key, 0.5, (*shape, *self.weights.shape)).astype(float)

    def log_prob(self, z):
        return jnp.sum(jnp.asarray(z, float) * self.weights - jnp.log1p(jnp.exp(self.weights)))


JOINTS: dict[str, Any] = {
    "one's own": Joint(jnp.array([0.3, -0.7])),
    "mixture": dist.MixtureSameFamily(
        dist.Categorical(probs=jnp.array([0.4, 0.6])),
        dist.Bernoulli(jnp.array([[0.2, 0.7], [0.9, 0.4]])).to_event(1),
    ),
    "energy": EnergyPrior(
        lambda z: jnp.sum(z * jnp.array([0.3, -0.7])), dist.Bernoulli(jnp.array([0.5, 0.5]))
    ),
}


@pytest.mark.parametrize("name", JOINTS)
@pytest.mark.parametrize("compiled", [False, True])
def test_a_prior_of_variables_together_is_not_asked_for_each_by_itself(name, compiled, key):
    model = LatentModel(lambda z: 0.2 * jnp.sum(jnp.asarray(z, float)), JOINTS[name])
    family: Any = lambda t: dist.Bernoulli(probs=jnp.array([0.3, 0.8]) + t).to_event(1)
    run = lambda kl: lambda t: ELBO(kl)(model, family(t), estimator=Enumeration(), key=key)
    with pytest.raises(ValueError, match=r'no closed form .*`kl="sampled"`'):
        run("analytic")(0.0)
    prior: Any = model.normalised(key=key).prior

    def exact(t):
        states = jnp.array(list(itertools.product((0.0, 1.0), repeat=2)))
        log_q = jnp.stack([jnp.sum(dist.Bernoulli(probs=jnp.array([0.3, 0.8]) + t).log_prob(z))
                           for z in states])  # fmt: skip
        gain = jnp.stack([0.2 * jnp.sum(z) + log_prob(prior, z) for z in states])
        return jnp.sum(jnp.exp(log_q) * (gain - log_q))

    found = jax.value_and_grad(run("sampled"))
    found = (jax.jit(found) if compiled else found)(0.0)
    np.testing.assert_allclose(found, jax.value_and_grad(exact)(0.0), rtol=1e-9)


def test_one_variable_has_a_sum_with_a_prior_of_ones_own():
    for compile in (lambda f: f, jax.jit):
        found = compile(lambda: kl_divergence(dist.Bernoulli(0.3), Joint(jnp.asarray(0.4))))()
        p = 1 / (1 + np.exp(-0.4))
        np.testing.assert_allclose(
            found, 0.3 * np.log(0.3 / p) + 0.7 * np.log(0.7 / (1 - p)), rtol=1e-9
        )

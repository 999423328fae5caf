"""Divergences of more pairs, of one family and of two, against integrals of SciPy's densities."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import integrate, stats

from pullback.bounds import ELBO, LatentModel, kl_divergence

pytestmark = pytest.mark.usefixtures("promotion")

# A family of NumPyro's, and SciPy's law of the same parameters.
MAKE: dict[str, tuple[Any, Any]] = {
    "normal": (dist.Normal, stats.norm),
    "laplace": (dist.Laplace, stats.laplace),
    "uniform": (dist.Uniform, lambda low, high: stats.uniform(low, high - low)),
    "gamma": (dist.Gamma, lambda a, b: stats.gamma(a, scale=1 / b)),
    "exponential": (dist.Exponential, lambda b: stats.expon(scale=1 / b)),
    "chi2": (dist.Chi2, stats.chi2),
    "inverse gamma": (dist.InverseGamma, lambda a, b: stats.invgamma(a, scale=b)),
    "lognormal": (dist.LogNormal, lambda m, s: stats.lognorm(s, scale=np.exp(m))),
    "half-normal": (dist.HalfNormal, lambda s: stats.halfnorm(scale=s)),
    "half-cauchy": (dist.HalfCauchy, lambda s: stats.halfcauchy(scale=s)),
    "gumbel": (dist.Gumbel, stats.gumbel_r),
    "weibull": (dist.Weibull, lambda s, k: stats.weibull_min(k, scale=s)),
    "pareto": (dist.Pareto, lambda s, a: stats.pareto(a, scale=s)),
    "von mises": (dist.VonMises, lambda m, k: stats.vonmises(k, loc=m)),
    "beta": (dist.Beta, stats.beta),
    "kumaraswamy": (dist.Kumaraswamy, None),
    "dirichlet": (dist.Dirichlet, None),
}
SAME = {
    "gamma": ((2.0, 1.5), (3.0, 0.5)), "exponential": ((2.0,), (0.7,)),
    "chi2": ((3.0,), (5.0,)), "inverse gamma": ((2.5, 1.2), (3.0, 0.7)),
    "half-cauchy": ((0.8,), (1.7,)), "gumbel": ((0.3, 0.8), (-0.5, 1.4)),
    "weibull": ((0.8, 1.7), (1.3, 1.2)), "pareto": ((1.5, 2.0), (1.0, 3.0)),
    "von mises": ((0.5, 2.0), (-1.0, 0.7)), "beta": ((2.0, 3.0), (1.5, 1.2)),
}  # fmt: skip
ACROSS = [
    ("normal", (0.3, 0.8), "laplace", (-0.5, 1.4)),
    ("laplace", (0.3, 0.8), "normal", (-0.5, 1.4)),
    ("uniform", (-1.0, 2.5), "normal", (0.2, 1.4)),
    ("gamma", (2.0, 1.5), "normal", (0.2, 1.4)),
    ("half-normal", (0.8,), "normal", (0.2, 1.4)),
    ("lognormal", (-0.2, 0.4), "normal", (0.2, 1.4)),
    ("exponential", (1.7,), "gamma", (2.5, 0.8)),
    ("gamma", (2.5, 0.8), "exponential", (1.7,)),
    ("chi2", (3.0,), "gamma", (2.5, 0.8)),
    ("lognormal", (0.1, 0.6), "gamma", (2.0, 1.5)),
    ("lognormal", (0.1, 0.6), "exponential", (1.5,)),
    ("gamma", (2.0, 1.5), "lognormal", (0.1, 0.9)),
    ("exponential", (1.5,), "lognormal", (0.1, 0.9)),
    ("half-normal", (0.8,), "exponential", (1.5,)),
    ("half-normal", (0.8,), "gamma", (2.0, 1.5)),
    ("half-normal", (0.8,), "lognormal", (0.1, 0.9)),
    ("beta", (2.0, 3.0), "uniform", (-0.5, 1.5)),
]
PAIRS = [(name, q, name, p) for name, (q, p) in SAME.items()] + ACROSS


def integral(q, p):
    # Of the share of q below z, by the trapezoidal rule in its logit.
    t = np.linspace(-32, 32, 40_001)
    z = np.where(t < 0, q.ppf(1 / (1 + np.exp(-t))), q.isf(1 / (1 + np.exp(t))))
    share = 0.25 / np.cosh(t / 2) ** 2
    return integrate.trapezoid(share * (q.logpdf(z) - p.logpdf(z)), t)


def von_mises(q, p):
    # SciPy's has shares by a series; its densities are enough on a circle.
    inside = lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z))
    return integrate.quad(inside, -np.pi, np.pi)[0]


@jax.jit
def every(params):
    value = lambda q, p, names: kl_divergence(MAKE[names[0]][0](*q), MAKE[names[1]][0](*p))
    return [
        jax.value_and_grad(lambda q, p=p, names=(q_name, p_name): value(q, p, names))(q)
        for (q_name, _, p_name, _), (q, p) in zip(PAIRS, params, strict=True)
    ]


def test_against_integrals_with_their_slopes():
    found = every([(q, p) for _, q, _, p in PAIRS])
    step = 1e-5
    moved = {
        (i, sign): every([
            (tuple(x + sign * step * (j == i) for j, x in enumerate(q)), p) for _, q, _, p in PAIRS
        ])
        for i in range(2) for sign in (1, -1)
    }  # fmt: skip
    for pair, (q_name, q, p_name, p) in enumerate(PAIRS):
        value, slopes = found[pair]
        make, of_prior = MAKE[q_name][1], MAKE[p_name][1](*p)
        area = von_mises if q_name == "von mises" else integral
        name = f"{q_name} in {p_name}"
        np.testing.assert_allclose(value, area(make(*q), of_prior), rtol=1e-6, err_msg=name)
        for i, slope in enumerate(slopes):
            wanted = (moved[i, 1][pair][0] - moved[i, -1][pair][0]) / (2 * step)
            np.testing.assert_allclose(slope, wanted, rtol=1e-6, atol=1e-8, err_msg=name)


def test_two_alike_are_at_no_distance_and_the_slope_there_is_none():
    alike = [(q, q) for name, (q, _) in SAME.items()]
    for (name, _), (value, slopes) in zip(SAME.items(), every_alike(alike), strict=True):
        np.testing.assert_allclose(value, 0, atol=1e-12, err_msg=name)
        skipped = name == "pareto"  # whose support begins where the scale does
        np.testing.assert_allclose(slopes[skipped:], 0, atol=1e-12, err_msg=name)


@jax.jit
def every_alike(params):
    def of(make):
        return jax.value_and_grad(lambda q, p: kl_divergence(make(*q), make(*p)))

    return [of(MAKE[name][0])(*pair) for name, pair in zip(SAME, params, strict=True)]


def test_a_dirichlet_by_its_draws_and_a_kumaraswamy_in_a_beta():
    q, p = np.array([1.5, 2.0, 0.8]), np.array([2.0, 1.0, 1.2])
    one, other = stats.dirichlet(q), stats.dirichlet(p)
    z = one.rvs(40_000, random_state=0).T
    gain = one.logpdf(z) - other.logpdf(z)
    found = kl_divergence(dist.Dirichlet(q), dist.Dirichlet(p))
    assert abs(found - gain.mean()) < 4 * gain.std() / 200
    q, p = dist.Kumaraswamy(2.0, 3.0), stats.beta(1.5, 1.2)
    density = lambda z: 6 * z * (1 - z**2) ** 2
    inside = lambda z: density(z) * (np.log(density(z)) - p.logpdf(z))
    exact = integrate.quad(inside, 0, 1)[0]
    np.testing.assert_allclose(kl_divergence(q, dist.Beta(1.5, 1.2)), exact, rtol=1e-2)  # a series


@pytest.mark.parametrize(
    ("q", "p"),
    [
        (dist.Normal(0.0, 1.0), dist.Exponential(1.0)),
        (dist.Laplace(0.0, 1.0), dist.Gamma(2.0, 1.0)),
        (dist.Gamma(2.0, 1.0), dist.Beta(1.0, 1.0)),
        (dist.Uniform(-1.0, 1.0), dist.LogNormal(0.0, 1.0)),
        (dist.Beta(2.0, 2.0), dist.Uniform(0.1, 2.0)),
        (dist.Pareto(0.5, 2.0), dist.Pareto(1.0, 2.0)),
        (dist.Normal(jnp.zeros(2), 1.0).to_event(1), dist.Exponential(jnp.ones(2)).to_event(1)),
    ],
)
def test_it_is_infinite_where_the_second_has_no_density(q, p):
    assert kl_divergence(q, p) == jnp.inf
    assert jax.jit(lambda: kl_divergence(q, p))() == jnp.inf


def test_pairs_are_summed_over_variables_and_batches():
    q, p = dist.Gumbel(jnp.array([0.3, -1.0]), 0.8), dist.Gumbel(0.0, jnp.array([[1.4], [2.0]]))
    each = [kl_divergence(dist.Gumbel(m, 0.8), dist.Gumbel(0.0, s))
            for m in (0.3, -1.0) for s in (1.4, 2.0)]  # fmt: skip
    np.testing.assert_allclose(kl_divergence(q, p), sum(each), rtol=1e-9)
    q, p = dist.LogNormal(jnp.zeros(3), 0.5).to_event(1), dist.Gamma(2.0, 1.5)
    one = kl_divergence(dist.LogNormal(0.0, 0.5), p)
    np.testing.assert_allclose(kl_divergence(q, p.expand((3,)).to_event(1)), 3 * one, rtol=1e-9)


def test_an_elbo_takes_them(key):
    model = LatentModel(lambda z: -0.5 * z, dist.Gamma(2.0, 1.5))
    q = dist.LogNormal(0.1, 0.6)
    run = lambda kl, n: ELBO(kl)(model, q, num_samples=n, key=key)
    assert abs(run("analytic", 20_000) - run("sampled", 20_000)) < 0.02


def test_a_large_concentration_keeps_its_digits():
    found = kl_divergence(dist.VonMises(0.1, 900.0), dist.VonMises(0.0, 800.0))
    near = kl_divergence(dist.Normal(0.1, 900**-0.5), dist.Normal(0.0, 800**-0.5))
    np.testing.assert_allclose(found, near, rtol=5e-3)

"""Likelihoods, against SciPy, sums over all values, draws and differences."""

import inspect
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import special, stats

from pullback.models import likelihoods
from pullback.models.likelihoods import (
    AbstractLikelihood,
    Bernoulli,
    Categorical,
    DiscretisedLogisticMixture,
    NegativeBinomial,
    Normal,
    Poisson,
    Tokens,
    check_support,
    masked_log_prob,
)
from pullback.models.vae import mlp_vae

pytestmark = pytest.mark.usefixtures("promotion")

ALL: dict[str, Any] = {
    "bernoulli": Bernoulli(),
    "categorical": Categorical(3),
    "normal": Normal(0.3),
    "normal-learned": Normal(0.3, variables=2),
    "normal-shared": Normal(0.3, variables=1),
    "normal-emitted": Normal(),
    "logistic": DiscretisedLogisticMixture(2, 6),
    "poisson": Poisson(),
    "tokens": Tokens(3),
    "negative": NegativeBinomial(0.7),
    "negative-learned": NegativeBinomial(0.7, variables=2),
    "negative-emitted": NegativeBinomial(),
}
every = pytest.mark.parametrize("likelihood", ALL.values(), ids=ALL)
# Whose entries do not depend on one another; of the others see `test_tokens.py`.
APART = {name: each for name, each in ALL.items() if not isinstance(each, Tokens)}
apart = pytest.mark.parametrize("likelihood", APART.values(), ids=APART)


def distribution_of(likelihood, params) -> Any:
    """SciPy's distribution of each entry; of the logistic mixture and of classes None."""
    if isinstance(likelihood, Bernoulli):
        return stats.bernoulli(special.expit(params))
    if isinstance(likelihood, Poisson):
        return stats.poisson(np.exp(params))
    if isinstance(likelihood, Normal):
        if likelihood.fixed is None:
            return stats.norm(params[..., 0], np.exp(params[..., 1]))
        return stats.norm(params, 0.3)
    if isinstance(likelihood, NegativeBinomial):
        mean, r = np.exp(params), 0.7
        if likelihood.fixed is None:
            mean, r = mean[..., 0], mean[..., 1]
        return stats.nbinom(r, r / (r + mean))
    return None


def of_scipy(likelihood, params, x):
    """log p(x) of each entry."""
    params, x = np.asarray(params), np.asarray(x)
    distribution = distribution_of(likelihood, params)
    if distribution is not None:
        return distribution.logpdf(x) if likelihood.kind == "real" else distribution.logpmf(x)
    if isinstance(likelihood, Categorical | Tokens):
        p = special.softmax(params, axis=-1)
        log_p = np.log(np.take_along_axis(p, x.astype(int)[..., None], -1)[..., 0])
        stopped = np.cumsum(x == 0, axis=-1) > (x == 0)
        return np.where(stopped & isinstance(likelihood, Tokens), 0.0, log_p)
    weights = special.softmax(params[..., 0], axis=-1)
    mean, scale = params[..., 1], np.exp(params[..., 2])
    # Bins of width 2/5 about -1, -0.6, ..., 1; the outer two are open.
    edge = lambda u: stats.logistic.cdf(u, mean, scale)
    middle = (2 * x / 5 - 1)[..., None]
    upper = np.where(x[..., None] == 5, 1.0, edge(middle + 0.2))
    lower = np.where(x[..., None] == 0, 0.0, edge(middle - 0.2))
    return np.log((weights * (upper - lower)).sum(-1))


def test_every_likelihood_is_tried():
    classes = {
        each
        for each in vars(likelihoods).values()
        if inspect.isclass(each) and issubclass(each, AbstractLikelihood)
    }
    assert {type(each) for each in ALL.values()} == classes - {AbstractLikelihood}


@every
def test_the_density_of_each_entry_is_that_of_scipy(likelihood, key):
    params = jr.normal(key, likelihood.params_shape((4, 2)))
    x = likelihood.sample(params, key=jr.key(1))
    assert x.shape == (4, 2)
    check_support(likelihood, x)
    expected = of_scipy(likelihood, params, x)
    for score in (likelihood.log_prob, eqx.filter_jit(likelihood.log_prob)):
        np.testing.assert_allclose(score(params, x), expected, rtol=1e-8)
    whole = x.astype(int) if likelihood.kind != "real" else x
    np.testing.assert_allclose(likelihood.log_prob(params, whole), expected, rtol=1e-8)


@apart
def test_draws_follow_the_density(likelihood, key):
    # The mean of log p over draws is minus the entropy, and draws have the mean that is stated.
    params = jr.normal(key, likelihood.params_shape((2,)))
    many = jnp.broadcast_to(params[None], (20_000, *params.shape))
    draws = np.asarray(eqx.filter_jit(likelihood.sample)(many, key=jr.key(1)), float)
    if likelihood.kind == "real":
        expected = distribution_of(likelihood, np.asarray(params)).entropy()
    else:
        levels = {Bernoulli: 2, Categorical: 3, DiscretisedLogisticMixture: 6}
        counts = range(levels.get(type(likelihood), 400))
        log_p = np.stack([of_scipy(likelihood, params, np.full(2, value)) for value in counts])
        np.testing.assert_allclose(np.exp(log_p).sum(0), 1.0, rtol=1e-10)
        expected = -np.where(log_p > -np.inf, np.exp(log_p) * log_p, 0.0).sum(0)
    found = -of_scipy(likelihood, params[None], draws)
    error = found.std(0) / np.sqrt(len(found))
    assert (np.abs(found.mean(0) - expected) < 4 * error + 1e-12).all()
    if likelihood.kind == "classes":
        draws = np.eye(3)[draws.astype(int)]
    error = draws.std(0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(0) - likelihood.mean(params)) < 4 * error).all()


def slopes(likelihood, params, x):
    """Of the sum of log p by the parameters."""
    total = lambda params: jnp.sum(likelihood.log_prob(params, x))
    return jax.jit(jax.grad(total))(params)


# Logits, log-rates, means and logarithms of scales, at ties and far out; data at the ends.
PLACES = np.array([-100.0, -20.0, -1.0, 0.0, 1.0, 20.0, 100.0])


@pytest.mark.parametrize("x", [0.0, 1.0, 2.0])
@every
def test_slopes_are_differences_at_ties_and_ends(likelihood, x):
    if isinstance(likelihood, Bernoulli):
        x = min(x, 1.0)
    last = likelihood.params_shape(())
    axes = np.meshgrid(*[PLACES] * min(math.prod(last), 2), indexing="ij")
    grid = np.stack([each.ravel() for each in axes], axis=-1)
    if isinstance(likelihood, DiscretisedLogisticMixture):
        # Means and scales of the first of two components, between bounds that are not crossed.
        first = np.stack([0 * grid[:, 0], np.tanh(grid[:, 0]), np.maximum(grid[:, 1], -6)], axis=-1)
        grid = np.stack([first, first[::-1]], axis=1)
    elif isinstance(likelihood, Categorical | Tokens):
        grid = np.concatenate([grid, np.zeros((len(grid), 1))], axis=-1)
    elif isinstance(likelihood, Normal) and last:
        grid[:, 1] = np.clip(grid[:, 1], -8, 8)
    params = jnp.asarray(grid.reshape(len(grid), 1, *last))
    if likelihood.params_shape((2,)) == (2,):
        params = jnp.broadcast_to(params, (len(grid), 2))
    data = jnp.full(params.shape[:2], x)
    found = np.asarray(slopes(likelihood, params, data))
    assert np.isfinite(found).all()
    value = eqx.filter_jit(likelihood.log_prob)
    for place in np.ndindex(last):
        at = (slice(None), slice(None), *place)
        step = 1e-5
        both = [np.asarray(value(params.at[at].add(sign * step), data)) for sign in (1, -1)]
        difference = (both[0] - both[1]) / (2 * step)
        # A difference of large values is known to their rounding.
        rounding = 1e-15 * np.maximum(np.abs(both[0]), 1) / step
        close = np.abs(found[at] - difference) <= 1e-6 * np.abs(difference) + 10 * rounding + 1e-8
        assert close.all(), (params[~close], found[at][~close], difference[~close])


@pytest.mark.parametrize("log_r", [-100.0, -20.0, 3.0, 9.0, 20.0])
def test_the_negative_binomial_in_float32_loses_nothing_to_large_or_tiny_concentrations(log_r):
    x, log_mean = np.array([0.0, 1.0, 7.0, 40.0]), np.array([1.0, 0.0, 2.0, 3.0])
    params = np.stack([log_mean, np.full(4, log_r)], axis=-1)
    exact = lambda p: np.asarray(NegativeBinomial().log_prob(jnp.asarray(p), jnp.asarray(x)))
    double = jnp.asarray(params), jnp.asarray(x)
    single = tuple(each.astype(jnp.float32) for each in double)
    np.testing.assert_allclose(NegativeBinomial().log_prob(*single), exact(params), 2e-5, 2e-6)
    found, wide = slopes(NegativeBinomial(), *single), slopes(NegativeBinomial(), *double)
    np.testing.assert_allclose(found, wide, rtol=1e-4, atol=2e-5)
    if log_r == 20.0:
        np.testing.assert_allclose(exact(params), stats.poisson.logpmf(x, np.exp(log_mean)), 1e-6)


@pytest.mark.parametrize("under", [math.nan, -7.0])
@apart
def test_what_lies_under_a_mask_reaches_neither_the_value_nor_a_slope(likelihood, under, key):
    params = jr.normal(key, likelihood.params_shape((3, 2)))
    mask = jnp.asarray([[True, False], [True, True], [False, True]])
    x = jnp.where(mask, jnp.ones((3, 2)), under)
    behind = mask.reshape(mask.shape + (1,) * (params.ndim - 2))
    params = jnp.where(behind, params, under)

    def total(likelihood, params):
        found = masked_log_prob(likelihood, params, x, mask)
        return jnp.sum(found), found

    (_, found), moved = eqx.filter_jit(eqx.filter_value_and_grad(total, has_aux=True))(
        likelihood, params
    )
    expected = of_scipy(likelihood, jnp.where(behind, params, 0.0), np.ones((3, 2)))
    np.testing.assert_allclose(found, np.where(mask, expected, 0.0), rtol=1e-8)
    for leaf in jax.tree.leaves(moved):
        assert np.isfinite(leaf).all()
    for slope in (moved, jax.grad(lambda params: total(likelihood, params)[0])(params)):
        if eqx.is_array(slope):
            assert not np.where(behind, 0.0, slope).any()


def test_the_mass_of_a_bin_far_from_the_logistic_is_finite_and_has_a_slope():
    # x = 3 of 256 levels, and a logistic at the other end with a tiny scale: mass near e^-2000.
    likelihood = DiscretisedLogisticMixture(1)
    params = jnp.array([[[0.0, 1.0, -7.0]]])
    score = lambda params: likelihood.log_prob(params, jnp.array([3.0]))[0]
    value, slope = jax.value_and_grad(score)(params)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
    exact = (2 * 3 / 255 - 1 + 1 / 255 - 1) * np.exp(7.0)  # the upper edge dominates
    np.testing.assert_allclose(value, exact, rtol=1e-3)
    # The mean is of grey levels: u = 0 is the middle one.
    np.testing.assert_allclose(likelihood.mean(jnp.zeros((1, 1, 3)))[0], 127.5, rtol=1e-12)


@pytest.mark.parametrize(
    ("likelihood", "x", "message"),
    [
        (Bernoulli(), [0.0, 1.2], r"row 1 of `data` has 1\.2, .*finite numbers from 0 to 1 "),
        (Bernoulli(), [0.0, np.nan], "row 1 of `data` has nan"),
        (Categorical(3), [[0.0, 1.0], [2.0, 3.0]], r"row 1 .* has 3 at \[1\], .* from 0 to 2"),
        (Categorical(3), [0.0, 1.5], "has 1.5, and data of a Categorical must be whole numbers"),
        (Categorical(3), [0, -1], "has -1"),
        (Tokens(3), [[1, 2], [3, 0]], r"row 1 .* has 3 at \[0\], .* from 0 to 2"),
        (Normal(), [[np.inf, np.nan]], r"must be finite numbers \(2 such entries\)\."),
        (DiscretisedLogisticMixture(2), [0.0, 256.0], "whole numbers from 0 to 255"),
        (Poisson(), [[3, 1], [2, -1]], r"row 1 .* has -1 at \[1\], .*whole numbers from 0 "),
        (NegativeBinomial(1.0), [2.0, 0.5], "row 1 of `data` has 0.5"),
    ],
)
def test_data_that_do_not_match_are_refused_by_their_row(likelihood, x, message):
    with pytest.raises(ValueError, match=message):
        check_support(likelihood, np.asarray(x))
    check_support(likelihood, np.asarray(x), np.zeros(np.shape(x), bool))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("likelihood", "x"),
    [
        (Bernoulli(), [0.0, 128.0]),
        (Bernoulli(), [1.0, -0.1]),
        (Categorical(3), [0, 3]),
        (Categorical(3), [1, -1]),
        (Categorical(3), [1.0, 0.5]),
        (Tokens(3), [1, 3]),
        (Tokens(3), [1, -1]),
        (Tokens(3), [1.0, 0.5]),
        (DiscretisedLogisticMixture(2, 6), [0, 6]),
        (DiscretisedLogisticMixture(2, 6), [0.0, -1.0]),
        (Poisson(), [0, -1]),
        (Poisson(), [0.0, 0.5]),
        (NegativeBinomial(1.0), [0, -1]),
        (NegativeBinomial(), [0.0, 0.5]),
    ],
)
def test_outside_of_the_support_the_mass_is_zero_compiled_too(likelihood, x, compiled):
    score = eqx.filter_jit(likelihood.log_prob) if compiled else likelihood.log_prob
    params, x = jnp.ones(likelihood.params_shape((2,))), jnp.asarray(x)
    found = score(params, x)
    assert np.isfinite(found[0])
    assert found[1] == -np.inf
    if not np.issubdtype(x.dtype, np.integer):
        assert np.isnan(score(params, x.at[1].set(jnp.nan))[1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Categorical(1), "`levels` must be 2 or more"),
        (lambda: Tokens(1), "`levels` must be 2 or more"),
        (lambda: Tokens(3, -0.5), r"`temperature` must be 0 or more, got -0\.5"),
        (lambda: Normal(0.0), "`std` must be positive, or None, got 0"),
        (lambda: Normal(1.0, variables=0), "`variables` must be 1 or more"),
        (lambda: Normal(variables=2), "`variables` needs `std` too"),
        (lambda: NegativeBinomial(-1.0), "`concentration` must be positive"),
        (lambda: DiscretisedLogisticMixture(0), "`components` must be 1 or more"),
        (
            lambda: Normal(1.0, variables=3).log_prob(jnp.zeros(2), jnp.zeros(2)),
            "has 3 variables, but the last axis of the data has 2",
        ),
    ],
)
def test_arguments_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("wrong", [(5, 1), (1,), (), (4,)])
def test_parameters_of_another_shape_are_refused(wrong):
    """A column of five was scored against each of five entries, 25 terms."""
    message = r"data of shape \(5,\) must have the shape \(5,\), and the decoder gives"
    x = jnp.ones(5)
    for law in (Bernoulli(), Poisson(), Normal(1.0)):
        model = mlp_vae((5,), latent=1, width=2, likelihood=law, key=jr.key(0))
        model = eqx.tree_at(lambda m: m.decoder, model, lambda z: jnp.zeros(wrong))
        with pytest.raises(ValueError, match=message):
            model.model(x).log_likelihood(jnp.zeros(1))

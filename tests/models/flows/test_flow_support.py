"""Flows of columns that are positive, bounded, shares or whole: in the units of the data."""

import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optax
import pytest
from numpyro.distributions import constraints
from scipy.stats import lognorm

from pullback.models.flows import (
    MappedFlow,
    OntoLine,
    cnf,
    init_actnorm,
    maximum_likelihood_loss,
    residual_flow,
)
from pullback.train import evaluate, fit

MAKE = {
    "cnf": lambda dim, **options: cnf(dim, width=6, steps=4, **options),
    "residual": lambda dim, **options: residual_flow(dim, width=6, blocks=2, depth=1, **options),
}


def wild(kind, dim, support, **options):
    """With large weights: at first, some are the identity."""
    flow = MAKE[kind](dim, support=support, key=jr.key(4), **options)
    arrays, rest = eqx.partition(flow, eqx.is_inexact_array)
    leaves, tree = jax.tree.flatten(arrays)
    keys = jr.split(jr.key(5), len(leaves))
    moved = [x + 0.2 * jr.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    return eqx.combine(jax.tree.unflatten(tree, moved), rest)


KINDS = tuple(MAKE)


@pytest.mark.parametrize(
    ("support", "want"),
    [
        ("positive", lambda x: lognorm.logpdf(x, 1)),
        (constraints.greater_than(2.0), lambda x: lognorm.logpdf(x, 1, 2)),
        (constraints.less_than(-1.0), lambda x: lognorm.logpdf(-1 - x, 1)),
        ("real", lambda x: dist.Normal(0.0, 1.0).log_prob(x)),
        (
            constraints.interval(-1.0, 3.0),
            lambda x: dist.TransformedDistribution(
                dist.Normal(0.0, 1.0),
                [dist.transforms.SigmoidTransform(), dist.transforms.AffineTransform(-1.0, 4.0)],
            ).log_prob(x),
        ),
    ],
)
@pytest.mark.usefixtures("promotion")
def test_a_flow_that_has_not_learned_is_a_normal_mapped(support, want):
    flow = cnf(1, width=4, steps=1, support=support, key=jr.key(0))  # its field starts at zero
    x = flow.sample(jr.key(1), (7,))
    for found in (flow.log_prob(x), eqx.filter_jit(flow.log_prob)(x)):
        np.testing.assert_allclose(found, want(x[:, 0]), atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("support", "ends", "outside"),
    [
        ("positive", (1e-9, 1e9), [-1.0]),
        ("unit_interval", (1e-9, 1 - 1e-9), [-0.1, 1.1]),
        (constraints.interval(-1.0, 3.0), (-1 + 1e-9, 3 - 1e-9), [-1.5, 3.5]),
    ],
)
def test_the_mass_within_the_support_is_one(kind, support, ends, outside):
    flow = wild(kind, 1, support)
    u = jnp.linspace(-1, 1, 20_001)  # points crowd at the ends
    if support == "positive":
        x = jnp.exp(u * np.log(1e9))
    else:
        x = ends[0] + (ends[1] - ends[0]) * jax.nn.sigmoid(20 * u)
    log_prob = eqx.filter_jit(lambda f, x: f.log_prob(x[:, None]))
    np.testing.assert_allclose(np.trapezoid(np.exp(log_prob(flow, x)), x), 1, atol=5e-3)
    outside = jnp.asarray(outside)
    assert np.all(flow.log_prob(outside[:, None]) == -np.inf)
    assert np.all(log_prob(flow, outside) == -np.inf)
    slope = jax.grad(lambda x: flow.log_prob(x))(outside[:1])
    np.testing.assert_array_equal(slope, 0)
    drawn = flow.sample(jr.key(0), (100,))
    assert np.all((drawn > ends[0] - 1e-9) & (drawn < ends[1] + 1e-9))
    assert np.all(np.isfinite(flow.log_prob(drawn)))


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_many_kinds_together(kind):
    """A share, the rest of it, and a positive number whose place is between them."""
    flow = wild(kind, 4, {(0, 3): "simplex", 1: "positive", 2: constraints.interval(0.0, 2.0)})
    assert flow.shape == (4,)
    drawn = flow.sample(jr.key(0), (50,))
    np.testing.assert_allclose(drawn[:, 0] + drawn[:, 3], 1, rtol=1e-12)
    assert np.all(drawn[:, 1] > 0)
    assert np.all((drawn[:, 2] > 0) & (drawn[:, 2] < 2))
    u = np.linspace(-11, 11, 45)
    share, size, place = (x.ravel() for x in np.meshgrid(*[u] * 3, indexing="ij"))
    s, p = 1 / (1 + np.exp(-share)), 2 / (1 + np.exp(-place))
    x = jnp.asarray(np.stack([s, np.exp(size), p, 1 - s], axis=1))
    area = s * (1 - s) * np.exp(size) * p * (2 - p) / 2 * (u[1] - u[0]) ** 3
    density = np.exp(flow.log_prob(x, batch_size=20_000))
    np.testing.assert_allclose(np.sum(density * area), 1, atol=1e-2)
    assert flow.log_prob(jnp.array([0.4, 1.0, 1.0, 0.7])) == -np.inf  # shares of more than one
    z, log_det = flow.inverse_and_log_det(drawn)
    assert z.shape == (50, 3)
    base = getattr(flow, "flow", flow).base
    np.testing.assert_allclose(base.log_prob(z) + log_det, flow.log_prob(drawn), atol=1e-9)
    again, back = flow.transform_and_log_det(z)
    np.testing.assert_allclose(again, drawn, rtol=1e-2 if kind == "cnf" else 1e-6)
    np.testing.assert_allclose(back, -log_det, atol=1e-2 if kind == "cnf" else 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_whole_numbers_have_probabilities_that_sum_to_one(kind):
    flow = wild(kind, 1, constraints.integer_interval(0, 4))
    numbers = jnp.arange(5.0)[:, None]
    keys = jr.split(jr.key(0), 2000)
    values = eqx.filter_jit(lambda f, ks: jax.lax.map(lambda k: f.log_prob(numbers, key=k), ks))(
        flow, keys
    )
    found = np.exp(np.asarray(values))
    chance, error = found.mean(0), found.std(0) / np.sqrt(len(keys))
    np.testing.assert_allclose(chance.sum(), 1, atol=4 * np.sqrt(np.sum(error**2)))
    assert np.all(np.mean(values, 0) < np.log(chance))  # the mean logarithm is a lower bound
    drawn = np.asarray(flow.sample(jr.key(1), (4000,)))[:, 0]
    assert set(drawn) <= set(range(5))
    share = np.bincount(drawn.astype(int), minlength=5) / len(drawn)
    assert np.all(np.abs(share - chance) < 4 * np.sqrt(chance / len(drawn)) + 4 * error)
    outside = jnp.array([[-1.0], [5.0], [1.5]])
    assert np.all(flow.log_prob(outside, key=jr.key(0)) == -np.inf)
    with pytest.raises(ValueError, match="`key` is missing: columns of whole numbers"):
        flow.log_prob(numbers)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_in_the_units_of_the_data(kind, x32):
    """Prices of deviation e^2, and counts beside them."""
    rng = np.random.default_rng(0)
    prices = np.exp(8 + 2 * rng.normal(size=4000))
    counts = rng.geometric(0.1, 4000)
    data = jnp.asarray(np.stack([prices, counts], axis=1), jnp.float32)
    flow = MAKE[kind](2, support={0: "positive", 1: "positive_integer"}, key=jr.key(0))
    flow = init_actnorm(flow, data[:1000])
    flow, _ = fit(flow, maximum_likelihood_loss, data[:3000], optimiser=optax.adam(0.01), steps=300,
                  batch_size=256, key=jr.key(1))  # fmt: skip
    held = evaluate(flow, maximum_likelihood_loss, data[3000:], batch_size=500, key=jr.key(2))
    x = np.asarray(data[3000:], float)
    truth = lognorm.logpdf(x[:, 0], 2, scale=np.exp(8)) + np.log(0.1) + (x[:, 1] - 1) * np.log(0.9)
    assert -truth.mean() - 0.1 < held["loss"] < -truth.mean() + 0.25
    drawn = np.asarray(flow.sample(jr.key(3), (4000,)))
    assert abs(np.log(drawn[:, 0]).mean() - 8) < 0.3
    assert abs(drawn[:, 1].mean() - 10) < 1
    with pytest.raises(ValueError, match=r"column 0 numbers from 0 up.*row 2 has \[0.0\]"):
        fit(flow, maximum_likelihood_loss, data.at[2, 0].set(0.0), optimiser=optax.sgd(0.1),
            steps=1, batch_size=2, key=jr.key(0))  # fmt: skip
    with pytest.raises(ValueError, match=r"column 1 whole numbers from 1 up.*row 0 has \[1.5\]"):
        evaluate(flow, maximum_likelihood_loss, data.at[0, 1].set(1.5), batch_size=2, key=jr.key(0))


def test_whole_numbers_are_given_as_floating(key):
    flow = cnf(1, width=4, steps=1, support="nonnegative_integer", key=key)
    with pytest.raises(ValueError, match=r"use `data.astype\(float\)`; noise is added within"):
        inspect.unwrap(init_actnorm)(flow, jnp.ones((3, 1), int))


def test_the_density_of_a_context_in_the_units_of_the_data(key):
    flow = wild("residual", 1, "positive", context=2)
    contexts = jnp.array([[0.0, 1.0], [2.0, -1.0]])
    x = jnp.exp(jnp.linspace(-25, 25, 5001))
    density = jnp.exp(flow.log_prob(x[:, None, None], context=contexts))
    np.testing.assert_allclose(np.trapezoid(density, x, axis=0), 1, atol=5e-3)


@pytest.mark.parametrize(
    ("support", "message"),
    [
        ("positve", 'a name of .* such as "positive".*positve'),
        ({3: "positive"}, "columns from 0 to 2, each once at most, got 3"),
        ({0: "positive", (0, 1): "simplex"}, "each once at most, got 0"),
        ({0: "simplex"}, "of two columns or more together"),
        (constraints.interval(2.0, 1.0), "a lower end below the upper one"),
        (constraints.sphere, "`support` must be of numbers or whole numbers between two ends"),
        (7, "`support` must be of numbers or whole numbers between two ends.*got 7"),
    ],
)
def test_a_support_that_is_not_known_is_named(support, message):
    for make in MAKE.values():
        with pytest.raises(ValueError, match=message):
            make(3, support=support, key=jr.key(0))


def test_a_mapped_flow_says_of_what_it_is():
    flow = cnf(2, width=4, support="positive", key=jr.key(0))
    assert isinstance(flow, MappedFlow)
    assert str(flow.support) == str(constraints.independent(constraints.greater_than(0.0), 1))
    other: Any = flow.flow
    with pytest.raises(TypeError, match="bijection"):
        MappedFlow(flow, other)
    with pytest.raises(TypeError, match="`flow` must be a ResidualFlow or a MappedFlow"):
        inspect.unwrap(init_actnorm)(other, jnp.ones((3, 2)))
    with pytest.raises(ValueError, match="`key` is missing"):
        OntoLine(1, "integer").forward_and_log_det(jnp.ones(1))

"""Densities that depend on a context: closed forms, masses, gradients, and a fit."""

import dataclasses
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
from scipy.stats import norm

from pullback._checked_data import check_data
from pullback.bounds import ELBO, DiagonalNormal, LatentModel
from pullback.calculus import HollowDivergence, RouletteLogDet
from pullback.models.flows import (
    CNF,
    ConditionalNormal,
    FlowFamily,
    Given,
    ResidualBlock,
    ResidualFlow,
    cnf,
    init_actnorm,
    log_prob_estimate,
    maximum_likelihood_loss,
    residual_flow,
    with_log_det,
)
from pullback.models.vae import Bernoulli, BoundLoss, mlp_vae
from pullback.sampling import PathDerivative, StandardNormal
from pullback.train import evaluate, fit

CONTEXTS = jnp.array([[0.5, -1.0], [2.0, 0.3], [-0.7, 0.0]])


def slope(c):
    return jnp.tanh(c) / 2


class Bend(eqx.Module):
    """g(x, c) = tanh(c) x / 2."""

    def __call__(self, x, context):
        return slope(context) * x


def known(kind, base=None):
    """A flow whose density is normal, and its deviation."""
    base = StandardNormal(2) if base is None else base
    if kind == "cnf":
        field = lambda t, y, c: c * y
        return CNF(field, base, context_shape=2, rtol=1e-9, atol=1e-9), lambda c: np.exp(c)
    flow = ResidualFlow(ResidualBlock(Bend(), takes_context=True), base, context_shape=2)
    return flow, lambda c: 1 / (1 + np.tanh(c) / 2)


def wild(kind, dim, key=jr.key(3), **options):  # noqa: B008, frozen
    """A flow with large weights: at first, some are the identity."""
    make = {"cnf": cnf, "residual": residual_flow}[kind]
    own = {"steps": 4} if kind == "cnf" else {"blocks": 2, "depth": 1}
    flow = make(dim, width=6, key=key, **own, **options)
    arrays, rest = eqx.partition(flow, eqx.is_inexact_array)
    leaves, tree = jax.tree.flatten(arrays)
    keys = jr.split(key, len(leaves))
    moved = [x + 0.3 * jr.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    return eqx.combine(jax.tree.unflatten(tree, moved), rest)


KINDS = ("cnf", "residual")


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_density_of_an_affine_map_of_the_context(kind, compiled, key):
    flow, deviation = known(kind)
    of = eqx.filter_jit if compiled else lambda f: f
    x = jr.normal(key, (4, 3, 2))
    found = of(lambda f, x, c: f.log_prob(x, context=c))(flow, x, CONTEXTS)
    want = norm.logpdf(np.asarray(x), 0, deviation(np.asarray(CONTEXTS))).sum(-1)
    np.testing.assert_allclose(found, want, atol=1e-6)
    one = of(lambda f, x, c: f.log_prob(x, context=c))(flow, x[0, 0], CONTEXTS)  # one point of all
    want = norm.logpdf(np.asarray(x[0, 0]), 0, deviation(np.asarray(CONTEXTS))).sum(-1)
    np.testing.assert_allclose(one, want, atol=1e-6)
    drawn = of(lambda f, c: f.sample(key, (4,), context=c))(flow, CONTEXTS)
    z = np.asarray(flow.base.sample(key, (4, 3)))
    np.testing.assert_allclose(drawn, z * deviation(np.asarray(CONTEXTS)), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_base_that_depends_on_the_context(kind, key):
    flow, deviation = known(kind, DiagonalNormal(1))
    assert flow.shape == (1,)
    flow, deviation = known(kind, lambda c: dist.Normal(c, 2.0).to_event(1))
    c, d = np.asarray(CONTEXTS), deviation(np.asarray(CONTEXTS))
    x = jr.normal(key, (3, 2))
    want = norm.logpdf(np.asarray(x), c * d, 2 * d).sum(-1)
    np.testing.assert_allclose(flow.log_prob(x, context=CONTEXTS), want, atol=1e-6)
    classes = ConditionalNormal(2, 3, depth=0, key=key)
    moments = classes.moments.layers[0]
    classes = eqx.tree_at(
        lambda m: m.moments.layers[0].weight, classes, jnp.arange(12.0).reshape(4, 3) / 9
    )
    assert not np.any(moments.weight)
    q = classes(jnp.array([0.0, 1.0, 0.0]))
    np.testing.assert_allclose(q.mean, [1 / 9, 4 / 9])
    np.testing.assert_allclose(q.base_dist.scale, np.exp([7 / 9, 10 / 9]))
    on_top = CNF(lambda t, y, c: 0 * y, flow, context_shape=2, steps=1)  # a flow as the base
    np.testing.assert_allclose(on_top.log_prob(x, context=CONTEXTS), want, atol=1e-6)
    assert on_top.sample(key, (5,), context=CONTEXTS).shape == (5, 3, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mass_is_one_in_every_context(kind):
    flow, contexts = wild(kind, 1, context=2), jnp.concatenate([CONTEXTS, 5 * CONTEXTS])
    axis = jnp.linspace(-40, 40, 8001)
    density = jnp.exp(flow.log_prob(axis[:, None, None], context=contexts))
    mass = np.trapezoid(density, axis, axis=0)
    np.testing.assert_allclose(mass, 1, atol=5e-3)
    assert np.ptp(np.trapezoid(density * axis[:, None], axis, axis=0)) > 0.1  # the means differ


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_by_the_context_are_those_of_differences(kind, key):
    flow, step = wild(kind, 2, context=2), 1e-5
    x = jr.normal(key, (2,))

    @jax.jit
    def value(c):
        drawn = flow.sample(key, (), context=c)
        return flow.log_prob(x, context=c) + jnp.sum(jnp.sin(drawn))

    gradient = jax.jit(jax.grad(value))(CONTEXTS[0])
    for i, direction in enumerate(np.eye(2)):
        move = jnp.asarray(step * direction)
        slope = (value(CONTEXTS[0] + move) - value(CONTEXTS[0] - move)) / (2 * step)
        np.testing.assert_allclose(gradient[i], slope, rtol=1e-5, atol=1e-6)
    assert np.all(np.abs(gradient) > 1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(kind, key):
    flow = wild(kind, 2, context=2)
    z = jr.normal(key, (4, 3, 2))

    @eqx.filter_jit
    def both(flow, z, c):
        x, log_det = flow.transform_and_log_det(z, context=c)
        return x, log_det, flow.inverse_and_log_det(x, context=c)

    x, log_det, (back, minus) = both(flow, z, CONTEXTS)
    atol = 1e-2 if kind == "cnf" else 1e-5  # of 4 steps, there and back
    np.testing.assert_allclose(back, z, atol=atol)
    np.testing.assert_allclose(minus, -log_det, atol=atol)
    assert x.shape == (4, 3, 2)
    assert log_det.shape == (4, 3)


def conditional(key, n):
    """x | c ~ Normal(sin c, exp(-c))."""
    c = jr.uniform(key, (n, 1), minval=-2.0, maxval=2.0)
    x = jnp.sin(c) + jnp.exp(-c) * jr.normal(jr.fold_in(key, 1), (n, 1))
    return x, c


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_of_a_known_conditional_nears_its_entropy(kind, key):
    make = {
        "cnf": lambda **options: cnf(1, steps=2, **options),
        "residual": lambda **options: residual_flow(1, blocks=1, depth=1, **options),
    }[kind]
    data, held_out = conditional(key, 3000), conditional(jr.fold_in(key, 9), 3000)
    flow = init_actnorm(make(width=16, context=1, key=key), data[0], context=data[1])
    flow, _ = fit(flow, maximum_likelihood_loss, data, optimiser=optax.adam(0.02), steps=400,
                  batch_size=256, key=key)  # fmt: skip
    found = evaluate(flow, maximum_likelihood_loss, held_out, batch_size=1000, key=key)["loss"]
    x, c = map(np.asarray, held_out)
    want = -norm.logpdf(x, np.sin(c), np.exp(-c)).mean()
    assert want - 0.02 < found < want + 0.05


def test_only_a_flow_of_contexts_takes_one(key):
    x = jnp.zeros((3, 2))
    pairs = (
        (known("cnf")[0], cnf(2, width=4, key=key)),
        (known("residual")[0], residual_flow(2, blocks=1, width=4, key=key)),
    )
    for made, plain in pairs:
        for call in (
            lambda f, **o: f.log_prob(x, **o),
            lambda f, **o: f.sample(key, (3,), **o),
            lambda f, **o: f.transform_and_log_det(x, **o),
            lambda f, **o: f.inverse_and_log_det(x, **o),
            lambda f, **o: f.log_prob_in_training(x, key=key, **o),
        ):
            for of in (lambda f: f, eqx.filter_jit):
                with pytest.raises(
                    ValueError, match=r"`context` of shape \[\.\.\., 2\] is missing"
                ):
                    of(lambda f: call(f))(made)  # noqa: B023
                with pytest.raises(
                    ValueError, match=r"must have shape \[\.\.\., 2\], got \(3, 5\)"
                ):
                    of(lambda f: call(f, context=jnp.ones((3, 5))))(made)  # noqa: B023
                with pytest.raises(ValueError, match="this flow is of no context"):
                    of(lambda f: call(f, context=jnp.ones((3, 2))))(plain)  # noqa: B023
        with pytest.raises(ValueError, match=r"must fit those of the points.*\(4,\) and \(3,\)"):
            made.log_prob(x, context=jnp.ones((4, 2)))
        with pytest.raises(ValueError, match=r"`context` must be floating, got int64: .*one_hot"):
            inspect.unwrap(type(made).log_prob)(made, x, context=jnp.ones((3, 2), int))
        with pytest.raises(ValueError, match="`data` must be the pair"):
            check_data(maximum_likelihood_loss, made, x)
        with pytest.raises(ValueError, match="`context` must be finite; row 1"):
            check_data(maximum_likelihood_loss, made, (x, x.at[1].set(jnp.nan)))
        with pytest.raises(ValueError, match="got 3 points and 2 contexts"):
            check_data(maximum_likelihood_loss, made, (x, x[:2]))
        with pytest.raises(ValueError, match="`data` must be points alone, got 2 parts"):
            evaluate(plain, maximum_likelihood_loss, (x, x), batch_size=2, key=key)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float32", "float16")])
def test_points_and_contexts_of_two_dtypes_have_the_wider(kind, compiled, dtypes):
    of = eqx.filter_jit if compiled else lambda f: f
    flow, deviation = known(kind)
    flow = dataclasses.replace(flow, steps=40) if isinstance(flow, CNF) else flow
    x, c = jnp.ones((3, 2)), CONTEXTS
    for one, other in (dtypes, dtypes[::-1]):
        found = of(lambda x, c: flow.log_prob(x, context=c))(x.astype(one), c.astype(other))
        assert found.dtype == max(dtypes, key=lambda name: jnp.dtype(name).itemsize)
        want = norm.logpdf(np.asarray(x), 0, deviation(np.asarray(c))).sum(-1)
        np.testing.assert_allclose(found, want, atol=5e-3)


@pytest.mark.parametrize("by_base", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_context_that_is_not_finite_is_named(kind, by_base, key):
    """Before the points, which a base that depends on it makes of it."""
    flow: Any = known(kind, ConditionalNormal(2, 2, key=key) if by_base else None)[0]
    x, bad = jnp.ones((4, 3, 2)), CONTEXTS.at[1, 0].set(jnp.nan)
    calls = [
        lambda: flow.sample(key, (4,), context=bad),
        lambda: flow.transform_and_log_det(x, context=bad),
    ]
    if kind == "cnf":
        calls += [lambda: flow.log_prob(x, context=bad), lambda: flow.solve(x, [1, 0], context=bad)]
    else:  # nothing is solved
        found = flow.log_prob(x, context=bad)
        assert np.isnan(found).tolist() == [[False, True, False]] * 4
    for call in calls:
        with pytest.raises(ValueError, match=r"`context` must be finite; row 1 is not\. Leave"):
            call()


def test_what_cannot_depend_on_a_context_is_refused(key):
    made = residual_flow(2, blocks=1, width=4, key=key)
    still = lambda t, y, c: -y
    with pytest.raises(ValueError, match="`field` does not depend on `args`"):
        CNF(still, StandardNormal(2), context_shape=3)
    with pytest.raises(ValueError, match="knows of none"):
        CNF(still, StandardNormal(2), HollowDivergence(), context_shape=3)
    with pytest.raises(ValueError, match="`context_shape` must be of sizes of 1 or more"):
        CNF(still, StandardNormal(2), context_shape=0)
    with pytest.raises(TypeError, match="must have `log_prob"):
        CNF(still, lambda c: dist.Normal(c, 1.0))
    with pytest.raises(TypeError, match="`base` must return something with `log_prob"):
        ResidualFlow(made.bijection, lambda c: c, context_shape=2)
    with pytest.raises(TypeError, match="`base` is a flow that depends on a context"):
        ResidualFlow(made.bijection, known("residual")[0])
    with pytest.raises(ValueError, match="`context` is missing, on which a residual block depends"):
        ResidualFlow(ResidualBlock(Bend(), takes_context=True), StandardNormal(2)).log_prob(
            jnp.ones(2)
        )
    with pytest.raises(ValueError, match="`flow` must depend on a context"):
        FlowFamily(made)
    with pytest.raises(ValueError, match=r"`context` must be one context of the flow, \(2,\)"):
        Given(known("residual")[0], CONTEXTS)
    with pytest.raises(ValueError, match=r"the family's `shape`, \(2,\), got \(3,\)"):
        FlowFamily(known("residual")[0])(jnp.ones(3))


def test_an_estimated_log_determinant_goes_with_a_context(key):
    flow = wild("residual", 2, context=2)
    x = jr.normal(key, (3, 2))
    found = log_prob_estimate(with_log_det(flow, RouletteLogDet()), x, context=CONTEXTS,
                              samples=300, key=key)  # fmt: skip
    assert np.all(
        np.abs(found.mean - flow.log_prob(x, context=CONTEXTS)) < 4 * found.standard_error
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_flow_is_the_posterior_of_one_example(kind, key):
    """z ~ N(0, 1), x ~ N(z, 1): at the exact posterior every draw of the ELBO is the evidence."""
    if kind == "cnf":
        flow = CNF(
            lambda t, y, c: 0.3 * y, DiagonalNormal(1), context_shape=2, rtol=1e-8, atol=1e-8
        )
        grows = np.exp(0.3)
    else:
        half = ResidualBlock(lambda x, c: x / 2, takes_context=True)
        flow, grows = ResidualFlow(half, DiagonalNormal(1), context_shape=2), 1 / 1.5
    family = FlowFamily(flow)
    x = 1.3
    model = LatentModel(
        lambda z: jnp.sum(dist.Normal(z, 1.0).log_prob(x)),
        dist.Normal(jnp.zeros(1), 1.0).to_event(1),
    )
    params = jnp.array([x / 2 / grows, np.log(0.5**0.5 / grows)])
    bound = lambda p, k: ELBO()(model, family(p), estimator=PathDerivative(), key=k)
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(bound), (None, 0)))(
        params, jr.split(key, 5)
    )
    np.testing.assert_allclose(values, norm.logpdf(x, 0, 2**0.5), atol=1e-5)
    np.testing.assert_allclose(slopes, 0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_vae_trains_under_a_posterior_that_is_a_flow(kind, key):
    flow = wild(kind, 2, context=3)
    vae = mlp_vae(4, latent=2, width=8, likelihood=Bernoulli(), family=FlowFamily(flow), key=key)
    data = jnp.tile(jnp.array([[1.0, 1, 0, 0], [0.0, 0, 1, 1]]), (8, 1))
    trained, info = fit(vae, BoundLoss(ELBO(), PathDerivative()), data, optimiser=optax.adam(0.05),
                        steps=100, batch_size=16, log_every=1, key=key)  # fmt: skip
    losses = [entry["loss"] for entry in info.lines()]
    assert np.mean(losses[-20:]) < np.mean(losses[:20]) - 0.5
    before, after = (
        jax.tree.leaves(eqx.filter(v.family, eqx.is_inexact_array)) for v in (vae, trained)
    )
    moved = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert np.mean(moved) > 0.8

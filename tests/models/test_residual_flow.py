"""Residual flows: their inverse, their density, and their estimates."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optimistix as optx
import pytest

from pullback.calculus import Anderson, ExactLogDet, RouletteLogDet
from pullback.models.flows import (
    HybridFlow,
    HybridLoss,
    InverseError,
    ResidualBlock,
    ResidualFlow,
    bits_per_dimension,
    dequantise,
    image_residual_flow,
    init_actnorm,
    log_prob_estimate,
    maximum_likelihood_loss,
    residual_flow,
    with_log_det,
)
from pullback.nn import LipschitzMLP, lipschitz_upper_bound, update_spectral_norms


@pytest.fixture(scope="module")
def flow():
    made = residual_flow(2, blocks=3, width=6, depth=1, bound=0.9, key=jr.key(0))
    layers = eqx.tree_at(
        lambda f: f.bijection.parts[1].layers.parts[0],
        made,
        replace_fn=lambda part: update_spectral_norms(
            jax.tree.map(lambda leaf: 3 * leaf, part), rtol=1e-9, max_steps=5000
        ),
    )
    return layers


@pytest.fixture(scope="module")
def block():
    net = LipschitzMLP(4, 6, 1, bound=0.9, key=jr.key(0))
    net = update_spectral_norms(jax.tree.map(lambda leaf: 4 * leaf, net), rtol=1e-9, max_steps=5000)
    return ResidualBlock(net)


def test_round_trip(flow):
    x = 2 * jr.normal(jr.key(1), (200, 2), jnp.float32)
    single = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf, flow
    )
    z, log_det = single.inverse_and_log_det(x)
    back, other = single.transform_and_log_det(z)
    assert float(jnp.max(jnp.abs(back - x))) < 1e-5
    np.testing.assert_allclose(other, -log_det, atol=1e-4)


@pytest.mark.parametrize(
    "solver",
    [optx.FixedPointIteration(1e-11, 1e-11), Anderson(1e-11, 1e-11), optx.Newton(0, 1e-11)],
)
def test_round_trip_in_double_by_every_solver(flow, solver):
    x = 2 * jr.normal(jr.key(1), (20, 2))
    flow = eqx.tree_at(lambda f: f.solver, flow, solver, is_leaf=lambda leaf: leaf is None)
    z, _ = flow.inverse_and_log_det(x)
    back, info = flow.invert(z)
    assert float(jnp.max(jnp.abs(back - x))) < 1e-9
    assert bool(jnp.all(info.converged))


def test_each_step_of_the_inverse_is_within_the_contraction(block):
    bound = float(lipschitz_upper_bound(block.net))
    assert 0.5 < bound < 0.82
    x = jr.normal(jr.key(1), (4,))
    y, _ = block.forward_and_log_det(x)
    solver = optx.FixedPointIteration(0.0, 0.0)
    first = jnp.linalg.norm(block.net(y))  # of the first step, from y
    for n in (1, 2, 3, 20):  # a program of each
        found, info = eqx.filter_jit(block.inverse)(y, solver, n)
        assert float(jnp.linalg.norm(found - x)) <= bound**n / (1 - bound) * float(first)
        assert not info.converged
        assert int(info.steps) == n


def test_the_gradient_of_the_inverse(block):
    y = jr.normal(jr.key(1), (4,))
    solver = optx.FixedPointIteration(1e-12, 1e-12)
    inverse = lambda y: block.inverse(y, solver, 500)[0]
    found = jax.jacrev(inverse)(y)
    dense = jnp.eye(4) + jax.jacfwd(block.net)(inverse(y))
    np.testing.assert_allclose(found, jnp.linalg.inv(dense), atol=1e-8)


def test_log_determinants_are_in_their_range(flow):
    layers = flow.bijection.parts[1].layers.parts[0]
    bounds = eqx.filter_vmap(lambda b: lipschitz_upper_bound(b.net))(layers)
    _, log_det = eqx.tree_at(lambda f: f.bijection, flow, _without_norms(flow)).inverse_and_log_det(
        3 * jr.normal(jr.key(1), (500, 2))
    )
    assert float(jnp.max(log_det)) <= 2 * float(jnp.sum(jnp.log1p(bounds)))
    assert float(jnp.min(log_det)) >= 2 * float(jnp.sum(jnp.log1p(-bounds)))


def _without_norms(flow):
    from pullback.models.flows import Stacked

    return Stacked(flow.bijection.parts[1].layers.parts[0])


def test_the_density_integrates_to_one(flow):
    side = jnp.linspace(-9, 9, 241)
    grid = jnp.stack(jnp.meshgrid(side, side), axis=-1)
    mass = jnp.sum(jnp.exp(flow.log_prob(grid, batch_size=5000))) * (side[1] - side[0]) ** 2
    np.testing.assert_allclose(mass, 1, atol=1e-2)


def test_the_roulette_is_right_in_value_and_gradient(flow):
    x = jr.normal(jr.key(1), (3, 2))
    random = with_log_det(flow, RouletteLogDet())
    params, static = eqx.partition(flow, eqx.is_inexact_array)
    noisy_params, noisy_static = eqx.partition(random, eqx.is_inexact_array)

    def objective(params, static, key):
        return jnp.mean(eqx.combine(params, static).log_prob(x, key=key))

    exact, exact_grad = jax.value_and_grad(objective)(params, static, jr.key(0))
    draw = jax.value_and_grad(lambda p, k: objective(p, noisy_static, k))
    n = 2000
    keys = jr.split(jr.key(2), n)
    values, grads = jax.jit(jax.vmap(draw, in_axes=(None, 0)))(noisy_params, keys)

    def z(draws, truth):
        error = jnp.std(draws, axis=0, ddof=1) / math.sqrt(n)
        return jnp.max(jnp.abs(jnp.mean(draws, axis=0) - truth) / (error + 1e-9))

    assert float(z(values, exact)) < 4
    # 75 derivatives: 4 standard errors each.
    pairs = zip(jax.tree.leaves(grads), jax.tree.leaves(exact_grad), strict=True)
    assert max(float(z(draws, truth)) for draws, truth in pairs) < 4
    assert float(jnp.std(values)) > 1e-3


def test_an_estimate_says_how_noisy_it_is(flow):
    x = jr.normal(jr.key(1), (5, 2))
    found = log_prob_estimate(with_log_det(flow, RouletteLogDet()), x, samples=400, key=jr.key(3))
    assert np.all(np.abs(found.mean - flow.log_prob(x)) < 4 * found.standard_error)
    # Exact log-determinants take no part in the noise, so nothing is left of it but rounding.
    again = log_prob_estimate(with_log_det(flow, ExactLogDet()), x, samples=2, key=jr.key(3))
    np.testing.assert_allclose(again.standard_error, 0, atol=1e-12)


def test_points_that_cannot_be_inverted_are_named():
    net = LipschitzMLP(2, 6, 1, bound=math.inf, key=jr.key(0))
    net = jax.tree.map(lambda leaf: 3 * leaf if leaf.ndim else leaf, net)
    from pullback.sampling import StandardNormal

    plain = optx.FixedPointIteration(1e-6, 1e-6)
    flow = ResidualFlow(ResidualBlock(net), StandardNormal(2), solver=plain, max_steps=50)
    with pytest.raises(InverseError, match=r"the inverse of \d+ of 10 points did not converge"):
        flow.sample(jr.key(0), (10,))
    _, info = flow.invert(jr.normal(jr.key(1), (10, 2)))
    bad = ~np.asarray(info.converged)
    assert bad.any()
    assert np.all(np.asarray(info.residual)[bad] > 1e-3)


def test_any_distribution_is_a_base(promotion):
    made = residual_flow(2, blocks=1, width=4, key=jr.key(0))
    wide = ResidualFlow(made.bijection, dist.StudentT(5.0, jnp.zeros(2), 2.0).to_event(1))
    x = jr.normal(jr.key(1), (4, 2))
    z, log_det = made.inverse_and_log_det(x)
    expected = jax.scipy.stats.t.logpdf(z, 5.0, 0.0, 2.0).sum(axis=1) + log_det
    np.testing.assert_allclose(wide.log_prob(x), expected, rtol=1e-9)
    on_top = ResidualFlow(made.bijection, made)
    np.testing.assert_allclose(on_top.log_prob(x), made.log_prob(z) + log_det, rtol=1e-9)


def test_an_image_flow_is_a_density_that_can_be_drawn_from():
    flow = image_residual_flow(
        (1, 4, 4), scales=2, blocks=1, hidden=3, dense_blocks=1, dense_width=4, factor_out=True,
        log_det=ExactLogDet(), key=jr.key(0),
    )  # fmt: skip
    x = jr.normal(jr.key(1), (6, 1, 4, 4))
    flow = eqx.filter_jit(init_actnorm)(flow, x)
    z, log_det = flow.inverse_and_log_det(x)
    assert z.shape == (6, 16)
    dense = jax.jit(jax.jacfwd(lambda x: flow.inverse_and_log_det(x)[0]))(x[0]).reshape(16, 16)
    np.testing.assert_allclose(log_det[0], np.linalg.slogdet(dense)[1], rtol=1e-8)
    np.testing.assert_allclose(flow.invert(z)[0], x, atol=1e-4)
    assert flow.sample(jr.key(2), (6,)).shape == (6, 1, 4, 4)  # the shape that is compiled


def test_bits_per_dimension_of_a_coin():
    # Pixels of 4 levels with these chances: the density of the dequantised pixel is 4 p there.
    chance = np.array([0.1, 0.2, 0.3, 0.4])
    level = np.random.default_rng(0).choice(4, size=2000, p=chance)
    noisy = dequantise(jnp.asarray(level / 3.0), levels=4, key=jr.key(0))
    assert np.array_equal(np.floor(4 * noisy), level)
    bits = bits_per_dimension(jnp.log(4 * chance[level]), 1, levels=4)
    np.testing.assert_allclose(bits, -np.log2(chance[level]), rtol=1e-12)


def test_the_loss_of_a_hybrid_is_its_two_parts(flow):
    head = eqx.nn.Linear(2, 3, key=jr.key(5))
    model = HybridFlow(flow, head)
    x, labels = jr.normal(jr.key(1), (7, 2)), jnp.asarray([0, 1, 2, 0, 1, 2, 0])
    loss, metrics = HybridLoss(0.5)(model, (x, labels), key=jr.key(0))
    logits = np.asarray(model.logits(x))
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    second = -log_p[np.arange(7), labels].mean() / np.log(2)
    first = -float(flow.log_prob(x).mean()) / 2 / np.log(2)
    np.testing.assert_allclose(loss, 0.5 * first + second, rtol=1e-9)
    np.testing.assert_allclose(metrics["accuracy"], (logits.argmax(axis=1) == labels).mean())
    nats, _ = maximum_likelihood_loss(flow, x, key=jr.key(0))
    np.testing.assert_allclose(nats, first * 2 * np.log(2), rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: f.log_prob(jnp.zeros((4, 3))), r"must have shape \[..., 2\], got \(4, 3\)"),
        (lambda f: f.log_prob(jnp.zeros((4, 2)), batch_size=0), "`batch_size` must be 1 or more"),
        (lambda f: log_prob_estimate(f, jnp.zeros(2), samples=1, key=jr.key(0)), "`samples` must"),
        (lambda f: residual_flow(2, blocks=0, key=jr.key(0)), "`blocks` must be 1 or more"),
        (lambda f: residual_flow(2, bound=1.1, key=jr.key(0)), "has the Lipschitz bound 1.3"),
        (lambda f: ResidualFlow(f.bijection, f, max_steps=0), "`max_steps` must be 1 or more"),
        (
            lambda f: image_residual_flow((1, 6, 6), log_det=ExactLogDet(), key=jr.key(0)),
            "divide by 4 for 3 scales",
        ),
    ],
)  # fmt: skip
def test_bad_arguments(flow, make, message):
    with pytest.raises(ValueError, match=message):
        make(flow)


def test_far_from_the_middle_an_inverse_is_found_as_near_it(x32):
    """Rounding at 100 is above the solver's 1e-5 of float32, and so no step of it was the last."""
    flow = residual_flow(3, blocks=2, width=8, depth=1, key=jr.key(0))
    moved = jax.tree.map(
        lambda a: a + 0.4 * jr.normal(jr.key(9), a.shape) if eqx.is_inexact_array(a) else a, flow
    )
    z = 100 * jr.normal(jr.key(1), (400, 3))
    x, info = moved.invert(z)
    assert jnp.all(info.converged)
    assert jnp.max(info.steps) < 100
    found, _ = moved.inverse_and_log_det(x)
    np.testing.assert_allclose(found, z, rtol=1e-4, atol=1e-3)

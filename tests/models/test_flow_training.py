"""A flow stays a density however it is trained, and whatever the units of its data are."""

import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import optimistix as optx
import pytest

from pullback.analysis import grid_mass
from pullback.data import two_moons
from pullback.models.flows import ActNorm, init_actnorm, maximum_likelihood_loss, residual_flow
from pullback.nn import lipschitz_upper_bound
from pullback.train import Stream, apply_gradient, fit, iterate

ADAM, STEPS = optax.adam(0.05), 60


def by_fit(flow, x, key):
    return fit(flow, maximum_likelihood_loss, x, optimiser=ADAM, steps=STEPS, batch_size=64,
               key=key)[0]  # fmt: skip


def by_stack(flow, x, key):
    stack = jax.tree.map(lambda leaf: leaf[None] if eqx.is_array(leaf) else leaf, flow)
    stack, _ = fit(stack, maximum_likelihood_loss, x, optimiser=ADAM, steps=STEPS,
                         batch_size=64, key=key[None])  # fmt: skip
    return jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, stack)


def by_iterate(flow, x, key):
    def step(state, batch, *, key):
        flow, opt = state
        (loss, _), gradient = eqx.filter_value_and_grad(maximum_likelihood_loss, has_aux=True)(
            flow, batch, key=key
        )
        return apply_gradient(ADAM, gradient, opt, flow), {"loss": loss}

    state = (flow, ADAM.init(eqx.filter(flow, eqx.is_inexact_array)))
    return iterate(step, state, Stream(x, 64), steps=STEPS, key=key)[0][0]


def by_hand(flow, x, key):
    @eqx.filter_jit
    def step(flow, opt, batch, key):
        loss = lambda flow: maximum_likelihood_loss(flow, batch, key=key)[0]
        updates, opt = ADAM.update(eqx.filter_grad(loss)(flow), opt)
        return eqx.apply_updates(flow, updates), opt

    opt = ADAM.init(eqx.filter(flow, eqx.is_inexact_array))
    for k in jr.split(key, STEPS):
        flow, opt = step(flow, opt, jr.choice(k, x, (64,)), k)
    return flow


@pytest.mark.parametrize("train", [by_fit, by_stack, by_iterate, by_hand])
def test_the_density_sums_to_one_however_it_is_trained(train, x32):
    x = jnp.asarray(two_moons(500).x, jnp.float32)
    flow = init_actnorm(residual_flow(2, blocks=2, width=8, depth=1, key=jr.key(0)), x)
    with jax.numpy_dtype_promotion("standard"):
        flow = train(flow, x, jr.key(1))
    blocks = flow.bijection.parts[1].layers.parts[0]
    certificates = eqx.filter_vmap(lambda block: lipschitz_upper_bound(block.net))(blocks)
    assert np.max(certificates) <= 0.97**2 * 1.002
    assert np.max(certificates) > 0.9
    found = grid_mass(lambda x: flow.log_prob(x[None])[0], [-6, -6], [7, 7], points=400)
    assert found.at_edge < 1e-3
    np.testing.assert_allclose(np.exp(found.log_normaliser), 1, atol=5e-3)


def losses(x, optimiser=ADAM):
    flow = init_actnorm(residual_flow(2, blocks=2, width=8, depth=1, key=jr.key(0)), x)
    _, info = fit(flow, maximum_likelihood_loss, x, optimiser=optimiser, steps=30, batch_size=64,
                  log_every=1, key=jr.key(1))  # fmt: skip
    return np.array([entry["loss"] for entry in info.lines()])


def eager_losses(x, optimiser):
    """Without a program of the whole: a few steps on the same rows, each operation by itself."""
    flow = init_actnorm(residual_flow(2, blocks=2, width=8, depth=1, key=jr.key(0)), x)
    state, found = optimiser.init(eqx.filter(flow, eqx.is_inexact_array)), []
    loss = lambda flow: maximum_likelihood_loss(flow, x[:64], key=jr.key(1))
    for _ in range(6):
        (value, _), gradient = eqx.filter_value_and_grad(loss, has_aux=True)(flow)
        flow, state = apply_gradient(optimiser, gradient, state, flow)
        found.append(float(value))
    return np.array(found)


@pytest.mark.parametrize(
    "losses",
    [
        pytest.param(losses, id="compiled"),
        pytest.param(eager_losses, id="eagerly", marks=pytest.mark.slow),
    ],
)
def test_training_does_not_depend_on_the_units_of_the_data(losses, x32):
    # Eighths and powers of two, so that the copies are exact where they are not scaled by tens.
    x = np.round(8 * two_moons(500).x) / 8
    decay = optax.adamw(0.05, weight_decay=0.1)
    want = losses(jnp.asarray(x, jnp.float32), decay)
    assert want[-1] < want[0] - 0.1
    copies: Any = (
        ((1e-12, 1e12), (0, 0)),
        ((1e-6, 1.0), (0, 2.0**20)),
        ((2.0**-40, 2.0**40), (-(2.0**-20), 2.0**60)),
        ((1e3, 3e-9), (1e6, 0)),
    )
    for scale, offset in copies:
        copy = jnp.asarray(x * scale + offset, jnp.float32)
        found = losses(copy, decay) - np.sum(np.log(scale))
        np.testing.assert_allclose(found, want, atol=2e-3)


def test_a_constant_column_keeps_its_scale(x32):
    x = jnp.asarray(two_moons(500).x, jnp.float32).at[:, 1].set(0.1)
    fitted, image = ActNorm(2).initialise(x)
    assert isinstance(fitted, ActNorm)
    np.testing.assert_array_equal(fitted.units.values[:, 1], np.array([0.1, 1, 0], np.float32))
    np.testing.assert_array_equal(image[:, 1], 0)
    _, log_det = fitted.forward_and_log_det(x[0])
    np.testing.assert_allclose(log_det, -np.log(np.std(x[:, 0])), rtol=1e-5)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.array([[0.0, 1.0], [np.nan, 1.0]], np.float32), "finite; row 1 is not"),
        (np.array([[0.0, np.inf]], np.float32), "finite; row 0 is not"),
        (np.ones((0, 2), np.float32), "at least one point, got none"),
        (np.ones((3, 2), int), "must be floating, got int"),
        (np.ones((3, 3), np.float32), r"shape \[..., 2\], got \(3, 3\)"),
    ],
)
def test_a_flow_is_set_by_points_and_by_nothing_else(x, message, key):
    flow = residual_flow(2, blocks=1, width=4, key=key)
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(init_actnorm)(flow, jnp.asarray(x))


def test_another_number_of_channels_is_refused():
    for shape in ((3,), (1,), (3, 2, 2), ()):
        with pytest.raises(ValueError, match="must have 2 channels"):
            ActNorm(2).forward_and_log_det(jnp.zeros(shape))
        with pytest.raises(ValueError, match="must have 2 channels"):
            ActNorm(2).inverse(jnp.zeros(shape), optx.FixedPointIteration(1e-6, 1e-6), 1)
        with pytest.raises(ValueError, match="must have 2 channels"):
            ActNorm(2).initialise(jnp.zeros((5, *shape)))

"""Constants of a model: not trained, not decayed, and never cut in two."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

from pullback.models.bayes import BrownianPrior, OUPrior
from pullback.nn import Constant
from pullback.sampling import FixedDistribution


def test_bits_are_not_cut_where_float64_is_switched_off(promotion):
    with jax.enable_x64(False):
        held = Constant(jnp.array([0.1, 0.2]))
        assert held.values.dtype == jnp.float32
    np.testing.assert_array_equal(held.values, np.array([0.1, 0.2], np.float32))
    for held in (Constant(jnp.array([0.1, 0.2])), FixedDistribution(dist.Normal(0.1, 1.0))):
        ask = lambda held: held.values if isinstance(held, Constant) else held.log_prob(0.5)
        want = ask(held)
        with jax.enable_x64(False), pytest.raises(ValueError, match="switch it on, or make the"):
            ask(held)
        np.testing.assert_array_equal(eqx.filter_jit(ask)(held), want)
    outline = eqx.filter_eval_shape(lambda: FixedDistribution(dist.Normal(jnp.zeros(3), 1.0)))
    assert outline.distribution.loc == jax.ShapeDtypeStruct((3,), jnp.float64)


@pytest.mark.parametrize("prior", [OUPrior(sigma=0.3, rate=2.0), BrownianPrior(sigma=0.3)])
def test_a_decay_of_weights_leaves_a_weight_prior_alone(prior, promotion):
    model = {"prior": prior, "w": jnp.ones(2)}
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    optimiser = optax.adamw(0.1, weight_decay=0.5)
    grads = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimiser.update(grads, optimiser.init(params), params)
    moved: Any = eqx.combine(optax.apply_updates(params, updates), rest)
    assert moved["w"][0] < 1
    assert moved["prior"].sigma == 0.3
    drift = eqx.filter_jit(lambda p: (p.drift(0.0, jnp.ones(2)), p.diffusion(jnp.ones(2))))
    np.testing.assert_array_equal(drift(moved["prior"]), drift(prior))

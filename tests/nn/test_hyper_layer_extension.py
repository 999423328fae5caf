"""A layer of one's own that responds to hyperparameters, from public names alone."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float

from pullback import bilevel, nn


class Gain(eqx.Module):
    """A plain layer: a factor for each entry."""

    factor: Array

    def __call__(self, x):
        return self.factor * x


class HyperGain(nn.AbstractHyperLayer):
    """The same, with factors that move with hyperparameters."""

    general: Any
    slope: Float[Array, "size count"]
    gate: Float[Array, " count"]
    centred: bool = eqx.field(static=True)
    at_zero: bool

    def __init__(self, gain, count):
        self.general, self.centred, self.at_zero = gain, True, False
        self.slope = jnp.zeros((len(gain.factor), count))
        self.gate = jnp.zeros(count)

    def __call__(self, x, *, key=None):
        return self.general(x) + (self.slope @ self.gate) * x

    def frozen(self):
        return Gain(self.general.factor + self.slope @ self.gate)

    def responds(self):
        marked = jax.tree.map(lambda _: False, self)
        return eqx.tree_at(lambda at: at.slope, marked, True)


class Log(bilevel.AbstractHyperparameter):
    """A record of one's own: kept by its logarithm."""

    coordinate: Array
    per_batch: bool = eqx.field(static=True, default=False)

    @property
    def value(self):
        return jnp.exp(self.coordinate)


def test_a_layer_and_a_record_of_ones_own_are_tuned_as_the_librarys_are(tmp_path):
    key = jr.key(0)
    layer = HyperGain(Gain(jnp.ones(3)), 1)
    moved = eqx.tree_at(lambda at: at.slope, layer, jnp.arange(3.0)[:, None])
    x, gate = jnp.asarray([1.0, -2.0, 0.5]), jnp.asarray([0.3])
    found = nn.freeze_response(moved, gate)(x)
    np.testing.assert_allclose(found, x * (1 + 0.3 * jnp.arange(3.0)))
    np.testing.assert_allclose(nn.linearised(moved, gate)(x), found)
    assert sum(jax.tree.leaves(nn.response_parameters(moved))) == 1

    def inner(net, hyper, batch, *, key):
        return jnp.mean((jax.vmap(net)(batch) - hyper["target"].value * batch) ** 2), {}

    def outer(net, hyper, batch, *, key):
        return jnp.mean((jax.vmap(net)(batch) - 3.0 * batch) ** 2), {}

    data = jr.normal(key, (40, 3))
    net, hyper, info = bilevel.fit_self_tuning(
        layer, {"target": Log(jnp.asarray(0.0))}, inner, outer, data[:20], data[20:], steps=1500,
        batch_size=20, optimiser=optax.sgd(0.2), hyper_optimiser=optax.adam(0.02), entropy=None,
        log_every=100, key=key,
    )  # fmt: skip
    np.testing.assert_allclose(hyper["target"].value, 3.0, atol=0.02)
    np.testing.assert_allclose(nn.freeze_response(net).factor, 3.0, atol=0.02)
    info.schedule.save(tmp_path / "schedule.csv")
    read = bilevel.Schedule.load(tmp_path / "schedule.csv", like={"target": Log(jnp.asarray(0.0))})
    np.testing.assert_array_equal(read.hyper["target"].value, info.schedule.hyper["target"].value)

"""The recipe `gumbel-softmax`: its own arithmetic."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from pullback.recipes.gumbel_softmax import Config, measure
from pullback.sampling import Enumeration


@pytest.mark.slow
def test_the_score_function_has_no_bias_and_the_relaxed_gradient_has(x32):
    found = measure.bias_and_variance((2.0, 1.0), 4000, [0, 1])
    assert bool(jnp.all(found["score"]["bias"] < found["score"]["noise"]))
    assert bool(jnp.all(found["gumbel"]["bias"] > found["gumbel"]["noise"]))
    assert bool(jnp.all(found["gumbel"]["variance"][:, 0] < found["gumbel"]["variance"][:, 1]))


def test_the_semi_supervised_step_sums_over_the_classes(key):
    model = measure.Semi(4, 3, 5, key=key)
    x = jnp.array([0.1, 0.9, 0.5, 0.2])
    p = jax.nn.softmax(model.classifier(x))
    found = model.loss(x, Enumeration(), key)

    total = jnp.sum(p * jnp.log(p))
    for k in range(3):
        y = jnp.eye(3)[k]
        spread = jnp.split(model.encoder(jnp.concatenate([x, y])), 2)
        noise = jax.random.normal(jax.random.split(key)[0], (16,))
        code = spread[0] + jnp.exp(spread[1]) * noise
        rate = jax.nn.sigmoid(model.decoder(jnp.concatenate([code, y])))
        cross = -jnp.sum(x * jnp.log(rate) + (1 - x) * jnp.log(1 - rate))
        kl = jnp.sum(0.5 * (jnp.exp(2 * spread[1]) + spread[0] ** 2 - 1) - spread[1])
        total = total + p[k] * (cross + kl)
    assert float(found) == pytest.approx(float(total), rel=1e-9)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"temperatures": (2.0, 1.0, 0.5)}, "temperatures must be 3 or more numbers that rise"),
        ({"temperatures": (0.5, 1.0, 2.0)}, "temperatures must have 0.2 and 1 in them"),
        ({"iterations": 5}, "iterations must be at least 10, got 5"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Config(), **wrong)

"""The recipe `gumbel-softmax`: its own arithmetic."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.recipes._kit.discrete_vae import latents_of
from pullback.recipes.gumbel_softmax import Config, measure
from pullback.recipes.gumbel_softmax.models import BeliefNet
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


@pytest.mark.parametrize("latents", [(2,), (2, 3)])
def test_a_belief_network_sums_over_both_layers(latents, key):
    """Its objective by enumeration, and its score within noise, against a loop over outcomes."""
    model = BeliefNet(6, latents, key=key)
    # Large, so that what goes in matters.
    model = jax.tree.map(lambda w: 3 * w if eqx.is_inexact_array(w) else w, model)
    x = jnp.array([1.0, 0.0, 1.0, 0.0, 1.0, 1.0])
    outcomes = Enumeration()._outcomes(latents_of(jnp.zeros(latents)))

    def shares(logits):
        rows = jax.nn.log_softmax(logits, axis=-1)
        if len(latents) == 1:
            rows = jnp.stack([jax.nn.log_sigmoid(-logits), jax.nn.log_sigmoid(logits)], axis=-1)
            return [float(jnp.exp(sum(rows[i, int(b)] for i, b in enumerate(z)))) for z in outcomes]
        return [float(jnp.exp(jnp.sum(rows * z))) for z in outcomes]

    unit = lambda z: jnp.ravel(2 * z.astype(float) - 1 if len(latents) == 1 else z * 3**0.5)
    first = shares(model.first(x[:3] - 0.5).reshape(latents))
    mean, likelihood = 0.0, 0.0
    for p, z in zip(first, outcomes, strict=True):
        second = shares(model.second(unit(z)).reshape(latents))
        for r, w in zip(second, outcomes, strict=True):
            rate = jax.nn.sigmoid(model.last(unit(w)))
            log_p = float(jnp.sum(jnp.log(jnp.where(x[3:] == 1, rate, 1 - rate))))
            mean -= p * r * log_p
            likelihood += p * r * np.exp(log_p)
    found, _ = model.objective(x, Enumeration(), 1, key=key)
    assert float(found) == pytest.approx(mean, rel=1e-9)
    # A score is minus the logarithm of a mean over draws; that mean has no bias.
    scores = jax.jit(jax.vmap(lambda key: model.score(x, key=key)))(jax.random.split(key, 2000))
    drawn = jnp.exp(-scores)
    assert abs(float(jnp.mean(drawn)) - likelihood) < 4 * float(jnp.std(drawn)) / 2000**0.5
    assert float(jnp.std(drawn)) < 0.5 * likelihood


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"temperatures": (2.0, 1.0, 0.5)}, "temperatures must be 3 or more numbers that rise"),
        ({"temperatures": (0.5, 1.0, 2.0)}, "temperatures must have 0.2 and 1 in them"),
        ({"ways": ("gumbel", "colder")}, "ways must be gumbel and others"),
        ({"iterations": 5}, "iterations must be at least 10, got 5"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Config(), **wrong)

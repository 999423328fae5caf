"""Digits of few pixels as rows, and a network that tells them, by which samples are counted."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.data import Split
from pullback.recipes._kit.images import averaged
from pullback.train import fit

SIDE, CLASSES = 14, 10
PIXELS = SIDE * SIDE


def small_rows(images: Float[np.ndarray, "n 28 28"]) -> Float[Array, "n 196"]:
    """Means of 2 x 2 pixels, as rows."""
    return jnp.asarray(averaged(np.asarray(images), 2).reshape(-1, PIXELS))


def told_by(split: Split, steps: int, seed: int) -> tuple[eqx.nn.MLP, np.ndarray]:
    """A small network that tells one digit, and how often it is right on test digits."""
    keys = jr.split(jr.key(seed))
    net = eqx.nn.MLP(PIXELS, CLASSES, 128, 1, key=keys[0])
    rows = lambda part: (small_rows(part.x), jnp.asarray(part.y))

    def loss(net: eqx.nn.MLP, batch: tuple, *, key: PRNGKeyArray) -> tuple[Array, dict]:
        logits = jax.vmap(net)(batch[0])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean(), {}

    net, _ = fit(
        net, loss, rows(split.train), optimiser=optax.adam(1e-3), steps=steps, batch_size=100,
        log_every=steps, progress=False, key=keys[1],
    )  # fmt: skip
    x, y = rows(split.test)
    return net, np.asarray(jnp.mean(jnp.argmax(jax.vmap(net)(x), axis=1) == y))

"""FIDO beside all sixteen masks of four features, and beside what a linear classifier keeps."""

import itertools

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.analysis.explain import (
    ConstantInfill,
    GaussianInfill,
    fido,
)
from pullback.sampling import Enumeration

X = np.ones((1, 1, 4), np.float32)
MASKS = np.array(list(itertools.product((0.0, 1.0), repeat=4)))


def score(v, up=np):
    """The toy's log-odds: both of the first two are needed, and the third helps a little."""
    s = lambda z: 1 / (1 + up.exp(-z))
    return 6 * s(4 * (v[..., 0] - 0.5)) * s(4 * (v[..., 1] - 0.5)) - 3 + 0.3 * v[..., 2]


def logits(x):
    s = score(x.ravel(), jnp)
    return jnp.stack([jnp.zeros_like(s), s])


def black_box(images):
    s = score(images.reshape(len(images), -1))
    return np.stack([np.zeros_like(s), s], axis=1)


def gaussian(dtype=np.float32):
    """Features 0 and 2 of correlation 0.9, as one factor and noise; the mean law."""
    factors = np.sqrt(0.9) * np.array([1, 0, 1, 0])
    like = lambda a: jnp.asarray(np.asarray(a, dtype).reshape(-1, 1, 1, 4))
    return GaussianInfill(
        jnp.zeros((1, 1, 4), dtype), like(factors), like([0.1, 1, 0.1, 1])[0], draw=False
    )


def backgrounds(infill):
    """What is behind removed features, for each mask, by regression on what is kept."""
    found = np.zeros((16, 4))
    if infill == "gaussian":
        found[:, 0], found[:, 2] = 0.9 * MASKS[:, 2], 0.9 * MASKS[:, 0]
    return found


def value_of_masks(infill, sign, weight):
    """The objective at each mask."""
    filled = np.where(MASKS == 1, X.ravel(), backgrounds(infill))
    size = MASKS.sum(1) if sign > 0 else 4 - MASKS.sum(1)
    return -sign * score(filled) + weight * size


INFILLS = {"constant": ConstantInfill(0.0), "gaussian": gaussian()}


@pytest.mark.parametrize(("infill", "objective", "kept", "value"), [
    ("constant", "ssr", [1, 1, 0, 0], -0.8548),
    ("constant", "sdr", [0, 0, 1, 1], -1.8147),
    ("gaussian", "ssr", [1, 1, 0, 0], -1.1248),
    ("gaussian", "sdr", [0, 0, 0, 1], -1.7147),
])  # fmt: skip
def test_the_best_of_sixteen_masks_is_found_by_default(infill, objective, kept, value):
    values = value_of_masks(infill, 1 if objective == "ssr" else -1, 0.4)
    np.testing.assert_allclose(values.min(), value, atol=1e-4)
    assert MASKS[values.argmin()].tolist() == kept
    found = fido(
        logits, X, INFILLS[infill], objective=objective, size_weight=0.4, estimator=Enumeration(),
        key=jr.key(0),
    )  # fmt: skip
    np.testing.assert_allclose(found.keep_probability[0], np.asarray(kept).ravel(), atol=0.02)

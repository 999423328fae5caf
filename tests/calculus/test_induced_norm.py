"""Induced norms against closed forms, and against every direction of the plane."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.calculus import induced_norm

MATRIX = jr.normal(jr.key(0), (3, 4))
ANGLES = np.linspace(0, np.pi, 200_001)
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)])


def over_all_directions(matrix, p, q):
    out = np.linalg.norm(np.asarray(matrix) @ CIRCLE, q, axis=0)
    return np.max(out / np.linalg.norm(CIRCLE, p, axis=0))


@pytest.mark.parametrize(
    ("p", "q", "want"),
    [
        (1.0, 1.0, np.abs(MATRIX).sum(0).max()),
        (math.inf, math.inf, np.abs(MATRIX).sum(1).max()),
        (1.0, math.inf, np.abs(MATRIX).max()),
        (2.0, math.inf, np.linalg.norm(MATRIX, axis=1).max()),
        (1.0, 2.0, np.linalg.norm(MATRIX, axis=0).max()),
        (2.0, 2.0, np.linalg.svd(MATRIX)[1][0]),
    ],
)
def test_the_norms_that_are_known(p, q, want, key):
    np.testing.assert_allclose(induced_norm(MATRIX, p, q, key=key), want, rtol=1e-12)


def test_other_orders_against_every_direction_of_the_plane(key):
    matrix = jr.normal(key, (5, 2))
    for p, q in ((3.0, 1.5), (1.5, 3.0), (math.inf, 1.0), (2.0, 1.0), (4.0, 4.0), (1.1, 1.7)):
        found = induced_norm(matrix, p, q, key=key)
        np.testing.assert_allclose(found, over_all_directions(matrix, p, q), rtol=1e-8)


def test_a_diagonal_matrix_has_a_closed_form(key):
    diagonal = np.array([0.3, -2.0, 1.5, 1.0])
    # From p down to q the norm is that of the diagonal, of order pq / (p - q).
    want = np.linalg.norm(diagonal, 4 * 1.5 / (4 - 1.5))
    np.testing.assert_allclose(induced_norm(jnp.diag(diagonal), 4.0, 1.5, key=key), want)
    np.testing.assert_allclose(induced_norm(jnp.diag(diagonal), 2.0, 3.0, key=key), 2.0)


def test_the_gradient_is_that_of_the_norm(key):
    matrix, h = np.array(jr.normal(key, (2, 2))), 1e-4
    gradient = jax.grad(lambda m: induced_norm(m, 3.0, 1.5, key=key))(jnp.asarray(matrix))
    for i, j in np.ndindex(2, 2):
        step = np.zeros((2, 2))
        step[i, j] = h
        up, down = (over_all_directions(matrix + s * step, 3.0, 1.5) for s in (1, -1))
        np.testing.assert_allclose(gradient[i, j], (up - down) / (2 * h), atol=1e-5)


def test_errors_name_the_argument(key):
    for p, q, steps, match in (
        (0.5, 2.0, 9, "`p` must be 1 or more"),
        (2.0, 0.5, 9, "`q` must be 1 or more"),
        (2.0, 2.0, 0, "`steps` must be 1 or more"),
    ):
        with pytest.raises(ValueError, match=match):
            induced_norm(MATRIX, p, q, steps=steps, key=key)

"""Anderson acceleration against linear algebra, and against plain iteration."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optimistix as optx
import pytest

from pullback.calculus import Anderson


@pytest.fixture
def affine():
    matrix = jr.normal(jr.key(0), (6, 6))
    return 0.95 * matrix / jnp.linalg.norm(matrix, 2), jr.normal(jr.key(1), (6,))


def solve(f, solver, start):
    with jax.numpy_dtype_promotion("standard"):
        return optx.fixed_point(f, solver, start, max_steps=500, throw=False)


def test_an_affine_map_ends_after_about_as_many_steps_as_it_has_entries(affine):
    matrix, shift = affine
    f = lambda y, args: matrix @ y + shift
    found = solve(f, Anderson(1e-10, 1e-10, memory=7), jnp.zeros(6))
    np.testing.assert_allclose(found.value, np.linalg.solve(np.eye(6) - matrix, shift), rtol=1e-8)
    # In exact arithmetic d + 1 mixtures; the ridge costs some.
    assert int(found.stats["num_steps"]) <= 12
    plain = solve(f, optx.FixedPointIteration(1e-10, 1e-10), jnp.zeros(6))
    assert int(plain.stats["num_steps"]) > 2 * int(found.stats["num_steps"])


def test_a_memory_of_one_is_plain_iteration():
    f = lambda y, args: jnp.cos(y)
    one = solve(f, Anderson(1e-8, 1e-8, memory=1), jnp.ones(3))
    plain = solve(f, optx.FixedPointIteration(1e-8, 1e-8), jnp.ones(3))
    assert abs(int(one.stats["num_steps"]) - int(plain.stats["num_steps"])) <= 1
    np.testing.assert_allclose(one.value, plain.value, atol=1e-7)


def test_the_gradient_goes_by_the_implicit_function_theorem(affine):
    matrix, shift = affine
    f = lambda y, shift: matrix @ y + shift

    def value(shift):
        return optx.fixed_point(f, Anderson(1e-12, 1e-12), jnp.zeros(6), args=shift).value

    with jax.numpy_dtype_promotion("standard"):
        found = jax.jacrev(value)(shift)
    np.testing.assert_allclose(found, np.linalg.inv(np.eye(6) - matrix), rtol=1e-8)


def test_a_map_that_stretches_is_reported():
    found = solve(lambda y, args: y**2 + 1, Anderson(1e-8, 1e-8), jnp.ones(2))
    assert found.result != optx.RESULTS.successful


def test_memory_must_be_positive():
    with pytest.raises(ValueError, match="`memory` must be 1 or more, got 0"):
        Anderson(1e-6, 1e-6, memory=0)

"""Rows, some at a time: the same numbers, whatever the size of a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback._in_batches import over_batches, over_batches_summed, over_rows

ROWS = (jnp.arange(14.0).reshape(7, 2), jnp.arange(7))
SIZES = [None, 1, 2, 3, 7, 50]


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("batch_size", SIZES)
def test_rows_are_all_there_once_and_in_order(batch_size, recompute):
    def summed(scale):
        one = lambda row: {"sum": jnp.sum(scale * row[0] ** 2), "number": row[1]}
        found = over_rows(one, ROWS, batch_size, recompute=recompute)
        return jnp.sum(found["sum"] * jnp.arange(7.0)), found

    (_, found), slope = jax.jit(jax.value_and_grad(summed, has_aux=True))(2.0)
    squares = (np.arange(14.0).reshape(7, 2) ** 2).sum(axis=1)
    np.testing.assert_array_equal(found["sum"], 2 * squares)
    np.testing.assert_array_equal(found["number"], np.arange(7))
    np.testing.assert_allclose(slope, squares @ np.arange(7.0), rtol=1e-12)


@pytest.mark.parametrize("batch_size", SIZES)
def test_a_function_of_a_batch_sees_no_more_rows_than_asked_for(batch_size):
    seen = []

    def function(rows):
        seen.append(len(rows[1]))
        return jnp.sum(rows[0], axis=1), rows[1]

    sums, numbers = over_batches(function, ROWS, batch_size)
    np.testing.assert_array_equal(sums, np.arange(14.0).reshape(7, 2).sum(axis=1))
    np.testing.assert_array_equal(numbers, np.arange(7))
    assert set(seen) == {min(batch_size or 7, 7)}


@pytest.mark.parametrize("over", [over_rows, over_batches])
def test_a_batch_of_no_row_is_refused(over):
    with pytest.raises(ValueError, match="`batch_size` must be 1 or more, got 0"):
        over(lambda rows: rows, ROWS, 0)


@pytest.mark.parametrize("batch_size", SIZES)
def test_sums_over_batches_count_every_row_once(batch_size):
    seen = []

    def function(rows, number):
        seen.append(len(rows[1]))
        return jnp.sum(rows[0], axis=0), {"numbers": number}

    summed, found = jax.jit(lambda: over_batches_summed(function, ROWS, batch_size))()
    np.testing.assert_array_equal(summed, np.arange(14.0).reshape(7, 2).sum(axis=0))
    size = min(batch_size or 7, 7)
    assert max(seen) == size
    assert found["numbers"] == sum(range(-(-7 // size)))

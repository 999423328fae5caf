"""Records of hyperparameters: values within bounds, and slopes by differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.bilevel import Bounded, Integer, Positive, values

AT = jnp.asarray([0.02, 0.3, 0.93])


@pytest.mark.parametrize("make", [lambda v: Bounded(v, -1.0, 2.0), Positive])
def test_a_record_starts_at_its_value_and_has_the_slope_of_its_map(make):
    record = make(AT)
    np.testing.assert_allclose(record.value, AT, rtol=1e-14)
    at = lambda c: eqx.tree_at(lambda r: r.coordinate, record, c).value
    slope = jax.jit(jax.grad(lambda c: jnp.sum(at(c))))(record.coordinate)
    h = 1e-6
    differences = (at(record.coordinate + h) - at(record.coordinate - h)) / (2 * h)
    np.testing.assert_allclose(slope, differences, rtol=1e-8)
    assert len(jax.tree.leaves(record)) == 1


def test_bounds_hold_wherever_the_coordinate_goes():
    far = jnp.asarray([-800.0, 0.0, 800.0])
    at = lambda record: eqx.tree_at(lambda r: r.coordinate, record, far).value
    np.testing.assert_allclose(at(Bounded(0.5, 0.0, 0.9)), [0.0, 0.45, 0.9])
    np.testing.assert_allclose(at(Positive(1.0)), [0.0, np.log(2), 800.0])
    np.testing.assert_array_equal(at(Integer(2, 1, 4)), [1, 3, 4])


def test_every_whole_number_has_the_same_share_and_starts_in_its_middle():
    record = Integer(np.arange(5), 0, 4)
    np.testing.assert_array_equal(record.value, np.arange(5))
    np.testing.assert_allclose(jax.nn.sigmoid(record.coordinate), [0.1, 0.3, 0.5, 0.7, 0.9])
    assert jnp.issubdtype(record.value.dtype, jnp.integer)
    slope = jax.grad(lambda r: jnp.sum(r.value.astype(float)))(record)
    np.testing.assert_array_equal(slope.coordinate, np.zeros(5))


def test_small_values_of_float32_are_kept():
    record = Positive(jnp.asarray([1e-12, 1e-4, 50.0], jnp.float32))
    np.testing.assert_allclose(record.value, [1e-12, 1e-4, 50.0], rtol=1e-5)
    assert record.value.dtype == jnp.float32
    assert Bounded(jnp.asarray(0.5, jnp.float32), 0.0, 1.0).value.dtype == jnp.float32


def test_values_of_a_tree():
    hyper = {"rates": (Bounded(0.25, 0.0, 0.5), Integer(3, 0, 4)), "decay": jnp.asarray(2.0)}
    found = values(hyper)
    assert (float(found["rates"][0]), int(found["rates"][1]), float(found["decay"])) == (0.25, 3, 2)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Bounded(0.0, 0.0, 1.0), "strictly between 0.0 and 1.0; got 0.0"),
        (lambda: Bounded([0.5, 1.5], 0.0, 1.0), "strictly between"),
        (lambda: Bounded(np.nan, 0.0, 1.0), "strictly between"),
        (lambda: Bounded(0.5, 1.0, 0.0), "`low` must be below `high`"),
        (lambda: Bounded(0.5, 0.0, np.inf), "both finite"),
        (lambda: Positive(0.0), "above 0"),
        (lambda: Positive(np.inf), "above 0 and finite"),
        (lambda: Integer(5, 0, 4), "a whole number from 0 to 4"),
        (lambda: Integer(1.5, 0, 4), "a whole number from 0 to 4"),
        (lambda: Integer(1, 0.0, 4), "`low` must be a whole number, got 0.0"),
        (lambda: Integer(0, 0, 0), "`low` must be below `high`"),
    ],
)
def test_what_no_record_can_hold_is_refused(make, said):
    with pytest.raises((ValueError, TypeError), match=said):
        make()


def test_a_value_at_infinity_in_few_digits_is_refused():
    with jax.enable_x64(False):
        for make in (lambda: Bounded(1 - 1e-9, 0, 1), lambda: Positive(1e-50)):
            with pytest.raises(ValueError, match="is at infinity; or set jax_enable_x64"):
                make()

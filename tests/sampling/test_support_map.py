"""Maps of a support to the line: there and back, Jacobians, ends, and what lies outside."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints

from pullback.sampling import SupportMap

CASES = {
    "all": (None, [-3.0, 7.0]),
    "positive": ("positive", [0.2, 30.0]),
    "above": (constraints.greater_than(-2.0), [-1.9, 5.0]),
    "below": (constraints.less_than(1.0), [-9.0, 0.9]),
    "interval": (constraints.interval(-1.0, 3.0), [-0.9, 2.5]),
    "ends of each": (dist.Uniform(jnp.array([0.0, 5.0]), jnp.array([1.0, 9.0])), [0.3, 8.0]),
    "shares": (dist.Dirichlet(jnp.ones(4)), [0.1, 0.2, 0.3, 0.4]),
    "ordered": ("ordered_vector", [-1.0, 0.5, 3.0]),
    "mixed": ({0: "positive", (1, 3): "simplex", 4: "unit_interval"}, [2.0, 0.3, -5.0, 0.7, 0.6]),
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_there_and_back_and_the_jacobian(name, compiled):
    support, x = CASES[name]
    x = jnp.asarray(x)
    found = SupportMap(len(x), support)
    of = jax.jit if compiled else lambda f: f
    y, log_det = of(found.to_line)(x)
    assert y.shape == (found.line,)
    np.testing.assert_allclose(of(found.from_line)(y), x, rtol=1e-10)
    dense = jax.jacfwd(found.from_line)(y)
    if found.line < found.size:  # of shares, all but the last
        dense = np.delete(dense, 3, axis=0)
    np.testing.assert_allclose(log_det, -np.linalg.slogdet(dense)[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_what_was_rounded_to_an_end_is_inside_and_the_rest_is_out(dtype):
    both = SupportMap(5, {0: "positive", 1: constraints.interval(1.0, 2.0), (2, 3, 4): "simplex"})
    shares = jnp.array([0.0, 0.25, 0.75], dtype)
    for first, second in ((0.0, 1.0), (1.0, 2.0)):
        x = jnp.concatenate([jnp.array([first, second], dtype), shares])
        y, log_det = both.to_line(x)
        assert y.dtype == log_det.dtype == dtype
        assert np.all(np.isfinite(y))
        assert np.isfinite(log_det)
    good = jnp.array([1.0, 1.5, 0.2, 0.3, 0.5], dtype)
    assert np.isfinite(both.to_line(good)[1])
    for place, value in ((0, -1e-3), (1, 0.99), (1, 2.01), (2, 0.3), (4, -0.5)):
        y, log_det = both.to_line(good.at[place].set(value))
        assert log_det == -np.inf
        assert np.all(np.isfinite(y))
    assert np.isnan(both.to_line(good.at[0].set(jnp.nan))[0]).any()


def test_whole_numbers_with_noise():
    dice = SupportMap(3, {0: constraints.integer_interval(1, 6), 2: "integer"})
    assert (dice.whole, dice.line) == (2, 3)
    x = jnp.array([6.0, 0.4, -2.0])
    for noise in (0.0, 0.3, 1 - 1e-9):
        y, log_det = dice.to_line(x, jnp.full(2, noise))
        np.testing.assert_allclose(dice.from_line(y), x, atol=1e-7)
        u = (5 + noise) / 6
        if 0 < noise < 0.9:
            np.testing.assert_allclose(log_det, -np.log(6 * u * (1 - u)), rtol=1e-9)
    for place, value in ((0, 0.0), (0, 7.0), (0, 2.5), (2, 0.5)):
        assert dice.to_line(x.at[place].set(value), jnp.full(2, 0.5))[1] == -np.inf
    with pytest.raises(ValueError, match=r"`noise` is missing, \[2\]"):
        dice.to_line(x)
    dice.check(np.array([[1, 0, 5], [6, -2, -7]]))
    with pytest.raises(ValueError, match=r"column 0 whole numbers from 1 to 6.*row 1 has \[7.0\]"):
        dice.check(np.array([[1, 0, 5], [7, -2, -7]]))


def test_the_check_names_the_row():
    found = SupportMap(3, {0: "positive", (1, 2): "simplex"})
    found.check(np.array([[1.0, 0.5, 0.5]]))
    with pytest.raises(ValueError, match=r"column 0 numbers from 0 up.*row 1 .*and so in 1 more"):
        found.check(np.array([[1.0, 0.5, 0.5], [0.0, 0.5, 0.5], [-1.0, 0.5, 0.5]]))
    with pytest.raises(ValueError, match=r"columns 1, 2 simplex.*row 0 has \[0.5, 0.6\]"):
        found.check(np.array([[1.0, 0.5, 0.6]]))


def test_the_support_is_named_where_there_is_a_name():
    same = lambda a, b: str(a) == str(b)
    assert SupportMap(2, "simplex").support is constraints.simplex
    above = constraints.independent(constraints.greater_than(0.0), 1)
    assert same(SupportMap(2, "positive").support, above)
    assert SupportMap(2, {0: "positive"}).support is None
    both = SupportMap(2, {0: "unit_interval", 1: constraints.interval(2.0, 5.0)}).support
    np.testing.assert_array_equal(both.base_constraint.upper_bound, [1, 5])


@pytest.mark.parametrize("ends", [(1.0, 1.0), (2.0, 1.0), (0.0, np.nan), (np.nan, 1.0)])
def test_an_interval_has_two_ends_in_order(ends):
    with pytest.raises(ValueError, match="a lower end below the upper one"):
        SupportMap(1, constraints.interval(*ends))


def test_columns_are_named_by_numbers():
    assert SupportMap(3, {np.int64(0): "positive", range(1, 3): "simplex"}).line == 2
    for wrong in ("a", 0.5, (0, "b")):
        with pytest.raises(TypeError, match=r"`support` must map a column's number.* the column"):
            SupportMap(3, {wrong: "positive"})

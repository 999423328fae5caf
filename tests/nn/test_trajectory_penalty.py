"""The penalty on stretched batches, against NumPy and differences."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.nn import TrajectoryPenalty


def length(x):
    return np.sqrt((np.diff(np.asarray(x).reshape(len(x), -1), axis=0) ** 2).sum(axis=1)).sum()


def test_by_numpy_for_any_shapes(key):
    x, z = jr.normal(key, (7, 3)), jr.normal(jr.fold_in(key, 1), (7, 2, 4))
    layer = TrajectoryPenalty(0.7)
    for call in (layer, eqx.filter_jit(layer)):
        out, penalty = call(z, x)
        np.testing.assert_allclose(out, 0.7 * z, rtol=1e-14)
        np.testing.assert_allclose(penalty, 0.7 * length(z) / length(x), rtol=1e-14)
    assert float(TrajectoryPenalty().scale) == 1.0
    # It depends on the order of the batch, and on no shift.
    order = jnp.array([3, 0, 6, 1, 5, 2, 4])
    assert float(layer(z[order], x[order])[1]) != pytest.approx(float(penalty), rel=1e-3)
    np.testing.assert_allclose(layer(z + 5, x - 2)[1], penalty, rtol=1e-13)


def test_its_gradient_is_that_of_differences_and_the_scale_stays_above_zero(key):
    x, weight = jr.normal(key, (6, 3)), jr.normal(jr.fold_in(key, 1), (4, 3))
    value = lambda weight, layer: layer(jnp.tanh(x @ weight.T), x)[1]
    layer = TrajectoryPenalty(2.0)
    found = jax.grad(value)(weight, layer)
    step = 1e-6
    for place in ((0, 0), (2, 1), (3, 2)):
        up, down = (value(weight.at[place].add(s * step), layer) for s in (1, -1))
        np.testing.assert_allclose(found[place], (up - down) / (2 * step), rtol=1e-7)
    slope = eqx.filter_grad(lambda layer: value(weight, layer))(layer).log_scale
    np.testing.assert_allclose(slope, value(weight, layer), rtol=1e-14)
    lower = eqx.tree_at(lambda layer: layer.log_scale, layer, jnp.asarray(-40.0))
    assert 0 < float(lower.scale) < 1e-15


def test_rows_that_are_alike_have_a_slope_and_a_batch_of_one_kind_has_none(key):
    x = jr.normal(key, (5, 3)).at[2].set(jr.normal(key, (5, 3))[1])
    value = lambda z, x: TrajectoryPenalty()(z, x)[1]
    slopes = jax.grad(value, argnums=(0, 1))(2 * x, x)
    assert all(bool(jnp.all(jnp.isfinite(slope))) for slope in slopes)
    assert bool(jnp.any(slopes[0] != 0))
    alike = jnp.ones((4, 3))
    assert float(value(alike, alike)) == 0
    for z in (alike, x[:4]):
        assert float(value(z, alike)) == 0
        for slope in jax.grad(value, argnums=(0, 1))(z, alike):
            assert not np.any(slope)


def test_float32_and_what_is_refused(key):
    z = jr.normal(key, (4, 3), jnp.float32)
    out, penalty = TrajectoryPenalty()(z, z)
    assert out.dtype == penalty.dtype == jnp.float32
    assert float(penalty) == pytest.approx(1.0, rel=1e-6)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="`scale` must be above 0 and finite"):
            TrajectoryPenalty(wrong)
    call = inspect.unwrap(TrajectoryPenalty.__call__)
    for rows in ((4, 3), (1, 1)):
        with pytest.raises(ValueError, match="must have the same rows, two or more"):
            call(TrajectoryPenalty(), z[: rows[0]], z[: rows[1]])


def test_a_batch_that_is_not_finite_has_no_penalty(key):
    x = jr.normal(key, (4, 3))
    for bad in (jnp.nan, jnp.inf):
        assert jnp.isnan(TrajectoryPenalty()(x, x.at[1, 1].set(bad))[1])


def test_half_precision_adds_up_in_single(key):
    x = 8 * jr.normal(key, (4096, 100), jnp.float16)
    z, penalty = TrajectoryPenalty(0.5)(2 * x, x)
    assert z.dtype == jnp.float16
    np.testing.assert_allclose(penalty, 1, rtol=1e-5)
    wide = jnp.asarray([[0.0], [1e6]])
    np.testing.assert_allclose(TrajectoryPenalty()(jnp.float16([[0], [3]]), wide)[1], 3e-6)


def test_rows_and_scales_of_another_kind_are_refused():
    call = inspect.unwrap(TrajectoryPenalty.__call__)
    good = jnp.ones((3, 2))
    for z, x, error, message in (
        (good.astype(int), good, ValueError, "`z` must be floating, got int"),
        (good, good > 0, ValueError, "`x` must be floating, got bool"),
        (good[:, :0], good, ValueError, "`z` must have a column or more"),
        (good, [[1.0], [2.0]], TypeError, "`x` must be an array of rows"),
    ):
        with pytest.raises(error, match=message):
            call(TrajectoryPenalty(), z, x)
    for scale in ("a", None, True):
        with pytest.raises(TypeError, match="`scale` must be a number above 0"):
            inspect.unwrap(TrajectoryPenalty.__init__)(TrajectoryPenalty(), scale)

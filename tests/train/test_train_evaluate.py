import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.sharding import AxisType

from pullback.train import evaluate


def squares(model, batch, *, key):
    error = (batch["x"] * model - batch["y"]) ** 2
    return jnp.mean(error), {"wrong": jnp.mean(error > 1.0), "n": batch["x"].shape[0]}


@pytest.mark.parametrize("size", [1, 7, 12, 13, 24])
@pytest.mark.parametrize("batch_size", [4, 5, 100])
def test_the_mean_is_that_of_the_whole_set(size, batch_size, key):
    generator = np.random.default_rng(size)
    x, y = generator.normal(size=(2, size))
    got = evaluate(jnp.asarray(0.7), squares, {"x": x, "y": y}, batch_size=batch_size, key=key)
    np.testing.assert_allclose(got["loss"], np.mean((0.7 * x - y) ** 2), rtol=1e-13)
    np.testing.assert_allclose(got["wrong"], np.mean((0.7 * x - y) ** 2 > 1), rtol=1e-6)
    assert got["n"] <= batch_size


def test_one_trace_of_the_loss_where_a_batch_size_divides_the_set(key):
    traces = []

    def loss(model, batch, *, key):
        traces.append(batch.shape)
        return jnp.mean(batch) * model, {}

    for scale in (1.0, 2.0):
        evaluate(jnp.asarray(scale), loss, jnp.arange(18.0), batch_size=10, key=key)
        assert traces.pop() == (9,)
        assert not traces


def test_each_batch_has_its_own_key_and_the_short_one_its_weight(key):
    def loss(model, batch, *, key):
        return jr.normal(key), {}

    got = evaluate(jnp.asarray(0.0), loss, jnp.zeros(7), batch_size=5, key=key)["loss"]
    draws = [float(jr.normal(jr.fold_in(key, b))) for b in (0, 1)]
    np.testing.assert_allclose(got, (5 * draws[0] + 2 * draws[1]) / 7, rtol=1e-12)


def test_dropout_is_off(key):
    def loss(model, batch, *, key):
        return jnp.mean(model(batch, key=key)), {}

    got = evaluate(eqx.nn.Dropout(0.5), loss, jnp.arange(8.0), batch_size=8, key=key)
    assert got["loss"] == 3.5


def test_a_mesh_changes_nothing(key):
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(AxisType.Auto,))
    x, y = np.random.default_rng(0).normal(size=(2, 20))
    data = {"x": x, "y": y}
    one = evaluate(jnp.asarray(0.7), squares, data, batch_size=8, key=key)
    four = evaluate(jnp.asarray(0.7), squares, data, batch_size=8, mesh=mesh, key=key)
    np.testing.assert_allclose(four["loss"], one["loss"], rtol=1e-13)


def test_wrong_arguments(key):
    with pytest.raises(ValueError, match="same leading axis"):
        evaluate(0.0, squares, {"x": np.zeros(3), "y": np.zeros(4)}, batch_size=2, key=key)
    with pytest.raises(ValueError, match="at least one example"):
        evaluate(0.0, squares, np.zeros((0, 2)), batch_size=2, key=key)
    with pytest.raises(ValueError, match="batch_size"):
        evaluate(0.0, squares, np.zeros(3), batch_size=0, key=key)
    with pytest.raises(TypeError, match="floating scalar and a dictionary"):
        evaluate(0.0, lambda m, b, *, key: (b, {}), np.zeros(3), batch_size=2, key=key)
    with pytest.raises(ValueError, match="rename"):
        evaluate(
            0.0, lambda m, b, *, key: (jnp.mean(b), {"step": 0}), np.zeros(3), batch_size=2, key=key
        )

"""What training says of data, optimisers and places where it cannot work."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from pullback.train import Stream, TrainingError, apply_gradient, evaluate, fit, iterate
from pullback.train._gradient import checked_optimiser
from pullback.train._plan import whole

KEY = jr.key(0)


def loss(model, x, *, key):
    return jnp.mean((model - x) ** 2), {}


def run(x, rate=0.1, steps=20, loss=loss, **more):
    return fit(
        jnp.zeros(()),
        loss,
        x,
        optimiser=optax.sgd(rate),
        steps=steps,
        batch_size=2,
        key=KEY,
        **more,
    )


def test_a_row_that_is_not_finite_is_named():
    x = np.ones((12, 3))
    x[7, 1] = np.nan
    with pytest.raises(TrainingError, match=r"Row 7 of `data`.* is not finite"):
        run(x)
    with pytest.raises(TrainingError, match="Row 7 of `data`") as told:
        run({"x": x, "label": np.arange(12)}, loss=lambda m, b, *, key: loss(m, b["x"], key=key))
    assert "learning rate" not in str(told.value)


def test_before_the_first_step_no_learning_rate_is_to_blame(x32):
    x = np.ones(12, np.float32)
    x[4] = -3e25
    with pytest.raises(TrainingError, match=r"No step was taken yet.* row 4 .* 3e\+25") as told:
        fit(jnp.zeros(()), loss, x, optimiser=optax.sgd(0.1), steps=1, batch_size=12, key=KEY)
    assert told.value.step == 1
    with pytest.raises(TrainingError, match="Try a smaller learning rate") as told:
        run(np.ones(12, np.float32), rate=1e30)
    assert told.value.step > 1
    # The first update itself overflows: the rate is to blame after all.
    with pytest.raises(TrainingError, match="Try a smaller learning rate") as told:
        run(np.full(12, 1e10, np.float32), rate=1e35)
    assert told.value.step == 1


def test_a_row_of_the_validation_data_that_is_not_finite_is_named():
    held_out = np.ones((12, 3))
    held_out[5, 1] = np.nan
    with pytest.raises(TrainingError, match=r"validation data is not finite. Row 5 of `valid"):
        run(np.ones((4, 3)), validation=held_out)


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, jax.grad])
def test_training_within_a_transformation_is_refused(transform, tmp_path):
    x, adam = jnp.ones(4), optax.adam(0.1)
    calls = {
        "fit": lambda m: fit(m, loss, x, optimiser=adam, steps=1, batch_size=2, key=KEY)[0],
        "iterate": lambda m: iterate(
            lambda s, b, *, key: (s, {}), m, Stream(x, 2), steps=1, key=KEY
        )[0],
        "evaluate": lambda m: evaluate(m, loss, x, batch_size=2, key=KEY)["loss"],
    }
    start = jnp.zeros(3) if transform is jax.vmap else jnp.zeros(())
    for name, call in calls.items():
        with pytest.raises(TypeError, match=f"`{name}` was called within `jax.jit`"):
            transform(call)(start)
    stacked = lambda m: fit(m[None], loss, x, optimiser=adam, steps=1, batch_size=2, key=KEY[None])[
        0
    ]
    with pytest.raises(TypeError, match=r"`fit` was called within `jax\.jit`"):
        transform(stacked)(start)
    message = r"`fit` was called within `jax\.jit`.*compiles its own"
    refused = lambda: pytest.raises(TypeError, match=message)
    with refused():
        eqx.filter_jit(lambda x: run(x))(x)
    with refused():  # nothing traced comes in
        jax.jit(lambda: run(x)[0])()
    with refused():  # it comes in by the loss
        transform(lambda w: run(x, loss=lambda m, b, *, key: (w * jnp.mean(m - b), {}))[0])(start)
    with refused():  # or by the optimiser
        transform(lambda w: run(x, rate=w)[0])(start)
    with refused():  # or by either, with a folder for the checkpoint
        transform(lambda w: run(x, rate=w, folder=tmp_path)[0])(start)


@pytest.mark.parametrize("wrong", [optax.adam, 0.1, None])
def test_what_is_no_optimiser_is_refused(wrong):
    with pytest.raises(TypeError, match=r"must be .* such as `optax\.adam\(1e-3\)`; got"):
        checked_optimiser(wrong)
    x, options = jnp.ones(4), {"optimiser": wrong, "steps": 1, "batch_size": 2}
    with pytest.raises(TypeError, match="optimiser"):
        fit(jnp.zeros(()), loss, x, key=KEY, **options)
    with pytest.raises(TypeError, match="optimiser"):
        fit(jnp.zeros(1), loss, x, key=KEY[None], **options)
    with pytest.raises(TypeError, match="optimiser"):
        apply_gradient(wrong, x, None, x)


def test_data_on_a_mesh_with_explicit_axes_are_refused():
    """That is what `jax.make_mesh` gives by default; each step would have to say how it is laid."""
    axis = jax.sharding.PartitionSpec("batch")
    sharding = jax.sharding.NamedSharding(jax.make_mesh((4,), ("batch",)), axis)
    x = jax.device_put(jnp.ones(8), sharding)
    start = jnp.zeros(())
    stack = {"optimiser": optax.adam(0.1), "steps": 1, "batch_size": 2, "key": KEY[None]}
    step = lambda s, b, *, key: (s, {})
    calls = [
        ("fit", lambda: run(x)),
        ("fit", lambda: fit(start[None], loss, x, **stack)),
        ("iterate", lambda: iterate(step, start, Stream(x, 2), steps=1, key=KEY)),
        ("evaluate", lambda: evaluate(start, loss, x, batch_size=2, key=KEY)),
    ]
    for name, call in calls:
        with pytest.raises(ValueError, match=f"what `{name}` was given is sharded .*AxisType.Auto"):
            call()
    closing = lambda m, b, *, key: (jnp.mean((m - b) ** 2) + jnp.sum(x), {})
    with pytest.raises(ValueError, match="`fit` was given is sharded"):
        run(np.ones(8), loss=closing)


def test_numbers_of_any_kind_are_known_to_a_checkpoint(tmp_path):
    """Those of NumPy too, which JSON does not know; a float is refused by its name."""
    for number in (3, np.int32(3), np.uint8(3), jnp.asarray(3)):
        assert type(whole(number, name="steps")) is int
    assert whole(None, name="patience") is None
    for number in (3.0, np.float32(3), "3"):
        with pytest.raises(TypeError, match=r"`steps` must be an integer, got .*3"):
            whole(number, name="steps")
    size: Any = np.int32(2)
    stream, step = Stream(np.ones(8), size), lambda s, b, *, key: (s + jnp.sum(b), {})
    for steps in (1, 2):
        found, _ = iterate(step, jnp.zeros(()), stream, steps=steps, folder=tmp_path, resume=True,
                           key=KEY)  # fmt: skip
        assert float(found) == 2 * steps

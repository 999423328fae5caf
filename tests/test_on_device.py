"""What is put on the device, and what its owner may do to it afterwards."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pullback._on_device import on_device
from pullback.train import fit


def aligned(values):
    """An array that begins on 64 bytes, whose memory a device of the host takes as it is."""
    room = np.zeros(values.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    found = room[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    found[...] = values
    return found


@pytest.mark.parametrize("shape", [(), (0,), (3,), (1000,), (2**18,)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_it_shares_no_memory(shape, dtype):
    mine = aligned(np.ones(shape, dtype))
    put = on_device(mine)
    mine[...] = 7
    np.testing.assert_array_equal(put, np.ones(shape))
    assert put.dtype == dtype


def test_dtypes_are_jaxs_and_an_array_of_jax_stays(x32):
    assert on_device(np.zeros(2)).dtype == jnp.float32
    assert on_device(np.float64(1.5)).dtype == jnp.float32
    assert on_device(2**31 - 1, np.int32).dtype == jnp.int32
    x = jnp.zeros(3)
    assert on_device(x) is x
    assert on_device(x, jnp.bfloat16).dtype == jnp.bfloat16


@pytest.mark.parametrize("devices", [1, 4])
def test_a_training_reads_the_data_and_the_start_that_it_was_given(devices, key):
    """What their owner writes to them while it runs changes nothing, nor is it written to."""
    data, start, closed = (aligned(np.full(16, x)) for x in (2.0, 1.0, 0.0))

    def loss(model, batch, *, key):
        return jnp.mean((model["at"] - batch - closed) ** 2), {}

    mesh = jax.make_mesh((devices,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    mesh = None if devices == 1 else mesh

    def written(model, *, key):
        data[...], closed[...] = 99.0, 99.0
        return {"loss": jnp.zeros(())}

    model, _ = fit(
        {"at": start}, loss, data, optimiser=optax.sgd(4.0), steps=20, batch_size=16, log_every=5,
        validation=written, mesh=mesh, key=key,
    )  # fmt: skip
    np.testing.assert_allclose(model["at"], np.full(16, 2.0), atol=1e-5)
    np.testing.assert_array_equal(start, np.ones(16))

"""NumPyro's constructors rely on JAX's ordinary promotion."""

import jax
import pytest


@pytest.fixture(autouse=True)
def promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield

"""JAX's ordinary promotion, for libraries that rely on it, whatever the caller has set."""

from contextlib import AbstractContextManager, ExitStack

import jax


def standard_promotion() -> AbstractContextManager:
    """A context in which dtypes and ranks promote as they do out of the box."""
    stack = ExitStack()
    stack.enter_context(jax.numpy_dtype_promotion("standard"))
    stack.enter_context(jax.numpy_rank_promotion("allow"))
    return stack

"""Arguments that every kind of solve has, checked."""

import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PyTree

STACK_PARTS = (
    "solve for its real and imaginary parts, y0 = jnp.stack([z.real, z.imag]), and put them "
    "together in f, z = y[0] + 1j * y[1]"
)


def check_callable(name: str, f: Any) -> None:
    if not callable(f):
        raise TypeError(f"{name} must be a function {name}(t, y, args), got {type(f).__name__}")
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(None, None, None)
    except TypeError as error:
        raise TypeError(
            f"{name} must be a function {name}(t, y, args), but what was given takes {signature}: "
            "name all three, also those that it does not use"
        ) from error


def check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(
            f"{name} must be a Python integer, known when the program is compiled, got {value!r}"
        )
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")


def check_mesh(name: str, tree: PyTree) -> None:
    """Explicit axes would have every index and sum of a solve say how its result is laid out."""
    for leaf in jax.tree.leaves(tree):
        if not isinstance(leaf, Array):
            continue
        sharding = jax.typeof(leaf).sharding
        axes = sharding.mesh.axis_types
        if jax.sharding.AxisType.Explicit in axes and any(p is not None for p in sharding.spec):
            raise ValueError(
                f"{name} is sharded over a mesh with Explicit axes {sharding.mesh.axis_names}, as "
                "jax.make_mesh makes it by default, and Auto ones are needed here: make it with "
                f"jax.make_mesh({tuple(sharding.mesh.axis_sizes)}, {sharding.mesh.axis_names}, "
                f"axis_types=(jax.sharding.AxisType.Auto,) * {len(axes)})"
            )


def checked_state(y0: PyTree, *, complex_too: bool = False) -> tuple[PyTree, Any]:
    """The state as arrays, and the dtype of its real and imaginary parts."""
    leaves = jax.tree.leaves(y0)
    if not leaves:
        raise ValueError("y0 has no arrays")
    for leaf in leaves:
        if not eqx.is_array_like(leaf):
            raise TypeError(f"y0 must be made of floating arrays, got {type(leaf).__name__}")
        if isinstance(leaf, np.ndarray) and leaf.dtype.kind in "OSUMm":
            raise TypeError(f"y0 must be made of floating arrays, got {leaf.dtype}")
    y0 = jax.tree.map(jnp.asarray, y0)
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(y0)}
    if complex_too:
        parts = {
            np.dtype("complex64"): np.dtype("float32"),
            np.dtype("complex128"): np.dtype(float),
        }
        dtypes = {parts.get(dtype, dtype) for dtype in dtypes}
    for dtype in dtypes:
        if jnp.issubdtype(dtype, jnp.complexfloating):
            raise TypeError(f"y0 must be real, got {dtype}: {STACK_PARTS}")
        if not jnp.issubdtype(dtype, jnp.floating):
            counts = jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.bool_)
            remedy = ": use jnp.asarray(y0, float)" if counts else ""
            raise TypeError(f"y0 must be made of floating arrays, got {dtype}{remedy}")
    if len(dtypes) > 1:
        names = ", ".join(sorted(d.name for d in dtypes))
        raise TypeError(f"all arrays of y0 must have one dtype, got {names}")
    # A weak type would change on the first step.
    return jax.tree.map(lambda x: lax.convert_element_type(x, x.dtype), y0), dtypes.pop()

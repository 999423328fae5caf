"""Numbers in a model that training does not move."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Constant(eqx.Module):
    """Real numbers that are no parameters, such as the mean of the data that a model was set by.

    They are kept as the integers of their bits. Floating arrays are the parameters of a model, and
    a decay of weights moves them even where no gradient comes.

    Args:
        values: the numbers, `[...]`.

    Raises:
        ValueError: when asked for, where the numbers are float64 and `jax_enable_x64` is off now:
            JAX would cut their bits in two.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> constant = Constant(jnp.array([0.5, 2.0]))
        >>> print(constant.values, jax.tree.leaves(eqx.filter(constant, eqx.is_inexact_array)))
        [0.5 2. ] []
    """

    bits: Int[Array, "..."]
    dtype: str = eqx.field(static=True)

    def __init__(self, values: Float[Array, "..."]):
        self.dtype = str(values.dtype)
        self.bits = jax.lax.bitcast_convert_type(values, f"int{8 * values.dtype.itemsize}")

    @property
    def values(self) -> Any:
        """The numbers, in the dtype in which they came."""
        if isinstance(self.bits, jax.ShapeDtypeStruct):  # as in the outline of a model
            return jax.ShapeDtypeStruct(self.bits.shape, jnp.dtype(self.dtype))
        if jax.dtypes.canonicalize_dtype(self.dtype) != self.dtype:
            raise ValueError(
                f"a model holds constants of {self.dtype}, made where `jax_enable_x64` was on, and "
                "it is off here, where their bits would be cut: switch it on, or make the model "
                "with it off."
            )
        return jax.lax.bitcast_convert_type(self.bits, jnp.dtype(self.dtype))

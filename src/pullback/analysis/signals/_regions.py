"""Which regions the units of a network are in: signs, pieces of a piecewise linear unit."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from pullback._in_batches import over_rows
from pullback._leading_axis import leading_axis
from pullback._traced import compiled
from pullback.analysis.signals._along import (
    layer_function,
    refuse_traced,
    refuse_what_is_not_finite,
)


class ActivationPatterns(NamedTuple):
    """The patterns that inputs fall into.

    Attributes:
        patterns: each that there is once, the region of every unit, layer after layer. As many as
            `len(patterns)`.
        index: of each input, the row of its pattern.
    """

    patterns: UInt8[np.ndarray, "patterns units"]
    index: Int[np.ndarray, " n"]


def activation_patterns(
    layers: Any,
    x: Float[Array | np.ndarray, "n ..."],
    *,
    thresholds: Sequence[float | int] = (0.0,),
    batch_size: int | None = 512,
) -> ActivationPatterns:
    r"""Which units are on, for every input: the linear piece of the network that it is in.

    $$ A(x) = \big( r(h_{d, u}(x)) \big)_{d, u}, \qquad
       r(h) = \#\{\theta : h \text{ is beyond } \theta\} $$

    Within one pattern a network of piecewise linear units is one linear map, so their number says
    how finely it divides the inputs that it is given.

    Args:
        layers: as of `transitions`.
        x: inputs, along the leading axis, such as a fine grid or rows of the data.
        thresholds: where regions meet, rising: (0,) for ReLU and for signs, (-1, 1) for hard tanh.
        batch_size: inputs at once. None: all.

    Returns:
        The patterns that there are, on the host, and which of them each input has.

    Raises:
        TypeError: `layers` is no function, or gives something else; or this is within `jax.jit`.
        ValueError: there is no input, `thresholds` do not rise, or a layer is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> layers = lambda x: (jnp.stack([x, x - 1]),)
        >>> found = activation_patterns(layers, jnp.array([-3.0, 0.5, 0.7, 2.0]))
        >>> found.patterns.tolist(), found.index.tolist()
        ([[0, 0], [1, 0], [1, 1]], [0, 1, 1, 2])

    Source: Raghu et al., On the Expressive Power of Deep Neural Networks, arXiv 1606.05336,
        section 2, activation patterns.
    """
    refuse_traced("activation_patterns", layers, x)
    thresholds = check_thresholds(thresholds)
    leading_axis(x, name="x")

    def coded(layers: Any, x: Array) -> tuple[Array, Array]:
        states = layer_function(layers, "pre")

        def one(x: Array) -> tuple[Array, Array]:
            found = states(x)
            codes = jnp.concatenate([region(z, thresholds).ravel() for z in found])
            return codes, jnp.stack([jnp.all(jnp.isfinite(z)) for z in found])

        codes, good = over_rows(one, x, batch_size)
        return codes, jnp.all(good, axis=0)

    codes, good = compiled(coded)(layers, jnp.asarray(x))
    refuse_what_is_not_finite(good)
    patterns, index = np.unique(np.asarray(codes), axis=0, return_inverse=True)
    return ActivationPatterns(patterns, index.reshape(-1))


def region(z: Array, thresholds: Sequence[float]) -> UInt8[Array, "..."]:
    """How many thresholds a value is beyond."""
    # A unit that is clipped rests on a threshold, and is then in the outer region.
    beyond = [z > at if at <= 0 else z >= at for at in thresholds]
    return sum((each.astype(jnp.uint8) for each in beyond[1:]), beyond[0].astype(jnp.uint8))


def check_thresholds(thresholds: Sequence[float | int]) -> tuple[float, ...]:
    """Finite numbers that rise."""
    found = np.atleast_1d(np.asarray(thresholds, float))
    rising = found.ndim == 1 and 0 < len(found) < 256 and bool(np.all(np.diff(found) > 0))
    if not (rising and np.all(np.isfinite(found))):
        raise ValueError(
            "`thresholds` must be one or more finite numbers that rise, such as (0.0,) for ReLU "
            f"and for signs, or (-1.0, 1.0) for hard tanh; got {thresholds}."
        )
    return tuple(found.tolist())

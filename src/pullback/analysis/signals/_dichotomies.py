"""How many labelings of some inputs one layer's weights can reach."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pullback._in_batches import over_rows
from pullback._inputs import positive
from pullback._leading_axis import leading_axis
from pullback._traced import compiled
from pullback.analysis.signals._along import refuse_traced


def dichotomies(
    model: Callable[..., Any],
    where: Callable[[Any], Array],
    other: Float[Array | np.ndarray, "..."],
    x: Float[Array | np.ndarray, "s ..."],
    *,
    num: int = 4096,
    batch_size: int | None = 64,
) -> int:
    r"""How many ways to label some inputs a circle through one layer's weights comes by.

    $$ \Big| \big\{ (\mathrm{sign}\, f_{W(t)}(x_1), \dots, \mathrm{sign}\, f_{W(t)}(x_s)) :
       0 \le t < 2 \pi \big\} \Big| \le 2^s, \qquad W(t) = W \cos t + W' \sin t $$

    The more layers follow the swept one, the more there are, exponentially where chi is above 1:
    what a layer can be trained to do depends on what is left of the network after it.

    Args:
        model: from one input to one number, a readout, whose sign is the label.
        where: which array of it is swept, as `equinox.tree_at` takes it, such as
            `lambda model: model.layers[0].weight`. What it is now is W.
        other: W', of the same shape: where the circle is after a quarter turn.
        x: the inputs, along the leading axis.
        num: points on the circle. Labelings that lie between two are missed: double it until the
            count stays.
        batch_size: points at once. None: all.

    Raises:
        TypeError: this is within `jax.jit`.
        ValueError: `other` does not fit, `num` is below 1, `model` gives more than one number, or
            one that is not finite.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> model = eqx.nn.Linear(2, 1, use_bias=False, key=jax.random.key(0))
        >>> x = jax.random.normal(jax.random.key(1), (5, 2))
        >>> turned = model.weight @ jnp.array([[0.0, 1.0], [-1.0, 0.0]])
        >>> dichotomies(model, lambda m: m.weight, turned, x)  # a line through 0 in the plane: 2 s
        10

    Source: Raghu et al., On the Expressive Power of Deep Neural Networks, arXiv 1606.05336,
        section 3.
    """
    refuse_traced("dichotomies", model, other, x)
    positive(num=num)
    leading_axis(x, name="x")
    weight = where(model)
    if jnp.shape(other) != jnp.shape(weight):
        raise ValueError(
            f"`other` must have the shape of what `where` picks, {jnp.shape(weight)}, got "
            f"{jnp.shape(other)}."
        )
    times = jnp.asarray(2 * np.pi * np.arange(num) / num, weight.dtype)

    def labelled(model: Any, other: Array, x: Array) -> tuple[Array, Array]:
        def at(t: Array) -> tuple[Array, Array]:
            swept = jnp.cos(t) * where(model) + jnp.sin(t) * other
            found = jax.vmap(eqx.tree_at(where, model, swept))(x)
            if found.size != len(x):
                raise ValueError(
                    f"`model` must give one number of one input, got the shape {found.shape[1:]}: "
                    "wrap it in a function of one of its outputs."
                )
            return jnp.packbits(found.ravel() > 0), jnp.all(jnp.isfinite(found))

        return over_rows(at, times, batch_size)

    labels, good = compiled(labelled)(model, jnp.asarray(other, weight.dtype), jnp.asarray(x))
    if not bool(jnp.all(good)):
        raise ValueError("`model` gives numbers that are not finite, which have no sign.")
    return len(np.unique(np.asarray(labels), axis=0))

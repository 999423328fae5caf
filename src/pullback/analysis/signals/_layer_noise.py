"""What noise in the weights of one layer costs."""

import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key
from pullback._traced import compiled
from pullback.analysis.signals._along import refuse_traced


@dataclass(frozen=True)
class LayerNoise:
    """A metric of a model with noise in one of its weights at a time.

    Attributes:
        names: of the weights, in the model's order.
        clean: the metric without noise.
        noisy: the metric under each draw of the noise.
    """

    names: tuple[str, ...]
    clean: float
    noisy: Float[np.ndarray, "layers repeats"]

    @property
    def change(self) -> Float[np.ndarray, " layers"]:
        """The metric with noise less that without, of each layer, a mean over draws."""
        return self.noisy.mean(axis=1) - self.clean


def layer_noise_sensitivity(
    model: Any,
    metric: Callable[[Any], Float[Array, ""]],
    *,
    scale: float = 0.5,
    repeats: int = 20,
    key: PRNGKeyArray,
) -> LayerNoise:
    r"""Which layer a trained network can least bear noise in.

    $$ W_d \leftarrow W_d + \text{scale} \cdot \mathrm{sd}(W_d)\, \epsilon, \qquad
       \epsilon \sim N(0, I) $$

    and all other weights as they are. Lower layers, which more is left of the network after, bear
    less of it: they are the ones to keep in more digits.

    Args:
        model: any PyTree. Its layers are its floating arrays of two axes or more, the weights of
            dense layers and convolutions; vectors, such as biases, get no noise.
        metric: from the model to one number, such as its accuracy on held-out data.
        scale: of the noise, in standard deviations over the entries of each array.
        repeats: draws of the noise.
        key: a typed PRNG key.

    Returns:
        The metric under each draw, for each layer, on the host.

    Raises:
        TypeError: `metric` is no function, or `scale` no number; or this is within `jax.jit`.
        ValueError: the model has no such array, `scale` is not above 0, `repeats` is below 1, or
            the metric is no finite number.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> model = {"first": jnp.array([[1.0, -1.0]]), "second": jnp.array([[0.5, -0.5]])}
        >>> metric = lambda model: jnp.mean(model["first"])
        >>> found = layer_noise_sensitivity(model, metric, key=jax.random.key(0))
        >>> found.names, (found.noisy.std(axis=1) > 0).tolist()
        (("['first']", "['second']"), [True, False])

    Source: the test of a trained network in Raghu et al., On the Expressive Power of Deep Neural
        Networks, arXiv 1606.05336.
    """
    key = checked_key(key)
    refuse_traced("layer_noise_sensitivity", model, scale)
    positive(repeats=repeats)
    if not callable(metric):
        raise TypeError(f"`metric` must be a function of the model, got {metric!r}.")
    if isinstance(scale, bool) or not isinstance(scale, numbers.Real | Array):
        raise TypeError(f"`scale` must be a number above 0, got {scale!r}.")
    if not 0 < scale < np.inf:
        raise ValueError(f"`scale` must be above 0, got {scale}.")
    leaves = jtu.tree_leaves_with_path(model)
    names = tuple(jtu.keystr(path) for path, leaf in leaves if _is_weight(leaf))
    if not names:
        raise ValueError("`model` must have a floating array of two axes or more, got none.")

    def value(model: Any) -> Array:
        found = jnp.asarray(metric(model))
        if found.shape != ():
            raise ValueError(f"`metric` must give one number, got the shape {found.shape}.")
        return found

    def measured(model: Any, keys: Array) -> tuple[Array, Array]:
        weights, rest = eqx.partition(model, _is_weight)
        weights, structure = jax.tree.flatten(weights)

        def one(of: tuple[Array, Array]) -> Array:
            place, key = of
            noisy = [
                # One layer draws, and no other takes the time.
                jax.lax.cond(
                    place == i, _noisy, lambda w, *_: w, w, jnp.asarray(scale, w.dtype), key
                )
                for i, w in enumerate(weights)
            ]
            return value(eqx.combine(jax.tree.unflatten(structure, noisy), rest))

        places = jnp.repeat(jnp.arange(len(weights)), repeats)
        found = jax.lax.map(one, (places, keys))
        return value(model), found.reshape(len(weights), repeats)

    clean, noisy = compiled(measured)(model, jr.split(key, len(names) * repeats))
    if not (np.isfinite(clean) and np.all(np.isfinite(noisy))):
        raise ValueError("`metric` must be finite, with noise too; got a number that is not.")
    return LayerNoise(names, float(clean), np.asarray(noisy))


def _is_weight(leaf: Any) -> bool:
    array = isinstance(leaf, Array | np.ndarray)
    return array and leaf.ndim > 1 and jnp.issubdtype(leaf.dtype, jnp.floating)


def _noisy(weight: Array, scale: Array, key: Array) -> Array:
    return weight + scale * jnp.std(weight) * jr.normal(key, weight.shape, weight.dtype)

"""What the layers of a network give for one input."""

from typing import Any, NamedTuple

import equinox as eqx
from jaxtyping import Array, Float

from pullback._plain_layers import Step, plain_steps


class HiddenStates(NamedTuple):
    """What each layer of weights gives, before and after its activation.

    Attributes:
        pre: h of each layer, the last one too.
        post: phi(h) of each layer: what the next one is given. The last is what the network gives.
    """

    pre: tuple[Float[Array, "..."], ...]
    post: tuple[Float[Array, "..."], ...]


def hidden_states(model: Any, x: Float[Array, "..."]) -> HiddenStates:
    r"""Pre-activations and activations of every layer of a plain network, for one input.

    $$ h^l = W^l x^{l-1} + b^l, \qquad x^l = \phi(h^l), \qquad x^0 = x $$

    A layer is an `eqx.nn.Linear` or an `eqx.nn.Conv`, and phi all that follows it up to the next
    one: pooling or a change of shape, done by an `eqx.nn.Lambda`, is a part of it.

    Args:
        model: an `eqx.nn.MLP`, or an `eqx.nn.Sequential` (of those, and nested) of `eqx.nn.Linear`,
            `eqx.nn.Conv`, `eqx.nn.Lambda`, `eqx.nn.Identity`, and of `eqx.nn.Dropout` in inference
            mode.
        x: one input; for a batch, `jax.vmap`.

    Returns:
        As many pre-activations as layers, and as many activations. `post[-1]` is `model(x)`.

    Raises:
        TypeError: `x` is no array; the model has a part of another kind, such as a normalisation or
            a residual block. Give a function from x to the tuple of its layers instead, where
            `layers` is asked for.
        ValueError: `x` is not one input, or the model several networks in one.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = eqx.nn.MLP(3, 2, 8, 2, activation=jnp.tanh, key=jax.random.key(0))
        >>> states = hidden_states(net, jnp.ones(3))
        >>> [h.shape for h in states.pre], bool(jnp.all(states.post[-1] == net(jnp.ones(3))))
        ([(8,), (8,), (2,)], True)

    Source: notation of Poole et al., Exponential expressivity in deep neural networks through
        transient chaos, arXiv 1606.05340, section 2.
    """
    if not hasattr(x, "shape"):
        raise TypeError(f"`x` must be an array, one input; got {x!r}: use `jnp.asarray`.")
    remedy = "write a function from x to the tuple of its layers, and give that as `layers`"
    pre, post = [], []
    for step in plain_steps(model, remedy):
        _check_fits(step, x)
        x = step.call(x)
        if step.layer is not None:
            pre.append(x)
            post.append(x)
        elif post:
            post[-1] = x
    return HiddenStates(tuple(pre), tuple(post))


def _check_fits(step: Step, x: Array) -> None:
    if not isinstance(step.layer, eqx.nn.Linear):
        return  # a convolution says so itself
    size = step.layer.in_features
    if x.shape != (() if size == "scalar" else (size,)):
        raise ValueError(
            f"`x` must be one input, for which `{step.name}` is given "
            f"{'a number' if size == 'scalar' else f'a vector of {size}'}; it is given an array of "
            f"shape {x.shape}. For a batch, use `jax.vmap(lambda x: hidden_states(model, x))`."
        )

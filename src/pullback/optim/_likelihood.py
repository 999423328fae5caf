"""What a network's outputs say of labels, as a loss."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray, PyTree


def log_prob_of(likelihood: Callable[[Any], Any], output: PyTree, y: Array) -> Array:
    """The log-density of a label, given an output."""
    # Distributions mix dtypes, which strict promotion forbids; the code is not ours.
    with jax.numpy_dtype_promotion("standard"):
        found = likelihood(output).log_prob(y)
    if jnp.shape(found) != ():
        raise ValueError(
            "`likelihood` must give a distribution whose `log_prob` is one number an example; for "
            f"a label of shape {jnp.shape(y)} it has shape {jnp.shape(found)}. Of a network with "
            'one output take "scalar" as its size; of several entries that are independent given '
            "the output, `.to_event()`."
        )
    return found


def label_of(likelihood: Callable[[Any], Any], output: PyTree, *, key: PRNGKeyArray) -> Array:
    """A label, drawn given an output."""
    with jax.numpy_dtype_promotion("standard"):
        return likelihood(output).sample(key)


class Likelihood(eqx.Module):
    """The negative log-likelihood of a network's outputs, as a loss of (x, y).

    Attributes:
        of: from the output for one example to a distribution.
        drawn: whether labels are drawn from it, in place of those given, which may then be None.
    """

    of: Callable[[Any], Any]
    drawn: bool = eqx.field(static=True, default=False)

    def __call__(self, model: PyTree, batch: PyTree, *, key: PRNGKeyArray) -> tuple[Array, dict]:
        x, y = batch

        def of_one(x: Array, y: Any, key: PRNGKeyArray) -> Array:
            output = model(x)
            if self.drawn:
                y = jax.lax.stop_gradient(label_of(self.of, output, key=key))
            return -log_prob_of(self.of, output, y)

        keys = jr.split(key, jax.tree.leaves(x)[0].shape[0])
        return jnp.mean(jax.vmap(of_one)(x, y, keys)), {}

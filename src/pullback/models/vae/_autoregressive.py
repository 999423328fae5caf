"""Decoders that see, for each part of x, the parts before it."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray


class AbstractAutoregressiveDecoder(eqx.Module):
    r"""A decoder of x in some order of its parts, given z and the parts before each.

    $$ p(x | z) = \prod_t p(x_t \mid x_{<t}, z) $$

    One strong enough models x without z, and the rate of a VAE falls to nothing: see `AR1Prior` and
    `TargetRate` for what holds it up.
    """

    @abc.abstractmethod
    def __call__(self, z: Float[Array, "..."], x: Array) -> Float[Array, "..."]:
        """The parameters of the likelihood of every part at once, with x known.

        Args:
            z: the latent of one example.
            x: the example; the parameters of a part depend on the parts before it alone.

        Returns:
            What the likelihood takes as its parameters.
        """

    @abc.abstractmethod
    def sample(self, z: Float[Array, "..."], likelihood: Any, *, key: PRNGKeyArray) -> Array:
        """One x, drawn part by part.

        Args:
            z: the latent.
            likelihood: of x: its `sample(params, *, key)` draws parts from their parameters.
            key: a typed PRNG key.
        """


def draw_in_order(
    decoder: AbstractAutoregressiveDecoder,
    z: Float[Array, "..."],
    likelihood: Any,
    order: Int[Array, "..."],
    steps: int,
    dtype: Any,
    *,
    key: PRNGKeyArray,
) -> Array:
    """One x whose entries are drawn one after another: those of `order` 0 first, and so on."""
    blank = jnp.zeros(order.shape, dtype)
    kind = jax.eval_shape(lambda: likelihood.sample(decoder(z, blank), key=key)).dtype

    def step(x: Array, place: tuple[Array, Array]) -> tuple[Array, None]:
        i, key = place
        return jnp.where(order == i, likelihood.sample(decoder(z, x), key=key), x), None

    x, _ = jax.lax.scan(step, blank.astype(kind), (jnp.arange(steps), jr.split(key, steps)))
    return x

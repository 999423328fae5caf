"""A decoder of sequences, row by row."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from pullback._key import checked_key
from pullback.models.likelihoods import AbstractLikelihood
from pullback.nn import AbstractSequenceNet, AbstractSteppedNet, delayed

from ._autoregressive import AbstractAutoregressiveDecoder


class SequenceDecoder(AbstractAutoregressiveDecoder):
    r"""Rows of x, each given those before it and its own latent.

    $$ h_t = \mathrm{net}(x_{<t}), \qquad
       p(x \mid z) = \prod_t p\big(x_t \mid \mathrm{head}(h_t, z_t)\big) $$

    An image is a sequence of its rows. The entries of one row are independent given $h_t$ and
    $z_t$. To draw a sequence takes one step of the net for each row where it is an
    `AbstractSteppedNet`; any other net is run on all rows for each of them. Either is one compiled
    loop.

    Args:
        net: a causal net, of the rows of x.
        steps: rows of x.
        latent: size of $z_t$; or of z, if there is one for all rows.
        outputs: shape of the parameters of one row, `likelihood.params_shape((features,))`.
        width: of the head's hidden layer.
        dtype: of the head's weights; JAX's default float if None.
        key: for the head's weights.

    Raises:
        ValueError: a size is below 1; when called, z or x does not fit.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.models.vae import Bernoulli
        >>> from pullback.nn import RecurrentNet
        >>> net = RecurrentNet(3, 8, width=8, key=jax.random.key(0))
        >>> decoder = SequenceDecoder(net, steps=5, latent=2, outputs=(3,), key=jax.random.key(1))
        >>> decoder(jnp.ones((5, 2)), jnp.ones((5, 3))).shape
        (5, 3)
        >>> decoder.sample(jnp.ones((5, 2)), Bernoulli(), key=jax.random.key(2)).shape
        (5, 3)

    Source: Razavi et al., Preventing Posterior Collapse with delta-VAEs, arXiv 1901.03416.
    """

    net: AbstractSequenceNet
    start: Float[Array, " features"]
    head: eqx.nn.MLP
    steps: int = eqx.field(static=True)
    latent: int = eqx.field(static=True)
    outputs: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        net: AbstractSequenceNet,
        *,
        steps: int,
        latent: int,
        outputs: tuple[int, ...],
        width: int = 32,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        for name, size in (("steps", steps), ("latent", latent), ("width", width)):
            if size < 1:
                raise ValueError(f"`{name}` must be 1 or more, got {size}.")
        self.net = net
        self.start = jnp.zeros(net.in_size, dtype)
        self.head = eqx.nn.MLP(
            net.out_size + latent, math.prod(outputs), width, 1, dtype=dtype, key=key
        )
        self.steps = steps
        self.latent = latent
        self.outputs = tuple(outputs)

    def __call__(self, z: Float[Array, "..."], x: Array) -> Float[Array, "..."]:
        """The parameters of the likelihood of every row at once, with x known.

        Args:
            z: a latent for each row, `[steps, latent]`, or one for all, `[latent]`.
            x: `[steps, features]`.

        Returns:
            Parameters of shape `[steps, *outputs]`.
        """
        if x.shape != (self.steps, self.net.in_size):
            raise ValueError(
                f"`x` must have the shape {(self.steps, self.net.in_size)}, rows and their "
                f"features, got {x.shape}."
            )
        return jax.vmap(self._row)(self._past(x), self._latents(z))

    def sample(
        self, z: Float[Array, "..."], likelihood: AbstractLikelihood, *, key: PRNGKeyArray
    ) -> Array:
        """One x, `[steps, features]`, drawn row by row."""
        key = checked_key(key)
        return self._drawn(z, lambda params, key: likelihood.sample(params, key=key), key)

    def _drawn(self, z: Array, draw: Callable[..., Array], key: PRNGKeyArray) -> Array:
        """One x, of whose rows `draw` makes each from the parameters of the row."""
        z = self._latents(z)
        keys = jr.split(key, self.steps)
        if isinstance(self.net, AbstractSteppedNet):
            return self._by_steps(self.net, z, draw, keys)

        def step(x: Array, place: tuple[Array, PRNGKeyArray]) -> tuple[Array, None]:
            number, key = place
            row = draw(self._row(self._past(x)[number], z[number]), key)
            return x.at[number].set(row), None

        params = jax.ShapeDtypeStruct(self.outputs, self.start.dtype)
        row = jax.eval_shape(draw, params, key)
        places = jnp.arange(self.steps), keys
        return jax.lax.scan(step, jnp.zeros((self.steps, *row.shape), row.dtype), places)[0]

    def _by_steps(
        self, net: AbstractSteppedNet, z: Array, draw: Callable[..., Array], keys: Array
    ) -> Array:
        def step(past: tuple[PyTree, Array], place: tuple[Array, PRNGKeyArray]) -> tuple:
            state, before = past
            z, key = place
            state, hidden = net.step(state, before)
            row = draw(self._row(hidden, z), key)
            return (state, row.astype(before.dtype)), row

        return jax.lax.scan(step, (net.start(), self.start), (z, keys))[1]

    def _past(self, x: Array) -> Float[Array, "time hidden"]:
        return self.net(delayed(x.astype(self.start.dtype), self.start))

    def _row(self, hidden: Array, z: Array) -> Float[Array, "..."]:
        return self.head(jnp.concatenate([hidden, z])).reshape(self.outputs)

    def _latents(self, z: Array) -> Float[Array, "time latent"]:
        if z.shape not in ((self.latent,), (self.steps, self.latent)):
            raise ValueError(
                f"`z` must have the shape {(self.steps, self.latent)}, or {(self.latent,)} for one "
                f"latent for all rows, got {z.shape}."
            )
        return jnp.broadcast_to(z, (self.steps, self.latent))

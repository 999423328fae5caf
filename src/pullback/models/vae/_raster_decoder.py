"""A decoder of images, row by row and pixel by pixel."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback.models.likelihoods import AbstractLikelihood
from pullback.nn import AbstractSequenceNet

from ._autoregressive import AbstractAutoregressiveDecoder
from ._sequence_decoder import SequenceDecoder


class RasterDecoder(AbstractAutoregressiveDecoder):
    r"""Pixels by rows from the top left, each given all before it and the latent of its row.

    $$ c_t = \mathrm{head}\big(\mathrm{net}(x_{<t}), z_t\big), \qquad
       h_t = \max(0, c_t + (M \odot A)\, x_t), \qquad
       \theta_t = (M' \odot B)\, h_t + C \max(0, c_t) $$

    $\theta_{ti}$ holds the parameters of pixel i of row t, and the masks M and M' let it see the
    pixels of its row before it. So no independence is left, as it is between the pixels of a row of
    a `SequenceDecoder`: a decoder that can do without z.

    Args:
        net: a causal net, of the rows of x.
        likelihood: of x.
        steps: rows of x.
        latent: size of $z_t$; or of z, if there is one for all rows.
        width: of $c_t$ and $h_t$.
        key: for the weights.

    Raises:
        ValueError: a size is below 1; when called, z or x does not fit.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.models.vae import Bernoulli
        >>> from pullback.nn import RecurrentNet
        >>> net = RecurrentNet(3, 8, width=8, key=jax.random.key(0))
        >>> decoder = RasterDecoder(net, Bernoulli(), steps=5, latent=2, key=jax.random.key(1))
        >>> decoder(jnp.ones((5, 2)), jnp.ones((5, 3))).shape
        (5, 3)
        >>> decoder.sample(jnp.ones((5, 2)), Bernoulli(), key=jax.random.key(2)).shape
        (5, 3)

    Source: Razavi et al., Preventing Posterior Collapse with delta-VAEs, arXiv 1901.03416, for
    latents by rows; Germain et al., MADE, arXiv 1502.03509, for the masks within a row.
    """

    rows: SequenceDecoder
    left: Float[Array, "width features"]
    out: Float[Array, "params width"]
    skip: eqx.nn.Linear
    outputs: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        net: AbstractSequenceNet,
        likelihood: AbstractLikelihood,
        *,
        steps: int,
        latent: int,
        width: int = 64,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        head, left, out, skip = jr.split(key, 4)
        self.rows = SequenceDecoder(
            net, steps=steps, latent=latent, outputs=(width,), width=width, key=head
        )
        self.outputs = likelihood.params_shape((net.in_size,))
        size = math.prod(self.outputs)
        self.left = jr.normal(left, (width, net.in_size)) / math.sqrt(net.in_size)
        self.out = jr.normal(out, (size, width)) / math.sqrt(width)
        self.skip = eqx.nn.Linear(width, size, key=skip)

    def __call__(self, z: Float[Array, "..."], x: Array) -> Float[Array, "..."]:
        """The parameters of the likelihood of every pixel at once, with x known.

        Args:
            z: a latent for each row, `[steps, latent]`, or one for all, `[latent]`.
            x: `[steps, features]`.

        Returns:
            Parameters of shape `likelihood.params_shape((steps, features))`.
        """
        return jax.vmap(self._row)(self.rows(z, x), x.astype(self.left.dtype))

    def sample(
        self, z: Float[Array, "..."], likelihood: AbstractLikelihood, *, key: PRNGKeyArray
    ) -> Array:
        """One x, `[steps, features]`, drawn pixel by pixel."""
        key = checked_key(key)
        features = self.left.shape[1]

        def row(context: Array, key: PRNGKeyArray) -> Array:
            def draw(row: Array, place: tuple[Array, PRNGKeyArray]) -> tuple[Array, None]:
                i, key = place
                new = likelihood.sample(self._row(context, row), key=key)
                return jnp.where(jnp.arange(features) == i, new.astype(row.dtype), row), None

            blank = jnp.zeros(features, self.left.dtype)
            places = jnp.arange(features), jr.split(key, features)
            return jax.lax.scan(draw, blank, places)[0]

        return self.rows._drawn(z, row, key)

    def _row(self, context: Array, row: Array) -> Float[Array, "..."]:
        features = len(row)
        # Unit k sees the pixels up to its degree, and is seen by the pixels after it.
        degree = np.rint(np.linspace(1, max(features - 1, 1), len(context)))
        place = np.arange(1, features + 1)
        seen = jnp.asarray(degree[:, None] >= place[None])
        shown = jnp.asarray(np.repeat(place, len(self.out) // features)[:, None] > degree[None])
        hidden = jax.nn.relu(context + jnp.where(seen, self.left, 0) @ row)
        params = jnp.where(shown, self.out, 0) @ hidden + self.skip(jax.nn.relu(context))
        return params.reshape(self.outputs)

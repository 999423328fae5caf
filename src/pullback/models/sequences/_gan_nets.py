"""The two players of a GAN of sequences: residual convolutions, and no normalisation anywhere."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key
from pullback.nn import SequenceConv

_KERNEL = 5


class _Block(eqx.Module):
    """x + 0.3 conv(relu(conv(relu(x))))."""

    first: SequenceConv
    second: SequenceConv

    def __init__(self, width: int, *, dtype: Any, key: PRNGKeyArray):
        self.first, self.second = (
            SequenceConv(width, width, _KERNEL, dtype=dtype, key=key) for key in jr.split(key)
        )

    def __call__(self, x: Float[Array, "length width"]) -> Float[Array, "length width"]:
        inner = self.second(jax.nn.relu(self.first(jax.nn.relu(x))))
        return x + 0.3 * inner


class SequenceGenerator(eqx.Module):
    r"""A generator of sequences: each row of its result is a law over the letters.

    $$ h = \mathrm{reshape}(W z + b), \quad h \leftarrow h + 0.3\, C(\phi(C(\phi(h)))), \quad
       x_l = \mathrm{softmax}(U h_l + c) $$

    with convolutions C over 5 places and $\phi$ a ReLU. Rows lie on the simplex and not at its
    corners; `pullback.data.from_one_hot` reads the likeliest letters.

    Args:
        length: of a sequence.
        letters: how many there are.
        latent: the size of z, standard normal.
        width: the channels between.
        blocks: of two convolutions each.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1; when called, z has another size.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> generator = SequenceGenerator(36, 4, latent=8, key=jax.random.key(0))
        >>> x = generator(jnp.ones(8))
        >>> x.shape, bool(jnp.allclose(x.sum(axis=1), 1))
        ((36, 4), True)

    Source: Killoran et al., Generating and designing DNA with deep generative models,
        arXiv 1712.06148, section 2.1.
    """

    first: eqx.nn.Linear
    blocks: tuple[_Block, ...]
    last: SequenceConv
    length: int = eqx.field(static=True)
    letters: int = eqx.field(static=True)
    latent: int = eqx.field(static=True)

    def __init__(
        self,
        length: int,
        letters: int = 4,
        latent: int = 32,
        width: int = 24,
        blocks: int = 3,
        *,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(length=length, letters=letters, latent=latent, width=width, blocks=blocks)
        first, last, *keys = jr.split(key, 2 + blocks)
        self.first = _linear(latent, length * width, dtype=dtype, key=first)
        self.blocks = tuple(_Block(width, dtype=dtype, key=key) for key in keys)
        self.last = SequenceConv(width, letters, 1, dtype=dtype, key=last)
        self.length, self.letters, self.latent = length, letters, latent

    def __call__(self, z: Float[Array, " latent"]) -> Float[Array, "length letters"]:
        """The law of each letter; `jax.vmap` over codes."""
        if z.shape != (self.latent,):
            raise ValueError(
                f"`z` must have the shape {(self.latent,)}, got {z.shape}. For a batch use "
                "`jax.vmap`."
            )
        h = self.first(z).reshape(self.length, -1)
        for block in self.blocks:
            h = block(h)
        return jax.nn.softmax(self.last(h))


class SequenceCritic(eqx.Module):
    r"""A critic of sequences, or of laws over their letters: one number for each.

    $$ h_l = U x_l + c, \quad h \leftarrow h + 0.3\, C(\phi(C(\phi(h)))), \quad
       D(x) = w \cdot \mathrm{flatten}(h) + b $$

    Args:
        length: of a sequence.
        letters: how many there are.
        width: the channels between.
        blocks: of two convolutions each, over 5 places.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1; when called, x has another shape.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> SequenceCritic(36, 4, key=jax.random.key(0))(jnp.ones((36, 4)) / 4).shape
        ()

    Source: Killoran et al., arXiv 1712.06148, section 2.1.
    """

    first: SequenceConv
    blocks: tuple[_Block, ...]
    last: eqx.nn.Linear
    length: int = eqx.field(static=True)
    letters: int = eqx.field(static=True)

    def __init__(
        self,
        length: int,
        letters: int = 4,
        width: int = 24,
        blocks: int = 3,
        *,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(length=length, letters=letters, width=width, blocks=blocks)
        first, last, *keys = jr.split(key, 2 + blocks)
        self.first = SequenceConv(letters, width, 1, dtype=dtype, key=first)
        self.blocks = tuple(_Block(width, dtype=dtype, key=key) for key in keys)
        self.last = _linear(length * width, "scalar", dtype=dtype, key=last)
        self.length, self.letters = length, letters

    def __call__(self, x: Float[Array, "length letters"]) -> Float[Array, ""]:
        """The number of one sequence."""
        if x.shape != (self.length, self.letters):
            raise ValueError(
                f"`x` must be one sequence, of shape {(self.length, self.letters)}; got "
                f"{x.shape}. For a batch use `jax.vmap`."
            )
        h = self.first(x)
        for block in self.blocks:
            h = block(h)
        return self.last(h.reshape(-1))


def _linear(in_size: int, out_size: Any, *, dtype: Any, key: PRNGKeyArray) -> eqx.nn.Linear:
    """An affine layer whose weights have the size that Glorot gives them, and a bias of zero."""
    layer = eqx.nn.Linear(in_size, out_size, dtype=dtype, key=key)
    rows, columns = layer.weight.shape
    bound = math.sqrt(6 / (rows + columns))
    weight = jr.uniform(key, (rows, columns), layer.weight.dtype, -bound, bound)
    bias = jnp.zeros(rows, weight.dtype)
    return eqx.tree_at(lambda one: (one.weight, one.bias), layer, (weight, bias))

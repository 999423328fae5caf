"""An encoder of sequences of tokens."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from pullback._inputs import positive
from pullback._key import checked_key
from pullback.nn import SequenceConv

from ._token_numbers import check_tokens


class TokenEncoder(eqx.Module):
    r"""Convolutions along a sequence of tokens, and a linear map of all places and of their sum.

    The tokens are embedded, convolved, taken two by two and convolved again, so that the second
    kernel sees rows that are twice as wide and half as many. Each place has weights of its own in
    the last map, which tell where a token stands; the sum has others, by which what adds up along
    the sequence is learned from few. All rows from the first stop on are zeros at each layer:
    whatever follows the stop, and however long the padding is, the result is the same.

    Args:
        tokens: how many there are, with the stop, which is 0.
        length: of the longest sequence.
        outputs: shape of the result, `family.shape` of a family of `pullback.bounds`.
        embed: the size of the row that stands for a token.
        width: of the convolutions.
        kernel: rows that the first convolution sees, an odd number; the second sees about as far.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1 or `kernel` even; when called, x is longer than `length`, or
            has a token that there is not. Within `jit` and `vmap` tokens have no values yet, and
            such a one counts as a row of zeros: look before.
        TypeError: `outputs` is no tuple of sizes; when called, x is not of whole numbers.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> encoder = TokenEncoder(5, 12, (4,), width=8, key=jax.random.key(0))
        >>> encoder(jnp.array([3, 1, 4, 0])).shape
        (4,)

    Source: Gomez-Bombarelli et al., arXiv 1610.02415 (convolutions, all of whose places are seen by
    the layer behind); the mask and the sum are ours.
    """

    letters: Float[Array, "tokens embed"]
    first: SequenceConv
    second: SequenceConv
    last: eqx.nn.Linear
    length: int = eqx.field(static=True)
    outputs: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        tokens: int,
        length: int,
        outputs: tuple[int, ...],
        *,
        embed: int = 24,
        width: int = 48,
        kernel: int = 9,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(tokens=tokens, length=length, embed=embed, width=width, kernel=kernel)
        if not isinstance(outputs, tuple | list):
            raise TypeError(
                f"`outputs` must be a shape, such as `family.shape` or (4,); got {outputs!r}."
            )
        for size in outputs:
            positive(outputs=size)
        letters, first, second, last = jr.split(key, 4)
        self.letters = jr.normal(letters, (tokens, embed), dtype)
        self.first = SequenceConv(embed, width, kernel, dtype=dtype, key=first)
        wider = kernel // 4 * 2 + 1
        self.second = SequenceConv(2 * width, width, wider, dtype=dtype, key=second)
        places = -(-length // 2) + 1
        self.last = eqx.nn.Linear(places * width, math.prod(outputs), dtype=dtype, key=last)
        self.length = length
        self.outputs = tuple(outputs)

    def __call__(self, x: Int[Array, " time"]) -> Float[Array, "..."]:
        """The parameters of the posterior, of a sequence of no more than `length` tokens."""
        x = _checked(x, self.length, len(self.letters))
        x = jnp.pad(x, (0, len(x) % 2))
        tokens = len(self.letters)
        inside = (jnp.cumsum(x == 0) == 0).astype(self.letters.dtype)[:, None]
        # A product and no look-up, whose slope would be a scatter.
        h = (jax.nn.one_hot(x, tokens, dtype=self.letters.dtype) @ self.letters) * inside
        h = jax.nn.relu(self.first(h)) * inside
        h = jax.nn.relu(self.second(h.reshape(len(x) // 2, -1))) * inside[::2]
        weight, width = self.last.weight, h.shape[1]
        pooled = jnp.sum(h, axis=0) / math.sqrt(-(-self.length // 2))
        seen = weight[:, : h.size] @ h.ravel() + weight[:, -width:] @ pooled
        return (seen + jnp.asarray(self.last.bias)).reshape(self.outputs)


def _checked(x: Shaped[Array, "..."], length: int, tokens: int) -> Int[Array, " time"]:
    if x.ndim != 1 or not 1 <= len(x) <= length:
        raise ValueError(
            f"`x` must be one sequence of 1 to {length} tokens, got the shape {x.shape}. For a "
            "batch use `jax.vmap`; leave out what is longer."
        )
    check_tokens(x, tokens)
    return x.astype(jnp.int32)

"""A decoder of sequences of tokens."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key
from pullback._numbers import check_number

from ._autoregressive import AbstractAutoregressiveDecoder
from ._token_numbers import check_tokens


class TokenState(NamedTuple):
    """What `TokenDecoder` keeps from token to token.

    Attributes:
        hidden: of the recurrent cell.
        gates: what z adds to the cell's gates at every token.
        logits: what z adds to the logits of every token.
    """

    hidden: Float[Array, " width"]
    gates: Float[Array, " gates"]
    logits: Float[Array, " tokens"]


class TokenDecoder(AbstractAutoregressiveDecoder):
    r"""A GRU along a sequence of tokens, which is told z at its start, at every token and at its
    head.

    $$ h_0 = \tanh(A z), \quad h_t = \mathrm{GRU}(h_{t-1}, [e(x_{t-1}), z]), \quad
       p(x_t \mid x_{<t}, z) = \mathrm{softmax}(W [h_t, z] + b) $$

    Before the first token it is told the stop, 0. The token `tokens`, one beyond the last, stands
    for one that is hidden: `hide` puts it in the place of some while the decoder is trained, so
    that it cannot do without z.

    Args:
        tokens: how many there are, with the stop.
        length: of what is drawn.
        latent: the size of z.
        width: of the cell.
        embed: the size of the row that stands for a token.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1; when called, z or x does not fit. Within `jit` and `vmap`
            tokens have no values yet, and one that there is not counts as a row of zeros.
        TypeError: when called, x is not of whole numbers.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.models.likelihoods import Tokens
        >>> decoder = TokenDecoder(5, 12, latent=2, width=8, key=jax.random.key(0))
        >>> decoder(jnp.ones(2), jnp.array([3, 1, 4, 0])).shape
        (4, 5)
        >>> decoder.sample(jnp.ones(2), Tokens(5), key=jax.random.key(1)).shape
        (12,)

    Source: Gomez-Bombarelli et al., arXiv 1610.02415; Bowman et al., Generating Sentences from a
    Continuous Space, arXiv 1511.06349 (z at every word, and hidden words).
    """

    letters: Float[Array, "known embed"]
    start_of: eqx.nn.Linear
    cell: eqx.nn.GRUCell
    head: eqx.nn.Linear
    length: int = eqx.field(static=True)
    latent: int = eqx.field(static=True)

    def __init__(
        self,
        tokens: int,
        length: int,
        *,
        latent: int,
        width: int = 128,
        embed: int = 24,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(tokens=tokens, length=length, latent=latent, width=width, embed=embed)
        letters, start, cell, head = jr.split(key, 4)
        self.letters = jr.normal(letters, (tokens + 1, embed), dtype)
        self.start_of = eqx.nn.Linear(latent, width, dtype=dtype, key=start)
        self.cell = eqx.nn.GRUCell(embed + latent, width, dtype=dtype, key=cell)
        self.head = eqx.nn.Linear(width + latent, tokens, dtype=dtype, key=head)
        self.length = length
        self.latent = latent

    @property
    def tokens(self) -> int:
        """How many tokens there are, with the stop."""
        return len(self.letters) - 1

    def __call__(
        self, z: Float[Array, " latent"], x: Int[Array, " time"]
    ) -> Float[Array, "time tokens"]:
        """The logits of every token at once, with x known, of any length."""
        if x.ndim != 1:
            raise ValueError(
                f"`x` must be one sequence of tokens, got the shape {x.shape}. For a batch use "
                "`jax.vmap`."
            )
        check_tokens(x, len(self.letters))
        begin = self.start(z)
        before = jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]]).astype(jnp.int32)
        # A product and no look-up, whose slope would be a scatter.
        told = jax.nn.one_hot(before, len(self.letters), dtype=self.letters.dtype)
        gates = told @ self._table() + begin.gates[None]

        def step(hidden: Array, gates: Array) -> tuple[Array, Array]:
            hidden = self._next(hidden, gates)
            return hidden, hidden

        _, hidden = jax.lax.scan(step, begin.hidden, gates)
        return hidden @ self._of_hidden().T + begin.logits[None]

    def start(self, z: Float[Array, " latent"]) -> TokenState:
        """What is kept before the first token."""
        if z.shape != (self.latent,):
            raise ValueError(
                f"`z` must have the shape {(self.latent,)}, got {z.shape}. For a batch use "
                "`jax.vmap`."
            )
        embed, width = self.letters.shape[1], self.cell.hidden_size
        gates = self.cell.weight_ih[:, embed:] @ z
        logits = self.head.weight[:, width:] @ z
        if self.cell.bias is not None:
            gates = gates + self.cell.bias
        if self.head.bias is not None:
            logits = logits + self.head.bias
        return TokenState(jnp.tanh(self.start_of(z)), gates, logits)

    def step(
        self, state: TokenState, token: Int[Array, ""]
    ) -> tuple[TokenState, Float[Array, " tokens"]]:
        """What is kept after a token, and the logits of the next.

        Args:
            state: after the token before.
            token: the token; 0 before the first.

        For `jax.lax.scan`, which wants a function that can be hashed, write
        `lambda state, token: decoder.step(state, token)`: a method of a net cannot be.
        """
        return self._step(self._table(), state, token)

    def sample(
        self, z: Float[Array, " latent"], likelihood: Any, *, key: PRNGKeyArray
    ) -> Int[Array, " length"]:
        """One sequence, token by token; zeros after the first stop."""
        key = checked_key(key)
        table = self._table()

        def step(past: tuple, key: PRNGKeyArray) -> tuple:
            state, token, ended = past
            state, logits = self._step(table, state, token)
            drawn = likelihood.sample(logits, key=key).astype(jnp.int32)
            token = jnp.where(ended, 0, drawn)
            return (state, token, ended | (token == 0)), token

        begin = self.start(z), jnp.zeros((), jnp.int32), jnp.zeros((), bool)
        return jax.lax.scan(step, begin, jr.split(key, self.length))[1]

    def hide(
        self, x: Int[Array, "..."], rate: float | int, *, key: PRNGKeyArray
    ) -> Int[Array, "..."]:
        """Tokens, of which each is hidden by itself with a probability, `rate`, from 0 to 1."""
        key = checked_key(key)
        check_number("rate", rate, "from 0 to 1", lambda value: 0 <= value <= 1)
        return jnp.where(jr.bernoulli(key, rate, x.shape), self.tokens, x)

    def _table(self) -> Float[Array, "known gates"]:
        """What each token adds to the cell's gates."""
        return self.letters @ self.cell.weight_ih[:, : self.letters.shape[1]].T

    def _step(
        self, table: Array, state: TokenState, token: Array
    ) -> tuple[TokenState, Float[Array, " tokens"]]:
        hidden = self._next(state.hidden, table[token] + state.gates)
        return state._replace(hidden=hidden), self._of_hidden() @ hidden + state.logits

    def _next(self, hidden: Array, gates: Array) -> Array:
        """The cell, of gates to which tokens and z have given their part already."""
        reset, update, new = jnp.split(gates, 3)
        reset_h, update_h, new_h = jnp.split(self.cell.weight_hh @ hidden, 3)
        reset = jax.nn.sigmoid(reset + reset_h)
        update = jax.nn.sigmoid(update + update_h)
        bias = 0 if self.cell.bias_n is None else self.cell.bias_n
        new = jnp.tanh(new + reset * (new_h + bias))
        return new + update * (hidden - new)

    def _of_hidden(self) -> Float[Array, "tokens width"]:
        return self.head.weight[:, : self.cell.hidden_size]

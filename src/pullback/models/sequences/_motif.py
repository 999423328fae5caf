"""What a protein binds, as a score of a sequence that has a slope."""

from collections.abc import Sequence
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real, Shaped

from pullback._floating import as_floating
from pullback._numbers import as_numbers, check_number
from pullback.data import Motif
from pullback.nn import convolve_sequence

_LEAST = 1e-30  # of the temperature: log-odds over it stay within the range of float32
_PAIRS = {"A": "T", "C": "G", "G": "C", "T": "A", "U": "A"}


class MotifScore(eqx.Module):
    r"""How well a motif fits somewhere in a sequence, by its log-odds against a background.

    $$ s_p(x) = \sum_{k=1}^m \sum_v x_{p+k,v} \log \frac{f_{kv}}{b_v}, \qquad
       s(x) = \tau \log \sum_p e^{s_p(x) / \tau} \quad\text{or}\quad \max_p s_p(x) $$

    over all places p, of both strands where asked. The maximum has a slope at one place alone; the
    smooth one tells every place where to go. Rows that are not one-hot count by their shares, so a
    row of 0.25 is a letter that is not known.

    Args:
        motif: counts or probabilities, a row a place and a column a letter; or a `Motif`.
        background: b, a number a letter, made to sum to one. None: all letters alike.
        alphabet: the letters of the columns; that of a `Motif` is its own.
        both_strands: look at the reverse complement as well. For DNA and RNA.
        reduce: "logsumexp", or "max".
        temperature: $\tau$, positive; towards 0 the smooth maximum is the maximum.
        smoothing: the share of the background mixed into each place, so that a letter that was
            never counted has a finite log-odds.

    Raises:
        ValueError: a count is negative or not finite, a place has none, a letter has no share while
            `smoothing` is 0, or another argument does not fit; when called, the sequence has other
            letters or is shorter than the motif.
        TypeError: what should hold numbers does not; when called, the sequence is no array.

    Example:
        >>> import jax.numpy as jnp
        >>> score = MotifScore([[0, 9, 0, 1], [8, 1, 1, 0]], reduce="max")  # CA, or TG
        >>> one_hot = lambda text: jnp.eye(4)[jnp.asarray(["ACGT".index(c) for c in text])]
        >>> [round(float(score(one_hot(text))), 1) for text in ("GGCAGG", "GGTGGG", "AAAAAA")]
        [2.4, 2.4, -3.4]

    Source: Killoran, Lee, Delong, Duvenaud and Frey, Generating and designing DNA with deep
    generative models, arXiv 1712.06148, section 3.2; Stormo, DNA binding sites: representation and
    discovery, Bioinformatics 16, 2000 (log-odds).
    """

    log_odds: Float[Array, "strands width letters"]
    alphabet: str = eqx.field(static=True)
    reduce: str = eqx.field(static=True)
    temperature: float = eqx.field(static=True)

    def __init__(
        self,
        motif: Motif | Sequence[Sequence[float | int]] | Real[Array | np.ndarray, "width letters"],
        background: Sequence[float | int] | Real[Array | np.ndarray, " letters"] | None = None,
        *,
        alphabet: str = "ACGT",
        both_strands: bool = True,
        reduce: Literal["logsumexp", "max"] = "logsumexp",
        temperature: float = 1.0,
        smoothing: float = 0.01,
    ):
        if isinstance(motif, Motif):
            motif, alphabet = motif.counts, motif.alphabet
        if reduce not in get_args(Literal["logsumexp", "max"]):
            raise ValueError(f"`reduce` must be 'logsumexp' or 'max', got {reduce!r}.")
        check_number(
            "temperature", temperature, f"{_LEAST:g} or more, or else reduce='max' be used",
            lambda value: value >= _LEAST,
        )  # fmt: skip
        check_number("smoothing", smoothing)
        if not isinstance(alphabet, str):
            raise TypeError(f"`alphabet` must be a string of letters, got {alphabet!r}.")
        if not 0 <= smoothing < 1:
            raise ValueError(f"`smoothing` must be at least 0 and below 1, got {smoothing}.")
        shares = _shares(motif, len(alphabet))
        beside = _background(background, len(alphabet))
        mixed = (1 - smoothing) * shares + smoothing * beside
        if not np.all(mixed > 0):
            place, letter = np.argwhere(mixed <= 0)[0]
            raise ValueError(
                f"`motif` has no {alphabet[letter]} at place {place + 1}, whose log-odds would be "
                "minus infinity: use smoothing=0.01."
            )
        odds = np.log(mixed) - np.log(beside)
        strands = [odds]
        if both_strands:
            strands.append(odds[::-1, _complement(alphabet)])
        self.log_odds = jnp.asarray(np.stack(strands), float)
        self.alphabet, self.reduce, self.temperature = alphabet, reduce, float(temperature)

    def scan(self, x: Shaped[Array, "length letters"]) -> Float[Array, "strands places"]:
        """The score of every place where the motif fits in whole, one strand after the other."""
        _, width, letters = self.log_odds.shape
        if not isinstance(x, np.ndarray | Array):
            raise TypeError(
                f"`x` must be an array, one sequence one-hot; got {type(x).__name__}. Of a string "
                "make one by `pullback.data.one_hot`."
            )
        if x.ndim != 2 or x.shape[1] != letters or x.shape[0] < width:
            raise ValueError(
                f"`x` must be one sequence of at least {width} rows, as long as the motif, with "
                f"the {letters} columns of {self.alphabet!r}; got the shape {x.shape}. Of a batch, "
                "use `jax.vmap(score)`."
            )
        x = as_floating(x, self.log_odds.dtype)
        odds = jnp.moveaxis(self.log_odds, 0, -1).astype(x.dtype)
        return convolve_sequence(odds, x).T

    def __call__(self, x: Shaped[Array, "length letters"]) -> Float[Array, ""]:
        """The score of one sequence, in nats."""
        found = self.scan(x)
        if self.reduce == "max":
            return jnp.max(found)
        return self.temperature * jax.nn.logsumexp(found / self.temperature)


def _shares(motif: object, letters: int) -> Float[np.ndarray, "width letters"]:
    counts = as_numbers("motif", motif)
    if counts.ndim != 2 or counts.shape[0] == 0 or counts.shape[1] != letters:
        raise ValueError(
            f"`motif` must have a row a place and {letters} columns, one a letter of `alphabet`; "
            f"got the shape {counts.shape}."
        )
    totals = counts.sum(axis=1)
    if not np.all(np.isfinite(counts)) or np.any(counts < 0) or np.any(totals <= 0):
        raise ValueError(
            "`motif` must hold counts or probabilities: finite, not negative, and some at every "
            "place. Of log-odds, give the counts that they were made of."
        )
    return counts / totals[:, None]


def _background(background: object, letters: int) -> Float[np.ndarray, " letters"]:
    if background is None:
        return np.full(letters, 1 / letters)
    found = as_numbers("background", background)
    if found.shape != (letters,) or not np.all(np.isfinite(found)) or np.any(found <= 0):
        raise ValueError(
            f"`background` must be {letters} positive numbers, one a letter of `alphabet`; got "
            f"{background}."
        )
    return found / found.sum()


def _complement(alphabet: str) -> list[int]:
    """For each letter the column of the one that it pairs with."""
    wanted = [_PAIRS.get(letter, "") for letter in alphabet]
    if "U" in alphabet:
        wanted = [
            "U" if letter == "A" else pair for letter, pair in zip(alphabet, wanted, strict=True)
        ]
    if any(pair == "" or pair not in alphabet for pair in wanted):
        raise ValueError(
            f"`alphabet` {alphabet!r} has no reverse complement: use both_strands=False."
        )
    return [alphabet.index(pair) for pair in wanted]

"""Which letters of a design are given, and which are free."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


class Pattern(NamedTuple):
    """Letters by their numbers, and where none is given."""

    codes: Int[np.ndarray, " length"]
    free: Bool[np.ndarray, " length"]

    def one_hot(self, letters: int, dtype: Any) -> Float[Array, "length letters"]:
        """Rows of zeros where none is given."""
        rows = np.eye(letters)[self.codes] * ~self.free[:, None]
        return jnp.asarray(rows, dtype)


def pattern(text: object, alphabet: str, name: str) -> Pattern:
    """A string as a `Pattern`: "." is free, and so is "N" where that is no letter."""
    if not isinstance(text, str):
        raise TypeError(f"`{name}` must be a string of one letter or more, got {text!r}.")
    if not text:
        raise ValueError(f"`{name}` must be a string of one letter or more, got {text!r}.")
    text = text.upper() if alphabet == alphabet.upper() else text
    marks = "." if "N" in alphabet else ".N"
    for place, letter in enumerate(text, start=1):
        if letter not in alphabet and letter not in marks:
            raise ValueError(
                f"`{name}` has {letter!r} at place {place}: its letters are those of "
                f"{alphabet!r}, and {' or '.join(repr(mark) for mark in marks)} where any may come."
            )
    codes = np.asarray([max(alphabet.find(letter), 0) for letter in text])
    return Pattern(codes, np.asarray([letter not in alphabet for letter in text]))


def free_everywhere(length: int) -> Pattern:
    """No letter is given."""
    return Pattern(np.zeros(length, int), np.ones(length, bool))


def check_alphabet(alphabet: object) -> None:
    """Refuse what is no set of two letters or more, or has the mark of a free place among them."""
    if not isinstance(alphabet, str) or len(alphabet) < 2 or len(set(alphabet)) < len(alphabet):
        raise ValueError(
            f"`alphabet` must be two different letters or more, as 'ACGT'; got {alphabet!r}."
        )
    if "." in alphabet:
        raise ValueError(
            f"`alphabet` must not hold '.', which stands for any letter; got {alphabet!r}."
        )

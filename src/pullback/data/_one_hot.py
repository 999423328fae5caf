"""Strings of one length as rows of zeros and ones, and back."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from pullback.data._letters import ambiguity, check_alphabet, check_choice, foreign
from pullback.data._sequences import Strings, refuse, strings_of


def one_hot(
    strings: Strings, alphabet: str = "ACGT", *, ambiguous: str = "error"
) -> Float[np.ndarray, "n length letters"]:
    r"""Strings of one length as arrays whose rows are one where the letter is, and zero elsewhere.

    $$x_{ilk} = 1 \text{ where letter } l \text{ of string } i \text{ is the } k\text{-th of the
    alphabet}$$

    Args:
        strings: of one length; or `Sequences`, whose file and lines messages then tell.
        alphabet: the letters, in the order of the last axis.
        ambiguous: of letters that stand for several of those of DNA or RNA, such as N for any:
            "error" refuses them; "average" makes them 1 / m for each of the m.

    Returns:
        `[n, length, letters]`, float32; every row sums to 1.

    Raises:
        ValueError: lengths differ, or there are letters outside of the alphabet (the first 20
            strings are told, with what to do), or an argument is not as above.
        TypeError: `strings` is one string.

    Example:
        >>> one_hot(["GN"], ambiguous="average")[0].tolist()
        [[0.0, 0.0, 1.0, 0.0], [0.25, 0.25, 0.25, 0.25]]
    """
    check_alphabet(alphabet)
    check_choice("ambiguous", ambiguous, ("error", "average"))
    mixed = ambiguity(alphabet) if ambiguous == "average" else {}
    if ambiguous == "average" and not mixed:
        raise ValueError(
            f"`ambiguous` must be 'error' with the alphabet {alphabet!r}: only letters that stand "
            "for several of ACGT or ACGU are known."
        )
    found = strings_of(strings)
    refuse(strings, _differing(found))
    rows = np.full((256, len(alphabet)), np.nan, np.float32)
    for letter, those in {**{letter: letter for letter in alphabet}, **mixed}.items():
        if ord(letter) > 255:
            raise ValueError(f"`alphabet` must be of Latin letters; got {letter!r}.")
        rows[ord(letter)] = [(each in those) / len(those) for each in alphabet]
    outside = {
        place: problem
        for place, string in enumerate(found)
        if (problem := foreign(string, alphabet, ambiguous=bool(mixed)))
    }
    refuse(strings, outside)
    codes = np.frombuffer("".join(found).encode("latin-1"), np.uint8)
    return rows[codes].reshape(len(found), len(found[0]), len(alphabet))


def from_one_hot(x: Any, alphabet: str = "ACGT") -> list[str]:
    """The letter with the greatest number at each place; of equals the first of the alphabet.

    Args:
        x: `[n, length, letters]`, of NumPy or JAX; rows need not be zeros and ones.
        alphabet: the letters, in the order of the last axis.

    Returns:
        One string for each of the n.

    Raises:
        ValueError: the shape does not fit the alphabet, or there is NaN.
        TypeError: there are no numbers: strings, or inside of a compiled function.

    Example:
        >>> from_one_hot(one_hot(["GATT", "ACAA"]))
        ['GATT', 'ACAA']
    """
    check_alphabet(alphabet)
    try:
        x = np.asarray(x)
    except TypeError as error:  # of JAX, in a compiled function
        raise TypeError(
            "`x` must have numbers, for strings are made of them: call from_one_hot outside of jit."
        ) from error
    if x.dtype.kind in "OSUMmc":
        raise TypeError(f"`x` must be real numbers, got {x.dtype}; of strings one_hot makes some.")
    if x.ndim != 3 or x.shape[-1] != len(alphabet):
        raise ValueError(
            f"`x` must be [n, length, {len(alphabet)}], for the letters {alphabet!r}; got "
            f"{list(x.shape)}. Of one sequence write x[None]."
        )
    if np.isnan(x).any():
        row = int(np.argwhere(np.isnan(x))[0, 0])
        raise ValueError(f"`x` must have no NaN, and has one in row {row} of its first axis.")
    letters = np.array(list(alphabet))[x.argmax(-1)]
    return ["".join(row) for row in letters.tolist()]


def _differing(strings: Sequence[str]) -> dict[int, str]:
    """Strings of another length than most have, or of none."""
    lengths = [len(string) for string in strings]
    usual = max(set(lengths), key=lambda length: (lengths.count(length), length))
    if usual == 0:
        return dict.fromkeys(range(len(strings)), "has no letters.")
    return {
        place: f"has {length} letters, and most have {usual}; cut it, pad it or take it out."
        for place, length in enumerate(lengths)
        if length != usual
    }

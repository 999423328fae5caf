"""Strings as whole numbers, and back: letters, SMILES and SELFIES."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from pullback._extras import extra
from pullback._names import shown
from pullback._sizes import positive
from pullback.data._letters import check_alphabet, check_choice
from pullback.data._sequences import Strings, refuse, strings_of

KINDS = ("letters", "smiles_char", "smiles_atom", "selfies")
# What stands in brackets is one atom, and so are the two elements of two letters that need none.
_WHY = 300  # letters of what SELFIES says
_ATOM = re.compile(r"\[[^\]]*\]|Br|Cl|%\d\d|.", re.DOTALL)


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of which strings are made, each with its number; 0 is the stop and the padding.

    `Vocabulary.from_strings` makes one of the strings themselves, `Vocabulary.letters` of an
    alphabet; `to_dict` and `from_dict` keep it in JSON.

    Args:
        kind: "letters" and "smiles_char": a token a character; "smiles_atom": a token an atom,
            `Cl` and `[nH]` too; "selfies": strings are SMILES, and tokens are those of their
            SELFIES, of which any sequence is a molecule, rare elements such as arsenic apart.
        tokens: those with the numbers 1, 2 and so on.
        max_length: the most tokens that a string may have; None: any number.

    Raises:
        ValueError: the kind is not known, or a token is empty or there twice.
        TypeError: `tokens` is no tuple of strings.

    Example:
        >>> vocabulary = Vocabulary.from_strings(["CCl", "CCO"], "smiles_atom")
        >>> vocabulary.tokens, vocabulary.size
        (('C', 'Cl', 'O'), 4)
        >>> vocabulary.encode(["CCl", "CCO"])
        array([[1, 2, 0, 0],
               [1, 1, 3, 0]], dtype=int32)
        >>> vocabulary.decode(vocabulary.encode(["OCCl"], length=6))
        ['OCCl']

    Source: Gómez-Bombarelli et al., arXiv 1610.02415, for characters; Krenn et al.,
        arXiv 1905.13741, for SELFIES.
    """

    kind: str
    tokens: tuple[str, ...]
    max_length: int | None = None

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, KINDS)
        if not isinstance(self.tokens, tuple) or not all(isinstance(t, str) for t in self.tokens):
            raise TypeError(f"`tokens` must be a tuple of strings; got {_cut(self.tokens)}.")
        if not self.tokens or "" in self.tokens or len({*self.tokens}) < len(self.tokens):
            raise ValueError(f"`tokens` must be some, each of them once; got {_cut(self.tokens)}.")
        if self.max_length is not None:
            positive(max_length=self.max_length)
        object.__setattr__(self, "_numbers", {t: k for k, t in enumerate(self.tokens, 1)})

    @classmethod
    def letters(cls, alphabet: str, max_length: int | None = None) -> "Vocabulary":
        """A token for each letter of an alphabet.

        Example:
            >>> Vocabulary.letters("ACGT").encode(["GAT"])
            array([[3, 1, 4, 0]], dtype=int32)
        """
        check_alphabet(alphabet)
        return cls("letters", tuple(alphabet), max_length)

    @classmethod
    def from_strings(
        cls,
        strings: Strings,
        kind: str = "letters",
        max_length: int | None = None,
        *,
        skip_invalid: bool = False,
    ) -> "Vocabulary":
        """The tokens of some strings, in the order of their characters.

        Args:
            strings: letters or SMILES; or `Sequences` or `Molecules`, whose file and lines
                messages then tell.
            kind: as above.
            max_length: the most tokens that a string may have; None: as many as the longest has.
            skip_invalid: pass over strings that are longer, or that SELFIES has no way to write;
                `problems` tells which.

        Raises:
            ValueError: a string is empty, too long or has no SELFIES (the first 20 are told); or
                an argument is not as above.
            ImportError: `kind` is "selfies", and that is not installed; the message says how.
        """
        check_choice("kind", kind, KINDS)
        if max_length is not None:
            positive(max_length=max_length)
        split = _splitter(kind)
        problems, whole = {}, []
        for place, string in enumerate(strings_of(strings)):
            tokens = split(string)
            problem = tokens if isinstance(tokens, str) else _too_long(tokens, max_length)
            if problem:
                problems[place] = problem
            else:
                whole.append(tokens)
        if not skip_invalid or not whole:
            refuse(strings, problems)
        tokens = tuple(sorted({token for each in whole for token in each}))
        longest = max(map(len, whole)) if max_length is None else max_length
        return cls(kind, tokens, longest)

    @property
    def size(self) -> int:
        """How many numbers there are, that of the stop included."""
        return len(self.tokens) + 1

    def problems(self, strings: Strings) -> dict[int, str]:
        """Which strings it cannot encode, by their places from 0, and why."""
        found = self._coded(strings_of(strings), self.max_length)
        return {place: codes for place, codes in enumerate(found) if isinstance(codes, str)}

    def encode(self, strings: Strings, length: int | None = None) -> Int[np.ndarray, "n length"]:
        """The numbers of each string's tokens, then zeros, of which there is at least one.

        Args:
            strings: as for `from_strings`.
            length: how many numbers for each, the stop included; None: one more than the most
                tokens that a string may have, or where any number may, than the longest has.

        Raises:
            ValueError: a string is empty or too long, has a token that is not known, or has no
                SELFIES (the first 20 are told, and of a file their lines).
        """
        limit = self.max_length
        if length is not None:
            positive(length=length)
            limit = length - 1
        found = self._coded(strings_of(strings), limit)
        refuse(strings, {place: c for place, c in enumerate(found) if isinstance(c, str)})
        width = 1 + (max(map(len, found)) if limit is None else limit)
        codes = np.zeros((len(found), width), np.int32)
        for row, each in zip(codes, found, strict=True):
            row[: len(each)] = each
        return codes

    def decode(self, codes: Any) -> list[str]:
        """The string of each row of numbers, up to its first zero; of SELFIES, as SMILES.

        Args:
            codes: `[n, length]`, whole numbers, of NumPy or JAX.

        Raises:
            ValueError: the shape is another, or a number is none of those of a token.
        """
        codes = np.asarray(codes)
        if codes.ndim != 2 or not np.issubdtype(codes.dtype, np.integer):
            raise ValueError(
                f"`codes` must be whole numbers [n, length]; got {codes.dtype}{list(codes.shape)}. "
                "Of one string write codes[None]."
            )
        if codes.size and not (0 <= codes.min() and codes.max() < self.size):
            raise ValueError(
                f"`codes` must be from 0 to {self.size - 1}; got {codes.min()} to {codes.max()}."
            )
        ended = (np.pad(codes, ((0, 0), (0, 1))) == 0).argmax(1)
        strings = [
            "".join(self.tokens[code - 1] for code in row[:end].tolist())
            for row, end in zip(codes, ended, strict=True)
        ]
        if self.kind == "selfies":
            decoder = extra("selfies", "chem").decoder
            return [decoder(string) for string in strings]
        return strings

    def to_dict(self) -> dict[str, Any]:
        """What JSON can keep, for `from_dict`."""
        return {"kind": self.kind, "tokens": list(self.tokens), "max_length": self.max_length}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> "Vocabulary":
        """The vocabulary that `to_dict` kept.

        Example:
            >>> Vocabulary.from_dict(Vocabulary.letters("ACGT", 8).to_dict()).max_length
            8
        """
        missing = {"kind", "tokens", "max_length"} - set(kept)
        if missing:
            raise ValueError(f"`kept` must be of `to_dict`; it lacks {', '.join(sorted(missing))}.")
        return cls(kept["kind"], tuple(kept["tokens"]), kept["max_length"])

    def _coded(self, strings: Sequence[str], limit: int | None) -> list[list[int] | str]:
        """The numbers of each string, or what is wrong with it."""
        split = _splitter(self.kind)
        numbers: dict[str, int] = self.__dict__["_numbers"]
        found: list[list[int] | str] = []
        for string in strings:
            tokens = split(string)
            problem = tokens if isinstance(tokens, str) else _too_long(tokens, limit)
            if problem:
                found.append(problem)
                continue
            codes = [numbers.get(token, 0) for token in tokens]
            if 0 in codes:
                token = tokens[codes.index(0)]
                problem = (
                    f"{shown(string)} has {shown(token)}, which the vocabulary lacks; take it out."
                )
                found.append(problem)
            else:
                found.append(codes)
        return found


def _cut(tokens: Any) -> str:
    told = repr(tokens)
    return told if len(told) < _WHY else f"{told[:_WHY]}..."


def _splitter(kind: str) -> Any:
    """A function from a string to its tokens, or to what is wrong with it."""
    if kind == "smiles_atom":
        return lambda string: _ATOM.findall(string) or "is empty; take it out."
    if kind != "selfies":
        return lambda string: list(string) or "is empty; take it out."
    selfies = extra("selfies", "chem")

    def split(string: str) -> list[str] | str:
        try:
            # The strict way: what SELFIES has no way to write would come back as another molecule.
            found = selfies.encoder(string)
        except selfies.EncoderError as error:
            told = " ".join(str(error).split()).partition("Errors:")
            why = (told[2] or told[0]).strip().replace(string, shown(string))
            return f"SELFIES cannot write {shown(string)}: {why[:_WHY]}; take it out."
        return list(selfies.split_selfies(found)) or "is empty; take it out."

    return split


def _too_long(tokens: Sequence[str], limit: int | None) -> str:
    if limit is None or len(tokens) <= limit:
        return ""
    return (
        f"has {len(tokens)} tokens, and at most {limit} fit; take it out, or allow more: "
        "max_length (where a model is fitted, --max-length)."
    )

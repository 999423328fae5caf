"""Names that somebody gives: a word that is not known, and text where a list belongs."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """How a message goes on: with the nearest known word, or not at all where none is near.

    >>> did_you_mean("Temprature", ["time", "temperature"])
    "; did you mean 'temperature'?"
    >>> did_you_mean("nope", ["taynode"])
    ''
    """
    by_case = {each.lower(): each for each in known}
    near = difflib.get_close_matches(word.lower(), by_case, n=1)
    return f"; did you mean {by_case[near[0]]!r}?" if near else ""


def check_list(argument: str, names: Sequence[Any] | None) -> None:
    """Raise for text where a list of names belongs: its letters would be taken for names."""
    if isinstance(names, str):
        raise ValueError(f"`{argument}` must be a list of names, got {names!r}; write [{names!r}].")


def check_several(argument: str, given: Any, wants: str) -> None:
    """Raise for what is no several things, or a dict, of which the keys would be taken."""
    if not hasattr(given, "__iter__") or isinstance(given, Mapping):
        kind = type(given).__name__
        raise TypeError(f"`{argument}` must be {wants}, got {kind}; write a list.")

"""Names that somebody gives: a word that is not known, and text where a list belongs."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_LONGEST, _BEGINNING = 60, 40  # letters that a message quotes of one name or cell
_LISTED = 20  # names


def shown(cell: object) -> str:
    """What a message quotes of a cell or a name: all of it, or how a long one begins.

    >>> shown("12 kg"), shown("ab" * 50_000)
    ("'12 kg'", "'abababababababababababababababababababab...' (100000 letters)")
    """
    text = str(cell)
    if len(text) <= _LONGEST:
        return repr(text)
    return f"{text[:_BEGINNING] + '...'!r} ({len(text)} letters)"


def listed(names: Sequence[str]) -> str:
    """Names for a message, such as those of columns: of many the first, and of long ones too.

    >>> listed(["a", ""]), listed(["x"] * 22)[-17:]
    ('a, (no name)', 'x, x and 2 others')
    """
    cut = [name if len(name) <= _LONGEST else name[:_BEGINNING] + "..." for name in names[:_LISTED]]
    rest = f" and {len(names) - len(cut)} others" if len(names) > len(cut) else ""
    return ", ".join(name or "(no name)" for name in cut) + rest


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """How a message goes on: with the nearest known word, or not at all where none is near.

    >>> did_you_mean("Temprature", ["time", "temperature"])
    "; did you mean 'temperature'?"
    >>> did_you_mean("nope", ["taynode"])
    ''
    """
    if len(word) > _LONGEST:
        return ""
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

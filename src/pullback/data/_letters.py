"""Letters that stand for several, and those that pair."""

from collections.abc import Sequence

from pullback.data._sequences import Sequences, strings_of

IUPAC = {
    "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
    "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
}  # fmt: skip
# The twenty of proteins, and those of them that no letter of DNA or RNA is.
_AMINO, _AMINO_ALONE = "ACDEFGHIKLMNPQRSTVWY", "EFILPQ"
_PAIRS = "ACGTRYSWKMBDHVN", "TGCAYRSWMKVHDBN"


def ambiguity(alphabet: str) -> dict[str, str]:
    """The letters that stand for several of an alphabet of DNA or RNA; none of another."""
    if set(alphabet) == set("ACGT"):
        return IUPAC
    if set(alphabet) == set("ACGU"):
        return {letter: those.replace("T", "U") for letter, those in IUPAC.items()}
    return {}


def check_alphabet(alphabet: str) -> None:
    """Raise for an alphabet without letters, or with one twice."""
    if not isinstance(alphabet, str):
        raise TypeError(f"`alphabet` must be a string of letters, got {alphabet!r}.")
    if not alphabet or len(set(alphabet)) < len(alphabet):
        raise ValueError(f"`alphabet` must be letters, each of them once; got {alphabet!r}.")


def check_choice(argument: str, value: object, known: tuple[str, ...]) -> None:
    """Raise for a word that is none of those known."""
    if value not in known:
        raise ValueError(f"`{argument}` must be one of {', '.join(known)}; got {value!r}.")


def foreign(string: str, alphabet: str, *, ambiguous: bool) -> str:
    """What is wrong with the letters of a string, or nothing."""
    known = set(alphabet) | (set(ambiguity(alphabet)) if ambiguous else set())
    if known.issuperset(string):
        return ""
    place, letter = next((k, letter) for k, letter in enumerate(string) if letter not in known)
    hint = " Write capital letters." if letter.upper() in known else ""
    return (
        f"letter {place + 1} is {letter!r}, which {alphabet!r} has not."
        f"{hint or _remedy(string, letter, alphabet)}"
    )


def _remedy(string: str, letter: str, alphabet: str) -> str:
    """What to do about a letter that is not of DNA or RNA, where it is known."""
    several = ambiguity(alphabet)
    if not several:
        return ""
    if set(_AMINO).issuperset(string) and not set(_AMINO_ALONE).isdisjoint(string):
        return f" It seems to be a protein: name the alphabet, {_alphabet(_AMINO)}."
    if letter in "TU":
        other = _alphabet("ACGU" if letter == "U" else "ACGT")
        return f" RNA has U where DNA has T: name the alphabet, {other}, or replace it."
    if letter not in several:
        return ""
    return (
        f" It stands for {', '.join(several[letter])}: ambiguous='average' (where a model is "
        "fitted, --ambiguous average) takes their mean, and where a file is read 'drop' leaves the "
        "sequence out."
    )


def _alphabet(letters: str) -> str:
    return f"alphabet={letters!r} (where a model is fitted, --alphabet {letters})"


def reverse_complement(strings: Sequence[str] | Sequences) -> list[str]:
    """The other strand of DNA or RNA, read in its own direction.

    A pairs with T (in RNA, which has U and no T, with U) and C with G; a letter that stands for
    several, with the one that stands for theirs. Small letters stay small.

    Args:
        strings: of DNA or RNA; or `Sequences`.

    Returns:
        One for each.

    Raises:
        TypeError: `strings` is one string, or holds what is none.
        ValueError: a letter is none of DNA's, RNA's or IUPAC's.

    Example:
        >>> reverse_complement(["AACGT", "GAUN"])
        ['ACGTT', 'NAUC']
    """
    several = [] if isinstance(strings, list | tuple) and not strings else strings_of(strings)
    tables = {}
    for uracil in (False, True):
        letters, partners = _PAIRS
        if uracil:
            partners = partners.replace("T", "U")
        letters, partners = letters + "U", partners + "A"
        tables[uracil] = str.maketrans(letters + letters.lower(), partners + partners.lower())
    found = []
    for place, string in enumerate(several):
        upper = string.upper()
        unknown = set(upper) - set(_PAIRS[0]) - {"U"}
        if unknown:
            raise ValueError(
                f"`strings` must be of DNA or RNA; string {place + 1} has {min(unknown)!r}, which "
                "pairs with nothing."
            )
        table = tables["U" in upper and "T" not in upper]
        found.append(string.translate(table)[::-1])
    return found

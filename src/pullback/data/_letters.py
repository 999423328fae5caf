"""Letters that stand for several, and those that pair."""

from collections.abc import Sequence

IUPAC = {
    "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
    "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
}  # fmt: skip
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
    hint = ""
    if letter.upper() in known:
        hint = " Write capital letters."
    elif letter in "TU" and ambiguity(alphabet):
        hint = " RNA has U where DNA has T: name the alphabet, or replace it."
    elif letter in ambiguity(alphabet):
        hint = (
            f" It stands for {', '.join(ambiguity(alphabet)[letter])}: ambiguous='average' takes "
            "their mean, and where a file is read 'drop' leaves the sequence out."
        )
    return f"letter {place + 1} is {letter!r}, which {alphabet!r} has not.{hint}"


def reverse_complement(strings: Sequence[str]) -> list[str]:
    """The other strand of DNA or RNA, read in its own direction.

    A pairs with T (in RNA, which has U and no T, with U) and C with G; a letter that stands for
    several, with the one that stands for theirs. Small letters stay small.

    Args:
        strings: of DNA or RNA.

    Returns:
        One for each.

    Raises:
        TypeError: `strings` is one string, or holds what is none.
        ValueError: a letter is none of DNA's, RNA's or IUPAC's.

    Example:
        >>> reverse_complement(["AACGT", "GAUN"])
        ['ACGTT', 'NAUC']
    """
    if isinstance(strings, str):
        raise TypeError(f"`strings` must be several strings, got one; write [{strings[:20]!r}].")
    tables = {}
    for uracil in (False, True):
        letters, partners = _PAIRS
        if uracil:
            partners = partners.replace("T", "U")
        letters, partners = letters + "U", partners + "A"
        tables[uracil] = str.maketrans(letters + letters.lower(), partners + partners.lower())
    found = []
    for place, string in enumerate(strings):
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

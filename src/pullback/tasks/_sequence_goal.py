"""What a designer is asked for: scores by name, by motif or of one's own, and what to avoid."""

import math
import numbers
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float, Int

from pullback._names import did_you_mean
from pullback.data import DataError, Motif, one_hot, reverse_complement
from pullback.models.sequences import MotifScore, near_target, weighted

from ._model_file import in_file, place_of

_SMOOTHING = 0.04  # of a motif that is named by its letters
_SEEN = 1024  # sequences by which scores are weighed
Score = Callable[..., Any]
_UNTRACED = (
    jax.errors.TracerArrayConversionError,
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
)


class Part(NamedTuple):
    """One of the scores that a design is made by.

    Attributes:
        name: in the table of designs.
        score: from a sequence `[length, letters]` to a number.
        site: the letters of a motif that is named by them, or none.
    """

    name: str
    score: Score
    site: str = ""


class Own(NamedTuple):
    """What a fitted designer knows, by which a goal is made.

    Attributes:
        name: of the score that was fitted.
        score: the ensemble; None where no scores were fitted.
        x: sequences of the fit.
        alphabet: their letters.
        both_strands: whether motifs are looked for on both.
    """

    name: str
    score: Score | None
    x: Float[np.ndarray, "n length letters"]
    alphabet: str
    both_strands: bool


class Goal(NamedTuple):
    """What is climbed, and what it is made of.

    Attributes:
        climbed: the score.
        parts: the score that is wanted, and those to be avoided.
    """

    climbed: Score
    parts: tuple[Part, ...]

    @property
    def sites(self) -> list[str]:
        """Letters that designs are to be free of."""
        return [part.site for part in self.parts[1:] if part.site]


def goal_of(score: Any, avoid: Any, target: Any, own: Own) -> Goal:
    """The goal of a design: each score in standard deviations over the sequences of the fit.

    Args:
        score: None, the name of the fitted score, letters of a motif, a `Motif`, or a function.
        avoid: the same, or several; None: nothing.
        target: the score to come near to; None: as high as can be.
        own: what the designer knows.
    """
    if target is not None and not (
        isinstance(target, numbers.Real)
        and not isinstance(target, bool)
        and math.isfinite(float(target))
    ):
        raise ValueError(f"`target` must be a finite number, got {target!r}.")
    wanted = _part(score, "score", own)
    spread = _spread(wanted, "score", own)
    climbed = weighted([(wanted.score, 1 / spread)])
    if target is not None:
        climbed = near_target(climbed, float(target) / spread)
    one = isinstance(avoid, str | Motif) or not isinstance(avoid, Sequence)
    given = [] if avoid is None else [avoid] if one else list(avoid)
    parts = [wanted]
    names: list[str] = []
    for each in given:
        part = _part(each, "avoid", own)
        name, same = f"avoid {part.name}", names.count(part.name)
        names.append(part.name)
        parts.append(part._replace(name=f"{name} {same + 1}" if same else name))
    if not given:
        return Goal(climbed, tuple(parts))
    # That of a target is another than that of its score.
    first = (climbed, 1 / _spread(wanted._replace(score=climbed), "score", own))
    others = [(part.score, -1 / _spread(part, "avoid", own)) for part in parts[1:]]
    return Goal(weighted([first, *others]), tuple(parts))


def _spread(part: Part, what: str, own: Own) -> float:
    """The standard deviation of a score over sequences of the fit."""
    # From all over the sequences, which may be sorted by what is scored.
    rows = np.linspace(0, len(own.x) - 1, min(len(own.x), _SEEN)).astype(int)
    found = float(np.std(values(part.score, own.x[rows])))
    if not math.isfinite(found):
        raise ValueError(
            f"`{what}`: {part.name} is no finite number of some sequences of the fit; look at what "
            "it divides by and takes the logarithm of."
        )
    return found or 1.0


def _part(given: Any, what: str, own: Own) -> Part:
    if given is None or (isinstance(given, str) and own.score and given == own.name):
        if own.score is None:
            raise ValueError(
                f"no scores were fitted, so `{what}` must be a motif, such as 'CACGTG', or a "
                "function; or fit with scores."
            )
        return Part(own.name, own.score)
    length = own.x.shape[1]
    background = own.x.mean(axis=(0, 1), dtype=np.float64) + 1e-3
    if isinstance(given, Motif):
        if given.alphabet != own.alphabet:
            raise ValueError(
                f"`{what}`: the letters of {given.name or given.identifier} are {given.alphabet}, "
                f"and the model's {own.alphabet}."
            )
        _check_width(given.counts, given.name or given.identifier, what, length)
        motif = MotifScore(given, background, both_strands=own.both_strands)
        return Part(given.name or given.identifier, motif)
    if isinstance(given, str):
        shares = _shares(given, what, own)
        _check_width(shares, given, what, length)
        motif = MotifScore(
            shares, background, alphabet=own.alphabet, both_strands=own.both_strands,
            smoothing=_SMOOTHING,
        )  # fmt: skip
        return Part(given, motif, given.upper())
    if not callable(given):
        raise TypeError(
            f"`{what}` must be the name of a score, letters of a motif, a `Motif` or a function "
            f"from `[length, letters]` to a number; got {type(given).__name__}."
        )
    found = _shape_of(given, what, own)
    if getattr(found, "shape", None) != ():
        raise ValueError(
            f"`{what}` must give one number of one sequence, of the shape {own.x.shape[1:]}; it "
            f"gives {found}."
        )
    return Part(getattr(given, "__name__", "score"), given)


def _shape_of(function: Callable[..., Any], what: str, own: Own) -> Any:
    """The shape of what a function gives of a sequence; what it raises is said with its place."""
    file, line = place_of(function)
    row = jax.ShapeDtypeStruct(own.x.shape[1:], own.x.dtype)

    def shape() -> Any:
        try:
            return eqx.filter_eval_shape(function, row)
        except _UNTRACED as error:
            name = getattr(function, "__name__", type(function).__name__)
            raise DataError(
                file,
                f"`{what}`, {name}, must be made of jax.numpy alone: its slope is climbed, and "
                "NumPy, `float` and `if` of what it computes have none.",
                line=line,
            ) from error

    return in_file(shape, file, f"`{what}`, asked of one sequence of the shape {row.shape},")


def _shares(letters: str, what: str, own: Own) -> Float[np.ndarray, "width letters"]:
    """The shares of letters that a string names: R is A or G."""
    whole = set(own.alphabet) in (set("ACGT"), set("ACGU"))
    how = "average" if whole else "error"
    try:
        return one_hot([letters.upper()], own.alphabet, ambiguous=how)[0]
    except ValueError as error:
        known = [own.name] if own.score is not None else []
        first = f"{known[0]!r}, what was fitted, or " if known else ""
        raise ValueError(
            f"`{what}` must be {first}letters of a motif, a motif or a function; got {letters!r}"
            f"{did_you_mean(letters, known) or '.'}"
        ) from error


def _check_width(rows: Any, name: str, what: str, length: int) -> None:
    if len(rows) > length:
        raise ValueError(f"`{what}`: {name} has {len(rows)} letters, and the sequences {length}.")


def values(score: Score, x: Float[np.ndarray, "n length letters"]) -> Float[np.ndarray, " n"]:
    """A score of each sequence."""
    return np.asarray(_values(score, x), np.float64)


@eqx.filter_jit
def _values(score: Score, x: Any) -> Any:
    return jax.vmap(score)(x)


def hits(
    letters: Sequence[str], site: str, alphabet: str, both_strands: bool
) -> Int[np.ndarray, " n"]:
    """How often a site stands in each sequence.

    Args:
        letters: the sequences.
        site: letters, of which some may stand for several.
        alphabet: the letters of the sequences.
        both_strands: whether the other strand counts too; a site that is its own complement
            stands on both at once.
    """
    strands = {site, *reverse_complement([site])} if both_strands else {site}
    whole = "average" if set(alphabet) in (set("ACGT"), set("ACGU")) else "error"
    x = one_hot(list(letters), alphabet, ambiguous=whole) > 0
    windows = np.lib.stride_tricks.sliding_window_view(x, len(site), axis=1)
    found = np.zeros(len(letters), int)
    for each in sorted(strands):
        wanted = one_hot([each], alphabet, ambiguous=whole)[0] > 0
        # A letter of the sequence is one of those that the site's letter stands for.
        fits = np.einsum("npvw,wv->npw", windows, wanted) > 0
        found += fits.all(axis=2).sum(axis=1)
    return found


def kept_by(
    fixed: str | None, sites: Sequence[str], alphabet: str, both_strands: bool
) -> list[str]:
    """Which sites stand in the letters that are to stay.

    Args:
        fixed: as of a design; None: nothing stays.
        sites: letters.
        alphabet: the letters of the sequences.
        both_strands: whether the other strand counts too.
    """
    runs = re.split("[.]+" if "N" in alphabet else "[.N]+", (fixed or "").upper())
    there = lambda run, site: len(run) >= len(site) and hits([run], site, alphabet, both_strands)[0]
    return [site for site in sites if any(there(run, site) for run in runs)]

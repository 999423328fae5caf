"""What a designer is asked for: scores by name, by motif or of one's own, and what to avoid."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float, Int

from pullback._names import did_you_mean
from pullback.data import Motif, one_hot, reverse_complement
from pullback.models.sequences import MotifScore, near_target, weighted

_SMOOTHING = 0.04  # of a motif that is named by its letters
_SEEN = 1024  # sequences by which scores are weighed
Score = Callable[..., Any]


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
    """The goal of a design; scores of several kinds are weighed by their spreads over the fit's.

    Args:
        score: None, the name of the fitted score, letters of a motif, a `Motif`, or a function.
        avoid: the same, or several; None: nothing.
        target: the score to come near to; None: as high as can be.
        own: what the designer knows.
    """
    wanted = _part(score, "score", own)
    climbed = wanted.score if target is None else near_target(wanted.score, target)
    one = isinstance(avoid, str | Motif) or not isinstance(avoid, Sequence)
    given = [] if avoid is None else [avoid] if one else list(avoid)
    parts = [wanted]
    for each in given:
        part = _part(each, "avoid", own)
        name = f"avoid {part.name}"
        same = sum(other.name.startswith(name) for other in parts)
        parts.append(part._replace(name=f"{name} {same + 1}" if same else name))
    if not given:
        return Goal(climbed, tuple(parts))
    signs = [1, *([-1] * len(given))]
    climbs = [climbed, *(part.score for part in parts[1:])]
    spreads = [float(np.std(values(each, own.x[:_SEEN]))) or 1.0 for each in climbs]
    pairs = [(each, s / d) for each, s, d in zip(climbs, signs, spreads, strict=True)]
    return Goal(weighted(pairs), tuple(parts))


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
    found = eqx.filter_eval_shape(given, jax.ShapeDtypeStruct(own.x.shape[1:], own.x.dtype))
    if getattr(found, "shape", None) != ():
        raise ValueError(
            f"`{what}` must give one number of one sequence, of the shape {own.x.shape[1:]}; it "
            f"gives {found}."
        )
    return Part(getattr(given, "__name__", "score"), given)


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

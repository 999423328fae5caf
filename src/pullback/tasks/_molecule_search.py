"""Searches in the codes of molecules: uphill, from one to another, and at random."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pullback._names import check_several, did_you_mean
from pullback._numbers import check_number
from pullback._on_device import on_device
from pullback.analysis import molecule_properties
from pullback.models.sequences import (
    GaussianProcess,
    LatentSpace,
    climb,
    decode_many,
)

from ._molecule_chemistry import canonical
from ._molecule_input import COMPUTED
from ._molecule_nets import as_codes, asked, at_codes, key_of, whitened

if TYPE_CHECKING:
    from ._molecule_designer import MoleculeDesigner

TEMPERATURE = 1.0  # of draws
_STEP = 0.15  # standard deviations
_LOOKS = 12  # places on a path where codes are decoded
_STARTS = 20  # the best molecules of the fit, where none are named
_DRAWN, _LEAST = 60, 4  # strings for each design that is wanted, and at each place
_KNOWN = 2000  # molecules that a Gaussian process knows, for its cost grows with the cube
_ATTEMPTS = 32  # strings at each code of a way from one molecule to another
_ROUNDS = 50  # strings drawn for each molecule that is wanted, at most


class Goal(NamedTuple):
    """What a search is to raise.

    Attributes:
        name: of the property.
        values: of the molecules of the fit, NaN where it was not measured.
        computed: whether RDKit computes it, of any molecule.
        target: the value to come near to; None: as high as can be.
    """

    name: str
    values: Float[np.ndarray, " n"]
    computed: bool
    target: float | None

    def rank(self, values: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        """How good values are, the better the higher."""
        return values if self.target is None else -np.abs(values - self.target)


class _Near(eqx.Module):
    """Highest where what a process expects is a value."""

    process: GaussianProcess
    target: float

    def __call__(self, z: Float[Array, " latent"]) -> Float[Array, ""]:
        return -jnp.square(self.process(z) - self.target)


class Found(NamedTuple):
    """Molecules that a search has found.

    Attributes:
        smiles: of the molecules, canonical.
        start: of each the place of the start that it is nearest to.
        counts: how often each was drawn.
        distances: of each one's own code from that start's, in standard deviations.
        mean: of the goal, by the Gaussian process at its own code.
        sd: of the goal, likewise.
        drawn: strings, in all.
        valid: the share of them that are molecules.
        distinct: molecules, those too far away with them.
    """

    smiles: list[str]
    start: np.ndarray
    counts: np.ndarray
    distances: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    drawn: int
    valid: float
    distinct: int


def goal_of(model: "MoleculeDesigner", name: str | None, target: float | int | None) -> Goal:
    """What is wanted, of a property that was fitted or that RDKit computes."""
    if name is None:
        name = model.properties_[0] if model.properties_ else "QED"
    if not isinstance(name, str):
        raise TypeError(f"`property` must be one name, got {name!r}.")
    if target is not None:
        check_number("target", target, "a finite number or None")
    if name in model.properties_:
        values = model.targets_[:, model.properties_.index(name)]
        # Rather RDKit's own word than a prediction, where the file did not say otherwise.
        computed = name in model.computed_
    elif name in COMPUTED:
        values, computed = molecule_properties(model.smiles_, [name])[name], True
    else:
        known = [*model.properties_, *(n for n in COMPUTED if n not in model.properties_)]
        hint = did_you_mean(name, known) or "."
        raise ValueError(f"`property`: {name!r} is not known{hint} There are {', '.join(known)}.")
    return Goal(name, values, computed, None if target is None else float(target))


def surrogate(
    white: Float[np.ndarray, "n latent"], values: Float[np.ndarray, " n"], seed: int
) -> GaussianProcess:
    """What is known of a property at codes, by some of the molecules that have it."""
    rows = np.flatnonzero(np.isfinite(values))
    if len(rows) > _KNOWN:
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:_KNOWN])
    return GaussianProcess.fit(white[rows], values[rows])


def starts_of(model: "MoleculeDesigner", start: Any, goal: Goal) -> list[str]:
    """Molecules to start from: those that are named, or the best of the fit."""
    if start is None:
        rank = goal.rank(np.where(np.isfinite(goal.values), goal.values, np.nan))
        order = np.argsort(-np.nan_to_num(rank, nan=-np.inf), kind="stable")
        known = int(np.isfinite(goal.values).sum())
        return list(dict.fromkeys(model.smiles_[k] for k in order[:known]))[:_STARTS]
    if not isinstance(start, str):
        check_several("start", start, "SMILES, one or several")
    return named("start", [start] if isinstance(start, str) else list(start))


def named(argument: str, smiles: Sequence[Any]) -> list[str]:
    """The canonical SMILES of molecules that were named one by one."""
    if not smiles:
        raise ValueError(f"`{argument}` must name at least one molecule, as SMILES.")
    found = [canonical(each) if isinstance(each, str) else None for each in smiles]
    for each, spelled in zip(smiles, found, strict=True):
        if spelled is None:
            raise ValueError(f"`{argument}`: RDKit cannot read {each!r} as SMILES.")
    return list(dict.fromkeys(each for each in found if each is not None))


def codes_of(model: "MoleculeDesigner", argument: str, smiles: Sequence[str]) -> np.ndarray:
    """The codes of molecules that were named, all of which must have one."""
    for place, problem in model.coder_.vocabulary.problems(smiles).items():
        if problem.startswith("has"):  # too many tokens
            problem = (
                f"{smiles[place]!r} {problem.partition(';')[0]}; name another, or fit anew with "
                "molecules as long."
            )
        raise ValueError(f"`{argument}`: {problem}")
    return model.coder_.encode(smiles)


def search(
    model: "MoleculeDesigner", goal: Goal, starts: list[str], count: int, radius: float, seed: int
) -> Found:
    """Climb from each start, decode along the way, and say of each molecule where it lies."""
    space: LatentSpace = model.space_
    white = whitened(space, model.codes_)
    process = surrogate(white, goal.values, seed)
    up = process if goal.target is None else _Near(process, goal.target)
    begin = whitened(space, codes_of(model, "start", starts))
    steps = math.ceil(radius / min(_STEP, radius))
    path = climb(up, begin, steps=steps, step=min(_STEP, radius), trust_radius=radius)
    looks = np.unique(np.linspace(0, steps, min(_LOOKS, steps + 1)).round().astype(int))
    z = as_codes(space, path[looks]).reshape(-1, white.shape[1])
    attempts = max(_LEAST, math.ceil(_DRAWN * count / len(z)))
    decode = lambda z, *, key: model.coder_.decode(z, temperature=TEMPERATURE, key=key)
    many = decode_many(decode, z, attempts=attempts, canonical=canonical, key=key_of(2, seed))
    counts: dict[str, int] = {}
    for each in many:
        for smiles, times in zip(each.strings, each.counts.tolist(), strict=True):
            counts[smiles] = counts.get(smiles, 0) + times
    drawn, valid = attempts * len(z), sum(counts.values())
    others = [smiles for smiles in counts if smiles not in starts]
    own = whitened(space, model.coder_.encode(others))
    away = np.linalg.norm(own[:, None] - begin[None], axis=2)
    start, distances = away.argmin(1), away.min(1, initial=np.inf)
    near = np.flatnonzero(distances <= radius)  # NaN, of what has no code, is none
    mean, sd = predicted(process, own[near])
    return Found(
        [others[k] for k in near],
        start[near],
        np.asarray([counts[others[k]] for k in near], int),
        distances[near],
        mean,
        sd,
        drawn,
        valid / drawn,
        len(others),
    )


def predicted(
    process: GaussianProcess, white: Float[np.ndarray, "n latent"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """The mean and the standard deviation at codes."""
    if not len(white):
        return np.zeros(0), np.zeros(0)
    found = asked(at_codes, process, np.asarray(white, process.points.dtype)).astype(np.float64)
    return found[:, 0], found[:, 1]


def way(
    model: "MoleculeDesigner", a: str, b: str, count: int, seed: int
) -> tuple[list[str], Float[np.ndarray, " count"], Float[np.ndarray, " count"]]:
    """Molecules at codes from one to another: the nearest to each, or "" where there is none.

    Returns:
        The molecules; of each the distance of its own code from the code there; and the share of
        draws that were molecules.
    """
    space: LatentSpace = model.space_
    ends = codes_of(model, "a", [a]), codes_of(model, "b", [b])
    z = np.asarray(space.slerp(on_device(ends[0][0]), on_device(ends[1][0]), count))
    decode = lambda z, *, key: model.coder_.decode(z, temperature=TEMPERATURE, key=key)
    known = lambda string: _known(model, string)
    many = decode_many(
        decode, z, attempts=_ATTEMPTS, canonical=known, encode=model.coder_.encode, space=space,
        key=key_of(3, seed),
    )  # fmt: skip
    found = [each.strings[0] if each.strings else "" for each in many]
    away = np.asarray([_first(each.distances) for each in many])
    found[0], found[-1] = a, b
    away[[0, -1]] = 0
    return found, away, np.asarray([each.valid for each in many])


def decoded(model: "MoleculeDesigner", z: Float[np.ndarray, "n latent"]) -> list[str]:
    """What is likeliest at each code; where that is no molecule, the nearest of some draws."""
    likeliest = model.coder_.decode(z, temperature=0, key=key_of(4, 0))
    found = [canonical(each) or "" for each in likeliest]
    left = [place for place, each in enumerate(found) if not each]
    if left:
        decode = lambda z, *, key: model.coder_.decode(z, temperature=TEMPERATURE, key=key)
        known = lambda string: _known(model, string)
        many = decode_many(
            decode, z[left], attempts=_ATTEMPTS, canonical=known, encode=model.coder_.encode,
            space=model.space_, key=key_of(4, 0),
        )  # fmt: skip
        for place, each in zip(left, many, strict=True):
            found[place] = each.strings[0] if each.strings else ""
    return found


def at_random(
    codes: Float[np.ndarray, "n latent"], count: int, random: np.random.Generator
) -> Float[np.ndarray, "count latent"]:
    """Codes of the Gaussian that has the mean and the covariance of those of the fit."""
    wide = codes.astype(np.float64)
    spread = np.atleast_2d(np.cov(wide.T))
    return random.multivariate_normal(wide.mean(0), spread, count, method="eigh")


def sampled(model: "MoleculeDesigner", count: int, seed: int) -> list[str]:
    """So many molecules at codes that are drawn; what is none is drawn again."""
    random, found, drawn = np.random.default_rng(seed), [], 0
    while len(found) < count and drawn < _ROUNDS * count:
        z = at_random(model.codes_, min(max(64, 2 * (count - len(found))), 4096), random)
        strings = model.coder_.decode(z, temperature=TEMPERATURE, key=key_of(5 + drawn, seed))
        found += filter(None, map(canonical, strings))
        drawn += len(z)
    if len(found) < count:
        remedy = "train longer (`max_steps`), on more molecules" + (
            "" if model.selfies else ", or with `selfies`, of which all that is drawn is a molecule"
        )
        raise ValueError(
            f"of {drawn} strings that were drawn {len(found)} are molecules, and {count} are "
            f"wanted: ask for fewer, or {remedy}."
        )
    return found[:count]


def _first(distances: np.ndarray | None) -> float:
    return np.nan if distances is None or not len(distances) else float(distances[0])


def _known(model: "MoleculeDesigner", string: str) -> str | None:
    """The canonical SMILES of a molecule that has a code."""
    found = canonical(string)
    return None if found is None or model.coder_.vocabulary.problems([found]) else found

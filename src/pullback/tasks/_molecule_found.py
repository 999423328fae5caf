"""What a search for molecules has found, as designs, and what there is to say of them."""

from typing import TYPE_CHECKING

import numpy as np

from pullback.analysis import molecule_properties

from ._molecule_chemistry import fingerprints, similarities
from ._molecule_designs import MoleculeDesigns, MoleculePath
from ._molecule_search import Found, Goal, way

if TYPE_CHECKING:
    from ._molecule_designer import MoleculeDesigner


def designs_of(
    model: "MoleculeDesigner", found: Found, goal: Goal, starts: list[str], n: int, radius: float
) -> MoleculeDesigns:
    """The best of what was found, and what there is to say of it."""
    value = found.mean
    if goal.computed:
        value = molecule_properties(found.smiles, [goal.name])[goal.name]
    order = np.argsort(-goal.rank(value), kind="stable")[:n]
    smiles = tuple(found.smiles[k] for k in order)
    start = [starts[k] for k in found.start[order]]
    prints, others = fingerprints(smiles), fingerprints(starts)
    near = similarities(prints, others)[np.arange(len(order)), found.start[order]]
    known = set(model.smiles_)
    made = MoleculeDesigns(
        smiles,
        tuple(start),
        found.counts[order],
        found.distances[order].astype(np.float64),
        near.astype(np.float64),
        tuple(each in known for each in smiles),
        goal.name,
        found.mean[order],
        found.sd[order],
        value[order],
        model._said(smiles),
        [],
    )
    return made._replace(notes=_notes_on(model, made, found, goal, starts, n, radius))


def _notes_on(
    model: "MoleculeDesigner",
    made: MoleculeDesigns,
    found: Found,
    goal: Goal,
    starts: list[str],
    n: int,
    radius: float,
) -> list[str]:
    count = len(made.smiles)
    one = starts[0] if len(starts) == 1 else f"{len(starts)} molecules"
    who = "by RDKit" if goal.computed else "by the Gaussian process"
    notes = [
        f"{100 * found.valid:.0f} % of {found.drawn} strings drawn on the way from {one} are "
        f"molecules, {found.distinct} different ones without the starts; {len(found.smiles)} "
        f"of these lie within {radius:g} standard deviations of a start."
    ]
    if count < n:
        notes.append(f"{count} designs and not {n}: a greater `radius` finds more.")
    best = f"The best {goal.name} of a design is {made.value[0]:.3g} {who}"
    before = _of_starts(model, goal, starts)
    if before is not None:
        word = "the start has" if len(starts) == 1 else "the best start has"
        best += f"; {word} {before:.3g}"
    seen = goal.values[np.isfinite(goal.values)]
    notes.append(f"{best}, the molecules of the fit {seen.min():.3g} to {seen.max():.3g}.")
    new, alerts = count - sum(made.known), int((made.said["alerts"] > 0).sum())
    notes.append(
        f"{new} of {count} are new, and {count - new} molecules of the fit (column known); "
        f"{alerts} have parts of which chemists beware (column alerts)."
    )
    return notes


def _of_starts(model: "MoleculeDesigner", goal: Goal, starts: list[str]) -> float | None:
    """The best value of the starts, by RDKit or as it was measured."""
    if goal.computed:
        values = molecule_properties(starts, [goal.name])[goal.name]
    else:
        rows = [k for k, each in enumerate(model.smiles_) if each in set(starts)]
        values = goal.values[rows]
    values = values[np.isfinite(values)]
    return float(values[np.argmax(goal.rank(values))]) if len(values) else None


def path_of(model: "MoleculeDesigner", a: str, b: str, n: int, seed: int) -> MoleculePath:
    """The way from one molecule to another, and what there is to say of it."""
    smiles, away, valid = way(model, a, b, n, seed)
    there = np.asarray([bool(each) for each in smiles])
    molecules = [each for each in smiles if each]
    filled = lambda values: _at(there, values)
    near = similarities(fingerprints(molecules), fingerprints([a, b]))
    said = {name: filled(values) for name, values in model._said(molecules).items()}
    empty = int((~there).sum())
    notes = [
        f"{len(set(molecules))} different molecules at {n} codes from {a} to {b}; "
        f"{100 * valid.mean():.0f} % of the strings drawn there are molecules."
    ]
    if empty:
        notes.append(f"At {empty} of {n} codes no string that was drawn is a molecule.")
    return MoleculePath(tuple(smiles), np.linspace(0, 1, n), away, valid, filled(near), said, notes)


def _at(there: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values at these places, NaN at the others."""
    found = np.full((len(there), *values.shape[1:]), np.nan)
    found[there] = values
    return found

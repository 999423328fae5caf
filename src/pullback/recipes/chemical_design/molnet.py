"""`chemical-design` on what was measured: the solubility of ESOL, and lipophilicity.

One autoencoder of the molecules of both sets and of the NCI's, told of what was measured where it
was, and of what RDKit computes of all; beside ridge regression on Morgan fingerprints.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.linear_model import RidgeCV

from pullback._extras import extra
from pullback.analysis import molecule_properties
from pullback.data import molnet, nci_molecules
from pullback.plots import PALETTE, figure
from pullback.recipes._kit.checks import check_between
from pullback.recipes.chemical_design import models
from pullback.recipes.chemical_design.models import SMILES, Molecules
from pullback.runs import Claim, Context

SETS = ("esol", "lipophilicity")
COMPUTED = ("logP", "QED")
WAYS = MEAN, PRINTS, NET = ("the mean", "ridge on Morgan fingerprints", "the property net")
Known = Mapping[str, Mapping[str, float]]
Parts = Mapping[str, tuple[list[str], list[str]]]


@dataclass(frozen=True)
class Config(models.Training):
    longest: int = 70
    """The most characters of a molecule; longer ones are left out of all parts."""
    share: float = 0.2
    """The share of the measured molecules that is held out."""

    def __post_init__(self):
        super().__post_init__()
        check_between(self, 0, 1, "share")


def run(config: Config, context: Context) -> list[Claim]:
    """Predict what was measured of held-out molecules, from codes and from fingerprints."""
    found = context.stage("measured", predicted, config, context)
    counts = " and ".join(str(len(found[name]["y"])) for name in SETS)
    errors = {
        way: [float(each) for name in SETS for each in off(found[name][way], found[name]["y"])]
        for way in WAYS
    }
    context.table(
        "errors",
        ["predicted by", *(f"{name}, {kind}" for name in SETS for kind in ("RMS", "mean"))],
        [[way, *row] for way, row in errors.items()],
        f"Errors on {counts} held-out molecules, in units of the measured decadic logarithms: the "
        "root of the mean squared one, and the mean absolute one.",
    )  # fmt: skip
    _draw(context, found)
    return [
        Claim(
            f"{words}, measured: the property net on the code beside ridge regression on Morgan "
            "fingerprints (root mean squared errors, ratio)",
            value=errors[NET][2 * place] / errors[PRINTS][2 * place],
            at_most=bound,
            reference=f"1: the ridge, {errors[PRINTS][2 * place]:.2f}; the mean, "
            f"{errors[MEAN][2 * place]:.2f}; paper, logP of ZINC, computed: error .15 by the code, "
            ".38 by fingerprints",
        )
        for place, (words, bound) in enumerate({"Solubility": 1.0, "Lipophilicity": 1.1}.items())
    ]


def predicted(config: Config, context: Context) -> dict[str, dict[str, np.ndarray]]:
    """What each way predicts of the held-out molecules of each set."""
    rng = np.random.default_rng(context.seed)
    known = {name: measured(name, config.longest, context.data) for name in SETS}
    parts = {name: held_out(list(known[name]), config.share, rng) for name in SETS}
    molecules = pool(known, parts, nci_molecules(longest=min(config.longest, 45)).smiles)
    fit, found = models.fitted(config, context, molecules, SMILES), {}
    by_net = dict(zip(molecules.test, fit.predict(fit.test), strict=True))
    for place, name in enumerate(SETS):
        train, test = parts[name]
        y, wanted = (np.asarray([known[name][each] for each in part]) for part in (train, test))
        ridge = RidgeCV(np.logspace(-1, 3, 9)).fit(fingerprints(train), y)
        found[name] = {
            "y": wanted,
            MEAN: np.full(len(test), y.mean()),
            PRINTS: ridge.predict(fingerprints(test)),
            NET: np.asarray([by_net[each][place] for each in test]),
        }
    return found


def measured(name: str, longest: int, folder: Any) -> dict[str, float]:
    """What was measured of each molecule of a set: the mean, where it is there more than once."""
    molecules = molnet(name, folder=folder)
    [values] = molecules.properties.values()
    found: dict[str, list[float]] = {}
    for smiles, value in zip(molecules.smiles, values, strict=True):
        if len(smiles) <= longest:
            found.setdefault(smiles, []).append(float(value))
    return {smiles: float(np.mean(each)) for smiles, each in found.items()}


def held_out(
    molecules: Sequence[str], share: float, rng: np.random.Generator
) -> tuple[list[str], list[str]]:
    """Molecules in two parts, the second of this share."""
    order = [molecules[at] for at in rng.permutation(len(molecules))]
    count = max(1, round(share * len(order)))
    return order[count:], order[:count]


def pool(known: Known, parts: Parts, others: Sequence[str]) -> Molecules:
    """All that is trained on, with what is known of each: NaN where nothing is."""
    test = sorted({each for _, part in parts.values() for each in part})
    train = sorted({each for part, _ in parts.values() for each in part}.union(others) - {*test})

    def rows(of: Sequence[str]) -> Float[np.ndarray, "molecules targets"]:
        columns = [[known[name].get(each, np.nan) for each in of] for name in known]
        computed = molecule_properties(of, COMPUTED).values()
        return np.stack([*columns, *computed], axis=1).astype(np.float32)

    return Molecules(train, test, rows(train), rows(test))


def fingerprints(smiles: Sequence[str]) -> Float[np.ndarray, "molecules bits"]:
    """Morgan fingerprints of radius 2, of 2048 bits."""
    chem = extra("rdkit.Chem", "chem")
    maker = extra("rdkit.Chem.rdFingerprintGenerator", "chem").GetMorganGenerator(2, fpSize=2048)
    rows = [maker.GetFingerprintAsNumPy(chem.MolFromSmiles(each)) for each in smiles]
    return np.stack(rows).astype(np.float64)


def off(found: Any, y: Any) -> tuple[float, float]:
    """The root of the mean squared error, and the mean absolute one."""
    return float(np.sqrt(np.mean((found - y) ** 2))), float(np.mean(np.abs(found - y)))


def _draw(context: Context, found: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    fig, axes = figure(1, len(SETS), width=9.0, height=4.0)
    for ax, name in zip(axes, SETS, strict=True):
        y = found[name]["y"]
        for colour, way in zip(PALETTE, (PRINTS, NET), strict=False):
            ax.plot(y, found[name][way], "o", color=colour, markersize=3, alpha=0.5, label=way)
        ax.axline((y.mean(), y.mean()), slope=1, color="grey", linewidth=0.8)
        ax.set(title=name, xlabel="measured", ylabel="predicted")
    axes[0].legend(fontsize=8)
    context.figure(
        "measured",
        fig,
        "Held-out molecules: what was measured, and what is predicted of them.",
    )


PRESETS = {
    "smoke": Config(latent=4, width=8, steps=6, batch_size=8, buckets=False, longest=30),
    "desk": Config(),
    "paper": Config(latent=196, width=488, steps=50_000, batch_size=126),
}

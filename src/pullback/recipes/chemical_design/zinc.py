"""`chemical-design` on a part of ZINC: what codes know, and what is drawn, beside MOSES' table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.random as jr
import numpy as np

from pullback.analysis import molecule_report
from pullback.data import zinc
from pullback.plots import PALETTE, figure
from pullback.recipes.chemical_design import measure, models
from pullback.recipes.chemical_design.models import KINDS, SELFIES, SMILES, WORDS, Molecules
from pullback.runs import Claim, Context

NAMES = ("logP", "QED", "SAS")
# Of the paper, on all of ZINC-250k: mean absolute errors of the mean, of fingerprints, of the code.
PAPER = {"logP": (1.14, 0.38, 0.15), "QED": (0.112, 0.045, 0.054)}
# Of MOSES' README, 1.6 million molecules: valid, unique of 10,000, novel.
MOSES = {
    "CharRNN": (0.975, 0.999, 0.842),
    "VAE, SMILES": (0.977, 0.998, 0.695),
    "AAE": (0.937, 0.997, 0.793),
    "JTN-VAE": (1.0, 0.9996, 0.914),
    "LatentGAN": (0.897, 0.997, 0.950),
    "NGram": (0.238, 0.922, 0.969),
}


@dataclass(frozen=True)
class Config(models.Training):
    train: int = 28_000
    """The most molecules that are trained on."""
    test: int = 5000
    """The most molecules of ZINC-250k's standard test part."""
    drawn: int = 1000
    """Molecules drawn of each model, and codes that are moved a little."""
    near: float = 0.1
    """Standard deviations of the noise that moves a code a little."""


def run(config: Config, context: Context) -> list[Claim]:
    """Fit an autoencoder by each alphabet to a part of ZINC; read its codes, and draw from it."""
    molecules = context.stage("molecules", known, config, context)
    found = {kind: context.stage(kind, studied, config, context, molecules, kind) for kind in KINDS}
    of_data = context.stage("test", report, molecules.test[: config.drawn], molecules.train)
    _tables(context, config, found, of_data)
    _draw(context, found, molecules.y_test)
    return _claims(config, found)


def known(config: Config, context: Context) -> Molecules:
    """Some molecules of both parts, at random, with logP, QED and SAS."""
    rng, parts = np.random.default_rng(context.seed), []
    for part, most in zip(zinc(folder=context.data), (config.train, config.test), strict=True):
        some = models.writable(part.take(rng.permutation(len(part.smiles))[:most]))
        rows = np.stack([some.properties[name] for name in NAMES], axis=1, dtype=np.float32)
        parts.append((list(some.smiles), rows))
    (train, y_train), (test, y_test) = parts
    return Molecules(train, test, y_train, y_test)


def studied(config: Config, context: Context, molecules: Molecules, kind: str) -> dict[str, Any]:
    """What codes know, what comes back when they are decoded, and how good what is drawn is."""
    fit = models.fitted(config, context, molecules, kind)
    at = measure.places(fit, config.drawn, config.near, context.seed)
    strings = measure.strings(fit, {name: at[name] for name in ("at", "near")}, context.seed)
    drawn = fit.decode(at["gaussian"], temperature=1.0, key=jr.key(context.seed))
    return {
        "off": measure.off(fit.predict(fit.test), molecules.y_test),
        "same": measure.same(strings["at"], molecules.test),
        "valid": [measure.judged(each)[0] for each in strings.values()],
        "report": report(drawn, molecules.train),
    }


def report(smiles: Sequence[str], reference: Sequence[str]) -> dict[str, Any]:
    """The numbers of a sample, and its properties."""
    found = molecule_report(smiles, reference)
    return {**dict(found.rows()), "values": found.properties}


def _tables(
    context: Context, config: Config, found: Mapping[str, Any], of_data: Mapping[str, Any]
) -> None:
    columns = ("valid", "unique", "novel", "diversity", "nearest", "alerts")
    columns += tuple(f"mean {name}" for name in NAMES)
    rows = {f"drawn by {WORDS[kind]}": row["report"] for kind, row in found.items()}
    rows["held-out molecules"] = of_data
    cells = lambda row: [row[name] if np.isfinite(row[name]) else None for name in columns]
    context.table(
        "drawn",
        ["molecules", *columns],
        [[name, *cells(row)] for name, row in rows.items()]
        + [[f"MOSES: {name}", *row, *[None] * len(columns[3:])] for name, row in MOSES.items()],
        f"{config.drawn} strings drawn from a Gaussian fitted to the codes. Valid: of all, those "
        "that are molecules of at least one atom; unique: of these; novel: of those, not in the "
        "training part; diversity: one less the mean similarity of two; nearest: the mean "
        "similarity to the most similar training molecule; alerts: with a part of PAINS' or "
        "Brenk's lists. Of MOSES: its README, 1.6 million molecules, unique of 10,000.",
    )
    context.table(
        "codes",
        ["", *(f"error of {name}" for name in PAPER), "comes back", "valid", "valid beside it"],
        [
            [WORDS[kind], *map(float, row["off"][: len(PAPER)]), row["same"], *row["valid"]]
            for kind, row in found.items()
        ]
        + [
            [f"paper: {words}", *(each[place] for each in PAPER.values()), *[None] * 3]
            for place, words in enumerate(("the mean", "fingerprints", "code"))
        ],
        "Held-out molecules: mean absolute errors of the property net, the share that comes back "
        "exactly, and the share of what is decoded that are molecules, at the codes and "
        f"{config.near:g} standard deviations beside. The paper's: all of ZINC-250k.",
    )


def _draw(context: Context, found: Mapping[str, Any], y: np.ndarray) -> None:
    fig, axes = figure(1, len(NAMES), width=9.4, height=3.2)
    for ax, name, held in zip(axes, NAMES, y.T, strict=True):
        low, high = np.quantile(held, [0.001, 0.999])
        bins = np.linspace(low, high, 40)
        ax.hist(held, bins, density=True, color="lightgrey", label="held-out molecules")
        for colour, (kind, row) in zip(PALETTE, found.items(), strict=False):
            style = {"histtype": "step", "color": colour, "label": f"drawn by {WORDS[kind]}"}
            ax.hist(row["report"]["values"][name], bins, density=True, **style)
        ax.set(xlabel=name, yticks=[])
    axes[0].legend(fontsize=7)
    context.figure("properties", fig, "Properties of held-out molecules and of what is drawn.")


def _claims(config: Config, found: Mapping[str, Any]) -> list[Claim]:
    smiles, selfies = found[SMILES], found[SELFIES]
    paper = "paper, 250,000 molecules: by the mean {}, by fingerprints {}, by the code {}"
    return [
        *(
            Claim(
                f"{name} by the property net on the code of SMILES (mean absolute error, "
                f"{config.test} test molecules)",
                value=float(smiles["off"][place]),
                at_most=bound,
                reference=paper.format(*PAPER[name]),
            )
            for place, (name, bound) in enumerate({"logP": 0.38, "QED": 0.08}.items())
        ),
        Claim(
            "What is drawn by SELFIES are molecules (share)",
            value=selfies["report"]["valid"],
            at_least=0.95,
            reference=f"SMILES: {smiles['report']['valid']:.2f}; MOSES' VAE by SMILES: .977",
        ),
        Claim(
            "And new ones (share of the different ones that are not in the training part)",
            value=selfies["report"]["novel"],
            at_least=0.95,
            reference="MOSES' VAE by SMILES: .695",
        ),
        Claim(
            "When not to: after so short a training few of the SMILES drawn are molecules (share)",
            value=smiles["report"]["valid"],
            at_most=0.6,
            reference="MOSES' VAE, 1.6 million molecules: .977",
        ),
    ]


PRESETS = {
    "smoke": Config(
        latent=4, width=8, steps=6, batch_size=8, buckets=False, train=100, test=20, drawn=20,
    ),
    "desk": Config(train=10_000, test=2000),
    "paper": Config(latent=196, width=488, steps=100_000, batch_size=126),
}  # fmt: skip

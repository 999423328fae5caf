"""Automatic chemical design (arXiv 1610.02415): molecules as points that one can climb from.

Autoencoders of small molecules, by SMILES and by SELFIES, one with a net that reads two properties
off the code and one without: what their codes know, what comes back when codes are decoded, and
where a path uphill leads from molecules that are little drug-like.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback.analysis import molecule_properties
from pullback.data import nci_molecules
from pullback.recipes._kit.checks import check_rising
from pullback.recipes.chemical_design import measure, models, show
from pullback.recipes.chemical_design.models import KINDS, SELFIES, SMILES, WORDS, Molecules
from pullback.runs import Claim, Context, Headline

NAMES = ("logP", "QED")
SHOWN = 4
Found = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Config(models.Training):
    longest: int = 45
    """The most characters of a molecule."""
    test: int = 400
    """Molecules that are held out."""
    points: int = 600
    """Molecules that the Gaussian process is fitted to."""
    starts: int = 300
    """Paths, from molecules of the least drug-like tenth."""
    step: float = 0.15
    """The length of a step, in standard deviations of the codes."""
    lengths: tuple[float, ...] = (1.5, 3.0, 6.0)
    """Where paths are looked at; the claims are of the last."""
    near: float = 0.1
    """Standard deviations of the noise that moves a code a little."""
    drawn: int = 500
    """Codes that are moved a little, and codes that are drawn."""

    def __post_init__(self):
        super().__post_init__()
        check_rising(self, "lengths", above=0)
        if not self.step <= self.lengths[0]:
            raise ValueError(f"step must be at most {self.lengths[0]:g}, got {self.step}")


def run(config: Config, context: Context) -> list[Claim]:
    """Fit three autoencoders to the NCI's molecules; read, decode and climb."""
    molecules = context.stage("molecules", known, config, context.seed)
    found = {kind: context.stage(kind, studied, config, context, molecules, kind) for kind in KINDS}
    plain = context.stage("plain", not_told, config, context, molecules)
    lengths = [0, *config.lengths]
    show.draw_paths(context, lengths, found)
    show.draw_codes(
        context, {"with the property net": found[SMILES]["axes"], "without": plain["axes"]},
        molecules.y_test[:, 0], NAMES[0],
    )  # fmt: skip
    show.draw_molecules(context, lengths, found[SELFIES]["along"])
    _tables(context, config, found, plain)
    return _claims(config, found, plain)


def known(config: Config, seed: int) -> Molecules:
    """The NCI's molecules in two parts, with what RDKit computes of them."""
    parts = models.split(
        models.writable(nci_molecules(longest=config.longest)).smiles, config.test, seed
    )
    rows = [np.stack([*molecule_properties(part, NAMES).values()], axis=1) for part in parts]
    return Molecules(*parts, *(each.astype(np.float32) for each in rows))


def not_told(config: Config, context: Context, molecules: Molecules) -> dict[str, Any]:
    """What the codes know of an autoencoder that was given strings alone."""
    fit = models.fitted(config, context, molecules, SMILES, joint=False)
    return {"axes": measure.main_axes(fit.test), "r2": measure.explained(fit, molecules)}


def studied(config: Config, context: Context, molecules: Molecules, kind: str) -> dict[str, Any]:
    """What codes know, what comes back when they are decoded, and where paths lead."""
    fit = models.fitted(config, context, molecules, kind)
    along = measure.paths(
        fit, molecules.y_train[:, 1], config.lengths, points=config.points, starts=config.starts,
        step=config.step, seed=context.seed,
    )  # fmt: skip
    at = measure.places(fit, config.drawn, config.near, context.seed)
    strings = measure.strings(fit, {**at, **along}, context.seed)
    judged = {name: measure.judged(each) for name, each in strings.items()}
    names = {
        way: ["start", *(f"{way} {length:g}" for length in config.lengths)]
        for way in ("ascent", "random")
    }
    return {
        "axes": measure.main_axes(fit.test),
        "r2": measure.explained(fit, molecules),
        "off": measure.off(fit.predict(fit.test), molecules.y_test),
        "same": measure.same(strings["at"], molecules.test),
        "valid": {name: judged[name][0] for name in at},
        **{way: np.asarray([judged[name] for name in names[way]]) for way in names},
        "along": [*zip(*(strings[name] for name in names["ascent"]), strict=True)][:SHOWN],
    }


def _tables(context: Context, config: Config, found: Found, plain: Mapping[str, Any]) -> None:
    rows = {WORDS[kind]: row for kind, row in found.items()}
    context.table(
        "codes",
        ["autoencoder", *(f"R^2 of {name}" for name in NAMES), *(f"error of {n}" for n in NAMES)],
        [
            ["SMILES, without the property net", *map(float, plain["r2"]), None, None],
            *(
                [f"{name}, with it", *map(float, row["r2"]), *map(float, row["off"])]
                for name, row in rows.items()
            ),
        ],
        "Held-out molecules. R^2: of a linear regression on the codes. Error: the mean absolute "
        "one of the property net.",
    )
    places = {
        "at": "held-out molecules",
        "near": f"moved by {config.near:g} standard deviations",
        "gaussian": "a Gaussian fitted to the codes",
        "prior": "the prior",
    }
    context.table(
        "strings",
        ["codes of", *(f"valid, {name}" for name in rows)],
        [
            [words, *(float(row["valid"][place]) for row in rows.values())]
            for place, words in places.items()
        ]
        + [["held-out molecules that come back", *(float(row["same"]) for row in rows.values())]],
        "Shares of strings, decoded greedily, that are molecules of at least one atom; and of "
        "held-out molecules that come back exactly, compared as canonical SMILES.",
    )
    context.table(
        "paths",
        ["path", *(f"{what}, {name}" for name in rows for what in ("valid", "QED"))],
        [
            [
                f"{words}, {length:g}",
                *(float(each) for row in rows.values() for each in row[way][1 + at]),
            ]
            for way, words in show.WAYS.items()
            for at, length in enumerate(config.lengths)
        ],
        f"Paths from {config.starts} molecules of the least drug-like tenth, up a Gaussian process "
        f"fitted to the QED of {config.points} molecules or straight on in a random direction, by "
        "their length in standard deviations of the codes; QED is RDKit's, of the valid ones.",
    )


def _claims(config: Config, found: Found, plain: Mapping[str, Any]) -> list[Claim]:
    last = config.lengths[-1]
    smiles, selfies = found[SMILES], found[SELFIES]
    paper = "; paper, ZINC: mean QED .70 of samples near the data, .57 of a genetic algorithm's"
    return [
        *(
            Claim(
                f"{WORDS[kind]}: molecules at the end of a path of {last:g} standard deviations "
                "uphill are more drug-like than in a random direction (mean QED, less theirs)",
                value=float(row["ascent"][-1, 1] - row["random"][-1, 1]),
                at_least=0.1,
                reference=f"0: a random direction, {row['random'][-1, 1]:.3f}{paper}",
                headline=Headline(no_effect=0.0),
            )
            for kind, row in found.items()
        ),
        Claim(
            "A property net makes codes know the property: a linear regression on them explains "
            "more of logP (R^2, less without)",
            value=float(smiles["r2"][0] - plain["r2"][0]),
            at_least=0.15,
            reference=f"without: {plain['r2'][0]:.3f}; paper, ZINC: error in logP .15 by such a "
            "code, 1.14 by the mean",
            headline=Headline(no_effect=0.0),
        ),
        Claim(
            f"Codes of SELFIES, moved by {config.near:g} standard deviations, decode to molecules "
            "(share)",
            value=float(selfies["valid"]["near"]),
            at_least=0.99,
            reference=f"SMILES: {smiles['valid']['near']:.2f}",
        ),
        Claim(
            f"When not to: SMILES pay for the path with validity (share valid at {last:g}, over "
            "that at the start)",
            value=float(smiles["ascent"][-1, 0] / max(smiles["ascent"][0, 0], 1 / config.starts)),
            at_most=0.6,
            reference=f"1: what the start decodes to; SELFIES: {selfies['ascent'][-1, 0]:.2f}",
        ),
    ]


PRESETS = {
    "smoke": Config(
        latent=4, width=8, steps=6, batch_size=8, buckets=False, longest=10, test=20,
        points=20, starts=10, step=0.5, lengths=(0.5, 1.0), drawn=10,
    ),
    "desk": Config(),
}  # fmt: skip

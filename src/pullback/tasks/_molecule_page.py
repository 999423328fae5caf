"""The page of a designer of molecules: its predictions, what it draws, and how it was trained."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pullback.analysis import molecule_properties
from pullback.plots import figure, house_style
from pullback.runs import number

from ._molecule_checks import checks
from ._molecule_chemistry import drawn
from ._molecule_judge import MEAN, NET, PROCESS, RIDGE, SHARES
from ._page import Picture, Report, Table

if TYPE_CHECKING:
    from ._molecule_designer import MoleculeDesigner

_SHOWN, _COUNTED = 15, 500
_DPI = 120


def molecule_page(model: "MoleculeDesigner") -> Report:
    """The page of a designer, of what `fit` has found."""
    data, report = model.data_, model.report_
    found = [] if report is None else checks(report, model.selfies)
    said = [check.sentence for check in found]
    parts: list[Any] = []
    if report is not None:
        parts += [*_measured(report), _strings(report), _sets(report)]
        parts += [*_spread(model, report), *_samples(report)]
    parts += [_best(model), _curve(model)]
    what = f", and {', '.join(model.properties_)} predicted from it" if model.properties_ else ""
    written = "SELFIES" if model.selfies else "SMILES"
    return Report(
        title=f"{data['source']}: molecules by design",
        heading=data["source"],
        lead=f"A continuous code of {number(data['rows'])} molecules, written as {written}{what}.",
        quality=_quality(report),
        notes=[note for note in model.notes_ if note not in said],
        checks=found,
        parts=[part for part in parts if part is not None],
        words=["logP", "QED", "SAS", "alerts", "Morgan fingerprint"],
    )


def _quality(report: dict[str, Any] | None) -> Table | None:
    if report is None or not report["predictions"]:
        return None
    said = report["predictions"]
    head = ["on molecules held out", *(f"{n}, {kind}" for n in said for kind in ("MAE", "RMSE"))]
    rows = [
        [way, *(each[kind][way] for each in said.values() for kind in ("mae", "rmse"))]
        for way in (NET, PROCESS, RIDGE, MEAN)
    ]
    counts = ", ".join(f"{each['rows']} with {name}" for name, each in said.items())
    caption = (
        f"{counts}. The mean absolute error and the root of the mean squared one, in the units of "
        "the property. `predict` is the network; `design` climbs the Gaussian process."
    )
    return Table("", head, rows, caption)


def _measured(report: dict[str, Any]) -> list[Picture]:
    said = report["predictions"]
    if not said:
        return []
    with house_style(math=False):
        fig, axes = figure(1, len(said), width=max(4.4, 3.6 * len(said)), height=3.8)
        for ax, (name, each) in zip(np.ravel(axes), said.items(), strict=True):
            for way, mark in ((RIDGE, "x"), (NET, "o")):
                ax.plot(
                    each["measured"], each["predicted"][way], mark, markersize=4, alpha=0.6,
                    label=way,
                )  # fmt: skip
            ax.axline([float(np.mean(each["measured"]))] * 2, slope=1, color="grey", linewidth=0.8)
            ax.set(title=name, xlabel="given", ylabel="predicted")
        np.ravel(axes)[0].legend(fontsize=8)
    return [
        Picture(
            "Predictions",
            fig,
            "Molecules held out: what was given, and what is predicted of them. Points far from "
            "the line are molecules that it does not understand.",
        )
    ]


def _strings(report: dict[str, Any]) -> Table:
    rows = [[name, share] for name, share in report["valid"].items()]
    rows.append(["molecules held out that come back exactly", report["reconstructed"]])
    return Table(
        "What codes decode to",
        ("codes of", "molecules"),
        rows,
        "Shares of strings that are molecules of at least one atom. Samples are of the Gaussian of "
        "the codes of the fit; of the prior, which the codes do not fill, there are fewer. A "
        "little beside: at 0.1 standard deviations.",
    )


def _sets(report: dict[str, Any]) -> Table:
    sets, names = report["sets"], (*SHARES, "logP", "QED", "SAS")
    rows = [[name, *(_cell(said[each]) for each in names)] for name, said in sets.items()]
    rows.append(["their distance", *[None] * len(SHARES), *map(_cell, report["distance"].values())])
    return Table(
        "Samples",
        ("", *SHARES, "logP", "QED", "SAS"),
        rows,
        "Valid: of what is drawn, molecules; empty: strings of no atom, which are none. Unique: of "
        "the valid. Novel: of the unique, those not learned from. Diversity: one less the mean "
        "similarity of two; nearest: similarity to the most similar molecule learned from. Alerts: "
        "the share with a part of which chemists beware. Then means of what RDKit computes, and "
        "how far the samples are from the molecules learned from (Wasserstein distance).",
    )


def _spread(model: "MoleculeDesigner", report: dict[str, Any]) -> list[Picture]:
    if not report["smiles"]:
        return []
    names = ("logP", "QED", "SAS")
    random = np.random.default_rng(0)
    some = random.permutation(len(model.smiles_))[:_COUNTED]
    sides = {
        "molecules of the fit": molecule_properties([model.smiles_[k] for k in some], names),
        "samples": molecule_properties(report["smiles"], names),
    }
    with house_style(math=False):
        fig, axes = figure(1, 3, width=9.0, height=2.9)
        for ax, name in zip(axes, names, strict=True):
            values = [side[name] for side in sides.values()]
            low, high = np.quantile(np.concatenate(values), [0.005, 0.995])
            bins = np.linspace(low, high, 25).tolist()
            for label, each in zip(sides, values, strict=True):
                ax.hist(each, bins=bins, density=True, alpha=0.55, label=label)
            ax.set(xlabel=name, yticks=[])
        axes[0].legend(fontsize=8)
    return [
        Picture(
            "",
            fig,
            "What RDKit computes of molecules of the fit and of samples: they should lie upon each "
            "other.",
        )
    ]


def _samples(report: dict[str, Any]) -> list[Picture]:
    smiles = report["smiles"][:_SHOWN]
    if not smiles:
        return []
    qed = molecule_properties(smiles, ["QED"])["QED"]
    legends = [f"QED {value:.2f}" for value in qed]
    return [Picture("", pictured(smiles, legends), "The first different samples.")]


def _best(model: "MoleculeDesigner") -> Picture | None:
    if not model.properties_:
        return None
    name, values = model.properties_[0], model.targets_[:, 0]
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")
    best: dict[str, float] = {}
    for row in order:
        if np.isfinite(values[row]) and len(best) < _SHOWN:
            best.setdefault(model.smiles_[row], float(values[row]))
    legends = [f"{name} {value:.3g}" for value in best.values()]
    return Picture(
        f"The molecules of the fit with the highest {name}",
        pictured(list(best), legends),
        "What one would take without designs; `design` starts here where no start is named.",
    )


def _curve(model: "MoleculeDesigner") -> Picture:
    with house_style(math=False):
        fig, ax = figure(width=6.4, height=2.8)
        ax.plot(model.curve_.step, model.curve_.distortion, label="not told by the code")
        ax.plot(model.curve_.step, model.curve_.rate, label="told by the code")
        ax.set_ylim(bottom=0)
        ax.set(xlabel="training steps", ylabel="nats a molecule")
        ax.legend(fontsize=8)
    return Picture(
        "How it was trained",
        fig,
        "What of a molecule's tokens the code does not tell (distortion), and what it tells "
        "(rate). Where the first still falls at the end, more `max_steps` help.",
    )


def pictured(smiles: Sequence[str], legends: Sequence[str]) -> Any:
    """Drawings of molecules as a figure."""
    from matplotlib.image import imread

    pixels = imread(io.BytesIO(drawn(smiles, legends)), format="png")
    height, width = pixels.shape[:2]
    with house_style(math=False):
        fig, ax = figure(width=width / _DPI, height=height / _DPI)
        fig.set_layout_engine("none")
        ax.set_position((0, 0, 1, 1))
        ax.set_axis_off()
        ax.imshow(pixels, aspect="auto", interpolation="none")
    return fig


def _cell(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)

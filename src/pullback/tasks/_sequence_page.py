"""The page of a designer: its predictor, samples and designs, and how it was trained."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from pullback.data import one_hot
from pullback.models.sequences import SequenceEnsemble
from pullback.plots import figure, house_style
from pullback.runs import number

from . import _sequence_nets as nets
from ._page import Picture, Report, Table
from ._sequence_checks import checks
from ._sequence_designs import logos
from ._sequence_judge import JOINT, OURS, RIDGE, SAMPLES
from ._sequence_scores import Range

if TYPE_CHECKING:
    from ._sequence_designer import SequenceDesigner

_BEST, _DRAWN = 10, 500


def sequence_page(model: "SequenceDesigner") -> Report:
    """The page of a designer, of what `fit` has found."""
    data, report = model.data_, model.report_
    found = [] if report is None else checks(report)
    said = [check.sentence for check in found]
    parts: list[Any] = []
    if report is not None:
        parts.append(_sets(report))
    if model.ensemble_ is not None and model.range_ is not None and model.scores_ is not None:
        parts.append(_scores(model, model.scores_, model.ensemble_, model.range_))
        parts.append(_best(model, model.scores_, model.ensemble_))
    parts += [*_logos(model), _curve(model)]
    scored = f", {number(data['measured'])} with a score" if data["measured"] else ""
    return Report(
        title=f"{data['source']}: sequences by design",
        heading=data["source"],
        lead="New sequences by a generator"
        + (" and a predictor of scores" if model.ensemble_ is not None else "")
        + f": {number(data['rows'])} sequences of {model.length_} letters{scored}.",
        quality=_quality(report),
        notes=[note for note in model.notes_ if note not in said],
        checks=found,
        parts=parts,
        words=["k-mer", "divergence of k-mers", "ensemble"],
    )


def _quality(report: dict[str, Any] | None) -> Table | None:
    if report is None or report["predictor"] is None:
        return None
    said = report["predictor"]
    rows = [
        [name, said[name]["pearson"], said[name]["spearman"], said[name]["rmse"]]
        for name in (OURS, RIDGE)
    ]
    return Table(
        "",
        (f"on {number(said['rows'])} sequences held out", "Pearson", "Spearman", "RMSE"),
        rows,
        f"To say the mean of all has an RMSE of {said['sd']:.3g}.",
    )


def _sets(report: dict[str, Any]) -> Table:
    scored = "mean" in report["sets"][SAMPLES]
    head = ["", "number", "divergence of k-mers", "GC", "unique", "pairwise", "nearest"]
    names = ["count", "kmers", "gc", "unique", "pairwise", "nearest"]
    if scored:
        head += ["predicted", "its sd", "above all of the fit", "unsure", "by the ridge"]
        names += ["mean", "sd", "above", "unsure", "ridge"]
    rows = [[name, *(said[each] for each in names)] for name, said in report["sets"].items()]
    caption = (
        "Beside the sequences of the fit. Pairwise: letters in which two of a set differ, in the "
        "mean; nearest: edits to the nearest sequence of the fit."
    )
    if scored:
        caption += (
            " The predictor that designs were climbed by flatters them: the ridge regression, "
            "which took no part in the climb, is a second opinion."
        )
    return Table("Samples and designs", head, rows, caption)


def _scores(
    model: "SequenceDesigner",
    scores: Float[np.ndarray, " n"],
    ensemble: SequenceEnsemble,
    known: Range,
) -> Picture:
    """What is predicted of each set, beside what was measured."""
    measured = scores[np.isfinite(scores)]
    drawn = nets.predict(ensemble, nets.sample(model.generator_, _DRAWN, 0))[0]
    values = {"measured": measured, SAMPLES: drawn}
    if model.report_ is not None:
        made = one_hot(model.report_["designs"], model.alphabet)
        values[JOINT] = nets.predict(ensemble, made)[0]
    with house_style(math=False):
        fig, ax = figure(width=7.2, height=3.2)
        low = min(float(np.min(each)) for each in values.values())
        high = max(float(np.max(each)) for each in values.values())
        bins = np.linspace(low, high, 50).tolist()
        for name, each in values.items():
            label = name if name == "measured" else f"{name}, predicted"
            ax.hist(each, bins=bins, density=True, alpha=0.55, label=label)
        ax.axvline(known.high, color="0.3", linestyle="--", linewidth=1)
        ax.set_xlabel(model.score_name_)
        ax.set_yticks([])
        ax.legend(fontsize="small", loc="upper left")
    return Picture(
        "Scores",
        fig,
        "Scores that were measured, and those that are predicted of samples and of designs. Right "
        "of the dashed line, the greatest score of the fit, the predictor has seen nothing: what "
        "is there is its word alone.",
    )


def _logos(model: "SequenceDesigner") -> list[Picture]:
    rows = {"sequences of the fit": model._x.mean(axis=0, dtype=float)}
    samples = nets.sample(model.generator_, _DRAWN, 0).mean(axis=0, dtype=float)
    rows["samples"] = samples
    if model.report_ is not None and model.report_["designs"]:
        made = one_hot(model.report_["designs"], model.alphabet)
        rows["designs"] = made.mean(axis=0, dtype=float)
    try:
        fig = logos(rows, model.alphabet)
    except ImportError:
        return []
    return [
        Picture(
            "Logos",
            fig,
            "Which letters stand at each place, and how surely, in bits. Samples should have the "
            "logo of the sequences; where designs are all alike, the letters stand tall.",
        )
    ]


def _curve(model: "SequenceDesigner") -> Picture:
    with house_style(math=False):
        fig, ax = figure(width=6.4, height=2.8)
        ax.plot(model.curve_.step, model.curve_.distance, marker="o", markersize=3)
        ax.set_ylim(bottom=min(0, *model.curve_.distance))
        ax.set_xlabel("steps of the generator")
        ax.set_ylabel("Wasserstein distance")
    return Picture(
        "How the generator was trained",
        fig,
        "The distance of samples to sequences that took no part, as the critic has it. Where it "
        "still falls at the end, more `max_steps` help; where it rises again, fewer do.",
    )


def _best(
    model: "SequenceDesigner", scores: Float[np.ndarray, " n"], ensemble: SequenceEnsemble
) -> Table:
    order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")[:_BEST]
    told = nets.predict(ensemble, model._x[order])[0]
    rows = [
        [model.letters_[at], float(scores[at]), float(told[row])]
        for row, at in enumerate(order.tolist())
    ]
    return Table(
        "The best sequences of the fit",
        ("sequence", model.score_name_ or "score", "predicted"),
        rows,
        "What one would take without designs.",
    )

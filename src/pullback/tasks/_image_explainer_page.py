"""The page of explained pictures: which part decides, and whether to believe it."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pullback.plots import PALETTE, figure, house_style
from pullback.runs import number

from ._image_explanations import ImageExplanations, overlays
from ._page import Check, Picture, Report, Table

if TYPE_CHECKING:
    from ._image_explainer import ImageExplainer

_SHOWN = 8
_ASKED = {
    "sdr": "the smallest part whose removal destroys the class",
    "ssr": "the smallest part that keeps the class by itself",
    "joint": "the smallest part that destroys the class when removed, and keeps it alone",
}


def explainer_page(model: "ImageExplainer", found: ImageExplanations) -> Report:
    """The page of pictures that were explained."""
    count, source = len(found.map), found.pictures.source
    few = f": the first {_SHOWN} of {count}" if count > _SHOWN else ""
    return Report(
        title=f"{source}: which part decides",
        heading=source,
        lead=f"{number(count)} pictures, and of each {_ASKED[found.objective]}; what is removed is "
        f"filled in by {model.infill_name_!r}.",
        quality=_quality(found),
        notes=model.notes_,
        checks=_checks(found),
        parts=[
            Picture(
                f"What decides{few}",
                overlays(found, range(min(count, _SHOWN))),
                "Each picture, and on it how much a pixel decides; inside of the line is the "
                "region. A region of scattered pixels with no shape is a sign that the model is "
                "fooled rather than shown.",
            ),
            Picture(
                "Curves",
                _curves(found),
                "Log-odds of the class as pixels are removed and filled in anew, those that decide "
                "most first, beside pixels at random; and as they are shown, those first. Good "
                "explanations fall at once, and rise at once. In the mean over pictures.",
            ),
            _table(found),
        ],
        words=["log-odds", "standard error"],
    )


def _quality(found: ImageExplanations) -> Table:
    rows = [
        ["pixels that decide most first", float(found.deletion.mean())],
        ["pixels at random", float(found.chance.mean())],
    ]
    return Table(
        "",
        (f"{number(len(found.map))} pictures; pixels removed", "mean log-odds along the way"),
        rows,
        "The lower, the sooner the class is lost; where the two are alike the maps say nothing.",
    )


def _checks(found: ImageExplanations) -> list[Check]:
    count = len(found.map)
    decided = int(found.decides.sum())
    does = {"sdr": "is lost without the region", "ssr": "is kept by the region alone",
            "joint": "hangs on the region"}[found.objective]  # fmt: skip
    remedy = (
        ""
        if decided == count
        else " Of the others no region was found: look at `log_odds`, which "
        "is below 0 where the model is not sure of the class to begin with; else give a smaller "
        "`size_weight`, or more `steps`."
    )
    ours, chance = found.deletion.mean(axis=1), found.chance.mean(axis=1)
    better = int((ours < chance).sum())
    return [
        Check(decided == count, f"The class {does} in {decided} of {count} pictures.{remedy}"),
        Check(
            better == count,
            f"The pixels of the map matter more than pixels at random in {better} of {count} "
            "pictures."
            + ("" if better == count else " Do not read the maps of the others; take more `steps`, "
               "or `samples`."),
        ),
    ]  # fmt: skip


def _curves(found: ImageExplanations) -> Any:
    with house_style(math=False):
        fig, ax = figure(width=6.4, height=3.2)
        ax: Any
        for k, (name, label) in enumerate(
            (("deletion", "removed, by the map"), ("chance", "removed, at random"),
             ("insertion", "shown, by the map"))
        ):  # fmt: skip
            curves = getattr(found, name)
            ax.plot(100 * found.shares, curves.mean(axis=0), color=PALETTE[k], label=label)
        ax.axhline(0, color="#7b8794", linewidth=0.8)
        ax.set(xlabel="% of pixels", ylabel="log-odds of the class")
        ax.legend(fontsize="small")
    return fig


def _table(found: ImageExplanations) -> Table:
    names = ("picture", "class", "probability", "log_odds", "without", "without_error", "only",
             "area", "decides")  # fmt: skip
    columns = found.columns()
    head = ("picture", "class", "probability", "log-odds", "without the region", "standard error",
            "region alone", "area", "decides")  # fmt: skip
    cells = zip(*(columns[name] for name in names), strict=True)
    rows = [[*row[:-1], "yes" if row[-1] else "no"] for row in cells]
    bad = frozenset((k, 8) for k in np.flatnonzero(~found.decides).tolist())
    return Table(
        "Pictures", head, rows,
        "Log-odds above 0: the class is likelier than all others together. A region decides where "
        "the class falls below that without it, and by a nat at least; or, of what keeps it, where "
        "it is enough by itself.",
        bad,
    )  # fmt: skip

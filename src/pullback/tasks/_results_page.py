"""The pages of results that save no model: a test of fit, and what columns share."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure, house_style
from pullback.runs import number

from ._dependence import Dependence
from ._goodness import FitTest
from ._page import Check, Picture, Report, Table, write_page

_SHOWN = 3


def write_result(found: FitTest | Dependence, folder: str | os.PathLike[str]) -> Path:
    """Write `report.html` of a test or of what columns share.

    Args:
        found: what `goodness_of_fit` or `dependence` gave.
        folder: for the page; made where there is none.

    Returns:
        The page.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    report = _of_test(found) if isinstance(found, FitTest) else _of_dependence(found)
    return write_page(report, folder, [])


def _of_test(found: FitTest) -> Report:
    names = ("column", "share of what the critic sees", "mean of the rows", "of the model",
             "deviation of the rows", "of the model", "largest distance")  # fmt: skip
    rows = [[fit.name, fit.share, *fit.mean, *fit.deviation, fit.distance] for fit in found.columns]
    return Report(
        title=f"{found.source}: test of fit",
        heading=found.source,
        lead=f"Does {found.model} fit it? {number(found.rows)} rows, by a learned Stein "
        "discrepancy.",
        quality=None,
        notes=found.notes,
        checks=[Check(not found.rejected, f"p = {found.p_value:.3g}")],
        parts=[
            Picture(
                "Where to look",
                _histograms(found),
                "The columns that the critic looks at most: rows that were tested on, and draws of "
                "the model. Where no column differs by itself, it is how they go together.",
            ),
            Table("", names, rows, "The distance is that of the distribution functions."),
        ],
        words=[],
    )


def _histograms(found: FitTest) -> Any:
    shown = [fit.name for fit in found.columns[:_SHOWN]]
    with house_style(math=False):
        fig, axes = figure(1, len(shown), width=3.2 * len(shown) + 0.8, height=2.9)
        for ax, name in zip(np.atleast_1d(np.asarray(axes)).ravel(), shown, strict=True):
            place = found.order.index(name)
            rows, draws = found.values[:, place], found.draws[:, place]
            low, high = np.quantile(np.concatenate([rows, draws]), (0.005, 0.995))
            bins = np.linspace(low, high if high > low else low + 1, 31).tolist()
            ax.hist(rows, bins=bins, density=True, alpha=0.5, label="rows")
            ax.hist(draws, bins=bins, density=True, histtype="step", label="model")
            ax.set_xlabel(name)
            ax.legend(fontsize="small")
    return fig


def _of_dependence(found: Dependence) -> Report:
    rows = [
        [name, each.nats, each.standard_error, each.what] for name, each in found.estimates.items()
    ]
    pairs = Picture(
        "Which columns",
        _pairs(found),
        "What each column of the one group shares with each of the other, in nats, by nearest "
        "neighbours. Together they may share more than any two: or less than the sum.",
    )
    return Report(
        title=f"{found.source}: what columns share",
        heading=found.source,
        lead=f"What {', '.join(found.x)} and {', '.join(found.y)} share: {number(found.rows)} "
        "rows.",
        quality=Table("", ("estimate", "nats", "standard error", "what it is"), rows),
        notes=found.notes,
        checks=[],
        parts=[pairs],
        words=["standard error"],
    )


def _pairs(found: Dependence) -> Any:
    high, wide = found.pairs.shape
    with house_style(math=False):
        fig, ax = figure(width=1.1 * wide + 2.4, height=0.7 * high + 1.6)
        ax: Any
        ax.imshow(np.maximum(found.pairs, 0), cmap="Blues", vmin=0, aspect="auto")
        ax.set_xticks(range(wide), found.y[:wide])
        ax.set_yticks(range(high), found.x[:high])
        ax.grid(visible=False)
        most = found.pairs.max()
        for (i, j), value in np.ndenumerate(found.pairs):
            colour = "white" if value > 0.6 * most and most > 0 else PALETTE[0]
            ax.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour)
    return fig

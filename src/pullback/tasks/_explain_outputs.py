"""Files that an explainer writes."""

import os
from pathlib import Path
from typing import Any

from ._card import write_report
from ._image_explainer import ImageExplainer
from ._series_explainer import SeriesExplainer


def explain_file(
    explainer: ImageExplainer | SeriesExplainer, X: Any, folder: str | os.PathLike[str], *,
    report: bool = True,
) -> list[Path]:  # fmt: skip
    """Explain what a model says of pictures or series, and write it.

    Each file appears whole or not at all.

    Args:
        explainer: fitted.
        X: what to explain: a folder of pictures, a file, an array, or a long table.
        folder: for the files, made where there is none. Of pictures `saliency.csv`, a row for each;
            `maps.npz`, with `map` and `region`; `curves.csv`; and in `overlays` a PNG of each. Of
            series `importance.csv`, a row for each measurement; `top.csv`, the ten that moved the
            prediction most; and in `heatmaps` a PNG of each.
        report: write `report.html` too.

    Returns:
        The files, the page last.
    """
    if not isinstance(explainer, ImageExplainer | SeriesExplainer):
        raise ValueError(
            f"a {type(explainer).__name__} explains nothing; give an ImageExplainer or a "
            "SeriesExplainer."
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    found = explainer.explain(X)
    files = found.write(folder)
    return [*files, write_report(explainer, found, folder)] if report else files

"""`report.html`: a fit on one page that needs no other file."""

import base64
import functools
import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from pullback._files import atomic_write_text
from pullback.plots import PALETTE, figure, house_style
from pullback.runs import number

from ._card import commands
from ._density import FlowDensity
from ._frame import frame_of, is_file, is_frame
from ._rows import TableReader

_PAIRS, _DOTS, _UNLIKELY = 5, 1000, 12


def write_report(model: FlowDensity, X: Any, folder: Path) -> Path:
    """Write `report.html` beside a saved model: its quality, its draws, and the unlikeliest rows.

    Args:
        model: fitted to these rows.
        X: the rows, as `fit` takes them.
        folder: of the saved model.

    Returns:
        The page.
    """
    frame = frame_of(X) if is_file(X) or is_frame(X) else None
    values = TableReader(model).use(X if frame is None else frame, model.columns_, model.places_)
    score = model._log_density(values)
    draws = model.sample(min(_DOTS, len(values)), random_state=0)
    unlikely = np.argsort(np.where(np.isnan(score), np.inf, score))[:_UNLIKELY]
    blamed = model._gains(values[unlikely]).argmax(axis=1)
    names: dict[str, Any] = {"row": np.arange(1, len(values) + 1) if frame is None else frame.rows}
    if frame is not None and model.id_column_ in frame.names:
        names = {model.id_column_: frame.column(model.id_column_), **names}
    table = [
        {
            "names": [_plain(column[place]) for column in names.values()],
            "score": float(score[place]),
            "blame": model.columns_[worst],
            "values": values[place].tolist(),
            "worst": int(worst),
        }
        for place, worst in zip(unlikely, blamed, strict=True)
    ]
    text = _template().render(
        model=model,
        quality=_quality(model),
        commands=commands(folder),
        pairs=_source(_pairs(model, values, draws)),
        scores=_source(_histogram(model, score[~np.isnan(score)])),
        heads=list(names),
        table=table,
    )
    page = folder / "report.html"
    atomic_write_text(page, text)
    return page


def _quality(model: FlowDensity) -> list[dict[str, Any]]:
    if model.report_ is None:
        return []
    return [
        {"name": "this model" if name == "flow" else name, "behind": None, **found}
        for name, found in model.report_.items()
        if name != "rows"
    ]


def _plain(cell: Any) -> Any:
    cell = cell.item() if isinstance(cell, np.generic) else cell
    # An id that was read as a number is shown as it stood.
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell


def _pairs(model: FlowDensity, values: np.ndarray, draws: np.ndarray) -> Any:
    shown = min(len(model.columns_), _PAIRS)
    whole = values[~np.isnan(values).any(axis=1)]
    few = np.random.default_rng(0).permutation(len(whole))[:_DOTS]
    with house_style():
        fig, axes = figure(shown, shown, width=2 * shown + 0.6, height=2 * shown + 0.6)
        axes: Any = np.asarray(axes).reshape(shown, shown)
        for i, j in np.ndindex(shown, shown):
            ax = axes[i, j]
            limits: Any = [np.quantile(whole[:, k], (0.002, 0.998)) for k in (j, i)]
            if i == j:
                bins: Any = np.linspace(limits[0][0], limits[0][1], 31)
                ax.hist(whole[:, i], bins=bins, density=True, alpha=0.5, label="rows")
                ax.hist(draws[:, i], bins=bins, density=True, histtype="step", label="drawn")
            else:
                for dots in (whole[few], draws):
                    ax.scatter(dots[:, j], dots[:, i], s=3, alpha=0.3, linewidths=0)
                ax.set_xlim(*limits[0])
                ax.set_ylim(*limits[1])
            if i == shown - 1:
                ax.set_xlabel(model.columns_[j])
            if j == 0:
                ax.set_ylabel(model.columns_[i])
        axes[0, 0].legend(fontsize="small", loc="upper right")
    return fig


def _histogram(model: FlowDensity, score: Float[np.ndarray, " n"]) -> Any:
    low = np.quantile(score[np.isfinite(score)], 0.005)
    with house_style():
        fig, ax = figure(height=2.8)
        ax.hist(np.maximum(score, low), bins=60)
        ax.axvline(model.offset_, color=PALETTE[1], label="threshold")
        ax.set_xlabel("log-density [nats]")
        ax.set_ylabel("rows")
        ax.legend(loc="upper left")
    return fig


def _source(fig: Any) -> str:
    image = io.BytesIO()
    fig.savefig(image, format="png", dpi=120)
    return "data:image/png;base64," + base64.b64encode(image.getvalue()).decode()


@functools.cache
def _template() -> Any:
    import jinja2

    loaders = [jinja2.PackageLoader(f"pullback.{room}", ".") for room in ("tasks", "runs")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"number": number}
    return environment.get_template("_report.html.jinja")

"""The page of a density: pairs of columns, scores, and the unlikeliest rows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from pullback.plots import PALETTE, figure, house_style
from pullback.runs import number

from ._frame import frame_of, is_file, is_frame
from ._page import Picture, Report, Table
from ._rows import TableReader

if TYPE_CHECKING:
    from ._density import FlowDensity

_PAIRS, _DOTS, _UNLIKELY = 5, 1000, 12


def density_page(model: "FlowDensity", X: Any) -> Report:
    """The page of a density and the rows that it was fitted to."""
    frame = frame_of(X) if is_file(X) or is_frame(X) else None
    values = TableReader(model).use(X if frame is None else frame, model.columns_, model.places_)
    score = model._scores(values)
    draws = model.sample(min(_DOTS, len(values)), random_state=0)
    names: dict[str, Any] = {"row": np.arange(1, len(values) + 1) if frame is None else frame.rows}
    if frame is not None and model.id_column_ in frame.names:
        names = {model.id_column_: frame.column(model.id_column_), **names}
    shown, share = len(model.columns_), 100 * model.contamination
    few = f": the first {_PAIRS} of {shown} columns" if shown > _PAIRS else ""
    source, rows = model.data_["source"], number(model.data_["rows"])
    return Report(
        title=f"{source}: density",
        heading=source,
        lead=f"The density of its rows: {rows} rows, {shown} columns "
        f"({', '.join(model.columns_)}), by {model.method}.",
        quality=_quality(model),
        notes=model.notes_,
        checks=[],
        parts=[
            Picture(
                "Rows and draws",
                pairs(model.columns_, values, draws),
                f"Rows of the table, and as many drawn of the model{few}. Where the colours part, "
                "the model is wrong.",
            ),
            Picture(
                "The unlikeliest rows",
                _histogram(model, score[~np.isnan(score)]),
                f"Log-densities of the rows. {number(share)} % of them lie below the threshold, "
                f"{number(model.offset_)} nats, and are taken for anomalies.",
            ),
            _unlikely(model, values, score, names),
        ],
        words=["log-density", "nat", "standard error"],
    )


def _quality(model: "FlowDensity") -> Table | None:
    if model.report_ is None:
        return None
    rows = [
        [
            "this model" if name == "flow" else name,
            found["log_density"],
            found.get("behind"),
            found["standard_error"],
        ]
        for name, found in model.report_.items()
        if name != "rows"
    ]
    first = f"on {number(model.report_['rows'])} rows that took no part in the fit"
    return Table("", (first, "nats a row", "behind this model by", "standard error"), rows)


def _unlikely(
    model: "FlowDensity",
    values: Float[np.ndarray, "n d"],
    score: Float[np.ndarray, " n"],
    names: dict[str, Any],
) -> Table:
    worst = np.argsort(np.where(np.isnan(score), np.inf, score))[:_UNLIKELY]
    blamed = model._gains(values[worst]).argmax(axis=1)
    rows = [
        [
            *(plain_cell(column[place]) for column in names.values()),
            float(score[place]),
            model.columns_[blame],
            *values[place].tolist(),
        ]
        for place, blame in zip(worst, blamed, strict=True)
    ]
    return Table(
        "",
        (*names, "log-density", "to blame", *model.columns_),
        rows,
        "To blame is the column without which, at its usual values, the row would gain most.",
        frozenset((k, len(names) + 2 + int(blame)) for k, blame in enumerate(blamed)),
    )


def plain_cell(cell: Any) -> str:
    """A cell that names a row, as it stood."""
    cell = cell.item() if isinstance(cell, np.generic) else cell
    # An id that was read as a number is shown as it stood.
    return str(int(cell) if isinstance(cell, float) and cell.is_integer() else cell)


def pairs(names: Sequence[str], values: np.ndarray, draws: np.ndarray) -> Any:
    """Rows and draws by pairs of the first columns."""
    shown = min(len(names), _PAIRS)
    whole = values[~np.isnan(values).any(axis=1)]
    few = np.random.default_rng(0).permutation(len(whole))[:_DOTS]
    with house_style(math=False):
        fig, axes = figure(shown, shown, width=2 * shown + 0.6, height=2 * shown + 0.6)
        axes: Any = np.asarray(axes).reshape(shown, shown)
        for i, j in np.ndindex(shown, shown):
            ax = axes[i, j]
            limits: Any = [np.quantile(whole[:, k], (0, 1)) for k in (j, i)]
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
                ax.set_xlabel(names[j])
            if j == 0:
                ax.set_ylabel(names[i])
        axes[0, 0].legend(fontsize="small", loc="upper right")
    return fig


def _histogram(model: "FlowDensity", score: Float[np.ndarray, " n"]) -> Any:
    low = score[np.isfinite(score)].min()
    with house_style(math=False):
        fig, ax = figure(height=2.8)
        ax.hist(np.maximum(score, low), bins=60)
        ax.axvline(model.offset_, color=PALETTE[1], label="threshold")
        ax.set_xlabel("log-density [nats]")
        ax.set_ylabel("rows")
        ax.legend(loc="upper left")
    return fig

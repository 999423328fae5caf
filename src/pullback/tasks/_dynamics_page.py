"""The page of a field: forecasts beside what was measured, and the field itself."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pullback.plots import PALETTE, figure, house_style
from pullback.runs import number

from ._page import Check, Picture, Report, Table
from ._trajectories import Trajectory, read_trajectories

if TYPE_CHECKING:
    from ._dynamics import DynamicsModel

_PATHS, _COLUMNS, _POINTS = 4, 6, 200
_ARROWS = 15


def dynamics_page(model: "DynamicsModel", given: Any) -> Report:
    """The page of a field and the trajectories that it was fitted to."""
    measured = read_trajectories(given, time=model.time, columns=model.columns, series=model.series)
    source = model.data_["source"]
    many, dim = len(measured.paths), len(model.columns_)
    shown = min(dim, _COLUMNS)
    few = "" if many <= _PATHS else f": the first {_PATHS} of {many}"
    parts: list[Table | Picture] = [
        Picture(
            "Simulated paths",
            _forecasts(model, measured.paths[:_PATHS], shown),
            f"What was measured (dots), and the path from the first state on{few}, with its band "
            "of 90 %. A long path drifts by small errors of the field; dots far outside of the "
            "band mean that more than these columns matters.",
        )
    ]
    if dim > 1:
        parts.append(
            Picture(
                "The field",
                _arrows(model, measured.paths),
                f"How {model.columns_[0]} and {model.columns_[1]} change from each place"
                + (", all other columns at their means" if dim > 2 else "")
                + ", and where trajectories were.",
            )
        )
    words = ["standard error"] + ["coverage"] * (model.coverage_ is not None)
    rows, paths = (
        number(model.data_["rows"]),
        "1 trajectory" if many == 1 else f"{many} trajectories",
    )
    return Report(
        title=f"{source}: dynamics",
        heading=source,
        lead=f"The field by which {', '.join(model.columns_)} change: {rows} rows, {paths}. "
        f"It is {model.kind_}.",
        quality=_quality(model),
        notes=model.notes_,
        checks=_checks(model),
        parts=parts,
        words=words,
    )


def _quality(model: "DynamicsModel") -> Table | None:
    if model.report_ is None:
        return None
    rows = [
        [
            "this model" if name == "model" else name,
            f["error"],
            f.get("behind"),
            f["standard_error"],
        ]
        for name, f in model.report_.items()
        if name != "pieces"
    ]
    head = ("forecasts of what was held out", "root mean squared error", "behind this model by",
            "standard error")  # fmt: skip
    return Table("", head, rows, "Errors are in standard deviations of the columns.")


def _checks(model: "DynamicsModel") -> list[Check]:
    if model.report_ is None:
        return []
    own, last = (model.report_[name]["error"] for name in ("model", "carried on"))
    checks = [
        Check(
            own < 0.5 * last,
            f"Forecasts are off by {own:.2g} deviations, and the first value carried on by "
            f"{last:.2g}."
            + ("" if own < 0.5 * last else " The columns say little of how they change: is a "
               "state missing, do forces change with time (`known`), or is there mostly noise?"),
        )
    ]  # fmt: skip
    if model.coverage_ is not None:
        good = 0.8 <= model.coverage_
        checks.append(
            Check(
                good,
                f"Bands of 90 % held {100 * model.coverage_:.0f} % of held-out values."
                + ("" if good else " Take them for too narrow; more trajectories would tell."),
            )
        )
    return checks


def _forecasts(model: "DynamicsModel", paths: tuple[Trajectory, ...], shown: int) -> Any:
    with house_style(math=False):
        fig, axes = figure(
            shown, len(paths), width=max(4.8, 2.6 * len(paths) + 1), height=1.7 * shown + 0.8
        )
        axes: Any = np.asarray(axes).reshape(shown, len(paths))
        for place, path in enumerate(paths):
            start = np.asarray([c[~np.isnan(c)][0] if np.isnan(c[0]) else c[0] for c in path.ys.T])
            times = np.linspace(path.ts[0], path.ts[-1], _POINTS)
            found = model.simulate(start, times)
            for j in range(shown):
                ax = axes[j, place]
                ax.fill_between(
                    times, found.lower[:, j], found.upper[:, j], alpha=0.25, linewidth=0
                )
                ax.plot(times, found.mean[:, j])
                ax.plot(path.ts, path.ys[:, j], ".", color=PALETTE[1], markersize=3)
                seen = path.ys[:, j][~np.isnan(path.ys[:, j])]
                room = 0.3 * (np.ptp(seen) or 1.0)
                ax.set_ylim(seen.min() - room, seen.max() + room)
                if place == 0:
                    ax.set_ylabel(model.columns_[j])
            if len(paths) > 1:
                axes[0, place].set_title(path.name, fontsize="small")
            axes[-1, place].set_xlabel(model.time_)
    return fig


def _arrows(model: "DynamicsModel", paths: tuple[Trajectory, ...]) -> Any:
    ys = np.concatenate([path.ys for path in paths])
    low, high = np.nanmin(ys, axis=0), np.nanmax(ys, axis=0)
    a, b = (np.linspace(low[j], high[j], _ARROWS) for j in (0, 1))
    grid = np.tile(np.nanmean(ys, axis=0), (_ARROWS**2, 1))
    grid[:, 0], grid[:, 1] = (part.ravel() for part in np.meshgrid(a, b))
    rate = model.field(paths[0].ts[0], grid)[:, :2] / np.maximum(high - low, 1e-30)[:2]
    size = np.linalg.norm(rate, axis=1, keepdims=True)
    rate = rate / np.maximum(size, 1e-30) * np.sqrt(size / max(size.max(), 1e-30))
    with house_style(math=False):
        fig, ax = figure(width=5.2, height=4.4)
        ax: Any
        for path in paths[:50]:
            ax.plot(path.ys[:, 0], path.ys[:, 1], ".", color=PALETTE[1], markersize=2, alpha=0.5)
        ax.quiver(
            grid[:, 0],
            grid[:, 1],
            rate[:, 0],
            rate[:, 1],
            color=PALETTE[0],
            pivot="mid",
            width=0.003,
        )
        ax.set_xlabel(model.columns_[0])
        ax.set_ylabel(model.columns_[1])
    return fig

"""What a `SeriesExplainer` finds, as arrays, as tables, and as files."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from pullback.plots import house_style

from ._beside import beside
from ._image_explanations import file_names, save_figure
from ._outputs import table_writer
from ._series_rows import as_given

_TOP = 10  # rows of each series in top.csv
_LINES = 4  # outputs that are drawn
GAUSSIAN = ("mean", "deviation")


class SeriesExplanations(NamedTuple):
    """Which measurement at which time moved a prediction.

    A score is how many nats of the change of the prediction at a time a measurement explains by
    itself; below 0, it alone would have moved the prediction the other way.

    Attributes:
        ids: the names of the series, as they were written.
        variables: the names of the variables.
        times: of each row of each series, in the unit of `time_unit`, `[series, time]`.
        values: what was observed, NaN elsewhere, `[series, time, variable]`.
        score: of each observed value, NaN elsewhere, `[series, time, variable]`.
        unexplained: what of the change is left once it is known, `[series, time, variable]`.
        standard_error: of the score, from the draws, `[series, time, variable]`.
        temporal_shift: how far the prediction changed at each time, `[series, time]`.
        prediction: at each time, with all that was observed, `[series, time, outputs]`.
        outputs: the names of what is predicted.
        lengths: how many rows each series has; what is behind them is NaN.
        evaluations: of the model, in all.
        names: what the columns of series, time and variable are called.
        time_unit: of the times.
        source: where the series came from.
    """

    ids: tuple[str, ...]
    variables: tuple[str, ...]
    times: Float[np.ndarray, "s t"]
    values: Float[np.ndarray, "s t v"]
    score: Float[np.ndarray, "s t v"]
    unexplained: Float[np.ndarray, "s t v"]
    standard_error: Float[np.ndarray, "s t v"]
    temporal_shift: Float[np.ndarray, "s t"]
    prediction: Float[np.ndarray, "s t k"]
    outputs: tuple[str, ...]
    lengths: np.ndarray
    evaluations: int
    names: tuple[str, str, str]
    time_unit: str
    source: str

    @property
    def observed(self) -> Bool[np.ndarray, "s t v"]:
        """Where a value was observed."""
        return ~np.isnan(self.values)

    def columns(self) -> dict[str, list[Any]]:
        """A row for each observed value."""
        return self._rows(*np.nonzero(self.observed))

    def top(self) -> dict[str, list[Any]]:
        """The ten measurements of each series that moved the prediction most, the first first.

        `before` and `after` are of the output that changed most; at a series' first time, before
        which nothing was said, `before` is NaN and the output the likeliest.
        """
        places = [self._best(row) for row in range(len(self.ids))]
        row = np.repeat(np.arange(len(places)), [len(each[0]) for each in places])
        time, variable = (np.concatenate([each[k] for each in places]) for k in (0, 1))
        found = self._rows(row, time, variable)
        rank = [place + 1 for each in places for place in range(len(each[0]))]
        moved = self.moved(row, time)
        now = self.prediction[row, time, moved]
        before = np.where(time > 0, self.prediction[row, np.maximum(time - 1, 0), moved], np.nan)
        named = [name for name in found if name not in self.names]
        return {
            **{name: found[name] for name in found if name not in named},
            "rank": rank,
            **{name: found[name] for name in named},
            "output": [self.outputs[k] for k in moved],
            "before": before.tolist(),
            "after": now.tolist(),
        }

    def to_frame(self) -> Any:
        """A data frame of pandas with a row for each observed value, where that is installed."""
        import pyarrow as pa

        return pa.table(self.columns()).to_pandas()

    def moved(self, row: np.ndarray, time: np.ndarray) -> np.ndarray:
        """The place of the output that changed most at each of these times; at a first time, of
        the likeliest, or of the mean.
        """
        now, before = self.prediction[row, time], self.prediction[row, np.maximum(time - 1, 0)]
        first = np.zeros(len(row), int) if self.outputs == GAUSSIAN else now.argmax(axis=1)
        return np.where(time > 0, np.abs(now - before).argmax(axis=1), first)

    def figure(self, place: int) -> Any:
        """A figure of Matplotlib of one series: the prediction over time, and what moved it.

        Args:
            place: of the series, from 0.
        """
        return heat_map(self, place)

    def write(self, folder: Path) -> list[Path]:
        """Write `importance.csv`, `top.csv` and a heat map of each series.

        Args:
            folder: for them; each appears whole or not at all.

        Returns:
            The files.
        """
        files = [folder / "importance.csv", folder / "top.csv"]
        for file, columns in zip(files, (self.columns(), self.top()), strict=True):
            with table_writer(file) as write:
                write(columns)
        for place, name in enumerate(file_names(self.ids)):
            files.append(folder / "heatmaps" / f"{name}.png")
            save_figure(heat_map(self, place), files[-1])
        return files

    def _rows(self, row: np.ndarray, time: np.ndarray, variable: np.ndarray) -> dict[str, Any]:
        given = dict(
            zip(
                self.names,
                (
                    np.asarray(self.ids, object)[row].tolist(),
                    as_given(self.times[row, time], self.time_unit).tolist(),
                    np.asarray(self.variables, object)[variable].tolist(),
                ),
                strict=True,
            )
        )
        told = {
            name: getattr(self, field)[row, time, variable].tolist()
            for name, field in (
                ("value", "values"), ("score", "score"), ("standard_error", "standard_error"),
                ("unexplained", "unexplained"),
            )
        }  # fmt: skip
        shift = self.temporal_shift[row, time].tolist()
        return beside(given, told | {"temporal_shift": shift})

    def _best(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        score = np.where(self.observed[row], self.score[row], -np.inf)
        count = min(_TOP, int(self.observed[row].sum()))
        best = np.argsort(-score, axis=None, kind="stable")[:count]
        time, variable = np.unravel_index(best, score.shape)
        return time, variable


def heat_map(found: SeriesExplanations, place: int) -> Any:
    """A figure of one series: the prediction over time, and below it what moved it."""
    count = found.lengths[place]
    times = as_given(found.times[place, :count], found.time_unit)
    ticks = np.arange(count)
    score = np.where(found.observed[place], found.score[place], np.nan)[:count]
    largest = max(float(np.nanmax(np.abs(score), initial=0.0)), 1e-12)
    high = 0.28 * len(found.variables) + 0.9
    with house_style(math=False):
        from matplotlib.figure import Figure

        fig = Figure(figsize=(8.0, 1.9 + high))
        line, heat = fig.subplots(2, 1, height_ratios=(1.6, high), sharex=True)
        prediction = found.prediction[place, :count]
        label = str if found.outputs == GAUSSIAN else "p({})".format
        for k in _drawn(prediction):
            line.plot(ticks, prediction[:, k], label=label(found.outputs[k]), drawstyle="steps-mid")
        if prediction.shape[1] > 1:
            line.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        line.set_title(f"{found.names[0]} {found.ids[place]}", fontsize=10)
        line.set_ylabel("prediction", fontsize=8)
        heat.set_facecolor("#cfd4da")
        image = heat.imshow(
            score.T, cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto",
            interpolation="nearest",
        )  # fmt: skip
        heat.set_yticks(range(len(found.variables)), found.variables, fontsize=8)
        every = max(1, -(-count // 8))
        labels = [_tick(time) for time in times[::every].tolist()]
        heat.set_xticks(ticks[::every], labels, fontsize=8)
        unit = found.time_unit.split(" ")[0]
        dated = " since " in found.time_unit
        heat.set_xlabel(found.names[1] + (f" ({unit})" if unit and not dated else ""), fontsize=9)
        heat.grid(visible=False)
        fig.colorbar(image, ax=heat, pad=0.01, label="score (nats)")
    return fig


def _drawn(prediction: Float[np.ndarray, "t k"]) -> list[int]:
    """The outputs that move most; of two probabilities the second says it all."""
    if prediction.shape[1] == 2:
        return [1]
    return sorted(np.argsort(-np.ptp(prediction, axis=0), kind="stable")[:_LINES].tolist())


def _tick(time: Any) -> str:
    return f"{time:.4g}" if isinstance(time, int | float) else f"{time:%m-%d %H:%M}"

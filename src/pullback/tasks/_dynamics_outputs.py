"""Tables of simulated paths."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ._beside import beside
from ._dynamics import DynamicsModel
from ._frame import frame_of, matrix_of
from ._outputs import table_writer

_AT_ONCE = 64  # starts


def simulate_file(
    model: DynamicsModel,
    starts: Any,
    ts: Float[np.ndarray, " T"],
    out: Path,
    *,
    level: float | int = 0.9,
) -> int:
    """Simulate from each state of a table, or from one, and write the paths as a long table.

    Args:
        model: fitted.
        starts: a file, a data frame, or a mapping from names to numbers.
        ts: times; the first is that of the starts.
        out: a CSV or Parquet file, or "-", with the columns: the one that tells trajectories apart,
            of a table that has it; `row`, of a table; the time; `variable`, `mean`, `lower` and
            `upper`.
        level: of the bands.

    Returns:
        How many paths there are.

    Raises:
        ValueError: a state has a hole, or a column is missing.
    """
    frame = None if isinstance(starts, dict) else frame_of(starts)
    rows = np.zeros(1, int) if frame is None else frame.rows
    if frame is None:
        values = np.asarray([[starts[name] for name in model.columns_]], np.float64)
        names: Sequence[Any] | None = None
    else:
        values = matrix_of(frame, model.columns_)
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            column = model.columns_[np.flatnonzero(~np.isfinite(values[bad[0]]))[0]]
            raise ValueError(
                f"a start needs all of its columns: {column!r} of row {rows[bad[0]]} of "
                f"{frame.source} is empty or infinite."
            )
        series = str(model.series_)
        names = frame.column(series).tolist() if series in frame.names else None
    dim, times = len(model.columns_), np.asarray(ts, np.float64)
    with table_writer(out) as write:
        for low in range(0, len(values), _AT_ONCE):
            found = model.simulate(values[low : low + _AT_ONCE], times, level=level)
            count = len(found.mean)
            each = dim * len(times)
            here = range(low, low + count)
            columns: dict[str, Sequence[Any]] = {}
            if names is not None:
                columns[str(model.series_)] = [_plain(names[k]) for k in here for _ in range(each)]
            if frame is not None:
                columns.setdefault("row", np.repeat(rows[low : low + count], each).tolist())
            columns[model.time_] = np.tile(np.repeat(times, dim), count).tolist()
            told = {
                "variable": [*model.columns_] * (count * len(times)),
                "mean": found.mean.reshape(-1).tolist(),
                "lower": found.lower.reshape(-1).tolist(),
                "upper": found.upper.reshape(-1).tolist(),
            }
            write(beside(columns, told))
    return len(values)


def _plain(cell: Any) -> Any:
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell

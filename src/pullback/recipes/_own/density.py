"""A density fitted to a table of the user's own: what the recipes of flows share.

Rows are read with their holes reported, split, and standardised; the log-density of every row is
written out, as many new rows beside it, and both are drawn.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from pullback import data
from pullback._files import atomic_write_csv
from pullback.plots import figure
from pullback.runs import Context

_FEWEST_ROWS = 40


class Prepared(NamedTuple):
    """A table that is ready to be fitted: rows in standard deviations, and three parts of them."""

    table: data.NumberTable
    rows: Float[np.ndarray, "n dim"]
    scaler: data.Scaler
    train: Int[np.ndarray, " t"]
    validation: Int[np.ndarray, " v"]
    test: Int[np.ndarray, " h"]

    @property
    def to_units(self) -> float:
        """What the log-density of a standardised row has too much, in nats."""
        return float(np.sum(np.log(self.scaler.scale)))

    def in_units(self, rows: Float[np.ndarray, "m dim"]) -> Float[np.ndarray, "m dim"]:
        """Standardised rows in the table's own units."""
        return self.scaler.undo(rows)


def prepare(file: Path, columns: Sequence[str], seed: int) -> Prepared:
    """Read the columns, or all; three fifths train, one fifth validates, one fifth tests."""
    table = data.read_table(file, list(columns) or None)
    count, dim = table.values.shape
    if dim < 2:
        raise data.DataError(file, "expected two or more columns of numbers; got 1.")
    if count < _FEWEST_ROWS:
        raise data.DataError(
            file, f"expected {_FEWEST_ROWS} rows or more to fit a density to; got {count}."
        )
    for column, name in zip(table.values.T, table.columns, strict=True):
        if np.ptp(column) == 0:
            raise data.DataError(
                file, f"column {name!r} is {column[0]:g} in every row, so it has no density; "
                "leave it out."
            )  # fmt: skip
    order = np.random.default_rng(seed).permutation(count)
    part = count // 5
    test, validation, train = order[:part], order[part : 2 * part], order[2 * part :]
    (_, rows), scaler = data.standardise(table.values[train], table.values)
    return Prepared(table, rows, scaler, train, validation, test)


def write_rows(
    root: Path,
    prepared: Prepared,
    log_prob: Float[np.ndarray, " n"],
    samples: Float[np.ndarray, "m dim"],
) -> None:
    """`scores.csv`, a log-density for each row, and `samples.csv`; both in the table's units."""
    part = np.empty(len(log_prob), dtype=object)
    for name in ("train", "validation", "test"):
        part[getattr(prepared, name)] = name
    scores = zip(prepared.table.rows.tolist(), log_prob.tolist(), part, strict=True)
    for name, header, rows in (
        ("scores.csv", ["row", "log_prob", "part"], scores),
        ("samples.csv", prepared.table.columns, samples.tolist()),
    ):
        atomic_write_csv(root / name, [header, *rows])


def describe(context: Context, file: Path, prepared: Prepared) -> None:
    """What was read and split, and where the scores are."""
    rows, columns = prepared.rows.shape
    context.note(
        f"{file.name}: {rows} rows of {columns} columns, of which {len(prepared.train)} trained "
        f"the flow, {len(prepared.validation)} chose its best weights, and {len(prepared.test)} "
        "are what the claims are about. The log-density of every row is in scores.csv (by its line "
        "in a CSV file, else by its number), and as many new rows are in samples.csv. "
        + prepared.table.describe_holes()
    )


def unlikeliest(
    context: Context, prepared: Prepared, log_prob: Float[np.ndarray, " n"], number: int = 10
) -> None:
    """A table of the rows with the lowest log-density: the anomalies."""
    places = np.argsort(log_prob)[:number]
    table, shown = prepared.table, len(prepared.table.columns[:6])
    rows = [
        [int(table.rows[i]), float(log_prob[i]), *table.values[i, :shown].tolist()] for i in places
    ]
    context.table(
        "anomalies",
        ["row", "log-density", *table.columns[:shown]],
        rows,
        "The rows that the flow finds least likely, in nats and the table's own units.",
    )


def pair_plot(
    context: Context,
    columns: Sequence[str],
    rows: Float[np.ndarray, "n dim"],
    samples: Float[np.ndarray, "m dim"],
) -> None:
    """Every pair of the first few columns: rows of the table under samples of the flow."""
    shown = min(len(columns), 5)
    fig, axes = figure(shown, shown, width=2 * shown + 0.6, height=2 * shown + 0.6)
    for i in range(shown):
        for j in range(shown):
            ax = axes[i, j]
            if i == j:
                low, high = np.quantile(rows[:, i], (0.001, 0.999))
                bins = np.linspace(low, high, 31)
                ax.hist(rows[:, i], bins=bins, density=True, alpha=0.5, label="rows")
                ax.hist(samples[:, i], bins=bins, density=True, histtype="step", label="samples")
            else:
                for dots in (rows, samples):
                    ax.scatter(dots[:, j], dots[:, i], s=3, alpha=0.3, linewidths=0)
            if i == shown - 1:
                ax.set_xlabel(columns[j])
            if j == 0:
                ax.set_ylabel(columns[i])
    axes[0, 0].legend(fontsize="small")
    more = "" if shown == len(columns) else f" (the first {shown} of {len(columns)} columns)"
    context.figure("pairs", fig, f"Rows of the table, and samples of the flow{more}.")

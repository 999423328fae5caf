"""The flow of the recipe `cnf` on a table of the user's own."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.random as jr
import numpy as np

from pullback import data
from pullback._files import atomic_write_text
from pullback.recipes import _cnf_pictures as pictures
from pullback.recipes._base import Claim
from pullback.recipes._cnf_flow import (
    Config,
    fitted_gaussian,
    log_prob,
    mass,
    mass_claim,
    round_trip,
    round_trip_claims,
    sample,
    train_flow,
)
from pullback.recipes._context import Context

_FEWEST_ROWS = 40


class _Split(NamedTuple):
    """Which rows are for training, for choosing the best weights, and for the claims."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def run_on_table(config: Config, context: Context, file: Path) -> list[Claim]:
    """Train on a table, write the score of each row and as many samples, and measure the fit."""
    table = _read(file)
    split = _split(len(table.values), context.seed)
    values, columns = table
    (rows, *_), scaler = data.standardise(values[split.train])
    rows = (values - scaler.mean) / scaler.scale
    flow = train_flow(
        config,
        context,
        "table",
        rows[split.train],
        context.seed,
        divergence=config.divergence,
        validation=rows[split.validation],
    ).flow
    to_units = np.sum(np.log(scaler.scale))

    def score() -> dict[str, Any]:
        seen = np.concatenate([split.train, split.validation])
        new = sample(flow, len(rows), key=jr.key(context.seed))
        found = {
            "flow": log_prob(flow, rows) - to_units,
            "gaussian": fitted_gaussian(rows[seen], rows[split.test]) - to_units,
            "samples": new * scaler.scale + scaler.mean,
            **round_trip(flow, rows[split.test]),
        }
        if rows.shape[1] == 2:
            found["mass"] = mass(flow, 2 * config.grid, 1.5 * float(np.abs(rows).max()))
        return found

    found = context.stage("scores", score)
    _write(context.root, columns, split, found)
    pictures.pair_plot(context, columns, values[split.test], found["samples"][: len(split.test)])
    context.note(
        f"{file.name}: {len(rows)} rows of {len(columns)} columns, of which {len(split.train)} "
        f"trained the flow, {len(split.validation)} chose its best weights, and "
        f"{len(split.test)} are what the claims are about. The log-density of every row is in "
        "scores.csv, and as many new rows are in samples.csv."
    )
    return _claims(split, found)


def _read(file: Path) -> data.Table:
    table = data.read_csv(file)
    rows, columns = table.values.shape
    if columns < 2:
        raise data.DataError(file, "expected two or more columns of numbers; got 1.")
    if rows < _FEWEST_ROWS:
        raise data.DataError(
            file, f"expected {_FEWEST_ROWS} rows or more to fit a density to; got {rows}."
        )
    for column, name in zip(table.values.T, table.columns, strict=True):
        if np.ptp(column) == 0:
            raise data.DataError(
                file, f"column {name!r} is {column[0]:g} in every row, so it has no density; "
                "leave it out."
            )  # fmt: skip
    return table


def _split(rows: int, seed: int) -> _Split:
    order = np.random.default_rng(seed).permutation(rows)
    held_out = rows // 5
    return _Split(order[2 * held_out :], order[held_out : 2 * held_out], order[:held_out])


def _write(root: Path, columns: Sequence[str], split: _Split, found: dict[str, Any]) -> None:
    part = np.empty(len(found["flow"]), dtype=object)
    for name, rows in split._asdict().items():
        part[rows] = name
    scores = [[row + 1, *pair] for row, pair in enumerate(zip(found["flow"], part, strict=True))]
    for name, header, rows in (
        ("scores.csv", ["row", "log_prob", "part"], scores),
        ("samples.csv", columns, found["samples"].tolist()),
    ):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([header, *rows])
        atomic_write_text(root / name, text.getvalue())


def _claims(split: _Split, found: dict[str, Any]) -> list[Claim]:
    flow, gaussian = found["flow"][split.test], found["gaussian"]
    behind = gaussian - flow
    error = float(np.std(behind, ddof=1) / np.sqrt(len(behind)))
    claims = [
        Claim(
            "On rows that it has not seen the flow is no worse than a fitted Gaussian (nats a row "
            f"of {-flow.mean():.4g} against {-gaussian.mean():.4g}; difference)",
            value=float(behind.mean()),
            at_most=2 * error,
            unit="nats",
            reference="a Gaussian with full covariance; two standard errors of the difference",
        ),
        *round_trip_claims([found]),
    ]
    if "mass" in found:
        claims.append(mass_claim([found["mass"]], at_most=1e-2))
    return claims

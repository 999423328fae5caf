"""The recipe `mi-bounds` on a table of the user's own: how many nats do these columns share?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax.random as jr
import numpy as np

from pullback import data
from pullback.analysis import estimate_mutual_information
from pullback.plots import PALETTE, figure
from pullback.recipes import mi_bounds as recipe
from pullback.recipes._own import own_file
from pullback.recipes.mi_bounds.measure import SMALL
from pullback.runs import Claim, Context

_FEWEST_ROWS = 100
_SHUFFLED = f"I_{SMALL:g}, y shuffled"


@dataclass(frozen=True)
class Config(recipe.Config):
    table_steps: int = 3000
    """The most training steps of a critic."""
    x_columns: tuple[str, ...] = ()
    """The columns of x; the first one if none is named."""
    y_columns: tuple[str, ...] = ()
    """The columns of y; all that are not of x if none is named."""


def run(config: Config, context: Context) -> list[Claim]:
    """Estimate what the named columns share, by three bounds, and once with the pairs permuted."""
    file = own_file(context)
    # Of a table with columns of text too, those that are named may be all that are numbers.
    named = (*config.x_columns, *config.y_columns)
    whole = not (config.x_columns and config.y_columns) or len(set(named)) < len(named)
    try:
        table = data.read_table(file, None if whole else named)
    except data.DataError as error:
        if "--columns" not in str(error):
            raise
        told = str(error).removeprefix(f"{file}: ")
        raise data.DataError(
            file, f"{told} In this recipe columns are named by --x-columns and --y-columns."
        ) from error
    names = _columns(config, file, table.columns)
    x, y = (table.values[:, [table.columns.index(name) for name in part]] for part in names)
    if len(x) < _FEWEST_ROWS:
        raise data.DataError(
            file, f"expected {_FEWEST_ROWS} rows or more to estimate from; got {len(x)}."
        )
    batch_size = min(config.batch_size, len(x) // 25)
    permuted = np.random.default_rng(context.seed).permutation(len(y))
    found = {
        label: context.stage(f"estimate-{bound}-{number}", _estimate, config, context, bound,
                             batch_size, x, values)
        for number, (label, bound, values) in enumerate(
            [
                (f"I_{SMALL:g}", "interpolated", y),
                ("InfoNCE", "infonce", y),
                ("NWJ", "nwj", y),
                (_SHUFFLED, "interpolated", y[permuted]),
            ]
        )
    }  # fmt: skip
    linear = _gaussian(x, y)
    _draw_table(context, found, linear)
    context.table(
        "estimates",
        ["", "nats", "standard error", "bits", "ceiling, nats"],
        [
            [
                label,
                row["value"],
                row["standard_error"],
                row["value"] / np.log(2),
                row["ceiling"] if np.isfinite(row["ceiling"]) else None,
            ]
            for label, row in found.items()
        ],
        f"{file.name}: what {_listed(names[0])} shares with {_listed(names[1])}, on a fifth of its "
        f"{len(x)} rows, which no critic has seen. A Gaussian fitted to all rows, which knows "
        f"linear relations alone, has {linear:.4g} nats. {table.describe_holes()}",
    )
    return _claims(found, batch_size)


def _columns(
    config: Config, file: Path, columns: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    for field in ("x_columns", "y_columns"):
        for name in getattr(config, field):
            if name not in columns:
                raise data.DataError(
                    file, f"{field} names {name!r}; the columns are {', '.join(columns)}."
                )
    free = [name for name in columns if name not in config.y_columns]
    x = config.x_columns or tuple(free[:1])
    y = config.y_columns or tuple(name for name in columns if name not in x)
    both = [name for name in x if name in y]
    if both:
        raise data.DataError(file, f"column {both[0]!r} is in x_columns and in y_columns.")
    if not x or not y:
        raise data.DataError(file, f"expected columns for x and for y; got {', '.join(columns)}.")
    return x, y


def _estimate(
    config: Config, context: Context, bound: Any, batch_size: int, x: np.ndarray, y: np.ndarray
) -> dict[str, Any]:
    result = estimate_mutual_information(
        x,
        y,
        bound=bound,
        alpha=SMALL,
        batch_size=batch_size,
        steps=config.table_steps,
        learning_rate=config.learning_rate,
        progress=None if context.progress else False,
        key=jr.key(context.seed),
    )
    return {
        "value": result.value,
        "standard_error": result.standard_error,
        "ceiling": result.ceiling,
        "batch_values": result.batch_values,
    }


def _gaussian(x: np.ndarray, y: np.ndarray) -> float:
    """What a Gaussian with full covariance shares, from the correlations' determinants."""
    log_det = lambda columns: np.linalg.slogdet(np.atleast_2d(np.corrcoef(columns.T)))[1]
    return float(log_det(x) + log_det(y) - log_det(np.hstack([x, y]))) / 2


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])}, ... ({len(names)})"


def _claims(found: dict[str, dict[str, Any]], batch_size: int) -> list[Claim]:
    best, permuted = found[f"I_{SMALL:g}"], found[_SHUFFLED]
    return [
        Claim(
            "The columns share something (lower bound, less two of its standard errors)",
            value=best["value"] - 2 * best["standard_error"],
            at_least=0,
            unit="nats",
            reference="0: independent columns",
        ),
        Claim(
            "With the rows of y shuffled nothing is left (the bound over its standard error)",
            value=permuted["value"] / permuted["standard_error"],
            at_most=4,
            reference="0, the truth for independent rows; four standard errors",
        ),
        Claim(
            "The bound is not cut off by its ceiling (ceiling less value)",
            value=best["ceiling"] - best["value"],
            at_least=1,
            unit="nats",
            reference=f"1 + log((B - 1) / alpha) at B = {batch_size}, alpha = {SMALL:g}",
        ),
    ]


PRESETS = {name: Config(**vars(config)) for name, config in recipe.PRESETS.items()}
PRESETS["smoke"] = replace(PRESETS["smoke"], table_steps=100)
PRESETS["paper"] = replace(PRESETS["paper"], table_steps=20_000)


def _draw_table(context: Context, found: Mapping[str, Mapping[str, Any]], linear: float) -> None:
    """The estimates for a table of the user's own."""
    fig, ax = figure(width=7.4, height=3.4)
    right = 1.4 * max(linear, *(row["value"] + 2 * row["standard_error"] for row in found.values()))
    for place, row in enumerate(found.values()):
        ax.errorbar(
            row["value"], place, xerr=2 * row["standard_error"], color=PALETTE[place % 7],
            marker="o", capsize=4,
        )  # fmt: skip
        limit = f"ceiling {row['ceiling']:.1f}" if math.isfinite(row["ceiling"]) else "no ceiling"
        ax.text(
            0.99 * right, place - 0.2, limit, ha="right", va="center", fontsize=8, color="#7b8794"
        )
    ax.axvline(linear, color="black", linestyle="--", linewidth=1, label="fitted Gaussian")
    ax.axvline(0, color="black", linewidth=1)
    ax.set_yticks(range(len(found)), list(found))
    ax.set(ylim=(len(found) - 0.4, -0.6))
    ax.set(xlabel="mutual information (nats)", xlim=(None, right))
    ax.legend(fontsize=8, loc="lower center")
    context.figure(
        "table",
        fig,
        "What the columns share, on rows that no critic has seen: value and two standard errors. "
        "All are lower bounds; a value near its ceiling could be anything above. With the rows of "
        "y shuffled nothing is shared. The dashed line is what a Gaussian has that was fitted to "
        "all rows; it knows linear relations alone.",
    )

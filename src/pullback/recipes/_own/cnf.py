"""The flow of the recipe `cnf` on a table of the user's own."""

from dataclasses import dataclass
from typing import Any

import jax.random as jr
import numpy as np

from pullback.recipes import cnf as recipe
from pullback.recipes._kit.gaussian import fitted_gaussian
from pullback.recipes._own import density as density_table
from pullback.recipes._own import own_file
from pullback.recipes.cnf.models import BATCH, log_prob, train_flow
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config(recipe.Config):
    columns: tuple[str, ...] = ()
    """The columns to take; all when none is named."""


def run(config: Config, context: Context) -> list[Claim]:
    """Train on a table, write the score of each row and as many samples, and measure the fit."""
    file = own_file(context)
    prepared = density_table.prepare(file, config.columns, context.seed)
    rows = prepared.rows
    flow, _ = train_flow(
        config,
        context,
        "table",
        rows[prepared.train],
        context.seed,
        divergence=config.divergence,
        validation=rows[prepared.validation],
    )

    def score() -> dict[str, Any]:
        seen = np.concatenate([prepared.train, prepared.validation])
        new = flow.sample(jr.key(context.seed), (len(rows),), batch_size=BATCH)
        return {
            "flow": log_prob(flow, rows) - prepared.to_units,
            "gaussian": fitted_gaussian(rows[seen], rows[prepared.test]) - prepared.to_units,
            "samples": prepared.in_units(np.asarray(new, np.float64)),
        }

    found = context.stage("scores", score)
    density_table.write_rows(context.root, prepared, found["flow"], found["samples"])
    test = prepared.test
    density_table.pair_plot(
        context, prepared.table.columns, prepared.table.values[test], found["samples"][: len(test)]
    )
    density_table.unlikeliest(context, prepared, found["flow"])
    density_table.describe(context, file, prepared)
    flow, gaussian = found["flow"][test], found["gaussian"]
    behind = gaussian - flow
    error = float(np.std(behind, ddof=1) / np.sqrt(len(behind)))
    return [
        Claim(
            "On rows that it has not seen the flow is no worse than a fitted Gaussian (nats a row "
            f"of {-flow.mean():.4g} against {-gaussian.mean():.4g}; difference)",
            value=float(behind.mean()),
            at_most=2 * error,
            unit="nats",
            reference="a Gaussian with full covariance; two standard errors of the difference",
        ),
    ]


PRESETS = {name: Config(**vars(config)) for name, config in recipe.PRESETS.items()}

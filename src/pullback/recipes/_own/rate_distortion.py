"""The linear autoencoders of the recipe `rate-distortion` on a table of the user's own."""

from dataclasses import dataclass

import numpy as np

from pullback._location_scale import location_and_scale
from pullback.data import read_table
from pullback.recipes import rate_distortion as recipe
from pullback.recipes._own import own_file
from pullback.recipes.rate_distortion import claims, linear_models, show
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config(recipe.Config):
    columns: tuple[str, ...] = ()
    """The columns of numbers to take; all when none is named."""


def run(config: Config, context: Context) -> list[Claim]:
    """Linear autoencoders of the rows, in the plane of rate and distortion."""
    file = own_file(context)
    seeds = context.seeds(config.seeds)
    table = read_table(file, list(config.columns) or None)
    rows = np.asarray(table.values, float)
    _, spread, constant = location_and_scale(rows)
    if constant.any():
        flat = table.columns[int(np.argmax(constant))]
        raise ValueError(f"column {flat!r} of {file.name} is the same in every row: leave it out")
    found = linear_models(config, context, rows / spread, seeds)
    show.draw_linear(context, found, config.linear_betas)
    context.note(
        f"{file.name}: {len(rows)} rows of {len(table.columns)} columns, each divided by its "
        "standard deviation. The curve tells how many nats a linear code of a row needs for how "
        f"much distortion. {table.describe_holes()}"
    )
    return claims.of_linear_models(config.linear_betas, found)


PRESETS = {name: Config(**vars(config)) for name, config in recipe.PRESETS.items()}

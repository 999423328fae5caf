"""What fits a recipe's models to a file of the user's own.

`TABLES` says for which recipes, and what the file holds; each has a module here, with its `Config`,
`PRESETS` and `run`.
"""

from pathlib import Path

from pullback.runs import Context

TABLES = {
    "cnf": "a table (CSV or Parquet) of numbers: the density of its rows",
    "jem": "a table with a column of classes (--label)",
    "latent-ode": "irregular series, with columns series, time, variable, value",
    "lsd": "a table of numbers: how far a Gaussian and a mixture are from it",
    "mi-bounds": "a table with two groups of columns (--x-columns, --y-columns)",
    "rate-distortion": "a table of numbers: linear autoencoders of its rows",
    "residual-flow": "a table of numbers: the density of its rows",
    "vera": "a table with a column of classes (--label), of which few have one",
}


def own_file(context: Context) -> Path:
    """The file that `--data` named."""
    if context.data is None:
        raise ValueError("this fits a file of your own: name it with --data")
    return context.data

"""Real tables: of scikit-learn, and of the folder of UCI regression tables where it is given."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn import datasets

UCI = {
    "concrete": "concrete",
    "energy": "energy",
    "kin8nm": "kin8nm",
    "naval": "naval-propulsion-plant",
    "power plant": "power-plant",
    "protein": "protein-tertiary-structure",
    "wine-red": "wine-quality-red",
    "yacht": "yacht",
}
MOST = 10_000  # rows


class Named(NamedTuple):
    """Inputs, and what is to be predicted of them."""

    x: np.ndarray
    y: np.ndarray


def bundled(name: str) -> Named:
    """A table of scikit-learn's."""
    load: Any = getattr(datasets, f"load_{name.replace('-', '_')}")
    found = load(scaled=False) if name == "diabetes" else load()
    return Named(np.asarray(found.data, float), np.asarray(found.target))


def regression(folder: Path | None) -> dict[str, Named]:
    """Tables with a number to predict; of those of UCI no more than 10,000 rows, drawn."""
    tables = {"diabetes": bundled("diabetes")}
    if folder is None:
        return tables
    for name, file in UCI.items():
        with np.load(folder / "uci_regression" / f"{file}.npz") as stored:
            x, y = np.asarray(stored["x"], float), np.asarray(stored["y"], float).reshape(-1)
        few = np.random.default_rng(0).permutation(len(x))[:MOST]
        tables[name] = Named(x[few], y[few])
    return tables


def whole_tables(folder: Path | None) -> dict[str, np.ndarray]:
    """Tables of numbers, their columns side by side."""
    tables = {name: np.column_stack(table) for name, table in regression(folder).items()}
    return tables | {name: bundled(name).x for name in ("wine", "breast-cancer")}


def with_noise(x: np.ndarray, seed: int) -> np.ndarray:
    """Columns whose values repeat with noise of half the least distance between two values.

    Such a column has no density: a kernel or a component on a repeated value would win without
    end. Every rival is given the same noise. Columns that are constant are left out.
    """
    random = np.random.default_rng(seed)
    columns = []
    for column in x.T:
        values = np.unique(column)
        if len(values) == 1:
            continue
        if len(values) < 0.95 * len(column):
            step = np.diff(values).min()
            column = column + step * random.uniform(-0.5, 0.5, len(column))
        columns.append(column)
    return np.stack(columns, axis=1)

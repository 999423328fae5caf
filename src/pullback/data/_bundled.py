"""Real tables that come with scikit-learn, as files to try `pullback fit` on."""

from pathlib import Path
from typing import Any

import numpy as np

from pullback._files import atomic_write_csv

TABLES = ("breast-cancer", "diabetes", "wine")
_NEW = 5  # of so many rows one is put aside
_TARGETS = {"diabetes": "progression"}


def write_bundled(name: str, folder: Path) -> None:
    """Write `NAME.csv` and `NAME-new.csv`: every fifth row, which a model has not seen.

    Columns are in their own units, and the last one is the label: the kind of a wine, whether a
    tumour is benign, the progression of diabetes after a year.
    """
    from sklearn import datasets

    read = getattr(datasets, f"load_{name.replace('-', '_')}")
    found: Any = read(scaled=False) if name == "diabetes" else read()
    names = [str(column).replace(" ", "_").replace("/", "_") for column in found.feature_names]
    label = _TARGETS.get(name, "kind")
    target = np.asarray(found.target)
    labels = target if label in _TARGETS.values() else np.asarray(found.target_names)[target]
    rows = [
        [number, *map(_short, row), label if isinstance(label, str) else _short(label)]
        for number, (row, label) in enumerate(
            zip(found.data.tolist(), labels.tolist(), strict=True), start=1
        )
    ]
    new = [row for row in rows if row[0] % _NEW == 0]
    old = [row for row in rows if row[0] % _NEW]
    folder.mkdir(parents=True, exist_ok=True)
    for file, part in ((f"{name}.csv", old), (f"{name}-new.csv", new)):
        atomic_write_csv(folder / file, [["id", *names, label], *part])


def _short(number: float) -> str:
    """A number as one would write it: 127 for 127.0."""
    return f"{number:.10g}"

"""Saved models, read again."""

import os
from pathlib import Path
from typing import Any

from ._density import FlowDensity
from ._energy_classifier import EnergyClassifier
from ._store import ModelError, read_model
from ._task import AbstractTask

_TASKS: dict[str, type[AbstractTask]] = {
    task.__name__: task for task in (FlowDensity, EnergyClassifier)
}


def load(folder: str | os.PathLike[str]) -> Any:
    """A fitted model that `save` wrote: it needs none of the data, and runs nothing that it reads.

    Args:
        folder: with `model.json` and `model.safetensors`.

    Returns:
        The task, which scores to the bit as the one that was saved.

    Raises:
        ModelError: there is none, it is damaged, or another version wrote it.

    Example:
        >>> import numpy as np, pathlib, tempfile, pullback as pb
        >>> x = np.random.default_rng(0).normal(size=(50, 2))
        >>> density = pb.tasks.FlowDensity(random_state=0).fit(x)
        >>> folder = density.save(pathlib.Path(tempfile.mkdtemp()) / "model")
        >>> bool((pb.tasks.load(folder).score_samples(x) == density.score_samples(x)).all())
        True
    """
    folder = Path(folder)
    record, arrays = read_model(folder)
    if record["task"] not in _TASKS:
        raise ModelError(f"{folder} holds a {record['task']!r}, which this version does not know.")
    model = _TASKS[record["task"]](**record["settings"])
    model.restore(record["fitted"], arrays)
    return model

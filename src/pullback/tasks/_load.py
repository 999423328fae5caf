"""Saved models, read again."""

import os
from pathlib import Path

from ._density import FlowDensity
from ._store import ModelError, read_model

_TASKS = {"FlowDensity": FlowDensity}


def load(folder: str | os.PathLike[str]) -> FlowDensity:
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
    return _TASKS[record["task"]](**record["settings"])._restore(record["fitted"], arrays)

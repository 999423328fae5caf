"""Saved models, read again."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pullback import __version__
from pullback.data import DataError

from ._bayes_classifier import BayesianNetClassifier
from ._bayes_regressor import BayesianNetRegressor
from ._continual_classifier import ContinualClassifier
from ._density import FlowDensity
from ._dynamics import DynamicsModel
from ._energy_classifier import EnergyClassifier
from ._gan import TableGAN
from ._graph_generator import GraphGenerator
from ._image_explainer import ImageExplainer
from ._molecule_designer import MoleculeDesigner
from ._recommender import Recommender
from ._sequence_designer import SequenceDesigner
from ._series import SeriesModel
from ._series_explainer import SeriesExplainer
from ._store import ModelError, read_model
from ._task import AbstractTask
from ._trust import RowTrust

_TASKS: dict[str, type[AbstractTask]] = {
    task.__name__: task
    for task in (
        FlowDensity,
        EnergyClassifier,
        BayesianNetClassifier,
        BayesianNetRegressor,
        SeriesModel,
        DynamicsModel,
        RowTrust,
        ContinualClassifier,
        TableGAN,
        ImageExplainer,
        SeriesExplainer,
        Recommender,
        SequenceDesigner,
        MoleculeDesigner,
        GraphGenerator,
    )
}


def load(
    folder: str | os.PathLike[str],
    *,
    known: Callable[..., Any] | None = None,
    model: Any = None,
) -> Any:
    """A fitted model that `save` wrote: it needs none of the data, and runs nothing that it reads.

    Args:
        folder: with `model.safetensors`; nothing else in it is read.
        known: the function that a `DynamicsModel` was fitted with, which is not saved.
        model: the model that an `ImageExplainer` or a `SeriesExplainer` is to ask, which is not
            saved either, and need not be the same.

    Returns:
        The task, which scores to the bit as the one that was saved.

    Raises:
        ModelError: there is none, it is damaged, or another version wrote it; or `known` is
            missing, or not the function that it was.

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
    settings = record["settings"]
    for name, given in (("known", known), ("model", model)):
        if given is not None and name not in settings:
            raise ModelError(f"{folder} holds a {record['task']}, which takes no `{name}`.")
        if given is not None:
            settings = {**settings, name: given}
    try:
        task = _TASKS[record["task"]](**settings)
        task.restore(record["fitted"], arrays)
    except (ModelError, DataError):
        raise
    except (LookupError, AttributeError, TypeError, ValueError) as error:
        wrote = record["versions"]["pullback"]
        raise ModelError(
            f"{folder} was written by pullback {wrote}, and this one, {__version__}, misses "
            f"something in it ({type(error).__name__}: {error}). Fit the model again, or install "
            "the version that wrote it."
        ) from error
    return task

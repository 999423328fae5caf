"""What training tells about itself: how it ended, what it cost, and why it failed."""

import dataclasses
import enum
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, PyTree


class Ending(enum.Enum):
    """Why training ended. The value of each member is the sentence to show."""

    DONE = "All steps were taken."
    EARLY = "The validation loss had not improved for `patience` evaluations."
    FAILED = "A step could not be taken; the error says which and why."
    UNWRITTEN = "What was trained could not be written down; the error says where and why."


@dataclasses.dataclass(frozen=True)
class TrainingInfo:
    """How training went, with `fit` or `iterate`. Several runs are the last axis of each array.

    Attributes:
        ending: why it ended.
        step: the number of steps taken in all, those before a resume included.
        history: `step`, each metric (the mean over the steps since the point before; NaN where none
            was taken), `validation_...` of each that is measured there (NaN where it was not
            measured) and `steps_per_second`, `[points]` or `[points, runs]`.
        rollbacks: how often the state went back to a snapshot; of a run that failed, one more than
            `rollbacks` allows.
        good: False for a run of several that failed; its state is its last good one.
        seconds: wall-clock time of this call, compilation included.
        best_step: the step of the lowest validation loss, with `patience`; else None.
        best_loss: that loss; else None.
        optimiser_state: the optimiser's, after the last step of `fit`; else None.
        state: what the loss carries from step to step, of `fit`; else None.
        checkpoint: the file with the last state that was written, or None without a folder.
    """

    ending: Ending
    step: int
    history: dict[str, np.ndarray]
    rollbacks: Int[np.ndarray, "*runs"]
    good: Bool[np.ndarray, "*runs"]
    seconds: float
    best_step: Any
    best_loss: Any
    optimiser_state: PyTree
    state: PyTree
    checkpoint: Path | None

    def lines(self) -> list[dict[str, Any]]:
        """The history as one dictionary for each point, without what was not measured there."""
        points = range(len(self.history.get("step", ())))
        return [
            {
                name: int(values[at]) if name == "step" else values[at].tolist()
                for name, values in self.history.items()
                if not (name.startswith("validation_") and np.all(np.isnan(values[at])))
            }
            for at in points
        ]


def history_of(entries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The history of some points, an array for each name."""
    entries = list(entries)
    names = dict.fromkeys(name for entry in entries for name in entry)
    found = {}
    for name in names:
        rows = [np.asarray(entry.get(name, np.nan), float) for entry in entries]
        found[name] = np.stack(np.broadcast_arrays(*rows)) if rows else np.zeros(0)
    return {**found, "step": np.asarray(found.get("step", ()), int)}


class TrainingError(RuntimeError):
    """A step could not be taken, or what was trained could not be written to its folder.

    A step cannot be taken that gives a loss, gradient or parameter which is not finite, or in which
    a solver fails.

    Attributes:
        step: the step that could not be taken, or after which nothing could be written; steps are
            counted from 1.
        loss: the loss there.
        metrics: the metrics there, a solver's result code among them.
        model: the model, or the state, before that step, or at the last snapshot.
        info: what had been done until then, as the trainer returns it.
    """

    def __init__(
        self,
        message: str,
        *,
        step: int,
        loss: float,
        metrics: dict[str, float],
        model: Any,
        info: Any,
    ) -> None:
        super().__init__(message)
        self.step = step
        self.loss = loss
        self.metrics = metrics
        self.model = model
        self.info = info

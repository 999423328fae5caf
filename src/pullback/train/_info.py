"""What a training run tells about itself: how it ended, what it cost, and why it failed."""

import dataclasses
import enum
from pathlib import Path
from typing import Any


class Ending(enum.Enum):
    """Why training ended. The value of each member is the sentence to show."""

    DONE = "All steps were taken."
    EARLY = "The validation loss had not improved for `patience` evaluations."
    FAILED = "A step could not be taken; the error says which and why."


@dataclasses.dataclass(frozen=True)
class FitInfo:
    """What a run of `fit` did.

    Attributes:
        ending: why it ended.
        step: the number of steps taken in all, those before a resume included.
        history: one dictionary per log line, as in `metrics.jsonl`.
        seconds: wall-clock time of this call, compilation included.
        best_step: the step of the lowest validation loss, with `patience`; else None.
        best_loss: that loss; else None.
        checkpoint: the file with the last state, or None without a folder.
    """

    ending: Ending
    step: int
    history: tuple[dict[str, Any], ...]
    seconds: float
    best_step: int | None
    best_loss: float | None
    checkpoint: Path | None


class TrainingError(RuntimeError):
    """A step gave a loss, gradient or parameter that is not finite, or a solver failed in it.

    Attributes:
        step: the step that could not be taken; steps are counted from 1.
        loss: the loss there.
        metrics: the metrics there, a solver's result code among them.
        model: the model before that step.
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

"""What tasks share that draw and score things that are no rows of a table, such as graphs."""

import abc
from pathlib import Path
from typing import ClassVar

from ._task import AbstractTask


class AbstractGenerator(AbstractTask):
    """A model that makes new things of the kind that it was fitted to, and scores others.

    Attributes:
        things: what these are called, several of them.
    """

    things: ClassVar[str]

    @abc.abstractmethod
    def _write_samples(self, count: int, out: Path, seed: int) -> list[Path]:
        """Write things that are drawn, and return the files.

        Args:
            count: how many.
            out: a file whose name ends as those that the task knows, or "-".
            seed: of the draws.
        """

    @abc.abstractmethod
    def _write_scores(self, file: Path, out: Path) -> int:
        """Write what the model says of those of a file, and return how many there were."""

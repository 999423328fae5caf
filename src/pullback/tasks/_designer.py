"""What tasks share that draw, score and design things of text, such as sequences."""

import abc
from pathlib import Path
from typing import Any, ClassVar

from ._task import AbstractTask


class AbstractDesigner(AbstractTask):
    """A model that makes new things of the kind that it was fitted to, and designs some.

    Attributes:
        things: what these are called, several of them.
    """

    things: ClassVar[str]

    @abc.abstractmethod
    def design(self, n: int = 100) -> Any:
        """New things that are to have something; keywords say what.

        Args:
            n: how many.

        Returns:
            A record with `notes`, sentences, and `save(folder)`, which writes it and returns the
            files.
        """

    @abc.abstractmethod
    def _write_samples(self, count: int, out: Path, seed: int) -> None:
        """Write things that are drawn.

        Args:
            count: how many.
            out: a file whose name ends as those that the task knows, or "-".
            seed: of the draws.
        """

    @abc.abstractmethod
    def _write_scores(self, file: Path, out: Path) -> int:
        """Write what the model says of those of a file, and return how many there were."""

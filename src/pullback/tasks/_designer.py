"""What tasks share that draw, score and design things of text, such as sequences."""

import abc
from typing import Any

from ._generator import AbstractGenerator


class AbstractDesigner(AbstractGenerator):
    """A model that makes new things of the kind that it was fitted to, and designs some."""

    @abc.abstractmethod
    def design(self, n: int = 100) -> Any:
        """New things that are to have something; keywords say what.

        Args:
            n: how many.

        Returns:
            A record with `notes`, sentences, and `save(folder)`, which writes it and returns the
            files.
        """

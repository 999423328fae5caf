"""What is wrong with a file."""

import os
from pathlib import Path


class DataError(ValueError):
    """A file is missing, cut off or malformed, or could not be fetched.

    Attributes:
        file: the file or folder.
        line: the line in it, from 1, or None where there is no such thing as a line.
    """

    def __init__(
        self, file: str | os.PathLike[str], problem: str, *, line: int | None = None
    ) -> None:
        where = f"{file}" if line is None else f"{file}, line {line}"
        super().__init__(f"{where}: {problem}")
        self.file = Path(file)
        self.line = line

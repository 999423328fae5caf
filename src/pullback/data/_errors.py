"""What is wrong with a file."""

import os
from collections.abc import Sequence
from pathlib import Path


class DataError(ValueError):
    """A file is missing, cut off or malformed, or could not be fetched.

    Attributes:
        file: the file or folder.
        line: the line in it, from 1, or None where there is no such thing as a line.
        role: where one column is missing, or cannot be told, what it is to hold; else None.
        columns: the columns that there are, where `role` says that one is missing.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        problem: str,
        *,
        line: int | None = None,
        role: str | None = None,
        columns: Sequence[str] = (),
    ) -> None:
        where = f"{file}" if line is None else f"{file}, line {line}"
        super().__init__(f"{where}: {problem}")
        self.file = Path(file)
        self.line, self.role, self.columns = line, role, tuple(columns)

"""Columns of a table that is asked of, which may be called otherwise than those of the fit."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pullback.data import DataError

_How = TypeVar("_How", bound=Any)
_Found = TypeVar("_Found")
_NAMES = "name"


def by_any_name(read: Callable[[_How], _Found], how: _How) -> _Found:
    """What is read of a table: columns as they were called at the fit, or else by usual names.

    Names of rows are no reason to refuse it: where no column is theirs alone, rows are numbered.

    Args:
        read: reads, as `how` says.
        how: a record of the columns' names, under the names of what they hold; None: a usual one.

    Raises:
        DataError: the table cannot be read; where it lacks a column, with the name to give it.
    """
    others: dict[str, Iterator[str | None]] = {}
    wanted = how
    while True:
        try:
            return read(wanted)
        except DataError as error:
            role = error.role
            if role is None or not hasattr(how, role):
                raise
            left = others.setdefault(role, iter([None, role, *([""] if role == _NAMES else [])]))
            try:
                wanted = wanted._replace(**{role: next(left)})
            except StopIteration:
                raise _missing(error, role, getattr(how, role)) from error


def _missing(error: DataError, role: str, called: str | None) -> DataError:
    fitted = f"{called!r}, as for the fit, or " if called else ""
    there = f" The columns are {', '.join(error.columns)}." if error.columns else ""
    return DataError(
        error.file, f"it does not say which column is the {role}; call it {fitted}{role!r}.{there}"
    )

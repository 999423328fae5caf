"""Which column of a table holds what: by the name that is given, or by a usual one."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

from pullback._names import did_you_mean, listed, shown
from pullback.data._cells import split_unit
from pullback.data._errors import DataError


def needed_place(
    path: Path, names: tuple[str, ...], role: str, wanted: str | None, usual: str
) -> int:
    """The column that holds something; an error, with what to do, where there is none.

    Args:
        path: of the file, for messages.
        names: of its columns.
        role: what the column holds, and the argument that names it.
        wanted: its name; None takes the one that has a usual name.
        usual: names in lower case, with spaces between.
    """
    place = place_of(path, names, role, wanted, usual)
    if place is None:
        near = difflib.get_close_matches(role, [split_unit(name)[0] for name in names], n=1)
        hint = f"did you mean {role}={near[0]!r}" if near else f"which is it: {role}=..."
        raise DataError(
            path,
            f"no column has a usual name for the {role}; {hint}? Or call it {role!r} in the file. "
            f"The columns are {listed(names)}.",
            role=role,
            columns=names,
        )
    return place


def place_of(
    path: Path, names: tuple[str, ...], role: str, wanted: str | None, usual: str
) -> int | None:
    """The column that holds something, or None; arguments as for `needed_place`."""
    plain = [split_unit(name)[0] for name in names]
    told = f"The columns are {listed(names)}."
    if wanted is not None:
        for known in (names, plain):
            if wanted in known:
                return list(known).index(wanted)
        hint = did_you_mean(wanted, names) or "."
        raise DataError(
            path, f"there is no column {shown(wanted)}{hint} {told}", role=role, columns=names
        )
    known = usual.split()
    found = [k for k, name in enumerate(plain) if re.sub("[ -]", "_", name.lower()) in known]
    if len(found) > 1:
        several = " and ".join(shown(names[place]) for place in found[:20])
        problem = f"{several} may each be the {role}; say {role}=.... {told}"
        raise DataError(path, problem, role=role, columns=names)
    return found[0] if found else None


def check_apart(path: Path, names: tuple[str, ...], places: Mapping[str, int | None]) -> None:
    """No column holds two things.

    Args:
        path: of the file.
        names: of its columns.
        places: of each role the column, or None.
    """
    roles: dict[int, str] = {}
    for role, place in places.items():
        if place in roles:
            raise DataError(
                path,
                f"the column {shown(names[place])} is named for {roles[place]} and for {role}.",
            )
        if place is not None:
            roles[place] = role

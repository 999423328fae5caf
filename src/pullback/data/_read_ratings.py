"""Ratings from a file of a user's own: one row says user, item, rating and perhaps time."""

import os
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from pullback._names import check_list, did_you_mean, listed, shown
from pullback.data._cells import BadRows, Names
from pullback.data._csv import DELIMITERS, check_names, to_number
from pullback.data._dates import Times, check_time_format
from pullback.data._errors import DataError
from pullback.data._growing import Growing, RowNumbers, by_users
from pullback.data._parts import parts
from pullback.data._ratings import Ratings
from pullback.data._roles import check_apart, needed_place, place_of
from pullback.data._sources import Source, frame_source, is_data_frame, open_source
from pullback.data._text import open_text

_FEEDBACK = ("explicit", "implicit")
_ON_DUPLICATE = ("error", "last", "mean", "sum")
_DOUBLE = "::"  # of MovieLens
_TYPES = ("token", "token_seq", "float", "float_seq")  # of RecBole
_ROWS, _HINTS = 2048, 5
_MICROSECONDS = 1e6
_NAMED = ("user", "item")
_USUAL = {
    "user": "user user_id userid users user_name username customer customer_id customerid member "
    "account visitor visitor_id visitorid reader uid",
    "item": "item item_id itemid items item_name movie movie_id movieid product product_id "
    "productid book book_id bookid isbn song song_id songid artist artist_id artistid track "
    "track_id trackid game anime_id asin iid",
    "rating": "rating ratings stars score value book_rating overall count plays weight",
    "time": "time timestamp date datetime date_time rated_at",
}
# Columns of a file that has no header, as MovieLens has them.
_HEADLESS = ("user", "item", "rating", "time")


class _Places(NamedTuple):
    """Which column holds what; None where there is no such column."""

    user: int
    item: int
    rating: int | None
    time: int | None


def read_ratings(
    path: Any,
    *,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    time: str | None = None,
    time_format: str | None = None,
    feedback: str = "explicit",
    on_duplicate: str = "error",
    known_items: Collection[str] | None = None,
    decimal: str | None = None,
) -> Ratings:
    """Read ratings: one row says user, item, rating and, if it is known, time.

    Rows may come in any order. The file is read some rows at a time, and what is kept of each is
    four numbers, 24 bytes; beyond these and the names the memory does not grow with the file, or by
    an eighth of them.

    Args:
        path: a CSV file in UTF-8, separated by commas, semicolons or tabs, with a header, or
            without one and then with user, item, rating and time in this order (`u.data`); or one
            separated by `::` (`ratings.dat`), likewise; or one with types in its header, as
            `user_id:token` (`.inter`); or a Parquet file, `.parquet` or `.pq`; or a data frame of
            pandas or polars.
        user: the column that names the user; None takes the one with a usual name. What stands in
            it is a name, NA too, unless it is empty: of users who are not known leave it empty, and
            the rows are told.
        item: the column that names the item, likewise.
        rating: the column of ratings, or of how often or how much, likewise. Implicit feedback may
            have none: every row is then once.
        time: the column of times, as numbers or in ISO 8601, which become seconds since 1970; None
            takes the one with a usual name, if there is one.
        time_format: how dates are written that are not in ISO 8601, as `datetime.strptime` has it,
            such as "%d.%m.%Y"; or "number" for numbers that look like dates, as 20240131 does.
        feedback: "explicit": the values are ratings; "implicit": they say how often or how much,
            above 0.
        on_duplicate: of a user twice on one item: "error", "last" (by time, or else by row),
            "mean" or "sum".
        known_items: the names that an item may have; None: any.
        decimal: the sign before fractions, "." or ","; None: whichever a CSV file shows that is
            separated by semicolons or tabs, and else the point.

    Returns:
        The ratings in the order of the file; users and items in the order in which they come.

    Raises:
        ValueError: `feedback`, `on_duplicate` or `known_items` is not as above.
        TypeError: `path` is neither a path nor a data frame.
        DataError: the file cannot be read, or has no rows; a column is missing, or several have a
            usual name; or there are bad rows: a cell too many or too few, an empty cell, a
            rating or a time that is no finite number, an item that is not known, a user twice on
            one item. The message gives the line (of Parquet the row, from 1), and what to do.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "films.csv"
        >>> _ = file.write_text("user,film,stars\\nann,Alien,5\\nbob,Alien,2\\nann,Brazil,4\\n")
        >>> ratings = read_ratings(file, item="film")
        >>> ratings.user_names, ratings.items, ratings.values
        (('ann', 'bob'), array([0, 0, 1], dtype=int32), array([5., 2., 4.]))
    """
    for argument, got, known in (
        ("feedback", feedback, _FEEDBACK),
        ("on_duplicate", on_duplicate, _ON_DUPLICATE),
    ):
        if got not in known:
            raise ValueError(f"`{argument}` must be one of {', '.join(known)}; got {got!r}.")
    check_time_format(time_format)
    if isinstance(known_items, str):
        check_list("known_items", known_items)
    is_frame = is_data_frame(path)
    if not is_frame and not isinstance(path, str | os.PathLike):
        raise TypeError(
            "ratings are read from the path of a file or from a data frame, got "
            f"{type(path).__name__}."
        )
    source = frame_source(path) if is_frame else _source(Path(path), decimal)
    path = Path(f"the {type(path).__name__}") if is_frame else Path(path)
    wanted = {"user": user, "item": item, "rating": rating, "time": time}
    places = _find(path, source.names, wanted, feedback)
    bad = BadRows(path, source.word, decimal=source.decimal)
    users, items = Names(source.names[places.user]), Names(source.names[places.item])
    ratings, rows = _read(source, places, users, items, bad, time_format)
    if known_items is not None:
        _check_items(ratings, rows, set(known_items), bad)
    dropped = _once(ratings, rows, on_duplicate, bad)
    if len(dropped):
        ratings = _without(ratings, dropped)
    if feedback == "implicit" and len(low := np.flatnonzero(ratings.values <= 0)):
        kept = np.delete(np.arange(len(rows)), dropped)
        for place in low.tolist():
            how = "expected how often or how much, above 0"
            got = f"got {ratings.values[place]:g}. Take such rows out."
            bad.add(rows[int(kept[place])], f"{how}; {got}")
    bad.check()
    return ratings


def _source(path: Path, decimal: str | None) -> Source:
    """Of a file of any kind; names as usual where there is no header, and without types."""
    source = (
        _double_colons(path)
        if _has_double_colons(path)
        else open_source(path, headless=True, decimal=decimal, ask=False)
    )
    names = source.names
    if names == tuple(f"x{place + 1}" for place in range(len(names))):
        if not 2 <= len(names) <= len(_HEADLESS):
            raise DataError(
                path,
                f"expected a header, or user, item, rating and time; got {len(names)} columns "
                "without a header.",
                line=1,
            )
        names = _HEADLESS[: len(names)]
    return source._replace(names=tuple(map(_untyped, names)))


def _has_double_colons(path: Path) -> bool:
    """Whether the first line of a file has these, and nothing else between its cells."""
    if path.suffix.lower() in (".parquet", ".pq", ".xlsx", ".xls", ".ods"):
        return False
    first = next(_lines(path), (1, ""))[1]
    return _DOUBLE in first and not any(map(first.count, DELIMITERS))


def _untyped(name: str) -> str:
    """The name of a column without its type, as in `user_id:token`."""
    bare, _, kind = name.partition(":")
    return bare if kind in _TYPES else name


def _double_colons(path: Path) -> Source:
    """Rows of cells between double colons, with a header or without one."""
    first, line = next(_lines(path))[::-1]
    width = first.count(_DOUBLE) + 1
    names = tuple(cell.strip() for cell in first.split(_DOUBLE))
    headless = any(to_number(name) is not None for name in names)
    if headless:
        names = tuple(f"x{place + 1}" for place in range(width))
    check_names(path, line, names)

    def chunks(chosen: Sequence[int], bad: BadRows) -> Iterator[tuple[list[int], list[Sequence]]]:
        begin = None if headless else 1
        rows = ((line, text.split(_DOUBLE)) for line, text in islice(_lines(path), begin, None))
        while block := list(islice(rows, _ROWS)):
            for line, cells in block:
                if len(cells) != width:
                    bad.add(line, f"expected {width} cells, got {len(cells)}.")
            whole = [row for row in block if len(row[1]) == width]
            columns = list(zip(*(cells for _, cells in whole), strict=True))
            if columns:
                yield [line for line, _ in whole], [columns[place] for place in chosen]

    return Source(names, "line", chunks)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with open_text(path) as file:
        for line, text in enumerate(file, 1):
            if text.strip():
                yield line, text.rstrip("\r\n")


def _find(
    path: Path, names: tuple[str, ...], wanted: dict[str, str | None], feedback: str
) -> _Places:
    user, item = (
        needed_place(path, names, role, wanted[role], _USUAL[role]) for role in ("user", "item")
    )
    rating = place_of(path, names, "rating", wanted["rating"], _USUAL["rating"])
    if rating is None and feedback == "explicit":
        raise DataError(
            path,
            "no column has a usual name for the rating; which is it: rating=...? If a row only "
            "says that a user took an item, say `feedback='implicit'` (on the command line "
            f"--feedback implicit, of the fit). The columns are {listed(names)}.",
        )
    places = _Places(
        user, item, rating, place_of(path, names, "time", wanted["time"], _USUAL["time"])
    )
    check_apart(path, names, places._asdict())
    return places


def _read(
    source: Source,
    places: _Places,
    users: Names,
    items: Names,
    bad: BadRows,
    time_format: str | None,
) -> tuple[Ratings, RowNumbers]:
    """The rows that are not bad, and their numbers."""
    chosen = {role: at for role, at in places._asdict().items() if at is not None}
    columns = {role: Growing(np.int32 if role in _NAMED else np.float64) for role in chosen}
    seen = RowNumbers()
    when = None
    if places.time is not None:
        when = Times(source.names[places.time], time_format, bad)
        when.tell(source, places.time)
    others = _NAMED if when is None or not when.dated else (*_NAMED, "time")
    numeric = [place for role, place in chosen.items() if role not in others]
    for part in parts(source, numeric, [chosen[role] for role in others], bad):
        found: dict[str, np.ndarray] = {}
        for role, names in (("user", users), ("item", items)):
            cells, index = part.coded(chosen[role])
            found[role] = names.coded(_whole(cells), index, part.rows, bad)
        if places.rating is not None:
            name = source.names[places.rating]
            found["rating"] = part.numbers(places.rating, name, bad)
        if when is not None:
            assert places.time is not None
            time = when.read(part, places.time)
            found["time"] = time / _MICROSECONDS if when.dated else time
        numbered = part.rows
        if bad.problems:
            whole = ~np.isin(numbered, list(bad.problems))
            found = {role: array[whole] for role, array in found.items()}
            numbered = numbered[whole]
        for role, array in found.items():
            columns[role].append(array)
        seen.append(numbered)
        bad.check(at_end=False)
    if not len(seen):
        bad.check()
        raise DataError(bad.path, "expected rows of ratings; there is none.")
    joined = {role: column.whole() for role, column in columns.items()}
    values = joined.get("rating", np.ones(len(seen)))
    names = tuple(users.names), tuple(items.names)
    codes = joined["user"], joined["item"]
    return Ratings(*codes, values, *names, joined.get("time"), bad.path.name), seen


def _whole(cells: Sequence) -> Sequence:
    """Names that are numbers without the .0 that a frame gives them where some are missing."""
    return [f"{c:.0f}" if isinstance(c, float) and c.is_integer() else c for c in cells]


def _check_items(ratings: Ratings, rows: RowNumbers, known: set[str], bad: BadRows) -> None:
    unknown = [code for code, name in enumerate(ratings.item_names) if name not in known]
    hints = {code: did_you_mean(ratings.item_names[code], known) for code in unknown[:_HINTS]}
    for place in np.flatnonzero(np.isin(ratings.items, unknown)).tolist():
        code = int(ratings.items[place])
        hint = hints.get(code) or "; take the row out."
        bad.add(rows[place], f"the item {shown(ratings.item_names[code])} is not known{hint}")


def _once(
    ratings: Ratings, rows: RowNumbers, on_duplicate: str, bad: BadRows
) -> Int[np.ndarray, " dropped"]:
    """Leave no user twice on one item: the places to drop, whose values others have taken in."""
    dropped = [np.zeros(0, int)]
    for places in by_users(ratings.users):
        users, items, values = (column[places] for column in ratings[:3])
        pairs = users.astype(np.int64) * len(ratings.item_names) + items
        order = np.argsort(pairs, kind="stable")
        same = np.diff(pairs[order]) == 0
        if not same.any():
            continue
        if on_duplicate == "error":
            for at in np.flatnonzero(same).tolist():
                before, place = (int(places[each]) for each in order[at : at + 2])
                user = ratings.user_names[ratings.users[place]]
                thing = ratings.item_names[ratings.items[place]]
                bad.add(
                    rows[place],
                    f"user {shown(user)} has rated {shown(thing)} on {bad.word} "
                    f"{rows[before]} too; on_duplicate='last', 'mean' or 'sum' would settle it.",
                )
            continue
        if ratings.times is not None:
            order = np.lexsort((ratings.times[places], pairs))
        first = np.flatnonzero(np.append(True, ~same))
        last = order[np.append(first[1:], len(order)) - 1]
        if on_duplicate != "last":
            settled = np.add.reduceat(values[order], first)
            if on_duplicate == "mean":
                settled /= np.diff(np.append(first, len(order)))
            ratings.values[places[last]] = settled
        dropped.append(np.delete(places, last))
    return np.concatenate(dropped)


def _without(ratings: Ratings, dropped: Int[np.ndarray, " dropped"]) -> Ratings:
    return ratings.take(np.delete(np.arange(len(ratings.values)), dropped))

"""The table that a recommender writes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._outputs import table_writer
from ._recommender import Recommender
from ._recommender_answers import Recommendation

_AT_ONCE = 1024  # users


def recommend_file(
    model: Any,
    file: Path | None,
    out: Path,
    *,
    users: Sequence[str] = (),
    k: int = 10,
    new_items: bool = False,
) -> tuple[int, int]:
    """Recommend items to the users of a file of ratings, known or new, or to users by name.

    Args:
        model: fitted; it takes in the ratings of the file, and no parameter changes.
        file: ratings, as those of the fit; None: no more than are known.
        out: a CSV or Parquet file, or "-", with the columns user, rank, item, predicted and
            because.
        users: names; none: those of the file, or else all.
        k: how many items for each.
        new_items: whether the file may have items that are not known.

    Returns:
        How many users and rows there were.
    """
    if not isinstance(model, Recommender):
        raise ValueError(
            f"a {type(model).__name__} recommends nothing; `pullback show` says what it can do."
        )
    names = list(users)
    if file is not None:
        given = model.read(file, new_items=new_items)
        model.add(given, new_items=new_items)
        names = names or list(given.user_names)
    names = names or list(model.ratings_.user_names)
    count = 0
    with table_writer(out) as write:
        for start in range(0, len(names), _AT_ONCE):
            rows = model.recommend(names[start : start + _AT_ONCE], k)
            count += len(rows)
            write({name: [getattr(row, name) for row in rows] for name in Recommendation._fields})
    return len(names), count

"""`pullback recommend`: items for users, known or new, by a saved model of ratings."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from pullback.cli._common import (
    BadUsage,
    Flag,
    OptionalName,
    TimeFormat,
    as_file,
    check_out,
    in_one_line,
    set_up_jax,
)
from pullback.cli._reading import Decimal
from pullback.cli._simulate import OptionalFile
from pullback.cli._use import Model, told

Users = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAMES", help_behavior_hint="")]
OnDuplicate = Annotated[
    Literal["error", "last", "mean", "sum"] | None,
    tyro.conf.arg(metavar="HOW", help_behavior_hint=""),
]


def recommend(
    model: Model,
    file: OptionalFile = None,
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("recommendations.csv"),
    users: Users = (),
    k: Annotated[int, tyro.conf.arg(aliases=["-k"])] = 10,
    new_items: Annotated[Flag, tyro.conf.FlagCreatePairsOff] = False,
    user: OptionalName = None,
    item: OptionalName = None,
    rating: OptionalName = None,
    time: OptionalName = None,
    time_format: TimeFormat = None,
    decimal: Decimal = None,
    on_duplicate: OnDuplicate = None,
) -> int:
    """Recommend items to known or new users, and name the ratings of theirs that led to each.

    Args:
        model: The folder that `pullback fit ratings` wrote.
        file: New ratings, with the columns of the fit, of known or new users; - reads CSV from
            standard input. The model takes them in without a new fit.
        out: The CSV or Parquet file to write; - writes CSV to standard output.
        users: The users to recommend to (default: those of FILE, or all where there is none).
        k: How many items to recommend to each user.
        new_items: Accept ratings of items that the model does not know (default: refuse them, as
            likely slips).
        user: The column of users in FILE (default: as in the fit).
        item: The column of items (default: as in the fit).
        rating: The column of ratings (default: as in the fit).
        time: The column of times (default: as in the fit).
        time_format: How dates are written, such as %d.%m.%Y; or the word number, where times are
            not dates (default: as in the fit).
        decimal: The decimal sign, a point or a comma (default: as in the fit).
        on_duplicate: What to do where a user has rated an item twice: refuse the file (error), or
            take the last, the mean or the sum (default: as in the fit).
    """
    check_out(out, file)
    if k < 1:
        raise BadUsage(f"-k must be 1 or more, got {k}")
    set_up_jax()
    from pullback import tasks

    with in_one_line():
        known = tasks.load(model)
        columns = {
            "user": user, "item": item, "rating": rating, "time": time, "time_format": time_format,
            "decimal": decimal, "on_duplicate": on_duplicate,
        }  # fmt: skip
        if isinstance(known, tasks.Recommender):
            known.set_params(**{name: said for name, said in columns.items() if said is not None})
        if file is None:
            found = tasks.recommend_file(known, None, out, users=users, k=k)
        else:
            with as_file(file) as path:
                found = tasks.recommend_file(
                    known, path, out, users=users, k=k, new_items=new_items
                )
    told(f"{found[1]} items for {found[0]} users", out)
    return 0

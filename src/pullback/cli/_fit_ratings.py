"""`pullback fit ratings`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from pullback.cli._common import BadUsage, Flag, OptionalName, TimeFormat
from pullback.cli._fit_and_save import File, Folder, fit_and_save
from pullback.cli._reading import Decimal

if TYPE_CHECKING:
    from pullback.data import Ratings
    from pullback.tasks import AbstractTask

Steps = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]
HeldOut = Annotated[
    Literal["time", "random"] | None, tyro.conf.arg(metavar="WHAT", help_behavior_hint="")
]


def fit_ratings(
    file: File,
    out: Folder,
    user: OptionalName = None,
    item: OptionalName = None,
    rating: OptionalName = None,
    time: OptionalName = None,
    time_format: TimeFormat = None,
    decimal: Decimal = None,
    feedback: Literal["explicit", "implicit"] = "explicit",
    on_duplicate: Literal["error", "last", "mean", "sum"] = "error",
    method: Literal["chains", "als"] = "chains",
    held_out: HeldOut = None,
    max_steps: Steps = None,
    seed: int = 0,
    report: Flag = True,
    progress: Flag = True,
) -> int:
    """Fit a recommender to ratings of items by users, that knows newcomers without a new fit.

    Args:
        file: Ratings, one a row: a CSV or Parquet file, u.data, ratings.dat with ::, or .inter; -
            reads CSV from standard input.
        out: The folder for the model.
        user: The column of users (default: the one with a usual name).
        item: The column of items (default: the one with a usual name).
        rating: The column of ratings, or of how often or how much (default: by its name).
        time: The column of times (default: the one with a usual name, if there is one).
        time_format: How dates are written, such as %d.%m.%Y, or number for times that are none
            (default: as ISO 8601 has them).
        decimal: The sign before fractions, a point or a comma (default: as it looks).
        feedback: Whether the numbers are ratings, or how often or how much.
        on_duplicate: What stands where a user is twice on one item.
        method: Evidence chains, or least squares with fold-in.
        held_out: What is held out to be judged by: time, the latest, or random (default: time
            where it is known).
        max_steps: Training steps of chains (default: chosen).
        seed: The seed of all that is random.
        report: Write no report.html beside the model.
        progress: Show no progress bar.
    """
    if max_steps is not None and max_steps < 1:
        raise BadUsage(f"--max-steps must be 1 or more, got {max_steps}")

    def read(path: Path) -> "Ratings":
        from pullback import data

        return data.read_ratings(
            path, user=user, item=item, rating=rating, time=time, time_format=time_format,
            decimal=decimal, feedback=feedback, on_duplicate=on_duplicate,
        )  # fmt: skip

    def task() -> "AbstractTask":
        from pullback import tasks

        return tasks.Recommender(
            user=user,
            item=item,
            rating=rating,
            time=time,
            time_format=time_format,
            decimal=decimal,
            feedback=feedback,
            on_duplicate=on_duplicate,
            method=method,
            held_out=held_out,
            max_steps=max_steps,
            random_state=seed,
            progress=None if progress else False,
        )

    return fit_and_save(file, out, read, task, report=report, files=("scores.csv",))

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
    """Fit a recommender to ratings of items by users; it serves new users without a new fit.

    Args:
        file: Ratings, one a row: a CSV or Parquet file, u.data, ratings.dat with ::, or .inter; -
            reads CSV from standard input.
        out: The folder for the model.
        user: The column of users (default: the one with a usual name).
        item: The column of items (default: the one with a usual name).
        rating: The column of ratings, or of how often or how much (default: by its name).
        time: The column of times (default: the one with a usual name, if there is one).
        time_format: How dates are written, such as %d.%m.%Y; or the word number, where times are
            not dates (default: ISO 8601, such as 2024-01-31).
        decimal: The decimal sign, a point or a comma (default: found from the file).
        feedback: Whether the numbers are ratings, or how often or how much.
        on_duplicate: What to do where a user has rated an item twice: refuse the file (error), or
            take the last, the mean or the sum.
        method: Evidence chains, or least squares with fold-in.
        held_out: Which ratings are held out for evaluation: the latest ones (time), or random ones
            (random) (default: time, where times are known).
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

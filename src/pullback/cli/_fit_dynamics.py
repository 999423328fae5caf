"""`pullback fit dynamics`."""

from pathlib import Path
from typing import TYPE_CHECKING

from pullback.cli._common import Flag, OptionalName
from pullback.cli._fit_and_save import Columns, File, Folder, fit_and_save
from pullback.cli._reading import AS_IT_LOOKS, Read

if TYPE_CHECKING:
    from pullback.data import MixedTable
    from pullback.tasks import AbstractTask


def fit_dynamics(
    file: File,
    out: Folder,
    time: OptionalName = None,
    columns: Columns = (),
    series: OptionalName = None,
    reading: Read = AS_IT_LOOKS,
    seed: int = 0,
    report: Flag = True,
    progress: Flag = True,
) -> int:
    """Fit a differential equation to measured trajectories: to simulate from new starts.

    Args:
        file: A CSV or Parquet file, with a column of times and one for each state, or a long one,
            with variable and value; - reads CSV from standard input.
        out: The folder for the model.
        time: The column of times (default: one called t or time).
        columns: The columns of the states, as a,b or a b (default: all of numbers).
        series: The column that tells trajectories apart (default: one called series, id, run ...).
        seed: The seed of all that is random.
        report: Write no report.html beside the model.
        progress: Show no progress bar.
    """

    columns = tuple(name for names in columns for name in names.split(","))

    def read(path: Path) -> "MixedTable":
        from pullback import data

        # Of numbers are the times and the states; what names trajectories may be of any kind.
        numbers = None if time is None or not columns else [time, *columns]
        usual = data.read_mixed(path, **reading.given()).names if numbers and series is None else ()
        names = [name for name in (series or "", *usual) if name and name not in (numbers or ())]
        return data.read_mixed(path, numbers, optional=names, **reading.given())

    def task() -> "AbstractTask":
        from pullback import tasks

        return tasks.DynamicsModel(
            time=time,
            columns=columns or None,
            series=series,
            random_state=seed,
            progress=None if progress else False,
        )

    return fit_and_save(file, out, read, task, report=report)

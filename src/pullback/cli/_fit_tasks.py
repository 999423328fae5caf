"""`pullback fit tasks`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from pullback.cli._common import BadUsage, Flag, OptionalName, OptionalPath
from pullback.cli._fit_and_save import Columns, File, Folder, Label, fit_and_save, read_labelled
from pullback.cli._reading import LABELS_AS_THEY_LOOK, ReadLabels

if TYPE_CHECKING:
    from pullback.data import MixedTable
    from pullback.tasks import AbstractTask

Classes = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAMES", help_behavior_hint="")]
Strength = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")]
Seed = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]


def fit_tasks(
    file: File,
    out: Folder,
    label: Label,
    resume: OptionalPath = None,
    classes: Classes = (),
    columns: Columns = (),
    id: OptionalName = None,
    strength: Strength = None,
    reading: ReadLabels = LABELS_AS_THEY_LOOK,
    seed: Seed = None,
    report: Flag = True,
    progress: Flag = True,
) -> int:
    """Fit a classifier to one table after another, without keeping the earlier tables.

    Args:
        file: A CSV or Parquet file with a header; - reads CSV from standard input.
        out: The folder for the model; that of --resume will do.
        label: The column of the classes. A row has no class where its cell is empty or, where
            classes are numbers, is NA, null, None, or -1 beside two other classes.
        resume: The folder of a saved model to continue with this file, under its own settings.
        classes: All classes that any table will have (default: those of the first table).
        columns: The columns of numbers to take (default: all that can be taken).
        id: The column that only names the rows (default: one that looks like it).
        strength: How much earlier tables count; 0 is training without memory (default: 0.3).
        seed: The seed of all that is random (default: 0).
        report: Write no report.html beside the model.
        progress: Show no progress bar.
    """
    if resume is not None and (columns or not id is strength is seed is None):
        raise BadUsage(
            "--columns, --id, --strength and --seed are those of the model that --resume names; "
            "leave them out"
        )
    if resume is None and (out / "model.safetensors").is_file():
        raise BadUsage(
            f"{out} holds a model already, and it would be lost: go on with it by --resume {out}, "
            "or name another folder with --out"
        )
    beside: dict[str, Any] = {}

    def read(path: Path) -> "MixedTable":
        from pullback import data

        if classes:
            beside["classes"] = data.as_labels(list(classes), reading.na_labels)
        return read_labelled(path, label, columns, id, reading, classes=True)

    def task() -> "AbstractTask":
        from pullback import tasks

        shown = None if progress else False
        if resume is None:
            return tasks.ContinualClassifier(
                label=label,
                columns=columns or None,
                id_column=id,
                strength=0.3 if strength is None else strength,
                random_state=0 if seed is None else seed,
                progress=shown,
            )
        model = tasks.load(resume)
        if not isinstance(model, tasks.ContinualClassifier):
            raise ValueError(
                f"{resume} holds a {type(model).__name__}, which learns once; only what "
                "`pullback fit tasks` wrote goes on."
            )
        return model.set_params(label=label, progress=shown)

    return fit_and_save(file, out, read, task, report=report, beside=beside, learn="partial_fit")

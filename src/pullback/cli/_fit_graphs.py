"""`pullback fit graphs`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from pullback.cli._common import BadUsage, Flag
from pullback.cli._fit_and_save import File, Folder, fit_and_save

if TYPE_CHECKING:
    from pullback.data import Graphs
    from pullback.tasks import AbstractTask

Whole = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]


def fit_graphs(
    file: File,
    out: Folder,
    block: int = 1,
    max_nodes: Whole = None,
    max_steps: Whole = None,
    seed: int = 0,
    report: Flag = True,
    progress: Flag = True,
) -> int:
    """Fit a generator of graphs, to draw new ones like them and to score others.

    Args:
        file: Graphs: a folder or a zip of GraphML files or edge lists, or a .npz file in the form
            of the TU data sets.
        out: The folder for the model.
        block: How many nodes are generated at a time: more is quicker, but worse.
        max_nodes: The most nodes that a graph may have, here and when others are scored (default:
            those of the largest).
        max_steps: Training steps (default: chosen).
        seed: The seed of all that is random.
        report: Write no report.html beside the model.
        progress: Show no progress bar.
    """
    flags = (("block", block), ("max-nodes", max_nodes), ("max-steps", max_steps))
    for flag, value in flags:
        if value is not None and value < 1:
            raise BadUsage(f"--{flag} must be 1 or more, got {value}")

    def read(path: Path) -> "Graphs":
        from pullback import data

        return data.read_graphs(path)

    def task() -> "AbstractTask":
        from pullback import tasks

        return tasks.GraphGenerator(
            block=block,
            max_nodes=max_nodes,
            max_steps=max_steps,
            random_state=seed,
            progress=None if progress else False,
        )

    return fit_and_save(file, out, read, task, report=report)

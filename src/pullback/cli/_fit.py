"""`pullback fit`: a model of a file of the user's own, saved. A function for each task."""

from pathlib import Path
from typing import Annotated

import tyro

from pullback.cli._common import BadUsage
from pullback.cli._fit_classes import fit_classes
from pullback.cli._fit_density import fit_density
from pullback.cli._fit_dna import fit_dna
from pullback.cli._fit_dynamics import fit_dynamics
from pullback.cli._fit_gan import fit_gan
from pullback.cli._fit_graphs import fit_graphs
from pullback.cli._fit_molecules import fit_molecules
from pullback.cli._fit_ratings import fit_ratings
from pullback.cli._fit_regression import fit_regression
from pullback.cli._fit_series import fit_series
from pullback.cli._fit_tasks import fit_tasks
from pullback.cli._fit_trust import fit_trust

TASKS = {
    "density": fit_density,
    "gan": fit_gan,
    "classes": fit_classes,
    "regression": fit_regression,
    "series": fit_series,
    "dynamics": fit_dynamics,
    "trust": fit_trust,
    "tasks": fit_tasks,
    "ratings": fit_ratings,
    "dna": fit_dna,
    "molecules": fit_molecules,
    "graphs": fit_graphs,
}


def fit(argv: list[str]) -> int:
    """Fit what the first word names; the flags are those of its function."""
    task = argv[0] if argv else "--help"
    if task in TASKS:
        return tyro.cli(TASKS[task], prog=f"pullback fit {task}", args=argv[1:])
    if task in ("-h", "--help"):
        print("usage: pullback fit TASK FILE --out FOLDER [flags]\n\nTASK is one of:")
        for name, function in TASKS.items():
            print(f"  {name:12}{(function.__doc__ or '').splitlines()[0]}")
        print("\n`pullback fit TASK --help` shows the flags of one.")
        return 0
    if task.startswith("-"):
        raise BadUsage(f"the task comes first: pullback fit TASK FILE ({', '.join(TASKS)})")
    known = f"there is no task {task!r}; there is: {', '.join(TASKS)}"
    if Path(task).is_file():
        known += f". Try: pullback fit {next(iter(TASKS))} {task} --out MODEL"
    raise BadUsage(known)


def fit_help(task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")]) -> int:
    """Fit a model to data of your own, and save it; `fit --help` shows the tasks.

    Args:
        task: What to fit; it comes first.
    """
    raise NotImplementedError("`fit` parses this command; the signature is what --help shows")

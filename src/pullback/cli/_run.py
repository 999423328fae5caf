"""`pullback run`: measure a recipe's claims and write its report."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pullback import recipes, runs
from pullback.cli._common import (
    BadUsage,
    Flag,
    Name,
    OptionalPath,
    is_ours,
    read_ahead,
    set_up_jax,
)


@dataclass(frozen=True)
class RunOptions:
    preset: Literal["smoke", "desk", "long", "paper"] = "desk"
    """How large the run is: smoke takes seconds and only shows that everything runs (its verdicts
    mean nothing), desk takes minutes on two cores, long up to two hours on them, and paper needs a
    GPU."""
    seed: int = 0
    """The base seed; every other seed follows from it."""
    out: OptionalPath = None
    """The run's folder (default: runs/NAME/PRESET-seedSEED)."""
    resume: Flag = False
    """Continue the run in the folder, to the result that it would have had without the break, or
    start one; its settings, data and code must not have changed."""
    overwrite: Flag = False
    """Replace the run in the folder."""
    data: OptionalPath = None
    """The folder with the data set of a recipe such as jem/mnist; `pullback list` says which take
    one. A file of your own is for `pullback fit`."""
    progress: Flag = True
    """Show no progress bars."""


def run_help(
    name: Name,
    options: Annotated[RunOptions, tyro.conf.arg(name="")] = RunOptions(),
) -> int:
    """Measure a recipe's claims and write its report; `run NAME --help` shows NAME's own flags too.

    Args:
        name: A recipe that `pullback list` shows; it comes first.
        options: What every recipe takes.
    """
    raise NotImplementedError("`run` parses this command; the signature is what --help shows")


def run_flags(
    options: Annotated[RunOptions, tyro.conf.arg(name="")] = RunOptions(),
) -> int:
    """Measure a recipe's claims and write its report.

    Args:
        options: What every recipe takes.
    """
    raise NotImplementedError("only the signature is looked at")


def run(argv: list[str]) -> int:
    if not argv or argv[0].startswith("-"):
        raise BadUsage(
            "the recipe's name comes first: pullback run NAME [flags] "
            f"(recipes: {', '.join(recipes.papers())})"
        )
    name, flags = argv[0], argv[1:]
    named = read_ahead(flags, "--data")
    data = None if named is None else Path(named)
    try:
        recipes.check_data(name, data, to_run=not {"-h", "--help"} & set(flags))
    except ValueError as error:
        raise BadUsage(str(error)) from error
    set_up_jax()
    recipe = recipes.load(name)
    options, config = _parse(recipe, flags)
    folder = options.out or Path("runs") / name / f"{options.preset}-seed{options.seed}"
    from pullback.train import TrainingError

    try:
        record = runs.run(
            recipe,
            config,
            preset=options.preset,
            folder=folder,
            seed=options.seed,
            resume=options.resume,
            overwrite=options.overwrite,
            progress=options.progress,
            data=options.data,
        )
    except TrainingError as error:
        print(f"pullback: {error}", file=sys.stderr)
        # A disk that is full says nothing of the paper.
        return 2 if isinstance(error.__cause__, OSError) else 1
    except ValueError as error:
        if not is_ours(error):
            raise
        raise BadUsage(str(error)) from error
    _print_claims(record)
    print(f"report: {folder / 'report.html'}")
    if options.preset == "smoke":
        print("A smoke run only shows that all runs: its verdicts mean nothing.")
        return 0
    return 0 if all(claim["holds"] for claim in record["claims"]) else 1


def _parse(recipe: runs.Experiment, flags: list[str]) -> tuple[RunOptions, Any]:
    """The options, and the preset's configuration with the fields that were given as flags."""
    preset = read_ahead(flags, "--preset") or "desk"  # the other flags' defaults follow from it
    if preset in recipe.PRESETS and preset not in recipe.presets:
        raise BadUsage(
            f"{recipe.name} has no preset {preset}; it has: {', '.join(recipe.presets)} "
            "(`pullback list` shows the same on other data, which may have it)"
        )
    preset = preset if preset in recipe.presets else "desk"

    def gather(
        run: RunOptions = RunOptions(),
        config: recipe.config = recipe.presets[preset],  # pyrefly: ignore
    ) -> tuple[RunOptions, Any]:
        return run, config

    return tyro.cli(
        gather,
        prog=f"pullback run {recipe.name}",
        description=f"{recipe.summary} From {recipe.title} (arXiv {recipe.arxiv}). "
        f"The defaults are those of the preset {preset}.",
        args=flags,
        config=(tyro.conf.OmitArgPrefixes,),
    )


def _print_claims(record: dict[str, Any]) -> None:
    table = Table("", "Claim", "Measured", "Bound", show_lines=True)
    for claim in record["claims"]:
        table.add_row(
            Text("✓ held", "green") if claim["holds"] else Text("✗ FAILED", "bold red"),
            Text.assemble(claim["sentence"], (f"\nheld against: {claim['reference']}", "dim")),
            Text(runs.measured(claim["value"], claim["spread"], claim["unit"])),
            Text(claim["bound"], no_wrap=True),
        )
    Console().print(table)

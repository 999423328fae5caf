"""The `pullback` command.

Exit status: 0 done; 1 a claim does not hold, or the run broke; 2 bad usage or bad data; 130 stopped
with Ctrl-C. Nothing here imports jax before a recipe is loaded.
"""

import contextlib
import hashlib
import itertools
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pullback import __version__, recipes, runs
from pullback._files import atomic_write_text
from pullback.runs import write_gallery

_DESCRIPTION = """Measure the claims of a paper again: `pullback list` shows the papers, and \
`pullback run NAME` measures one. Exit status: 0 done, 1 a claim does not hold, 2 bad usage \
or bad data."""


class _BadUsage(Exception):
    """What the user asked for cannot be done; the message says why and what to try."""


# tyro would show `{None}|PATH` and "(default: None)", or "(default: True)" beside --no-progress.
_Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help_behavior_hint="")]
_Path = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")]
_Name = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]


@dataclass(frozen=True)
class _RunOptions:
    preset: Literal["smoke", "desk", "paper"] = "desk"
    """How large: smoke takes seconds and only shows that all runs (its verdicts mean nothing), desk
    takes minutes on two cores, paper needs a GPU."""
    seed: int = 0
    """The base seed; every other seed follows from it."""
    out: _Path = None
    """The run's folder (default: runs/NAME/PRESET-seedSEED, and the file's name after it)."""
    resume: _Flag = False
    """Go on with the run in the folder, to the result that it would have had, or start one; its
    settings, data and code must be as they were."""
    overwrite: _Flag = False
    """Replace the run in the folder."""
    data: _Path = None
    """The folder with the data set of a recipe such as jem/mnist, or a file of your own, for the
    recipes that take one; `pullback list` says which."""
    progress: _Flag = True
    """Show no progress bars."""


def main(argv: list[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    argv = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        if argv == ["--version"]:
            print(f"pullback {__version__}")
            return 0
        if argv[0] == "run" and not {"-h", "--help"} & set(argv[1:2]):
            return _run(argv[1:])
        commands = {
            "list": _list,
            "run": _run_help,
            "gallery": _gallery,
            "record": _record,
            "data": _data,
            "cite": _cite,
        }
        status = tyro.extras.subcommand_cli_from_dict(
            commands, prog="pullback", description=_DESCRIPTION, args=argv
        )
        sys.stdout.flush()
        return status
    except _BadUsage as error:
        print(f"pullback: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\npullback: stopped", file=sys.stderr)
        if argv[0] == "run":
            again = [word for word in argv if word not in ("--resume", "--overwrite")]
            print(f"go on with: {shlex.join(['pullback', *again, '--resume'])}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the output, such as `head`, has enough of it
        # What is left in the buffer would be written at exit, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as stop:  # how tyro ends after --help (0) and after bad usage (2)
        return stop.code if isinstance(stop.code, int) else 2


def _list() -> int:
    """Show the recipes: name, paper, what is done, and the data that each takes."""
    width = max(map(len, recipes.papers())) + 2
    for name, paper in recipes.papers().items():
        lines = [paper.summary]
        for part, of in paper.data.items():
            data = "" if of == recipes.SIMULATED else f" --data DIR: on {of}"
            lines.append(f"{name}/{part}{data}")
        if name in recipes.TABLES:
            lines.append(f"{name} --data FILE: {recipes.TABLES[name]}")
        print(f"{name:{width}}{paper.title} (arXiv {paper.arxiv})")
        print(*(f"{'':{width}}{line}" for line in lines), sep="\n")
    return 0


def _run_help(
    name: _Name,
    options: Annotated[_RunOptions, tyro.conf.arg(name="")] = _RunOptions(),
) -> int:
    """Measure a recipe's claims and write its report; `run NAME --help` shows NAME's own flags too.

    Args:
        name: A recipe that `pullback list` shows; it comes first.
        options: What every recipe takes.
    """
    raise NotImplementedError("`_run` parses this command; the signature is what --help shows")


def _run(argv: list[str]) -> int:
    if not argv or argv[0].startswith("-"):
        raise _BadUsage(
            "the recipe's name comes first: pullback run NAME [flags] "
            f"(recipes: {', '.join(recipes.papers())})"
        )
    name, flags = argv[0], argv[1:]
    named = _read_ahead(flags, "--data")
    data = None if named is None else Path(named)
    try:
        own = recipes.check_data(name, data, to_run=not {"-h", "--help"} & set(flags))
    except ValueError as error:
        raise _BadUsage(str(error)) from error
    _set_up_jax()
    recipe = recipes.load(name, own=own)
    options, config = _parse(recipe, flags)
    folder = options.out or _default_folder(name, options)
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
        return 1
    except ValueError as error:
        if not _is_ours(error):
            raise
        raise _BadUsage(str(error)) from error
    _print_claims(record)
    print(f"report: {folder / 'report.html'}")
    if options.preset == "smoke":
        print("A smoke run only shows that all runs: its verdicts mean nothing.")
        return 0
    return 0 if all(claim["holds"] for claim in record["claims"]) else 1


def _default_folder(name: str, options: _RunOptions) -> Path:
    """Each file of the user's own has a folder of its own, wherever it lies."""
    folder = Path("runs") / name / f"{options.preset}-seed{options.seed}"
    if options.data is None or options.data.is_dir():
        return folder
    place = hashlib.sha256(str(options.data.resolve()).encode()).hexdigest()[:6]
    return folder.with_name(f"{folder.name}-{options.data.stem}-{place}")


def _is_ours(error: ValueError) -> bool:
    """Whether pullback refused something, with a sentence; others' errors are defects of ours."""
    from pullback.data import DataError

    if isinstance(error, DataError):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    file = "" if trace is None else trace.tb_frame.f_code.co_filename
    return Path(file).is_relative_to(Path(__file__).parent)


def _parse(recipe: runs.Experiment, flags: list[str]) -> tuple[_RunOptions, Any]:
    """The options, and the preset's configuration with the fields that were given as flags."""
    preset = _read_ahead(flags, "--preset") or "desk"  # the other flags' defaults follow from it
    if preset in recipe.PRESETS and preset not in recipe.presets:
        raise _BadUsage(
            f"{recipe.name} has no preset {preset}, for its data are not the paper's; "
            f"it has: {', '.join(recipe.presets)} (`pullback list` shows the same on other data)"
        )
    preset = preset if preset in recipe.presets else "desk"

    def gather(
        run: _RunOptions = _RunOptions(),
        config: recipe.config = recipe.presets[preset],  # pyright: ignore[reportInvalidTypeForm]
    ) -> tuple[_RunOptions, Any]:
        return run, config

    return tyro.cli(
        gather,
        prog=f"pullback run {recipe.name}",
        description=f"{recipe.summary} From {recipe.title} (arXiv {recipe.arxiv}). "
        f"The defaults are those of the preset {preset}.",
        args=flags,
        config=(tyro.conf.OmitArgPrefixes,),
    )


def _read_ahead(flags: list[str], wanted: str) -> str | None:
    """The value of a flag on which the other flags hang."""
    found = None
    for flag, value in itertools.pairwise([*flags, ""]):
        name, equals, inline = flag.partition("=")
        if name == wanted:
            found = inline if equals else value or None  # tyro says that a value is missing
    return found


def _set_up_jax() -> None:
    """Keep compiled programs between runs; JAX reads these when it is imported."""
    import pooch

    settings = {
        # A program with an error check calls back to Python, and JAX does not cache such a program.
        "EQX_ON_ERROR": "nan",
        "JAX_COMPILATION_CACHE_DIR": str(pooch.os_cache("pullback") / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)


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


@contextlib.contextmanager
def _written(path: Path, flag: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _BadUsage(
            f"{path} cannot be written to ({error.strerror}); name another place with {flag}"
        ) from error


def _gallery(runs: Path = Path("runs"), out: _Path = None) -> int:
    """Write an index page of the finished runs.

    Args:
        runs: The folder under which the runs lie.
        out: The page to write (default: index.html in that folder).
    """
    try:
        with _written(out or runs, "--out"):
            print(f"gallery: {write_gallery(runs, out)}")
    except ValueError as error:
        raise _BadUsage(str(error)) from error
    return 0


def _record(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_FOLDER")],
    results: Path = Path("results"),
    name: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None,
) -> int:
    """Keep the claims of a finished desk run as a result, for docs/reproduction.md.

    Args:
        folder: The run's folder.
        results: The folder of results.
        name: The result's name, when not the recipe's; needed for other runs than a plain desk one.
    """
    try:
        record = runs.read_record(folder)
    except ValueError as error:
        raise _BadUsage(str(error)) from error
    plain = record["preset"] == "desk" and not record["changed"] and not record["own_data"]
    if name is None and not plain:
        raise _BadUsage(
            f"{folder} is not a run of the desk preset as it stands (preset {record['preset']}, "
            f"changed: {', '.join(record['changed']) or 'nothing'}, "
            f"own data: {'yes' if record['own_data'] else 'no'}); give the result its own --name"
        )
    name = name or str(record["recipe"]).replace("/", "-")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise _BadUsage(f"--name {name!r} is no file name; use letters, digits, '.', '_' and '-'")
    path = results / f"{name}.json"
    with _written(results, "--results"):
        atomic_write_text(path, json.dumps(record, indent=2) + "\n")
    print(f"recorded: {path}")
    return 0


def _data(action: tyro.conf.Positional[Literal["fetch"]], name: _Name, out: _Path = None) -> int:
    """Download a public data set, and check that it is the right one.

    Args:
        action: What to do.
        name: The data set, such as mnist.
        out: The folder for its files (default: the user's cache, where recipes look).
    """
    from pullback.data import fetch

    try:
        print(f"{action}ed: {fetch(name, out)}")
    except ValueError as error:  # an unknown name, or a DataError
        raise _BadUsage(str(error)) from error
    return 0


def _cite(name: _Name) -> int:
    """Print a recipe's paper as a BibTeX entry.

    Args:
        name: A recipe that `pullback list` shows.
    """
    try:
        print(recipes.find(name)[0].bibtex)
    except ValueError as error:
        raise _BadUsage(str(error)) from error
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The `pullback` command.

Exit status: 0 done; 1 a claim does not hold, or the run broke; 2 bad usage or bad data; 130 stopped
with Ctrl-C. Nothing here imports jax before a recipe is loaded, or a
table has been read.
"""

import contextlib
import os
import shlex
import sys
from collections.abc import Callable

import tyro

from pullback import __version__
from pullback.cli._common import BadUsage, check_seed, gathered, told_of, with_flags
from pullback.cli._completion import asked_for, with_words
from pullback.cli._data import cite, data
from pullback.cli._design import design, design_help, designer_of
from pullback.cli._explain import explain
from pullback.cli._fit import TASKS, fit, fit_help
from pullback.cli._list import list_recipes
from pullback.cli._recommend import recommend
from pullback.cli._record import gallery, record_run
from pullback.cli._results import dependence, goodness
from pullback.cli._run import run, run_help
from pullback.cli._simulate import simulate
from pullback.cli._use import predict, sample, score, show
from pullback.cli._use_series import forecast, impute

_DESCRIPTION = """Fit a file of your own: `pullback fit density FILE --out MODEL`, then `pullback \
score MODEL FILE`. Or measure the claims of a paper again: `pullback list` shows the papers, and \
`pullback run NAME` measures one. `pullback --tyro-write-completion bash FILE` writes a \
completion script for bash, and likewise for zsh and fish. Exit status: 0 done, \
1 a claim does not hold, 2 bad usage or bad data."""


def main(argv: list[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    argv = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    status = _status(argv)
    try:
        if sys.stdout is not None:  # it may be closed from the start
            sys.stdout.flush()
    except OSError as error:
        # What is left in the buffer would be written at exit, and fail again.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # Whoever read the output, such as `head`, may have had enough of it.
        if isinstance(error, BrokenPipeError) or status != 0:
            return status
        print(f"pullback: {told_of(error)}", file=sys.stderr)
        return 2
    return status


def _status(argv: list[str]) -> int:
    commands = {
        "fit": fit_help,
        "score": score,
        "predict": predict,
        "sample": sample,
        "simulate": simulate,
        "impute": impute,
        "forecast": forecast,
        "explain": explain,
        "recommend": recommend,
        "design": design_help,
        "show": show,
        "test": goodness,
        "dependence": dependence,
        "list": list_recipes,
        "run": run_help,
        "gallery": gallery,
        "record": record_run,
        "data": data,
        "cite": cite,
    }
    try:
        if argv == ["--version"]:
            print(f"pullback {__version__}")
            return 0
        if asked_for(argv):
            return tyro.extras.subcommand_cli_from_dict(
                with_words(commands), prog="pullback", args=argv
            )
        check_seed(argv)
        argv = gathered(argv, _verb(argv, commands))
        if argv[0] == "run" and not {"-h", "--help"} & set(argv[1:2]):
            return run(argv[1:])
        if argv[0] == "fit":
            return fit(argv[1:])
        if argv[0] == "design":
            return design(argv[1:])
        return tyro.extras.subcommand_cli_from_dict(
            commands, prog="pullback", description=_DESCRIPTION, args=argv
        )
    except BadUsage as error:
        print(f"pullback: {with_flags(str(error), _verb(argv, commands))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\npullback: stopped", file=sys.stderr)
        _say_how_to_go_on(argv)
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:  # the disk is full, or a place cannot be written to
        print(f"pullback: {told_of(error)}", file=sys.stderr)
        _say_how_to_go_on(argv)
        return 2
    except SystemExit as stop:  # how tyro ends after --help (0 or None) and bad usage (2)
        return 0 if stop.code is None else stop.code if isinstance(stop.code, int) else 2


def _say_how_to_go_on(argv: list[str]) -> None:
    if argv[0] == "run":
        again = [word for word in argv if word not in ("--resume", "--overwrite")]
        print(f"go on with: {shlex.join(['pullback', *again, '--resume'])}", file=sys.stderr)


def _verb(argv: list[str], commands: dict[str, Callable[..., int]]) -> Callable[..., int] | None:
    """The function whose flags a message is to name."""
    if argv[0] == "fit" and argv[1:]:
        return TASKS.get(argv[1])
    if argv[0] == "design" and argv[1:]:
        return designer_of(argv[1])
    return commands.get(argv[0])

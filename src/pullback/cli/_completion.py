"""The script by which a shell completes the command: `--tyro-write-completion bash FILE`."""

import functools
import operator
from collections.abc import Callable
from typing import Annotated, Any

import tyro

from pullback import recipes
from pullback.cli._common import BadUsage
from pullback.cli._fit import TASKS
from pullback.cli._run import run_flags

FLAG = "--tyro-write-completion"
SHELLS = ("bash", "zsh", "fish")


def asked_for(argv: list[str]) -> bool:
    """Whether the command is to write such a script.

    Raises:
        BadUsage: It names no shell, or one that there is no script for, or no file.
    """
    if argv[0] != FLAG:
        return False
    if len(argv) != 3 or argv[1] not in SHELLS:
        raise BadUsage(f"give a shell and a file: pullback {FLAG} {'|'.join(SHELLS)} FILE")
    return True


def with_words(commands: dict[str, Callable[..., int]]) -> dict[str, Callable[..., int]]:
    """The verbs, with the tasks of `fit` and the recipes of `run` and `cite` as words of theirs."""
    papers = recipes.papers().values()
    parts = [f"{paper.name}/{part}" for paper in papers for part in paper.data]
    names = [paper.name for paper in papers]
    return commands | {
        "fit": _verb_of(TASKS),
        "run": _verb_of(dict.fromkeys([*names, *parts], run_flags)),
        "cite": _verb_of(dict.fromkeys(names, _no_flags)),
    }


def _verb_of(words: dict[str, Callable[..., int]]) -> Callable[..., int]:
    """A verb whose next word is one of these, each with the flags of its function."""
    each = [
        Annotated[Any, tyro.conf.subcommand(word, constructor=function, prefix_name=False)]
        for word, function in words.items()
    ]

    def verb(word):
        raise NotImplementedError("only the signature is looked at")

    one_of = functools.reduce(operator.or_, each)
    verb.__annotations__["word"] = Annotated[one_of, tyro.conf.arg(name="")]  # pyrefly: ignore
    return verb


def _no_flags() -> int:
    """Print a recipe's paper as a BibTeX entry."""
    raise NotImplementedError("only the signature is looked at")

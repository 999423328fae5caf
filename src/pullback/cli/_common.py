"""What the verbs share: flags, errors in one line, and how jax is set up."""

import contextlib
import inspect
import itertools
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_origin, get_type_hints

import tyro

from pullback._files import FULL, check_writable
from pullback._lock import LockError, folder_lock
from pullback._seed import RUN_SEEDS, SEEDS, checked_seed


class BadUsage(Exception):
    """What the user asked for cannot be done; the message says why and what to try."""


# tyro would show `{None}|PATH` and "(default: None)", or "(default: True)" beside --no-progress.
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help_behavior_hint="")]
OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")]
TimeFormat = Annotated[str | None, tyro.conf.arg(metavar="PATTERN", help_behavior_hint="")]
OptionalName = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]
Name = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]


STDIN = "standard input"
# Flags that are called otherwise in Python.
_FLAG_OF = {
    "random_state": "seed",
    "id_column": "id",
    "score_column": "score",
    "sequence_column": "sequence",
    "name_column": "name",
    "smiles_column": "smiles",
    "properties": "property",
    "a": "start",
    "b": "to",
}


@contextlib.contextmanager
def as_file(path: Path) -> Iterator[Path]:
    """The file, or for - what comes on standard input, kept in a file for as long as it is read."""
    if str(path) != "-":
        yield path
        return
    if sys.stdin is None:
        raise BadUsage(f"{STDIN} is closed; name a file, or lead one there by < FILE")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "stdin.csv"
        try:
            with copy.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        except OSError as error:
            where = f", which is kept in {Path(folder).parent} while it is read"
            room = "; name a folder with room by the variable TMPDIR"
            full = error.errno in FULL
            raise BadUsage(
                f"{STDIN}{where if full else ''}: {error.strerror}{room if full else ''}"
            ) from error
        named = lambda text: str(text).replace(str(copy), STDIN).replace(copy.name, STDIN)
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: _warn(named(message))
            try:
                yield copy
            except (BadUsage, ValueError) as error:
                if isinstance(error, ValueError) and not is_ours(error):
                    raise
                raise BadUsage(named(" ".join(str(error).split()))) from error


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"pullback: {message}", file=sys.stderr)


@contextlib.contextmanager
def in_one_line() -> Iterator[None]:
    """What pullback refuses, as bad usage, and its warnings; others' errors are defects of ours."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            yield
    except BrokenPipeError:  # whoever read the output has enough of it: that is no bad usage
        raise
    except OSError as error:
        raise BadUsage(told_of(error)) from error
    except (ValueError, ImportError) as error:  # a package that an extra brings may be missing
        if not is_ours(error):
            raise
        raise BadUsage(" ".join(str(error).split())) from error


def told_of(error: OSError) -> str:
    """What the system refused, and of which file.

    >>> told_of(OSError(28, "No space left on device", "m/model.safetensors"))
    'm/model.safetensors cannot be written (No space left on device), and a file that was there is \
as it was; make room, or name another place with --out'
    >>> told_of(FileNotFoundError(2, "No such file or directory", "my.csv"))
    'my.csv: No such file or directory'
    """
    reason = error.strerror or str(error)
    if error.filename is None:  # what is printed has no name
        return f"standard output cannot be written ({reason})"
    if error.errno not in FULL:
        return f"{error.filename}: {reason}"
    return (
        f"{error.filename} cannot be written ({reason}), and a file that was there is as it was; "
        "make room, or name another place with --out"
    )


@contextlib.contextmanager
def written(path: Path, flag: str) -> Iterator[None]:
    """Say which flag names the place that cannot be written to."""
    try:
        yield
    except OSError as error:
        raise BadUsage(
            f"{path} cannot be written to ({error.strerror}); name another place with {flag}"
        ) from error


def check_out(out: Path, *read: Path | None, more: tuple[str, ...] = ()) -> None:
    """Refuse, before any work, a table that could not be written, or one over a file that is read.

    Args:
        out: the file to write.
        read: the files that are read.
        more: endings of files that some models write, gzipped too, and that are refused later of
            others.
    """
    if str(out) == "-":
        return
    plain = out.name.lower().removesuffix(".gz")
    if out.suffix.lower() not in (".csv", ".parquet", ".pq") and not plain.endswith(more):
        others = f" (of sequences {', '.join(more)} too, or these with .gz)" if more else ""
        raise BadUsage(f"--out must end in .csv or .parquet{others}, or be - for stdout; got {out}")
    for file in read:
        if file is not None and out.exists() and file.exists() and out.samefile(file):
            raise BadUsage(f"--out {out} is the file that is read; name another with --out")
    with written(out, "--out"):
        check_writable(out)


def check_graphs_out(out: Path) -> None:
    """Refuse, before any work, a file that holds no graphs, or that could not be written."""
    if out.suffix.lower() not in (".graphml", ".zip", ".npz"):
        raise BadUsage(f"--out of graphs must end in .graphml, .zip or .npz; got {out}")
    with written(out, "--out"):
        check_writable(out)


def task_of(folder: Path) -> str | None:
    """The task of the model that is saved in a folder; None where none is."""
    from pullback._archive import ArchiveError
    from pullback._saved import record_of

    try:
        record = record_of(folder)
    except ArchiveError:
        return None
    return None if record is None else record["task"]


def check_folder(out: Path, *files: str) -> None:
    """Refuse, before any work, a folder in which these files could not be written."""
    if out.exists() and not out.is_dir():
        raise BadUsage(f"{out} is a file; name a folder with --out")
    from pullback._saved import foreign

    if taken := foreign(out, files):
        raise BadUsage(
            f"{taken} is there, and pullback fit did not write it; move it elsewhere, or name "
            "another folder with --out"
        )
    with written(out, "--out"):
        for file in files:
            check_writable(out / file)


@contextlib.contextmanager
def held(out: Path, *files: str) -> Iterator[None]:
    """Hold a folder while these files are made; of two commands at once the second is refused."""
    check_folder(out, *files)
    try:
        with folder_lock(out):
            yield
    except LockError as error:
        raise BadUsage(
            f"{error.folder}: another process (number {error.holder}) is at work in it; wait for "
            "it, or name another folder with --out"
        ) from error


def is_ours(error: ValueError | ImportError) -> bool:
    """Whether pullback refused something, with a sentence; others' errors are defects of ours."""
    from pullback.data import DataError

    if isinstance(error, DataError):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    file = "" if trace is None else trace.tb_frame.f_code.co_filename
    return Path(file).is_relative_to(Path(__file__).parents[1])


def with_flags(message: str, verb: Callable[..., int] | None) -> str:
    """A message that speaks of Python's arguments, with the flags of a command in their place.

    >>> def fit(file, id, seed): ...
    >>> with_flags("give `id_column`, or `random_state`; `y` is no flag; say id='name'", fit)
    "give --id, or --seed; `y` is no flag; say --id 'name'"
    """
    if verb is None:
        return message
    # Where a message speaks of both, the flag is enough.
    message = re.sub(r"(`[^`]+`|\w+=\[[^\]]*\]) \(on the command line (--[^)]*)\)", r"\2", message)
    parameters = inspect.signature(verb).parameters
    grouped = [each.default for each in parameters.values() if is_dataclass(each.default)]
    inside = {each.name for group in grouped for each in fields(group)}
    taken = (set(parameters) | inside) - {"file", "model", "starts", "reading"}

    def flag(found: re.Match[str]) -> str:
        word = found["name"] or found["given"] or found["on"]
        name = _FLAG_OF.get(word, word)
        if name not in taken:
            return found[0]
        told = getattr(getattr(parameters.get(name), "annotation", None), "__metadata__", ())
        short = any(f"-{name}" in (getattr(each, "aliases", None) or ()) for each in told)
        dashes = "-" if short else "--"
        return f"{dashes}{name.replace('_', '-')}" + (" " if found[0].endswith("=") else "")

    given = r"`(?P<name>\w+)`|\b(?P<given>\w+)=(?=['.])|\b(?P<on>\w+)=True\b"
    return re.sub(given, flag, message)


def read_ahead(flags: list[str], wanted: str) -> str | None:
    """The value of a flag on which the other flags hang."""
    found = None
    for flag, value in itertools.pairwise([*flags, ""]):
        name, equals, inline = flag.partition("=")
        if name == wanted:
            found = inline if equals else value or None  # tyro says that a value is missing
    return found


def gathered(argv: list[str], verb: Callable[..., int] | None) -> list[str]:
    """Each flag that takes several values once, with all that it was given: the last would win.

    >>> def design(model: str, avoid: tuple[str, ...] = ()): ...
    >>> gathered(["design", "m", "--avoid", "A", "--avoid=B", "-n", "3"], design)
    ['design', 'm', '-n', '3', '--avoid', 'A', 'B']
    """
    several = set() if verb is None else {
        f"--{name.replace('_', '-')}"
        for name, kind in get_type_hints(verb).items()
        if get_origin(kind) is tuple
    }  # fmt: skip
    rest: list[str] = []
    given: dict[str, list[list[str]]] = {}
    values = rest
    for word in argv:
        name, equals, inline = word.partition("=")
        name = name.replace("_", "-")
        if name in several:
            values = rest if equals else []
            given.setdefault(name, []).append([inline] if equals else values)
        elif word.startswith("-") and not _is_number(word):
            values = rest
            rest.append(word)
        else:
            values.append(word)
    for name, times in given.items():
        if not all(times):
            raise BadUsage(
                f"{name} needs a value, or more, {name}=-x for one that begins with a dash; else "
                "leave it out"
            )
    if all(len(times) == 1 for times in given.values()):
        return argv
    ends = ([name, *itertools.chain(*times)] for name, times in given.items())
    return [*rest, *itertools.chain(*ends)]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def check_seed(argv: list[str]) -> None:
    """Refuse a seed that no generator takes, for every verb."""
    try:
        seed = int(read_ahead(argv, "--seed") or 0)
    except ValueError:
        return  # which the parser of the command tells
    try:
        checked_seed(seed, below=RUN_SEEDS if argv[0] == "run" else SEEDS, name="--seed")
    except ValueError as error:
        raise BadUsage(str(error)) from error


def set_up_jax() -> None:
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

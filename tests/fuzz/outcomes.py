"""What becomes of damaged files: an error that names the file, or values that are allowed."""

import dataclasses
import re
import resource
import shutil
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from mutations import mutated

# Beyond what the process holds, and in seconds of CPU: a file of some kilobytes needs neither.
MEMORY, SECONDS = 2**30, 5.0
# Of a message: twenty lines.
LETTERS = 6000


class Case(NamedTuple):
    """Something that is kept in files, small and whole, and the way to read it.

    Attributes:
        name: of what reads it, and of the kind of file.
        files: their contents, by name.
        load: reads the files of a folder.
        errors: what may be raised for damaged ones.
        guarded: whether a digest covers the files: then nothing but the same values is read.
        wrong: what is wrong with values that were read, or "".
        whole: files that are left as they are.
        told: what a warning may say, as a pattern.
        newest: the file without which an older one is taken up, if a warning says so.
    """

    name: str
    files: Mapping[str, bytes]
    load: Callable[[Path], Any]
    errors: tuple[type[Exception], ...]
    guarded: bool = False
    wrong: Callable[[Any], str] = lambda value: ""
    whole: tuple[str, ...] = ()
    told: str = "(?!)"
    newest: str = ""


class Tally(NamedTuple):
    """How many damaged files were refused, read as the same, and read as other values.

    Attributes:
        faults: what must not be, with the seed that shows it.
        seconds: of CPU, the longest that one file took.
    """

    refused: int
    same: int
    other: int
    faults: tuple[str, ...]
    seconds: float

    @property
    def files(self) -> int:
        return self.refused + self.same + self.other + len(self.faults)


def fuzzed(case: Case, folder: Path, seeds: range) -> Tally:
    """Damage the files of a case once for each seed, and read them."""
    folder = folder / "files"
    laid({name: content for name, content in case.files.items() if name != case.newest}, folder)
    older = fingerprint(case.load(folder)) if case.newest else None
    laid(case.files, folder)
    wanted = fingerprint(case.load(folder))
    counts, faults, longest = {"refused": 0, "same": 0, "other": 0}, [], 0.0
    for seed in seeds:
        random = Random(f"{case.name} {seed}")
        name = random.choice([name for name in case.files if name not in case.whole])
        damaged = mutated(name, case.files[name], random)
        laid({**case.files, name: damaged}, folder)
        start = time.process_time()
        found = outcome(case, folder, wanted, older)
        longest = max(longest, time.process_time() - start)
        if found in counts:
            counts[found] += 1
        else:
            faults.append(f"{case.name}, seed {seed}, {name}: {found}")
    shutil.rmtree(folder)
    return Tally(**counts, faults=tuple(faults), seconds=longest)


def whole_or_refused(case: Case, folder: Path) -> dict[str, int]:
    """Cut the one file of a case at every byte and flip every bit of it.

    Returns:
        Its bytes, how many were cut and flipped, and how many of these were refused.
    """
    laid(case.files, folder)
    wanted = fingerprint(case.load(folder))
    ((name, content),) = case.files.items()
    refused = 0
    for length in range(len(content)):
        (folder / name).write_bytes(content[:length])
        refused += outcome(case, folder, wanted) == "refused"
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        (folder / name).write_bytes(flipped)
        refused += outcome(case, folder, wanted) == "refused"
    size = len(content)
    return {"bytes": size, "cuts": size, "flips": 8 * size, "refused": refused}


def laid(files: Mapping[str, bytes], folder: Path) -> None:
    """The files in the folder, and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def outcome(case: Case, folder: Path, wanted: Any, older: Any = None) -> str:
    """ "refused", "same" or "other", or what is wrong about it."""
    with warnings.catch_warnings(record=True) as told, bounds(SECONDS, MEMORY):
        warnings.simplefilter("always")
        try:
            value = case.load(folder)
        except case.errors as error:
            found = "refused" if names_a_file(error, folder, case) else f"names no file: {error}"
        except (Exception, SystemExit) as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(at.filename).name}:{at.lineno}"
            found = f"{type(error).__name__} in {where}: {error}"
        else:
            found = _judged(case, value, wanted, older if told else None)
    wrong = [str(each.message) for each in told if not re.search(case.told, str(each.message))]
    return f"warns: {wrong[0]}" if wrong and found in _GOOD else found


_GOOD = ("refused", "same", "other")


def names_a_file(error: Exception, folder: Path, case: Case) -> bool:
    """Whether the message says which file, in a sentence that can be read."""
    text = str(error)
    return str(folder) in text and len(text) < LETTERS


def _judged(case: Case, value: Any, wanted: Any, older: Any) -> str:
    try:
        found = fingerprint(value)
        if found == wanted:
            return "same"
        if case.guarded:
            return (
                "other" if found == older else "read as other values, though a digest guards them"
            )
        problem = no_record(value) or case.wrong(value)
        return f"read, but {problem}" if problem else "other"
    except Exception as error:
        return f"what was read is no record: {error!r}"


@contextmanager
def bounds(seconds: float, memory: int) -> Iterator[None]:
    """End what takes more CPU time or memory than this, by an error."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {seconds:g} s of CPU time")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = signal.signal(signal.SIGVTALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (held + memory, hard))
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGVTALRM, before)


def fingerprint(value: Any) -> Any:
    """What two values have in common that are the same to the bit."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        if "key" in str(value.dtype):
            import jax

            value = jax.random.key_data(value)
        array = np.asarray(value)
        if array.dtype == object:
            return "array", array.shape, repr(array.tolist())
        return "array", str(array.dtype), array.shape, array.tobytes()
    if isinstance(value, Mapping):
        return tuple(sorted((str(key), fingerprint(item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return type(value).__name__, *map(fingerprint, value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f.name for f in dataclasses.fields(value) if hasattr(value, f.name)]
        return type(value).__name__, *(fingerprint(getattr(value, name)) for name in fields)
    if callable(value):
        return getattr(value, "__qualname__", repr(value))
    return repr(value)


def no_record(value: Any) -> str:
    """What no record of data may hold, or ""."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiubOUS":
            return f"it holds an array of {value.dtype}"
        if value.dtype.kind == "f" and np.isinf(value).any():
            return "it holds an infinity"
        if value.dtype == object and not all(isinstance(v, str | None) for v in value.ravel()):
            return "it holds objects"
    parts: Any = ()
    if isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, list | tuple):
        parts = value
    elif dataclasses.is_dataclass(value):
        parts = (getattr(value, field.name) for field in dataclasses.fields(value))
    return next(filter(None, map(no_record, parts)), "")

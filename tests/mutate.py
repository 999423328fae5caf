"""Breaks the mathematics on purpose, and lists the breaks that no test notices: `make mutate`.

`python tests/mutate.py` makes each break of mutants.toml in a copy of the package and runs the
tests that should notice, without those marked slow. Words choose the breaks in whose files they
stand: `python tests/mutate.py calculus bounds`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIST = Path(__file__).with_name("mutants.toml")
_NONE_RAN = 5  # pytest's word for it: all are marked slow


@dataclass(frozen=True)
class Mutant:
    """A break.

    Args:
        file: the module, from the package on.
        old: what stands there.
        new: what takes its place.
        tests: files or folders of tests, from `tests` on.
        times: how often `old` stands there.
    """

    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    times: int = 1

    @property
    def name(self) -> str:
        return f"{self.file}: {self.new.strip()}"


def mutants(words: list[str]) -> list[Mutant]:
    """Those of the list in whose file's name one of the words stands, or all."""
    listed = tomllib.loads(LIST.read_text(encoding="utf-8"))["mutant"]
    found = [Mutant(**{**each, "tests": tuple(each["tests"])}) for each in listed]
    return [m for m in found if not words or any(word in m.file for word in words)]


def broken(package: Path, mutant: Mutant) -> str:
    """The module's text with the break in it."""
    text = (package / mutant.file).read_text(encoding="utf-8")
    if text.count(mutant.old) != mutant.times:
        raise ValueError(
            f"{mutant.file} has {mutant.old!r} {text.count(mutant.old)} times, not {mutant.times}: "
            "write the mutant anew for the code as it is."
        )
    return text.replace(mutant.old, mutant.new)


def is_noticed(package: Path, mutant: Mutant) -> bool:
    """Whether a test fails of a copy of the package that has the break."""
    file = package / mutant.file
    whole, text = file.read_text(encoding="utf-8"), broken(package, mutant)
    file.write_text(text, encoding="utf-8")
    try:
        return not _passes(package, mutant.tests)
    finally:
        file.write_text(whole, encoding="utf-8")


def _passes(package: Path, tests: tuple[str, ...]) -> bool:
    asked = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *asked, *(f"tests/{each}" for each in tests)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1, _NONE_RAN):
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}")
    return done.returncode != 1


def main(words: list[str]) -> int:
    chosen, missed = mutants(words), []
    for mutant in chosen:
        broken(ROOT / "src" / "pullback", mutant)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "pullback"
        shutil.copytree(ROOT / "src" / "pullback", package, ignore=_bytecode)
        for number, mutant in enumerate(chosen, 1):
            noticed = is_noticed(package, mutant)
            missed += [] if noticed else [mutant]
            told = "noticed" if noticed else "NOT NOTICED"
            print(f"{number}/{len(chosen)} {told}: {mutant.name}", flush=True)
    print(f"{len(missed)} of {len(chosen)} breaks are not noticed.")
    return 1 if missed else 0


_bytecode = shutil.ignore_patterns("__pycache__")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

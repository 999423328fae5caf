"""Which cases are too long for `make test`: `python tests/long_cases.py` measures all, in CPU time.

A case is long that takes more than `EACH` seconds. The cheapest case of a test stays, unless it too
takes more than `FIRST`: that test is one of the long proofs, which `make test-slow` runs, as it
runs everything. What is marked `slow` by hand is so on any machine, and is not measured.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import pytest

EACH, FIRST = 0.3, 2.5
# What `make test` is never without: a run of each paper, and that a saved model is what was fitted.
ALL_OF = ("tests/recipes/test_every_recipe.py", "tests/tasks/test_task_store.py")
LIST = Path(__file__).with_suffix(".txt")


def long_cases() -> set[str]:
    """The names of the cases on the list."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    start = time.process_time()
    try:
        return (yield)
    finally:
        with Path(os.environ["CASES"], str(os.getpid())).open("a", encoding="utf-8") as file:
            file.write(f"{time.process_time() - start:.3f} {item.nodeid}\n")


def choose(seconds: dict[str, float]) -> list[str]:
    """The long ones of these cases."""
    tests = defaultdict(list)
    for case, taken in seconds.items():
        if not case.startswith(ALL_OF):
            tests[case.partition("[")[0]].append((taken, case))
    return sorted(
        case
        for cases in tests.values()
        for place, (taken, case) in enumerate(sorted(cases))
        if taken > (FIRST if place == 0 else EACH)
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile"]
        command += ["-m", "not slow", "-p", "long_cases", str(LIST.parent)]
        paths = os.pathsep.join(filter(None, [str(LIST.parent), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "CASES": folder, "PYTHONPATH": paths}
        subprocess.run(command, env=environment, check=True, cwd=LIST.parents[1])
        lines = [line for file in Path(folder).iterdir() for line in file.open(encoding="utf-8")]
    parts = [line.rstrip("\n").partition(" ") for line in lines]
    found = choose({case: float(taken) for taken, _, case in parts})
    LIST.write_text("\n".join([_HEADER, *found, ""]), encoding="utf-8")


_HEADER = "# Cases that `make test` leaves to `make test-slow`; made by tests/long_cases.py."

if __name__ == "__main__":
    main()

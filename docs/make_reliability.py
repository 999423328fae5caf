"""Write docs/reliability.md from results/reliability/*.json, which `--measure` makes.

python docs/make_reliability.py              write the page
python docs/make_reliability.py --check      fail when the page is not what the results say
python docs/make_reliability.py --measure    damage 300 files of every kind and kill every training
                                             50 times, which takes about half an hour, and write it
"""

import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _page import ROOT, parser_of, write_or_check

from pullback._files import atomic_write_text

FUZZ = ROOT / "tests" / "fuzz"
FILES, KILLS = 300, 50
PAGE = """# Files that can be trusted

Written by `docs/make_reliability.py` from `results/reliability/*.json`; do not edit.

## What survives a kill

A file appears under its name in one step, after its bytes are on the disk: who comes after a kill,
a full disk or Ctrl-C finds the old file or the new one, whole.

- **A training** (`fit`, `iterate`, a stack of either, with a `folder`) keeps its last two
  checkpoints. With `resume=True` it goes on from the last one that is whole and comes to the same
  bits as one that nobody stopped, on the same machine with the same versions. Lost are the steps
  since that checkpoint; they are taken again, and their lines of the log written again.
- **A recipe** (`pullback run NAME --resume`) keeps each stage that is done, and the checkpoints of
  the one that is not.
- **A saved model** is one file, `model.safetensors`: the old model or the new one.
- What a killed process left under a temporary name is taken away by the next one that writes there.
- One process works in a folder at a time, and the next is refused with the number of the first. The
  lock is the system's: it ends with the process, however that ends.

## What a digest covers

A SHA-256 covers **every byte** of a checkpoint, a stage, a saved model and what is kept of a
posterior of weights. It is compared before anything in the file is looked at: the file is read as
it was written, or refused by its name. Of two checkpoints the older is taken up where the newer is
damaged, and a warning says so. Nothing in a file is run: there is no pickle.

A resume is refused, in a sentence, where what it goes on with is something else: the model with its
settings, the loss, the optimiser, the data, the batch size or the key; of a recipe its settings,
its code, its data or its seed. Another version of a library is told by a warning.

## What has no digest

- **Files of your own.** A flipped bit in the digits of a CSV file makes another number, which no
  reader can know. What is checked is what the format allows: gzip, zip and npz have checksums;
  names, types, shapes and sizes are compared with the bytes that there are before memory is taken;
  and values must be possible: a class from 0 to 9, a time within the stay, a finite number. A file
  is read so or refused by its name and, where there is one, its line.
- `metrics.jsonl`: a damaged line is left out with a warning; a line with another number is
  believed.
- `config.json`, `claims.json` and `contents.json` of a run are checked to be such files;
  `model.json` beside a saved model is a copy for people and is not read. Pages are never read back.

## What is not covered

- A digest shows damage and not intent: who may write to a file may write its digest too.
- The same bits on another machine, on another device, or by other versions: sums may be taken in
  another order there.
- Of data on the host (a memmap, a dataset) a resume compares 128 examples, not all.
- A disk that says that it has flushed what it has not, and a shared disk that passes no locks on.
  Windows has no such lock; there two processes in one folder are not noticed.

## How it is tested

`make test` damages 30 files of every kind, and `make test-slow` 300: bits are flipped, bytes cut,
repeated, swapped and zeroed, numbers of headers made absurd, members of zip files replaced with
right checksums by other types, by a pickle or by encrypted ones, text given other delimiters,
quotes and encodings. Each file must end in an error of the kind that is promised, which names the
file in less than a page, or in values that are allowed; without a warning that is not promised,
within 5 s of CPU time and 1 GiB of memory. Processes are ended by SIGKILL. The figures are those of

    python docs/make_reliability.py --measure
"""


def page(results: Path) -> str:
    """The page, as the results say it must be."""
    fuzz, kills = (json.loads((results / f"{name}.json").read_text()) for name in ("fuzz", "kills"))
    return "\n".join([PAGE, *_damaged(fuzz), *_killed(kills)])


def _damaged(found: dict[str, Any]) -> list[str]:
    cases, bits = found["cases"], found["bits"]
    total = {name: sum(case[name] for case in cases) for name in ("files", *_COLUMNS, "faults")}
    longest = max(case["seconds"] for case in cases)
    return [
        "## Damaged files",
        "",
        f"{total['files']:,} files of {len(cases)} kinds, {found['files']} of each, by seed "
        f"({_when(found)}). {total['refused']:,} were refused by an error that names the file, "
        f"{total['same']:,} were read as what they had been, {total['other']:,} as other values "
        f"that a file may hold, where there is no digest. **{total['faults']}** ended in anything "
        f"else. The longest took {longest:.1f} s of CPU time.",
        "",
        "| what is read | digest | files | refused | the same | other values | anything else |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {case['name']} | {'yes' if case['guarded'] else 'no'} | {case['files']} | "
            + " | ".join(str(case[name]) for name in (*_COLUMNS, "faults"))
            + " |"
            for case in cases
        ),
        "",
        "What `load_model` read as other values is the checkpoint before the last, which was "
        "damaged, with a warning that says so.",
        "",
        *(
            f"Every cut and every flipped bit of one of {each['bytes']:,} bytes ({each['name']}): "
            f"{each['refused']:,} of {each['cuts'] + each['flips']:,} were refused.\n"
            for each in bits
        ),
    ]


_COLUMNS = ("refused", "same", "other")


def _killed(found: dict[str, Any]) -> list[str]:
    lines = [
        "## Killed processes",
        "",
        "A process is killed by SIGKILL at a random moment of its life, a recipe's within the time "
        "of half a run, so that few come to their end, and the next one goes on with what it left, "
        f"again and again ({_when(found)}). Whatever lay in a folder after a kill was read whole.",
        "",
        "| what was killed | kills | of them, left something to go on from | ended in spite of "
        "them | the same to the bit, and no file too many |",
        "|---|---|---|---|---|",
    ]
    for each in found["kills"]:
        numbers = (each[name] for name in ("kills", "left_something", "done", "same"))
        lines.append(f"| `{each['name']}` | {' | '.join(map(str, numbers))} |")
    return [*lines, ""]


def _when(found: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return f"{found['measured']}; {versions}"


def measure(results: Path) -> None:
    """Damage the files and kill the processes anew."""
    sys.path.insert(0, str(FUZZ))
    _keep(results / "fuzz.json", {"files": FILES, **_fuzz()})
    _keep(results / "kills.json", {"kills": _kills()})


def _keep(path: Path, found: dict[str, Any]) -> None:
    libraries = ("jax", "numpy", "pyarrow", "safetensors")
    about = {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "versions": {
            "python": ".".join(map(str, sys.version_info[:3])),
            **{name: version(name) for name in libraries},
        },
    }
    atomic_write_text(path, json.dumps({**about, **found}, indent=1) + "\n")


def _fuzz() -> dict[str, Any]:
    import array_files
    import kept_files
    import text_files
    from outcomes import fuzzed, whole_or_refused

    cases = [*array_files.CASES, *text_files.CASES, *(make() for make in kept_files.MADE.values())]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            tally = fuzzed(case, Path(folder), range(FILES))
            for fault in tally.faults:
                print(fault, file=sys.stderr)
            counts = {name: getattr(tally, name) for name in _COLUMNS}
            counts |= {"files": tally.files, "faults": len(tally.faults)}
            about = {"name": case.name, "guarded": case.guarded}
            found.append({**about, **counts, "seconds": round(tally.seconds, 2)})
        bits = [
            {"name": name, **whole_or_refused(kept_files.MADE[name](), Path(folder) / "bits")}
            for name in kept_files.BITS
        ]
    return {"cases": found, "bits": bits}


def _kills() -> list[dict[str, Any]]:
    import kills

    found = []
    for name in kills.WORK:
        command = [sys.executable, str(FUZZ / "kills.py"), name, str(KILLS)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ})
        found.append(json.loads(done.stdout))
        print(found[-1], file=sys.stderr)
    return found


def main(argv: list[str] | None = None) -> int:
    script, about = "make_reliability.py", __doc__ or ""
    parser = parser_of(
        script, about, results=ROOT / "results" / "reliability", page="reliability.md"
    )
    parser.add_argument("--measure", action="store_true", help="damage and kill anew first")
    options = parser.parse_args(argv)
    if options.measure:
        measure(options.results)
    return write_or_check(options, script, page)


if __name__ == "__main__":
    sys.exit(main())

"""Run again what is recorded of older code, the longest ago first, and record it.

python docs/make_records.py                  every result whose recipe has changed since
python docs/make_records.py relax jem-mnist  these, whether or not they have
python docs/make_records.py --list           say which they are, and run nothing
python docs/make_records.py --minutes 90     begin no run that would end later than in so long

A run that is stopped goes on where it stood, unless code has changed: call it again.
Afterwards: python docs/make_reproduction.py
"""

import argparse
import json
import sys
from pathlib import Path

from _page import ROOT
from _runs import Sitting, run_again
from _verdicts import digest_now, results_in

from pullback._files import atomic_write_text


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="a file of results/, without .json"
    )
    parser.add_argument("--list", action="store_true", help="say which, and run nothing")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "records")
    options = parser.parse_args(argv)
    found = {result.name: result for result in results_in(options.results)}
    if unknown := [name for name in options.names if name not in found]:
        parser.error(f"no result named {', '.join(unknown)}; there are {', '.join(found)}")
    due = [found[name] for name in options.names] or [r for r in found.values() if r.stale]
    due.sort(key=lambda result: result.record["finished"])
    if options.list:
        for result in due:
            print(f"{result.name}  {result.record['wall_seconds']:.0f} s")
        return 0
    failed, sitting = [], Sitting(options.minutes)
    for result in due:
        if not sitting.takes(result.name, result.record["wall_seconds"]):
            continue
        record = run_again(result.record, result.record["seed"], options.runs / result.name)
        if record is None or record["sources"] != digest_now(record["recipe"]):
            failed.append(result.name)
            continue
        atomic_write_text(
            options.results / f"{result.name}.json", json.dumps(record, indent=2) + "\n"
        )
        print(f"recorded: {result.name}", flush=True)
    if failed:
        print(f"no result: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

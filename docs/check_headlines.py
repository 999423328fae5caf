"""Run recorded experiments by other base seeds: five to set bounds by, three that check them.

python docs/check_headlines.py               every desk result that has a headline
python docs/check_headlines.py relax vera    these
python docs/check_headlines.py --minutes 90  begin no run that would end later than in so long
python docs/check_headlines.py --fresh       the three alone, where bounds stand already
python docs/check_headlines.py --show        what was found so far, and run nothing

The base seeds 0 to 4 are for setting bounds. The three others are drawn from the digest of the
recipe's sources, so that nobody chose them, and they are others once a bound is changed. What each
found is kept in results/checks, from which docs/make_reproduction.py takes it.
"""

import argparse
import hashlib
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from _page import ROOT
from _runs import Sitting, of_this, read_check, run_again
from _verdicts import Result, digest_now, results_in

from pullback._files import atomic_write_text
from pullback.runs import measured

SETTING = range(5)


def fresh_seeds(sources: str) -> list[int]:
    """Three base seeds that nobody chose, of six digits each."""
    digest = hashlib.sha256(sources.encode()).digest()
    return [100_000 + int.from_bytes(digest[8 * i : 8 * i + 8]) % 900_000 for i in range(3)]


def check(result: Result, file: Path, runs: Path, sitting: Sitting, seeds: list[int]) -> bool:
    """Run the seeds that are left; keep each one's claims. Whether all ended with claims."""
    sources = digest_now(result.record["recipe"])
    found = read_check(file) if file.exists() else None
    if found is None or not of_this(found, result.record, sources):
        of = {name: result.record[name] for name in ("recipe", "preset", "config")}
        found = {**of, "sources": sources, "setting": {}, "fresh": {}}
    whole = True
    for seed in seeds:
        part = found["setting" if seed in SETTING else "fresh"]
        name = f"{result.name}, base seed {seed}"
        if str(seed) in part or not sitting.takes(name, result.record["wall_seconds"]):
            continue
        record = run_again(result.record, seed, runs / f"{result.name}-{seed}")
        if record is None or record["sources"] != sources:
            print(f"no result: {name}", file=sys.stderr)
            whole = False
            continue
        kept = ("code", "commit", "finished", "wall_seconds", "claims")
        part[str(seed)] = {name: record[name] for name in kept}
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(file, json.dumps(found, indent=2) + "\n")
    return whole


def show(result: Result, found: dict[str, Any]) -> None:
    """Each claim's figure by the seeds that set bounds, and whether it holds by fresh ones."""
    of = "" if of_this(found, result.record, result.record["sources"]) else " (of older code)"
    print(f"{result.name}{of}: setting {[*found['setting']]}, fresh {[*found['fresh']]}")
    if of:
        return
    for index, claim in enumerate(result.record["claims"]):
        set_by = [float(s["claims"][index]["value"]) for s in found["setting"].values()]
        fresh = [s["claims"][index] for s in found["fresh"].values()]
        held = f"{sum(one['holds'] for one in fresh)} of {len(fresh)} fresh hold"
        if set_by:
            spread = statistics.stdev(set_by) if len(set_by) > 1 else None
            held += f"; {measured(statistics.fmean(set_by), spread)} by {len(set_by)}"
        mark = "*" if claim["headline"] else " "
        print(f" {mark} {claim['bound']:>12}  {held}  {claim['sentence']}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="a file of results/, without .json"
    )
    parser.add_argument("--show", action="store_true", help="say what was found, and run nothing")
    parser.add_argument("--fresh", action="store_true", help="the three fresh seeds alone")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "checks")
    options = parser.parse_args(argv)
    found = {result.name: result for result in results_in(options.results)}
    if unknown := [name for name in options.names if name not in found]:
        parser.error(f"no result named {', '.join(unknown)}; there are {', '.join(found)}")
    chosen = [found[name] for name in options.names] or [
        result for result in found.values()
        if result.record["preset"] == "desk" and any(result.headlines())
    ]  # fmt: skip
    whole, sitting = True, Sitting(options.minutes)
    for result in chosen:
        file = options.results / "checks" / f"{result.name}.json"
        if not options.show:
            if result.stale:
                print(f"{result.name} is of older code: record it first", file=sys.stderr)
                whole = False
                continue
            drawn = fresh_seeds(result.record["sources"])
            seeds = drawn if options.fresh else [*SETTING, *drawn]
            whole &= check(result, file, options.runs, sitting, seeds)
        if file.exists():
            show(result, read_check(file))
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())

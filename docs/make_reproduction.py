"""Write docs/reproduction.md from results/*.json, which `pullback record RUN_FOLDER` makes.

python docs/make_reproduction.py            write the page, and the figures of README.md
python docs/make_reproduction.py --check    fail when the page is not what the results say, or
                                            when a recipe has changed since the page was written
"""

import html
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import make_readme
from _page import ROOT, parser_of, write_or_check
from _runs import flags
from _verdicts import NOT_MEASURED, VERDICTS, Result, results_in, share, worst

from pullback.recipes import SIMULATED, find, papers
from pullback.runs import measured

HEAD = """# Reproduction: what each paper is known for, and what each recipe measured

Written by `docs/make_reproduction.py` from `results/*.json`; do not edit. `pullback run NAME`
measures the claims again, and `pullback record RUN_FOLDER` keeps what was measured. The figure
after ± is the standard deviation over the seeds. A claim that does not hold is shown, not hidden.

## Verdicts

A verdict is computed from the claims that are the paper's headline, over all recorded runs and over
the fresh base seeds that checked them (`make headline-check`), and the worst one counts:
**reproduced** (the paper's data and protocol), **reproduced in kind** (smaller or other data: the
mechanism and its direction hold; of the paper's effect so large a share), **not reproduced** (the
bound is missed, or the 95 % interval of the mean over seeds holds no effect), **contradicted** (the
interval lies on the other side of no effect; where data and sizes are smaller than the paper's, at
those), and **not measured**.
"""
OLD = "older code"


def page(folder: Path) -> str:
    """The page, as the results say it must be."""
    results = results_in(folder)
    parts = [HEAD, verdicts(results), *map(section, results)]
    return "\n".join(parts if results else [HEAD, "No result is recorded yet.\n"])


def verdicts(results: list[Result]) -> str:
    """The table of papers, and which results are of code that has changed since."""
    known = papers()
    names = [*known, *sorted({result.paper for result in results} - set(known))]
    lines = ["| paper | known for | measured in its place | verdict |", "|---|---|---|---|"]
    counts = dict.fromkeys([*VERDICTS, NOT_MEASURED], 0)
    reasons = []
    for name in names:
        of = [result for result in results if result.paper == name]
        found = [(result, *each) for result in of for each in result.headlines()]
        verdict = worst(each[2] for each in found)
        counts[verdict] += 1
        told = known[name].headline if name in known else None
        if found and any(result.stale for result, *_ in found):
            verdict += f" ({OLD})"
        reason = told.reason if told is not None else None
        if found and (reason or not verdict.startswith("reproduced")):
            reasons.append(f"- **{text(name)}**, {verdict}. {text(reason or 'Not found yet.')}")
        cells = [
            name,
            "" if told is None else f"{told.says} {told.figure}",
            "; ".join(in_place(*each) for each in found),
        ]
        row = [text(cell) for cell in cells] + [f"**{verdict}**"]
        lines.append("| " + " | ".join(row) + " |")
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    stale = [result.name for result in results if result.stale]
    lines += ["", f"Of {len(names)} papers: {told}.", ""]
    checked = sum(bool(result.fresh) for result in results if any(result.headlines()))
    of = sum(any(result.headlines()) for result in results)
    if of:
        lines += [
            f"Of {of} results with a headline {checked} were checked by fresh base seeds.",
            "",
        ]
    if reasons:
        lines += [
            "Why a headline is not reproduced, and what was tried; or what else to know of it:",
            "",
            *reasons,
            "",
        ]
    if stale:
        lines += [
            f"Of {len(results)} results {len(stale)} are of {OLD}, for their recipe has changed "
            f"since (`make records` runs them again): {', '.join(map(text, stale))}.",
            "",
        ]
    return "\n".join(lines)


def in_place(result: Result, claim: dict[str, Any], verdict: str) -> str:
    """A headline's claim as it was measured."""
    figure = measured(claim["value"], claim["spread"], claim["unit"])
    ours = share(claim)
    beside = "" if ours is None else f", {ours:.2g} of the paper's effect"
    seeds = f"{claim['seeds']} seeds" if claim["seeds"] > 1 else "one run"
    missed = "" if verdict.startswith("reproduced") else f", {verdict}"
    sentence = claim["sentence"].rstrip(".:")
    of = f"{result.name}{on_data(result.record['recipe'])}, {result.record['preset']}"
    return f"{sentence}: {figure}{beside} ({of}, {seeds}{missed})"


def on_data(recipe: str) -> str:
    """The data set that an experiment reads, where it reads one."""
    try:
        paper, part = find(recipe)
    except ValueError:
        return ""
    return "" if part is None or paper.data[part] == SIMULATED else f" on {paper.data[part]}"


def section(result: Result) -> str:
    """One result: where it comes from, and its claims as a table."""
    record = result.record
    held = sum(claim["holds"] for claim in record["claims"])
    machine, versions = record["machine"], record["versions"]
    legs = f" in {len(record['legs'])} legs" if len(record["legs"]) > 1 else ""
    lines = [
        f"## {text(result.name)}",
        "",
        f"{text(record['title'])} ([arXiv {text(record['arxiv'])}]"
        f"(https://arxiv.org/abs/{text(record['arxiv'])})). {text(record['summary'])}",
        "",
        f"{held} of {len(record['claims'])} claims held. `{command(record)}` took "
        f"{record['wall_seconds']:.0f} s{legs} on {text(machine['cpu'])}, "
        f"{machine['cores']} cores, "
        f"device {text(machine['device'])}; jax {text(versions['jax'])}, "
        f"python {text(versions['python'])}, {text(record['finished'])}; {of_code(result)}.",
        "",
        "| claim | measured | seeds | bound | held against | holds | fresh base seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for index, claim in enumerate(record["claims"]):
        again = [one["holds"] for one in result.again(index)]
        cells = [
            claim["sentence"],
            measured(claim["value"], claim["spread"], claim["unit"]),
            str(claim["seeds"]),
            claim["bound"],
            claim["reference"],
        ]
        row = [text(cell) for cell in cells]
        row += ["yes" if claim["holds"] else "**NO**"]
        row += [f"{sum(again)} of {len(again)}" if again else "–"]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join([*lines, ""])


def of_code(result: Result) -> str:
    """The code that a result is of."""
    commit = result.record["commit"]
    where = f"commit {text(commit)}" if commit else "no commit known"
    return f"{where}, **{OLD}**" if result.stale else where


def command(record: dict[str, Any]) -> str:
    """How to run it again."""
    words = flags(record, record["seed"])
    if on_data(record["recipe"]):
        words[1:1] = ["--data", "..."]
    return text("pullback run " + " ".join(map(shlex.quote, words)))


def text(words: str) -> str:
    """Words on one line that Markdown shows as they are."""
    escaped = html.escape(" ".join(str(words).split()), quote=False)
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", escaped)


def main(argv: list[str] | None = None) -> int:
    script = "make_reproduction.py"
    about = __doc__ or ""
    parser = parser_of(script, about, results=ROOT / "results", page="reproduction.md")
    options = parser.parse_args(argv)
    of_this = write_or_check(options, script, page)
    if options.page != parser.get_default("page"):
        return of_this
    # The README counts what stands in the page.
    return max(of_this, make_readme.main(["--check"] if options.check else []))


if __name__ == "__main__":
    sys.exit(main())

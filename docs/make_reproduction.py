"""Write docs/reproduction.md from results/*.json, which `pullback record RUN_FOLDER` makes.

python docs/make_reproduction.py            write the page
python docs/make_reproduction.py --check    fail when the page is not what the results say
"""

import argparse
import html
import re
import sys
from pathlib import Path
from typing import Any

from pullback._files import atomic_write_text
from pullback.recipes import papers
from pullback.runs import measured, read_record

ROOT = Path(__file__).parent.parent
HEAD = """# Reproduction: what each recipe measured

Written by `docs/make_reproduction.py` from `results/*.json`; do not edit. `pullback run NAME`
measures the claims again, and `pullback record RUN_FOLDER` keeps what was measured. The figure
after ± is the standard deviation over the seeds. A claim that does not hold is shown, not hidden.
"""


def page(results: Path) -> str:
    """The page, as the results say it must be."""
    order = list(papers())
    records = {path.stem: read_record(path) for path in results.glob("*.json")}
    place = lambda recipe: order.index(recipe) if recipe in order else len(order)
    names = sorted(records, key=lambda n: (place(records[n]["recipe"].split("/")[0]), n))
    sections = [section(name, records[name]) for name in names]
    return "\n".join([HEAD, *(sections or ["No result is recorded yet.\n"])])


def section(name: str, record: dict[str, Any]) -> str:
    """One result: where it comes from, and its claims as a table."""
    held = sum(claim["holds"] for claim in record["claims"])
    machine, versions = record["machine"], record["versions"]
    legs = f" in {len(record['legs'])} legs" if len(record["legs"]) > 1 else ""
    lines = [
        f"## {text(name)}",
        "",
        f"{text(record['title'])} ([arXiv {text(record['arxiv'])}]"
        f"(https://arxiv.org/abs/{text(record['arxiv'])})). {text(record['summary'])}",
        "",
        f"{held} of {len(record['claims'])} claims held. `{command(record)}` took "
        f"{record['wall_seconds']:.0f} s{legs} on {text(machine['cpu'])}, "
        f"{machine['cores']} cores, "
        f"device {text(machine['device'])}; jax {text(versions['jax'])}, "
        f"python {text(versions['python'])}, {text(record['finished'])}.",
        "",
        "| claim | measured | seeds | bound | held against | holds |",
        "|---|---|---|---|---|---|",
    ]
    for claim in record["claims"]:
        cells = [
            claim["sentence"],
            measured(claim["value"], claim["spread"], claim["unit"]),
            str(claim["seeds"]),
            claim["bound"],
            claim["reference"],
            "yes" if claim["holds"] else "**NO**",
        ]
        lines.append("| " + " | ".join(text(cell) for cell in cells[:-1]) + f" | {cells[-1]} |")
    return "\n".join([*lines, ""])


def command(record: dict[str, Any]) -> str:
    """How to run it again."""
    words = [f"pullback run {text(record['recipe'])} --preset {text(record['preset'])}"]
    if "/" in record["recipe"]:
        words.append("--data ...")
    for name in record["changed"]:
        value = record["config"][name]
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words.append(f"--{flag} {text(value)}")
    return " ".join([*words, f"--seed {record['seed']}"])


def text(words: str) -> str:
    """Words on one line that Markdown shows as they are."""
    escaped = html.escape(" ".join(str(words).split()), quote=False)
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", escaped)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when stale")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "reproduction.md")
    options = parser.parse_args(argv)
    wanted = page(options.results)
    if not options.check:
        atomic_write_text(options.page, wanted)
        return 0
    if options.page.exists() and options.page.read_text() == wanted:
        return 0
    print(f"{options.page} is stale; run: python docs/make_reproduction.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

"""Write the figures of README.md: how fast, of docs/benchmarks.md, and how true, of results/*.json.

python docs/make_readme.py            write them between their marks
python docs/make_readme.py --check    fail when they are not what is recorded
"""

import re
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

from _page import ROOT, parser_of, write_or_check
from _verdicts import NOT_MEASURED, VERDICTS, results_in, worst

from pullback.recipes import papers

Tables = list[list[list[str]]]


class Pair(NamedTuple):
    """Two cells of a benchmark's tables, theirs over ours: where ours is, and where theirs.

    Args:
        table: Which of its tables, by place.
        ours: The row and the column.
        theirs: The row and the column.
    """

    table: int
    ours: tuple[str, str]
    theirs: tuple[str, str]


def rows(table: int, ours: str, theirs: str, column: str = "ms") -> Pair:
    """Two rows of one column."""
    return Pair(table, (ours, column), (theirs, column))


def columns(table: int, row: str, ours: str, theirs: str) -> Pair:
    """Two columns of one row."""
    return Pair(table, (row, ours), (row, theirs))


_JOINT, _ADJOINT = "pullback joint", "pullback StochasticAdjoint"
_SERIES = "pullback, series of 20"
_SDE_SIZES = (0, 2, 1, 3)  # few paths come first and third
# What is timed, beside what, the benchmark, and its sizes from small to large.
SPEED: tuple[tuple[str, str, str, tuple[Pair, ...]], ...] = (
    (
        "a training step of a neural ODE",
        "Diffrax",
        "ode",
        tuple(rows(i, _JOINT, "diffrax") for i in range(4)),
    ),
    (
        "the same",
        "torchdiffeq, back-propagated",
        "ode",
        tuple(rows(i, _JOINT, "torchdiffeq odeint") for i in range(4)),
    ),
    (
        "with steps of each sample's own",
        "torchode",
        "ode",
        tuple(rows(i, "pullback per-sample", "torchode") for i in range(4)),
    ),
    (
        "of a neural SDE, memory flat",
        "Diffrax's best adjoint",
        "sde",
        tuple(rows(i, _ADJOINT, "diffrax BacksolveAdjoint") for i in _SDE_SIZES),
    ),
    (
        "the same",
        "torchsde, back-propagated",
        "sde",
        tuple(rows(i, _ADJOINT, "torchsde") for i in _SDE_SIZES),
    ),
    (
        "of a latent ODE",
        "torchdiffeq",
        "latent-ode",
        tuple(rows(i, "pullback", "torchdiffeq") for i in range(2)),
    ),
    (
        "a RELAX gradient",
        "storchastic",
        "sampling",
        tuple(rows(i, "RELAX, network", "storchastic: RELAX, network") for i in range(2)),
    ),
    (
        "a weighted bound of 15 samples",
        "Pyro",
        "bounds",
        tuple(rows(i, "pullback, total", "pyro RenyiELBO") for i in (2, 6)),
    ),
    (
        "a step of a residual flow",
        "normflows",
        "flows",
        tuple(columns(0, width, "pullback ms", "normflows ms") for width in ("32", "128", "512")),
    ),
    (
        "a hypergradient of 20 terms",
        "Betty",
        "bilevel",
        tuple(rows(i, _SERIES, "Betty, series") for i in range(2)),
    ),
    (
        "a step of a classifier that is a density",
        "PyTorch",
        "energy",
        tuple(
            rows(i, "training steps, pullback", "training steps, PyTorch", "ms a step")
            for i in range(3)
        ),
    ),
    (
        "a node of a graph, drawn",
        "PyTorch",
        "graphs-model",
        tuple(
            columns(0, f"{size} nodes, drawing", "pullback", "PyTorch")
            for size in ("100", "500", "5,000")
        ),
    ),
    (
        "evidence chains, fitted",
        "Surprise's SVD",
        "recommend-newcomers",
        (rows(0, "evidence chains", "Surprise SVD", "seconds to fit"),),
    ),
    (
        "a CSV file of a million rows, read",
        "pyarrow",
        "reading-tables",
        (columns(0, "1,000,000", "read_table", "pyarrow"),),
    ),
)


def tables_of(bench: str, text: str) -> Tables:
    """The tables of a benchmark, a list of rows each, the names of the columns first."""
    (part,) = re.findall(
        rf"<!-- bench-{bench} -->(.*?)<!-- /bench-{bench} -->", text, flags=re.DOTALL
    )
    found = re.findall(r"(?:^\|.*\|\n)+", part, flags=re.MULTILINE)
    cells = lambda line: [cell.strip() for cell in line.strip("|").split("|")]
    return [
        [cells(line) for line in table.splitlines() if not line.startswith("| ---")]
        for table in found
    ]


def ratio(pair: Pair, tables: Tables) -> float:
    """Their time over ours."""
    head, *body = tables[pair.table]

    def cell(row: str, column: str) -> float:
        (found,) = (line for line in body if line[0] == row)
        return float(found[head.index(column)].split()[0].replace(",", ""))

    return cell(*pair.theirs) / cell(*pair.ours)


def speed(benchmarks: str) -> str:
    """The table of ratios, from the small size to the large one."""
    lines = ["| what | beside | times as fast |", "|---|---|---|"]
    for what, beside, bench, pairs in SPEED:
        found = [ratio(pair, tables_of(bench, benchmarks)) for pair in pairs]
        lines.append(f"| {what} | {beside} | {', '.join(map(short, found))} |")
    return "\n".join(lines)


def short(value: float) -> str:
    """Two digits."""
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 0.995 else f"{value:.2f}"


def truth(folder: Path) -> str:
    """How many papers have which verdict, and how many claims hold."""
    results = results_in(folder)
    names = sorted({*papers(), *(result.paper for result in results)})
    of = {
        name: worst(
            verdict
            for result in results if result.paper == name
            for _, verdict in result.headlines()
        )
        for name in names
    }  # fmt: skip
    counts = [(sum(v == verdict for v in of.values()), verdict)
              for verdict in (*VERDICTS, NOT_MEASURED)]  # fmt: skip
    claims = [claim["holds"] for result in results for claim in result.record["claims"]]
    told = ", ".join(f"{count} {verdict}" for count, verdict in counts if count)
    return (
        f"Of the headlines of {len(names)} papers: {told}.\n"
        f"Of {len(claims):,} claims of {len(results)} recorded runs {sum(claims):,} hold; the "
        "others are shown as failing."
    )


def readme(text: str, results: Path) -> str:
    """The README, with what is recorded between its marks."""
    benchmarks = (ROOT / "docs" / "benchmarks.md").read_text()
    for mark, block in (("speed", speed(benchmarks)), ("truth", truth(results))):
        marked = rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)"
        text, count = re.subn(marked, rf"\g<1>{block}\n\g<2>", text, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"README.md has the mark {mark!r} {count} times, not once.")
    return text


def main(argv: list[str] | None = None) -> int:
    parser = parser_of(
        "make_readme.py", __doc__ or "", results=ROOT / "results", page="../README.md"
    )
    options = parser.parse_args(argv)
    now = options.page.read_text()
    return write_or_check(options, "make_readme.py", partial(readme, now))


if __name__ == "__main__":
    sys.exit(main())

"""The page of a generator of graphs: samples beside the graphs, in numbers and drawings."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pullback.data import Graph
from pullback.plots import figure, house_style
from pullback.runs import number

from ._graph_checks import FITTED, HELD, RANDOM, SAMPLES, checks
from ._graph_input import sizes_of
from ._graph_samples import DRAWABLE, sheet
from ._page import Picture, Report, Table

if TYPE_CHECKING:
    from ._graph_generator import GraphGenerator

_SHOWN = 12


def graph_page(model: "GraphGenerator", graphs: Sequence[Graph]) -> Report:
    """The page of a generator, of what `fit` has found.

    Args:
        model: fitted.
        graphs: to these.
    """
    data, report = model.data_, model.report_
    found = [] if report is None else checks(report)
    said = [check.sentence for check in found]
    # As many as were judged: then the programs are there.
    count = max(_SHOWN, 0 if report is None else report["rows"])
    drawn = model.sample(count, random_state=0)[:_SHOWN]
    return Report(
        title=f"{data['source']}: new graphs",
        heading=data["source"],
        lead=f"A generator of graphs, by a graph recurrent attention network: "
        f"{number(data['rows'])} graphs of up to {number(model.max_nodes_)} nodes.",
        quality=None if report is None else _quality(report),
        notes=[note for note in model.notes_ if note not in said],
        checks=found,
        parts=[*_sheets(graphs, drawn), *_numbers(report), _curve(model)],
        words=["squared MMD", "Erdos-Renyi graph", "orbits", "spectrum of a graph"],
    )


def _quality(report: dict[str, Any]) -> Table:
    rows = [
        [name, said[SAMPLES], said[RANDOM], said[FITTED]] for name, said in report["mmd2"].items()
    ]
    return Table(
        "",
        (f"squared MMD to {number(report['rows'])} graphs held out", "samples",
         "Erdos-Renyi graphs", "graphs of the fit"),
        rows,
        "Lower is nearer. Erdos-Renyi graphs have the same sizes and densities and nothing else: "
        "samples must beat these. Graphs of the fit are as near as graphs of one kind are by "
        "chance: samples cannot be much nearer.",
    )  # fmt: skip


def _sheets(graphs: Sequence[Graph], drawn: Sequence[Graph]) -> list[Picture]:
    """A few graphs of the fit, evenly over their sizes, and samples."""
    small = [graph for graph in graphs if graph.nodes <= DRAWABLE]
    order = np.argsort(sizes_of(small), kind="stable")
    places = order[np.linspace(0, len(order) - 1, min(_SHOWN, len(order))).round().astype(int)]
    given = [small[place] for place in places.tolist()]
    new = sorted((g for g in drawn if g.nodes <= DRAWABLE), key=lambda graph: graph.nodes)
    parts = []
    if given:
        parts.append(
            Picture(
                "Graphs of the fit", sheet(given, 0), "A few, from the smallest to the largest."
            )
        )
    if new:
        parts.append(
            Picture(
                "Samples",
                sheet(new, 0),
                f"As they came, {_SHOWN} of them, by size. They should look like those above, and "
                "not be the same.",
            )
        )
    return parts


def _numbers(report: dict[str, Any] | None) -> list[Table]:
    if report is None:
        return []
    names = [*report["means"][SAMPLES]]
    rows = [
        [called, *(report["means"][of][name] for name in names)]
        for of, called in (
            (SAMPLES, "samples"),
            (HELD, "graphs held out"),
            (FITTED, "graphs of the fit"),
        )
    ]
    return [Table("Means", ("", *(name.replace("_", " ") for name in names)), rows)]


def _curve(model: "GraphGenerator") -> Picture:
    with house_style(math=False):
        fig, ax = figure(width=6.4, height=2.8)
        one = len(model.curve_.step) == 1  # a line of one point is not seen
        ax.plot(model.curve_.step, model.curve_.nll, marker="o" if one else None)
        ax.set_xlabel("steps")
        ax.set_ylabel("nats a graph")
    return Picture(
        "How it was trained",
        fig,
        "Minus the log-density of a graph of the fit, estimated from a few of its blocks. Where it "
        "still falls at the end, more `max_steps` help.",
    )

"""Graphs that are drawn, in files: for other programs, as a table, and as a sheet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pullback._files import atomic_write
from pullback.data import Graph, Graphs, write_graphs
from pullback.plots import figure, graph_sheet, house_style

from ._graph_input import names_of, statistics
from ._outputs import table_writer
from ._png import png

ENDINGS = (".graphml", ".zip", ".npz")
_IN_A_ROW = 6
SHOWN = 24  # graphs of a sheet
DRAWABLE = 400  # nodes, beyond which a drawing shows nothing and takes long


def write_samples(graphs: Sequence[Graph], out: Path, seed: int) -> list[Path]:
    """Write graphs, the same as arrays, their statistics and a sheet of drawings.

    Args:
        graphs: them, with names.
        out: a .graphml file, which holds one graph, so that several become a .zip of them; a .zip;
            or .npz, which holds arrays.
        seed: of the layouts.

    Returns:
        The files: graphs, arrays, table, and sheet where graphs are small enough to be drawn.
    """
    if out.suffix.lower() not in ENDINGS:
        raise ValueError(f"`out` must end in {', '.join(ENDINGS)}; got {out}.")
    if out.suffix.lower() == ".graphml" and len(graphs) > 1:
        out = out.with_suffix(".zip")
    records = Graphs(tuple(graphs))
    files = [out]
    write_graphs(out, records)
    if out.suffix.lower() != ".npz":
        files.append(out.with_suffix(".npz"))
        write_graphs(files[-1], records)
    files.append(out.with_name(f"{out.stem}-statistics.csv"))
    with table_writer(files[-1]) as write:
        write({"name": names_of(graphs), **statistics(graphs)})
    small = [graph for graph in graphs if graph.nodes <= DRAWABLE][:SHOWN]
    if small:
        files.append(out.with_name(f"{out.stem}-sheet.png"))
        with atomic_write(files[-1]) as file:
            file.write(png(sheet(small, seed), dpi=100))
    return files


def sheet(graphs: Sequence[Graph], seed: int) -> Any:
    """A figure of drawings, some in a row."""
    rows = [graphs[at : at + _IN_A_ROW] for at in range(0, len(graphs), _IN_A_ROW)]
    with house_style(math=False):
        fig, ax = figure(width=1.25 * min(_IN_A_ROW, len(graphs)), height=1.25 * len(rows))
        graph_sheet(ax, rows, seed=seed)
    return fig

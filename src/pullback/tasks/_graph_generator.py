"""`GraphGenerator`: new graphs like those of a file of one's own."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from pullback._inputs import positive
from pullback.data import Graph, Graphs, read_graphs

from . import _graph_nets as nets
from ._generator import AbstractGenerator
from ._graph_checks import told
from ._graph_input import (
    a_node,
    check,
    check_sizes,
    components_of,
    described,
    digest,
    hashes_of,
    in_places,
    kept_of,
    left_out,
    names_of,
    row_count,
    sizes_of,
    split,
)
from ._graph_judge import judge
from ._graph_samples import write_samples
from ._outputs import table_writer
from ._page import Report
from ._settings import check_max_steps


class GraphGenerator(AbstractGenerator):
    r"""New graphs like those of the fit.

    $$ p(G) \ge \sum_{\pi} \prod_t \sum_k \alpha_k \prod_{ij} \theta_{k,ij}^{A_{ij}}
       (1 - \theta_{k,ij})^{1 - A_{ij}} $$

    A graph recurrent attention network (GRAN) writes a graph down node by node, or several at a
    time: a network of messages runs over the graph so far and says to which nodes the next ones are
    joined. A fifth of the graphs is held out; `report_` has the squared MMD of samples to these in
    degree, clustering, small motifs and spectrum, beside Erdos-Renyi graphs of the same sizes and
    densities and beside the graphs of the fit, and `notes_` say who wins.

    Graphs are simple and undirected; what a file has beyond that is left out, and `notes_` say so.

    Args:
        block: nodes that are written at a time. More is quicker, and worse.
        max_nodes: the most that a graph may have, of the fit and of what is scored later; None: as
            many as the largest of the fit.
        max_steps: training steps; None chooses.
        random_state: seed, generator or None, as everywhere in scikit-learn.
        progress: show a bar on stderr; None: where stderr is a terminal.

    Attributes:
        max_nodes_: the most nodes that a graph may have.
        block_: nodes that are written at a time.
        connected_: whether all graphs of the fit are; then samples are.
        report_: how good samples are, as above; None of fewer than 10 different graphs.
        curve_: the loss over training.
        notes_: what was done and who wins, in sentences.
        data_: where the graphs came from, their number and the digest of them.

    Raises:
        ValueError: a setting or the graphs do not fit; the message says which and how.
        TypeError: what is given is no path and no graphs.

    Example:
        >>> import networkx as nx, pullback as pb
        >>> trees = [nx.random_labeled_tree(6, seed=seed) for seed in range(9)]
        >>> model = pb.tasks.GraphGenerator(max_steps=2, random_state=0).fit(trees)
        >>> drawn = model.sample(3, random_state=0)
        >>> [graph.nodes for graph in drawn], nx.is_connected(pb.data.to_networkx(drawn[0]))
        ([6, 6, 6], True)

    Source: Liao et al., Efficient Graph Generation with Graph Recurrent Attention Networks,
        arXiv 1910.00760.
    """

    things = "graphs"

    report_: dict[str, Any] | None

    _found = (
        "notes_", "data_", "report_", "block_", "max_nodes_", "connected_", "curve_",
    )  # fmt: skip

    def __init__(
        self,
        *,
        block: int = 1,
        max_nodes: int | None = None,
        max_steps: int | None = None,
        random_state: Any = None,
        progress: bool | None = None,
    ):
        self.block = block
        self.max_nodes = max_nodes
        self.max_steps = max_steps
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> "GraphGenerator":
        """Fit graphs.

        Args:
            X: the path of a folder, a zip, a GraphML file, an edge list or a .npz file; graphs of
                NetworkX; or `pullback.data.Graphs`.
            y: nothing; here for scikit-learn.
        """
        self._check_settings()
        found = read_graphs(X)
        check(found, self.max_nodes)
        graphs = found.graphs
        seed = int(check_random_state(self.random_state).randint(2**31))
        hashes = hashes_of(graphs)
        train, test = split(hashes, seed)
        taught = [graphs[place] for place in train.tolist()]
        self.block_ = int(self.block)
        self.max_nodes_ = int(self.max_nodes or sizes_of(graphs).max())
        self.connected_ = all(components_of(graph) == 1 for graph in graphs)
        self.model_, self.curve_ = nets.train(
            taught,
            max_nodes=self.max_nodes_,
            block=self.block_,
            steps=self.max_steps,
            seed=seed,
            progress=self.progress,
        )
        self.data_ = {
            "source": found.source,
            "rows": len(graphs),
            "file": isinstance(X, str | os.PathLike),
            "sha256": digest(found),
        }
        judges = [graphs[place] for place in (test if len(test) else train).tolist()]
        self.scores_ = np.sort(a_node(self._scores(judges), judges))
        self.report_ = judge(self, graphs, train, test, seed) if len(test) else None
        self.notes_ = [*described(found, hashes, self.connected_), *told(self.report_)]
        return self

    def sample(
        self,
        n_samples: int = 1,
        *,
        sizes: int | Sequence[int] | None = None,
        connected: bool | None = None,
        random_state: Any = None,
    ) -> list[Graph]:
        """New graphs like those of the fit.

        Args:
            n_samples: how many.
            sizes: nodes of all of them, or of each; None draws numbers as they are in the fit.
            connected: whether each is to be in one piece; None: where all graphs of the fit are.
            random_state: seed, generator or None.

        Returns:
            Records; `pullback.data.to_networkx` makes graphs of NetworkX of them.
        """
        check_is_fitted(self)
        positive(n_samples=n_samples)
        seed = int(check_random_state(random_state).randint(2**31))
        return nets.sample(
            self.model_,
            n_samples,
            sizes=sizes,
            connected=self.connected_ if connected is None else connected,
            seed=seed,
        )

    def write_samples(
        self,
        n_samples: int,
        out: str | os.PathLike[str],
        *,
        connected: bool | None = None,
        random_state: int = 0,
    ) -> list[Path]:
        """Draw graphs and write them, the same as arrays, their statistics and drawings.

        Args:
            n_samples: how many.
            out: a .graphml file, which holds one graph, so that several become a .zip of such; a
                .zip; or .npz, arrays as the TU data sets have them. What else is written has its
                name: `NAME.npz`, `NAME-statistics.csv`, and `NAME-sheet.png`, a few of them drawn.
            connected: as for `sample`.
            random_state: seed.

        Returns:
            The files.
        """
        drawn = self.sample(n_samples, connected=connected, random_state=random_state)
        return write_samples(drawn, Path(out), random_state)

    def score_samples(self, X: Any) -> Float[np.ndarray, " graphs"]:
        """The log-density of each graph given its number of nodes, in nats.

        It is that of the graph in a depth-first order of its nodes: a lower bound on that of the
        graph in any. Of larger graphs it is lower; compare graphs of about the same size, or by
        node.

        Args:
            X: as for `fit`. Of a graph without nodes it is NaN, with a warning; another says what
                of the graphs was not read.

        Raises:
            ValueError: a graph has more nodes than the model can take.
        """
        check_is_fitted(self)
        found = self._asked(X)
        return in_places(self._scores(found.graphs), found)

    def share_below(self, X: Any) -> Float[np.ndarray, " graphs"]:
        """The share of known graphs whose log-density by node is lower: near 0, look at that graph.

        Args:
            X: as for `score_samples`.
        """
        check_is_fitted(self)
        found = self._asked(X)
        return in_places(self._share_below(self._scores(found.graphs), found.graphs), found)

    def _asked(self, X: Any) -> Graphs:
        found = read_graphs(X)
        remedy = (
            "fit again with a larger `max_nodes` (on the command line --max-nodes), or take such "
            "graphs out"
        )
        check_sizes(found, self.max_nodes_, "the model takes no more than", remedy)
        notes = [*found.notes, *left_out(found, "have no numbers (NaN, in a file empty cells)")]
        if notes:
            warnings.warn(f"{found.source}: {' '.join(notes)}", stacklevel=3)
        return found

    def _scores(self, graphs: Sequence[Graph]) -> Float[np.ndarray, " graphs"]:
        return nets.log_densities(self.model_, graphs)

    def _share_below(
        self, scores: Float[np.ndarray, " graphs"], graphs: Sequence[Graph]
    ) -> Float[np.ndarray, " graphs"]:
        return np.searchsorted(self.scores_, a_node(scores, graphs)) / len(self.scores_)

    def _write_samples(self, count: int, out: Path, seed: int) -> list[Path]:
        return self.write_samples(count, out, random_state=seed)

    def _write_scores(self, file: Path, out: Path) -> int:
        found = self._asked(file)
        graphs = found.graphs
        scores = self._scores(graphs)
        columns = {
            "name": names_of(graphs),
            "nodes": [graph.nodes for graph in graphs],
            "edges": [len(graph.edges) for graph in graphs],
            "log_density": scores.tolist(),
            "share_below": self._share_below(scores, graphs).tolist(),
        }
        places = kept_of(found).tolist()
        # None is an empty cell; the first column of an empty row has its number.
        rows: dict[str, list[Any]] = {name: [None] * row_count(found) for name in columns}
        rows["name"] = [str(place) for place in range(1, row_count(found) + 1)]
        for name, values in columns.items():
            for place, value in zip(places, values, strict=True):
                rows[name][place] = value
        with table_writer(out) as write:
            write(rows)
        return len(graphs)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"scores": self.scores_} | nets.arrays_of(self.model_)

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.scores_ = arrays["scores"]
        self.curve_ = nets.Curve(*self.curve_)
        self.model_ = nets.from_arrays(arrays, self.max_nodes_, self.block_)

    def _card(self) -> list[str]:
        data = self.data_
        return [
            f"GraphGenerator of {data['source']}: {data['rows']} graphs of up to "
            f"{self.max_nodes_:,} nodes",
            *self.notes_,
        ]

    def _commands(self, name: str) -> list[str]:
        return [
            f"pullback sample {name} -n 100 --out new.graphml",
            f"pullback score {name} FILE --out scores.csv",
        ]

    def _report(self, given: Any) -> Report:
        from ._graph_page import graph_page

        return graph_page(self, read_graphs(given).graphs)

    def _check_settings(self) -> None:
        positive(block=self.block)
        if self.max_nodes is not None:
            positive(max_nodes=self.max_nodes)
        check_max_steps(self.max_steps, least=1)

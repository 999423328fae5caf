"""Graphs of a folder, from the command alone: fitted, drawn, scored and shown."""

import shutil
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from pullback import data, tasks

pytestmark = pytest.mark.usefixtures("workplace")


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    return tmp_path_factory.mktemp("once") / "fitted"


@pytest.fixture
def model(once, tmp_path, pullback):
    """What the fit says; the folder is that of the first test, copied."""
    if once.exists():
        shutil.copytree(once, tmp_path, dirs_exist_ok=True)
        return (tmp_path / "said.txt").read_text()
    (tmp_path / "mine").mkdir()
    for seed in range(12):
        graph = nx.random_labeled_tree(6 + seed % 3, seed=seed)
        nx.write_graphml(graph, tmp_path / "mine" / f"tree{seed:02}.graphml")
    argv = ("fit", "graphs", "mine", "--out", "m", "--max-steps", "2", "--no-progress")
    status, out, err = pullback(*argv)
    assert (status, err) == (0, "")
    (tmp_path / "said.txt").write_text(out)
    shutil.copytree(tmp_path, once)
    return out


def test_fit_and_show(model, pullback, tmp_path):
    assert model.startswith("GraphGenerator of mine: 12 graphs of up to 8 nodes\n")
    assert "have 6 to 8 nodes and 5 to 7 edges, and all are connected.\n" in model
    assert "  pullback sample m -n 100 --out new.graphml\n" in model
    page = (tmp_path / "m" / "report.html").read_text()
    assert "<title>mine: new graphs</title>" in page
    assert pullback("show", "m") == (0, model[: model.index("report: ")], "")


def test_what_is_drawn_networkx_reads(model, pullback, tmp_path):
    status, out, err = pullback("sample", "m", "-n", "1", "--out", "new.graphml", "--seed", "3")
    assert (status, err) == (0, "")
    assert out == "1 graph drawn: new.graphml, new.npz, new-statistics.csv, new-sheet.png\n"
    graph = nx.read_graphml("new.graphml")
    assert nx.is_connected(graph)
    (drawn,) = tasks.load("m").sample(1, random_state=3)
    assert nx.is_isomorphic(graph, data.to_networkx(drawn))
    assert pullback("sample", "m", "-n", "4")[1].startswith("4 graphs drawn: samples.zip, ")
    table = pd.read_csv("samples-statistics.csv")
    found = data.read_graphs(tmp_path / "samples.zip").graphs
    assert table.edges.tolist() == [len(graph.edges) for graph in found]
    assert list(table) == [
        "name", "nodes", "edges", "mean_degree", "max_degree", "clustering", "components",
    ]  # fmt: skip


def test_scores(model, pullback):
    assert pullback("score", "m", "mine", "--out", "s.csv") == (0, "12 graphs scored: s.csv\n", "")
    table, known = pd.read_csv("s.csv"), tasks.load("m")
    assert list(table) == ["name", "nodes", "edges", "log_density", "share_below"]
    assert table.name.tolist()[:2] == ["tree00", "tree01"]
    np.testing.assert_array_equal(table.log_density, known.score_samples("mine"))
    np.testing.assert_array_equal(table.share_below, known.share_below("mine"))
    status, out, _ = pullback("score", "m", "mine/tree03.graphml", "--out", "-")
    assert (status, out.count("\n")) == (0, 2)


@pytest.mark.filterwarnings("default:some. 1 graphs have no numbers:UserWarning")
def test_scores_of_graphs_without_nodes_are_empty(model, pullback):
    (folder := Path("some")).mkdir()
    for name, graph in (("1", nx.path_graph(4)), ("2", nx.empty_graph(0)), ("3", nx.path_graph(5))):
        nx.write_graphml(graph, folder / f"{name}.graphml")
    status, out, err = pullback("score", "m", "some", "--out", "e.csv")
    assert (status, out) == (0, "2 graphs scored: e.csv\n")
    assert "Number 2: it has no nodes." in err
    assert err.count("\n") == 1
    table = pd.read_csv("e.csv")
    assert table.isna().any(axis=1).tolist() == [False, True, False]
    assert table.name.tolist() == [1, 2, 3]
    assert table.nodes.tolist()[::2] == [4, 5]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("fit graphs none --out n", "none"),
        ("fit graphs mine --out n --block 0", "--block must be 1 or more, got 0"),
        ("fit graphs mine --out n --max-nodes 0", "--max-nodes must be 1 or more, got 0"),
        (
            "fit graphs mine --out n --max-nodes 7",
            "nodes, and --max-nodes is 7 (4 of 12 have more)",
        ),
        ("fit graphs mine --out n --max-steps 0", "--max-steps must be 1 or more"),
        ("fit graphs mine/tree01.graphml --out n", "there is one graph, and a generator learns"),
        ("sample m -n 0", "-n must be 1 or more, got 0"),
        ("sample m --out s.csv", "--out of graphs must end in .graphml, .zip or .npz; got s.csv"),
        ("sample m --out -", "--out of graphs must end in .graphml, .zip or .npz; got -"),
        ("sample other --connected", "--connected is of graphs, and other holds no model of such"),
        ("score m mine --out s.txt", "--out must end in .csv or .parquet"),
        (
            "score m large.graphml",
            "more than 8 (1 of 1 have more); fit again with a larger --max-nodes, or",
        ),
        ("predict m mine --out p.csv", "a GraphGenerator is asked in another way"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(argv, message, model, pullback):
    nx.write_graphml(nx.path_graph(9), "large.graphml")
    status, out, err = pullback(*argv.split())
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert "`max" not in err

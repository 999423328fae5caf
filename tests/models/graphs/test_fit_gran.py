"""`fit_gran`: the losses that can be reached are reached, and a run goes on where it stopped."""

import itertools
import os
import signal

import jax
import jax.random as jr
import numpy as np
import pytest

from pullback.data import Graph, Graphs, four_graphs
from pullback.models.graphs import GRAN, fit_gran, marginal_log_prob
from pullback.train._log import append_line

EMPTY = Graph(5, np.zeros((0, 2), int))
FAN = Graph(5, np.array([[0, 4], [1, 4], [2, 4], [3, 4]]))
SMALL = {"width": 8, "layers": 1, "mixtures": 2, "progress": False}


def same(one, other):
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in leaves)


@pytest.mark.parametrize(("mixtures", "floor"), [(1, 4 * np.log(2)), (2, np.log(2))])
def test_edges_that_hang_together_need_two_components(mixtures, floor):
    # No edge tells the first four nodes apart, so that one component has them all or none at 1/2.
    model, _ = fit_gran(
        [EMPTY, FAN], orders=["default"], prefixes=5, width=8, layers=1, mixtures=mixtures,
        steps=400, batch_size=2, learning_rate=1e-2, log_every=400, key=jr.key(0),
    )  # fmt: skip
    found = -np.mean([model.log_prob(graph, "default") for graph in (EMPTY, FAN)])
    assert floor - 1e-4 < found < floor + 0.02
    assert model.size_counts.tolist() == [0, 0, 0, 0, 0, 2]


def test_all_orders_together_make_a_law_of_graphs():
    model = GRAN(4, block=2, mixtures=2, width=4, layers=2, key=jr.key(0))
    orders = list(itertools.permutations(range(4)))
    pairs = np.array(list(itertools.combinations(range(4), 2)))
    classes = {}
    for held in itertools.product([False, True], repeat=6):
        graph = Graph(4, pairs[list(held)])
        shape = min(
            tuple(sorted(tuple(sorted((p[a], p[b]))) for a, b in graph.edges.tolist()))
            for p in orders
        )
        classes.setdefault(shape, graph)
    assert len(classes) == 11
    found = [float(marginal_log_prob(model, graph, orders)) for graph in classes.values()]
    assert abs(np.exp(found).sum() - 1) < 1e-12
    path = classes[min(shape for shape in classes if len(shape) == 3)]
    few = [float(marginal_log_prob(model, path, some)) for some in (["dfs"], ["dfs", "bfs"])]
    each = [float(model.log_prob(path, kind)) for kind in ("dfs", "bfs")]
    assert few[0] == each[0]
    assert max(each) <= few[1] <= max(each) + np.log(2)


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    known = [*four_graphs().graphs, FAN]
    train = lambda folder, **more: fit_gran(
        known, validation=[FAN, EMPTY], batch_size=3, steps=4, log_every=2, folder=folder,
        key=jr.key(3), **SMALL, **more,
    )  # fmt: skip
    whole, info = train(tmp_path / "whole")

    def press(path, entry):
        append_line(path, entry)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        monkeypatch.setattr("pullback.train._run.append_line", press)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "parts")
    finally:
        signal.signal(signal.SIGINT, before)
        monkeypatch.undo()
    assert len((tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()) == 1
    parts, again = train(tmp_path / "parts", resume=True)
    assert same(whole, parts)
    np.testing.assert_array_equal(info.history["nll"], again.history["nll"])
    assert np.isfinite(info.history["validation_nll"]).all()


@pytest.mark.slow
def test_depth_first_four_graphs_are_learnt_by_heart():
    model, _ = fit_gran(
        four_graphs(), prefixes=12, steps=600, batch_size=4, mixtures=8, key=jr.key(0)
    )
    found = -np.mean([model.log_prob(graph) for graph in four_graphs().graphs])
    assert np.log(4) - 1e-3 < found < 1.45


BAD = [
    ({"graphs": []}, ValueError, "`graphs` must hold one graph or more, got none"),
    ({"graphs": ["path.xml"]}, TypeError, "got str at 0: pullback.data.read_graphs makes"),
    ({"graphs": [FAN, Graph(0, FAN.edges[:0])]}, ValueError, "the one at 1 has 0: leave it out."),
    ({"max_nodes": 4}, ValueError, "from 1 to 4 nodes, and the one at 0 has 5: .* `max_nodes`"),
    ({"validation": []}, ValueError, "`validation` must hold one graph or more, got none"),
    ({"orders": "dfs"}, ValueError, "`orders` must be one or more of dfs, .* got 'dfs'"),
    ({"orders": []}, ValueError, "`orders` must be one or more of"),
    ({"orders": ["dfs", "dfs"]}, ValueError, "each once"),
    ({"prefixes": 0}, ValueError, "`prefixes` must be"),
    ({"learning_rate": -1.0}, ValueError, "`learning_rate` must be positive, got -1.0"),
    ({"batch_size": 0}, ValueError, "`batch_size` must be"),
    ({"block": 0}, ValueError, "`block` must be"),
]


@pytest.mark.parametrize(("given", "error", "says"), BAD)
def test_what_does_not_fit_is_refused_by_its_name(given, error, says):
    given = {"graphs": [FAN], "steps": 1, "key": jr.key(0), **SMALL, **given}
    with pytest.raises(error, match=says):
        fit_gran(given.pop("graphs"), **given)


def test_graphs_of_a_record_are_those_in_it_even_where_they_have_one_node():
    model, info = fit_gran(
        Graphs((Graph(1, np.zeros((0, 2), int)),), ("a",)), steps=1, batch_size=1, key=jr.key(0),
        **SMALL,
    )  # fmt: skip
    assert model.max_nodes == 1
    assert info.history["nll"].tolist() == [0.0]
    with pytest.raises(ValueError, match="sequence of one order or more, got 'dfs'"):
        marginal_log_prob(model, FAN, "dfs")

"""`fit_gran`: the losses that can be reached are reached, and a run goes on where it stopped."""

import itertools
import os
import signal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import networkx as nx
import numpy as np
import pytest

from pullback.data import Graph, Graphs, four_graphs
from pullback.models.graphs import (
    GRAN,
    block_log_prob,
    fit_gran,
    marginal_log_prob,
    ordered_graph,
)
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
        known, validation=[FAN, EMPTY], batch_size=3, steps=6, log_every=2, folder=folder,
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
    assert len((tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()) == 2  # of 3
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
    ({"graphs": ["path.xml"]}, TypeError, r"`graphs\[0\]` must be .*Graph, got str: "),
    (
        {"graphs": [FAN, nx.path_graph(2)]},
        TypeError,
        r"`graphs\[1\]` .*, got networkx.Graph: ",
    ),
    ({"graphs": FAN}, TypeError, r"`graphs` must be several graphs, got one: write \[graph\]"),
    ({"graphs": nx.path_graph(2)}, TypeError, r"got one: write \[graph\]"),
    ({"graphs": None}, TypeError, "`graphs` must be several graphs, got None"),
    ({"graphs": 5}, TypeError, "`graphs` must be several graphs, got 5"),
    ({"validation": FAN}, TypeError, r"`validation` .*got one: write \[graph\]"),
    ({"max_nodes": "6"}, TypeError, "`max_nodes` must be a whole number, got '6'"),
    ({"max_nodes": -1}, ValueError, "`max_nodes` must be 1 or more, got -1"),
    ({"max_nodes": 0}, ValueError, "`max_nodes` must be 1 or more, got 0"),
    ({"validation": [FAN], "graphs": [EMPTY], "max_nodes": 4}, ValueError, "`graphs` must have"),
    ({"size_input": "no"}, TypeError, "`size_input` must be True or False, got 'no'"),
    ({"orders": 5}, ValueError, "`orders` must be one or more of dfs, .* got 5"),
    ({"orders": [["dfs"]]}, ValueError, "`orders` must be one or more of"),
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
    ({"stride": 0}, ValueError, "`stride` must be"),
    ({"block": 2, "stride": 3}, ValueError, "`stride` must be up to `block` = 2, got 3"),
]


@pytest.mark.parametrize(("given", "error", "says"), BAD)
def test_what_does_not_fit_is_refused_by_its_name(given, error, says, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
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


def test_what_is_no_list_of_orders_is_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    model = GRAN(5, width=4, layers=1, mixtures=1, key=jr.key(0))
    for orders, got in (("dfs", "'dfs'"), ([], r"\[\]"), (5, "5")):
        with pytest.raises(ValueError, match=f"sequence of one order or more, got {got}"):
            marginal_log_prob(model, FAN, orders)
    with pytest.raises(TypeError, match=r"`graph` must be .*, got networkx.Graph"):
        marginal_log_prob(model, nx.path_graph(3))


@pytest.mark.parametrize("orders", [["dfs"], ["bfs", "degree"]])
def test_a_second_fit_of_the_shapes_does_not_compile_again(orders):
    ends = np.array([[0, 1], [1, 2], [2, 3], [3, 4]])
    path, bent = Graph(5, ends), Graph(5, np.array([2, 0, 1, 4, 3])[ends])
    settings = {"orders": orders, "steps": 2, "batch_size": 2, "log_every": 1, **SMALL}
    fit_gran([path, FAN], validation=[FAN], **settings, key=jr.key(0))
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        told = []
        patch.setattr("jax._src.interpreters.pxla.logger.log", lambda *a: told.append(a[1]))
        fit_gran([FAN, bent], validation=[path], **settings, key=jr.key(1))
    assert not [each for each in told if "ompil" in str(each)]


def test_figures_are_means_over_graphs(monkeypatch):
    # At such a rate the model stays what it was at the start.
    known = [FAN, Graph(3, np.array([[0, 1]]))]
    for held in (1, 70):
        others = [Graph(2 + n % 4, np.array([[0, 1]])) for n in range(held)]
        model, info = fit_gran(
            known, validation=others, steps=2, log_every=1, batch_size=4, prefixes=9, block=2,
            learning_rate=1e-30, max_nodes=7, size_input=True, position_features=True,
            key=jr.key(5), **SMALL,
        )  # fmt: skip
        assert model.max_nodes == 7
        assert model.size_counts.tolist() == [0, 0, 0, 1, 0, 1, 0, 0]
        nll = -np.mean([model.log_prob(graph) for graph in known])
        np.testing.assert_allclose(info.history["nll"], nll, rtol=1e-9)
        np.testing.assert_allclose(info.history["loss"], nll / 6.5, rtol=1e-9)
        each = np.sort([-float(model.log_prob(graph)) for graph in others])
        found, used = info.history["validation_nll"], min(held, 64)
        assert each[:used].mean() * (1 - 1e-9) <= found[0] <= each[-used:].mean() * (1 + 1e-9)
        assert found[0] == found[1]
        np.testing.assert_allclose(info.history["validation_loss"], found / 6.5, rtol=1e-9)


@pytest.mark.parametrize(("stride", "all_rows"), [(None, False), (1, True)])
def test_blocks_from_every_row_are_learnt_where_the_stride_is_one(stride, all_rows):
    # Of one graph everything is known, so that all that was taught is sure.
    path = Graph(7, np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 6]]))
    model, _ = fit_gran(
        [path], orders=["default"], block=3, stride=stride, prefixes=7, steps=300, batch_size=1,
        learning_rate=1e-2, log_every=300, key=jr.key(0), **SMALL,
    )  # fmt: skip
    ordered = ordered_graph(path, "default")
    starts = jnp.arange(7, dtype=jnp.int32)
    found = eqx.filter_vmap(block_log_prob, in_axes=(None, None, 0))(model, ordered, starts)
    assert min(found[::3]) > -0.05
    assert (min(found) > -0.05) == all_rows
    assert same(model.sample(2, key=jr.key(1))[0][0].edges, path.edges)
    if all_rows:
        assert same(model.sample(2, stride=2, key=jr.key(1))[0][1].edges, path.edges)
    else:
        with pytest.raises(ValueError, match=r"multiple of 3, .* got 2: fit with `stride=1`"):
            model.sample(2, stride=2, key=jr.key(1))


EDGE, NOTHING = Graph(2, np.array([[0, 1]])), Graph(3, np.zeros((0, 2), int))
LEFT = Graph(5, np.array([[0, 4]]))


@pytest.mark.parametrize(
    ("graphs", "told"),
    # Not told of the size it has the first edge or not, log 2 a graph at best; not told of
    # numbers it joins each of four equal nodes at 1/4, 2.2 nats at best.
    [([EDGE, NOTHING], "size_input"), ([LEFT], "position_features")],
)
def test_what_the_network_is_told_is_learnt_from(graphs, told):
    model, _ = fit_gran(
        graphs, orders=["default"], prefixes=5, steps=150, batch_size=2, learning_rate=2e-2,
        key=jr.key(0), **{told: True}, **SMALL,
    )  # fmt: skip
    assert -np.mean([model.log_prob(graph, "default") for graph in graphs]) < 0.1

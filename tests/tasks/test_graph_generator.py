"""A generator of graphs: samples that are what it says of them, saved and read, and refusals."""

from types import SimpleNamespace

import jax
import networkx as nx
import numpy as np
import pytest

from pullback import data, tasks
from pullback.tasks import _graph_checks as told
from pullback.tasks import _graph_input as given
from pullback.tasks import _graph_nets as nets
from pullback.tasks._graph_judge import novel
from pullback.tasks._graph_page import _curve
from pullback.tasks._graph_samples import write_samples


def trees(count=30, nodes=(5, 9), seed=0):
    random = np.random.default_rng(seed)
    sizes = random.integers(*nodes, count).tolist()
    return [nx.random_labeled_tree(size, seed=k) for k, size in enumerate(sizes)]


SETTINGS = {"max_steps": 3, "random_state": 0, "progress": False}


@pytest.fixture(scope="module")
def fitted():
    return tasks.GraphGenerator(**SETTINGS).fit(trees())


def same(some, others):
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert one.nodes == other.nodes
        np.testing.assert_array_equal(one.edges, other.edges)


def test_samples_are_connected_as_the_graphs_are_and_of_their_sizes(fitted):
    assert fitted.connected_
    drawn = fitted.sample(20, random_state=0)
    assert {graph.nodes for graph in drawn} <= set(range(5, 9))
    assert all(given.components_of(graph) == 1 for graph in drawn)
    same(drawn, fitted.sample(20, random_state=0))
    assert [graph.nodes for graph in fitted.sample(3, sizes=6, random_state=0)] == [6] * 3
    assert [graph.nodes for graph in fitted.sample(2, sizes=[5, 7], random_state=0)] == [5, 7]
    apart = fitted.sample(20, connected=False, random_state=0)
    assert any(given.components_of(graph) > 1 for graph in apart)


def test_a_saved_model_says_the_same_to_the_bit(fitted, tmp_path):
    again = tasks.load(fitted.save(tmp_path))
    same(again.sample(5, random_state=1), fitted.sample(5, random_state=1))
    new = trees(4, seed=1)
    np.testing.assert_array_equal(again.score_samples(new), fitted.score_samples(new))
    np.testing.assert_array_equal(again.share_below(new), fitted.share_below(new))
    for name in ("report_", "notes_", "data_", "max_nodes_", "connected_", "curve_"):
        assert getattr(again, name) == getattr(fitted, name), name


def test_scores_are_those_of_the_network_and_shares_those_of_graphs_held_out(fitted):
    new = [data.from_networkx(graph) for graph in trees(6, seed=2)]
    scores = fitted.score_samples(new)
    want = [float(fitted.model_.log_prob(graph, "dfs")) for graph in new]
    np.testing.assert_allclose(scores, want, rtol=1e-5)
    graphs = [data.from_networkx(graph) for graph in trees()]
    held = given.split(given.hashes_of(graphs), _seed())[1]
    judges = [graphs[place] for place in held.tolist()]
    known = fitted.score_samples(judges) / [graph.nodes for graph in judges]
    np.testing.assert_allclose(np.sort(known), fitted.scores_, rtol=1e-5)
    sizes = np.array([graph.nodes for graph in new])
    want = (known[None] < (scores / sizes)[:, None]).mean(axis=1)
    np.testing.assert_allclose(fitted.share_below(new), want)


def _seed():
    return int(np.random.RandomState(0).randint(2**31))


def test_copies_are_on_one_side():
    graphs = [data.from_networkx(graph) for graph in trees(40)]
    random = np.random.default_rng(0)
    moved = []
    for graph in graphs:
        order = random.permutation(graph.nodes)
        moved.append(data.Graph(graph.nodes, order[graph.edges]))
    hashes = given.hashes_of([*graphs, *moved])
    assert hashes[:40] == hashes[40:]
    train, test = given.split(hashes, 0)
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(80))
    assert not {hashes[k] for k in train} & {hashes[k] for k in test}
    assert len(given.split(hashes[:9], 0)[1]) == 0


def test_statistics_are_those_of_networkx():
    graphs = [nx.gnp_random_graph(9, 0.3, seed=seed) for seed in range(6)] + [nx.empty_graph(2)]
    found = given.statistics([data.from_networkx(graph) for graph in graphs])
    assert found["nodes"] == [9] * 6 + [2]
    assert found["edges"] == [graph.number_of_edges() for graph in graphs]
    assert found["components"] == [nx.number_connected_components(graph) for graph in graphs]
    np.testing.assert_allclose(found["clustering"], [nx.average_clustering(g) for g in graphs])
    degrees = [[degree for _, degree in graph.degree()] for graph in graphs]
    np.testing.assert_allclose(found["mean_degree"], [np.mean(each) for each in degrees])
    assert found["max_degree"] == [max(each) for each in degrees]


def test_what_is_drawn_is_read_back(fitted, tmp_path):
    drawn = fitted.sample(3, random_state=0)
    files = write_samples(drawn, tmp_path / "new.graphml", 0)
    names = ["new.zip", "new.npz", "new-statistics.csv", "new-sheet.png"]
    assert [file.name for file in files] == names
    for file in files[:2]:
        same(data.read_graphs(file).graphs, drawn)
    one = write_samples(drawn[:1], tmp_path / "one.graphml", 0)
    assert one[0].name == "one.graphml"
    read = nx.read_graphml(one[0])
    assert nx.is_isomorphic(read, data.to_networkx(drawn[0]))
    assert [file.name for file in write_samples(drawn, tmp_path / "a.npz", 0)] == [
        "a.npz", "a-statistics.csv", "a-sheet.png",
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"`out` must end in .graphml, .zip, .npz"):
        write_samples(drawn, tmp_path / "a.csv", 0)


def report(**changes):
    near = {told.SAMPLES: 0.01, told.RANDOM: 0.3, told.FITTED: 0.005}
    said = {
        "rows": 40,
        "mmd2": {"degree": near, "clustering": near},
        "connected": {told.SAMPLES: 1.0, told.HELD: 1.0},
        "unique": 0.97,
        "novel": 0.9,
    }
    return said | changes


def test_what_is_good_is_said_to_be():
    found = told.checks(report())
    assert all(check.good for check in found)
    assert [check.sentence for check in found] == [
        "By squared MMD to 40 graphs held out samples are nearer than Erdos-Renyi graphs in degree "
        "(0.01 beside 0.3; graphs of the fit 0.005) and clustering (0.01 beside 0.3; graphs of the "
        "fit 0.005).",
        "100 % of samples are connected, of graphs held out 100 %.",
        "97 % of samples are unique.",
        "90 % of samples are no copies of graphs of the fit.",
    ]


FAR = {told.SAMPLES: 0.4, told.RANDOM: 0.3, told.FITTED: 0.005}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mmd2": {"degree": FAR}}, "are nearer than samples in degree"),
        ({"rows": 4}, "Only 4 graphs judge"),
        ({"connected": {told.SAMPLES: 0.5, told.HELD: 0.9}}, "draw with `connected=True`"),
        ({"connected": {told.SAMPLES: 0.3, told.HELD: 0.56}}, "56 %: train longer by `max_steps`"),
        ({"unique": 0.5}, "the generator draws few graphs"),
        ({"novel": 0.2}, "it has learned them by heart"),
    ],
)
def test_what_is_not_is_said_with_what_to_do(change, message):
    bad = [check for check in told.checks(report(**change)) if not check.good]
    assert len(bad) == 1
    assert message in bad[0].sentence


def test_pieces_of_few_graphs_differ_by_chance():
    pieces = {told.SAMPLES: 3 / 9, told.HELD: 5 / 9}
    (check,) = [each for each in told.checks(report(rows=9, connected=pieces)) if "33 %" in each[1]]
    assert check.good
    assert check.sentence == "33 % of samples are connected, of graphs held out 56 %."


def test_a_curve_of_one_point_is_seen():
    curve = lambda count: SimpleNamespace(curve_=nets.Curve(list(range(count)), [1.0] * count))
    marks = [_curve(curve(count)).figure.axes[0].lines[0].get_marker() for count in (1, 2)]
    assert marks == ["o", "None"]


def test_a_statistic_that_is_the_same_of_all_says_nothing():
    flat = {told.SAMPLES: 0.0, told.RANDOM: 0.0, told.FITTED: 0.0}
    found = told.checks(report(mmd2={"clustering": flat}))
    assert found[0].good
    assert "In clustering even Erdos-Renyi graphs are like those of the fit" in found[0].sentence


def test_of_few_graphs_none_is_held_out():
    model = tasks.GraphGenerator(**SETTINGS).fit(trees(4))
    assert model.report_ is None
    assert "Too few different graphs to hold any out" in model.notes_[-1]
    assert len(model.scores_) == 4


BAD = [
    ([], {}, "expected graphs; there is none"),
    (trees(1), {}, "there is one graph, and a generator learns from several"),
    ([nx.empty_graph(3)] * 4, {}, "no graph has an edge"),
    (trees(9), {"max_nodes": 6}, r"graph \d.* has 8 nodes, and `max_nodes` is 6 \(\d of 9"),
    (trees(9), {"max_nodes": 0}, "`max_nodes` must be 1 or more"),
    (trees(9), {"block": 0}, "`block` must be 1 or more"),
    (trees(9), {"max_steps": 0}, "`max_steps` must be 1 or more"),
]


def test_graphs_without_nodes_keep_their_rows(fitted):
    some = trees(3, seed=4)
    with pytest.warns(UserWarning, match=r"1 graphs have no numbers \(NaN.* Number 2: it has"):
        scores = fitted.score_samples([some[0], nx.empty_graph(0), *some[1:]])
    np.testing.assert_array_equal(scores[[0, 2, 3]], fitted.score_samples(some))
    with pytest.warns(UserWarning, match="Number 2"):
        shares = fitted.share_below([some[0], nx.empty_graph(0), *some[1:]])
    np.testing.assert_array_equal(shares[[0, 2, 3]], fitted.share_below(some))
    assert np.isnan([scores[1], shares[1]]).all()
    heavy = some[0].copy()
    heavy.add_edge(0, 0)
    with pytest.warns(UserWarning, match="1 edges join a node with itself, and were dropped"):
        assert fitted.score_samples([heavy]) == scores[0]


def test_rows_of_records_that_were_read_are_those_of_the_file(fitted):
    some = trees(2, seed=4)
    read = data.read_graphs([nx.empty_graph(0), *some])
    with pytest.warns(UserWarning, match="Number 1"):
        scores = fitted.score_samples(read)
    np.testing.assert_array_equal(scores[1:], fitted.score_samples(some))


def test_a_setting_that_is_changed_after_the_fit_changes_no_saved_model(fitted, tmp_path):
    try:
        fitted.set_params(block=2)
        again = tasks.load(fitted.save(tmp_path))
    finally:
        fitted.set_params(block=1)
    assert again.block_ == 1
    same(again.sample(3, random_state=1), fitted.sample(3, random_state=1))


def test_arrays_of_another_network_are_refused(fitted):
    arrays = nets.arrays_of(fitted.model_)
    with pytest.raises(tasks.ModelError, match="not those of a network of blocks of 2 and up to 8"):
        nets.from_arrays(arrays, 8, 2)
    arrays.pop("gran.0")
    with pytest.raises(tasks.ModelError, match="not those of a network"):
        nets.from_arrays(arrays, 8, 1)


def test_copies_are_sought_among_all_graphs_of_the_fit():
    random = np.random.default_rng(0)
    known = [data.from_networkx(nx.random_labeled_tree(14, seed=k)) for k in range(450)]
    moved = [
        data.Graph(14, random.permutation(14)[graph.edges]) for graph in (known[0], known[449])
    ]
    # Two that Weisfeiler and Lehman do not tell apart, and that are no copies.
    known.append(data.from_networkx(nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3))))
    drawn = [*moved, data.from_networkx(nx.cycle_graph(6)), data.from_networkx(nx.star_graph(5))]
    assert novel(drawn, known, jax.random.key(0)) == 0.5
    assert novel(drawn[3:], known, jax.random.key(0)) == 1


@pytest.mark.parametrize("steps", [1, 101])
def test_it_is_trained_for_the_steps_that_are_asked(steps, monkeypatch):
    asked = []
    monkeypatch.setattr(nets, "fit_gran", lambda *_, **how: asked.append(how) or stop())
    with pytest.raises(StopIteration):
        nets.train([], max_nodes=3, block=1, steps=steps, seed=0, progress=False)
    assert asked[0]["steps"] == steps


def stop():
    raise StopIteration


@pytest.mark.parametrize(("graphs", "settings", "message"), BAD)
def test_what_cannot_be_learned_from_is_refused(graphs, settings, message):
    with pytest.raises(ValueError, match=message):
        tasks.GraphGenerator(**settings).fit(graphs)


def test_what_cannot_be_asked_is_refused(fitted):
    with pytest.raises(
        ValueError, match=r"graph 1 has 9 nodes, and the model takes no more than 8"
    ):
        fitted.score_samples([nx.path_graph(9)])
    with pytest.raises(ValueError, match="`n_samples` must be 1 or more"):
        fitted.sample(0)
    with pytest.raises(TypeError):
        fitted.score_samples(3)
    with pytest.raises(TypeError, match="`connected` must be True or False, got 'yes'"):
        fitted.sample(1, connected="yes")

"""Reports of graphs against NetworkX's statistics and loops over pairs."""

import itertools

import jax
import jaxtyping
import networkx as nx
import numpy as np
import pytest

from pullback.analysis import (
    GraphMMD2,
    erdos_renyi,
    graph_histograms,
    graph_mmd2,
    graph_report,
    orbit_counts,
)
from pullback.analysis._isomorphism import isomorphism_classes
from pullback.analysis._orbit_counts import orbits_of
from pullback.data import Graph, Graphs, from_networkx

KEY = jax.random.key(0)
LOOSE = nx.gnm_random_graph(30, 40, seed=1)  # with nodes that nothing joins
SOME = [LOOSE, nx.gnp_random_graph(12, 0.5, seed=2), nx.random_labeled_tree(17, seed=3)]
MORE = [nx.grid_2d_graph(4, 5), nx.empty_graph(3), nx.complete_graph(7), nx.star_graph(9)]


def shuffled(graph, seed):
    order = np.random.default_rng(seed).permutation(graph.nodes)
    return Graph(graph.nodes, order[graph.edges])


def test_histograms_are_those_of_networkx():
    found = graph_histograms(SOME + MORE)
    for row, graph in enumerate(SOME + MORE):
        degrees = np.array(nx.degree_histogram(graph)) / len(graph)
        np.testing.assert_allclose(found.degree[row][: len(degrees)], degrees)
        assert not found.degree[row][len(degrees) :].any()
        bins = np.histogram([*nx.clustering(graph).values()], 100, (0, 1))[0]
        np.testing.assert_allclose(found.clustering[row], bins / len(graph))
        values = np.clip(nx.normalized_laplacian_spectrum(graph), 0, 2)
        bins = np.histogram(values, 200, (-1e-5, 2))[0]
        np.testing.assert_allclose(found.spectrum[row], bins / len(graph))
        np.testing.assert_allclose(found.orbits[row], orbit_counts(graph).mean(axis=0))
    sums = found.degree.sum(1), found.clustering.sum(1), found.spectrum.sum(1)
    np.testing.assert_allclose(sums, 1)


def test_of_two_colours_the_last_eigenvalue_is_counted():
    for cycle in (nx.cycle_graph(n) for n in range(4, 40, 2)):
        assert graph_histograms([cycle]).spectrum[0, -1] > 0


def test_a_distance_is_that_of_loops_over_pairs():
    ours, theirs = graph_histograms(SOME), graph_histograms(MORE)
    scales = {"degree": 1, "clustering": 0.1, "orbits": 30, "spectrum": 1}
    found = graph_mmd2(ours, theirs)
    for name, scale in scales.items():
        x, y = getattr(ours, name), getattr(theirs, name)
        wide = max(x.shape[1], y.shape[1])
        x, y = (np.pad(each, ((0, 0), (0, wide - each.shape[1]))) for each in (x, y))
        kernel = lambda a, b, s=scale: np.exp(-((np.abs(a - b).sum() / 2) ** 2) / (2 * s * s))
        mean = lambda u, v, k=kernel: np.mean([k(a, b) for a in u for b in v])
        want = mean(x, x) + mean(y, y) - 2 * mean(x, y)
        np.testing.assert_allclose(getattr(found, f"{name}_mmd2"), want, rtol=1e-12)
    np.testing.assert_allclose(found, graph_mmd2(theirs, ours), rtol=1e-12)
    assert all(value > 0 for value in found)


def test_of_equal_lists_it_is_zero():
    same = graph_histograms(SOME)
    assert graph_mmd2(same, same) == GraphMMD2(0, 0, 0, 0)
    turned = graph_histograms([shuffled(from_networkx(each), 0) for each in SOME[::-1]])
    np.testing.assert_allclose(graph_mmd2(same, turned), 0, atol=1e-12)


def test_of_two_halves_of_thrown_edges_it_is_small():
    thrown = erdos_renyi([nx.gnm_random_graph(20, 40, seed=0)], 64, key=KEY).graphs
    found = graph_mmd2(graph_histograms(thrown[:32]), graph_histograms(thrown[32:]))
    assert 0 < found.degree_mmd2 < 1e-2


def test_where_nothing_is_shared():
    found = graph_mmd2(graph_histograms([nx.cycle_graph(9)]), graph_histograms([nx.path_graph(2)]))
    np.testing.assert_allclose(found.degree_mmd2, 2 - 2 * np.exp(-1 / 2))
    assert found.clustering_mmd2 == 0
    triangle = graph_histograms([nx.cycle_graph(3)])
    found = graph_mmd2(triangle, graph_histograms([nx.cycle_graph(9)]))
    np.testing.assert_allclose(found.clustering_mmd2, 2 - 2 * np.exp(-50))


@pytest.mark.parametrize(("nodes", "classes"), [(1, 1), (2, 2), (3, 4), (4, 11), (5, 34)])
def test_of_all_graphs_of_few_nodes_there_are_so_many(nodes, classes):
    pairs = np.array([*itertools.combinations(range(nodes), 2)], int).reshape(-1, 2)
    sets = itertools.product([False, True], repeat=len(pairs))
    graphs = [Graph(nodes, pairs[np.array(each, bool)]) for each in sets]
    found = isomorphism_classes(graphs, orbits_of(graphs))
    assert len(np.unique(found)) == classes


def test_what_no_count_tells_apart_is_compared():
    apart, ring = nx.disjoint_union(nx.cycle_graph(6), nx.cycle_graph(6)), nx.cycle_graph(12)
    np.testing.assert_array_equal(orbit_counts(apart), orbit_counts(ring))
    turned = shuffled(from_networkx(ring), 0)
    report = graph_report([turned, ring, apart], [ring], train=[ring], key=KEY)
    assert (report.unique, report.novel, report.connected) == (2 / 3, 1 / 3, 2 / 3)
    report = graph_report([turned, ring, apart], [ring], train=[apart], key=KEY)
    assert (report.unique, report.novel) == (2 / 3, 2 / 3)


def test_what_no_colour_tells_apart_is_compared_in_full():
    one, other = nx.dodecahedral_graph(), nx.desargues_graph()
    np.testing.assert_array_equal(orbit_counts(one), orbit_counts(other))
    report = graph_report([one, shuffled(from_networkx(other), 0), other], [other], key=KEY)
    assert (report.unique, report.novel) == (2 / 3, 1 / 3)


def test_like_pieces_are_not_paired_in_every_way():
    """Of all pairings of eleven rings none fits, and there are a million times a million."""
    rings = lambda *sizes: nx.disjoint_union_all([nx.cycle_graph(size) for size in sizes])
    six, other = rings(*[6] * 11), rings(*[6] * 9, 5, 7)
    np.testing.assert_array_equal(orbit_counts(six), orbit_counts(other))
    turned = shuffled(from_networkx(rings(7, *[6] * 9, 5)), 0)
    report = graph_report([six, other, turned], [other], key=KEY)
    assert (report.unique, report.novel) == (2 / 3, 1 / 3)
    # The same where all rings hang on one node.
    hung = [nx.Graph(each) for each in (rings(*[20] * 11), rings(*[20] * 9, 19, 21))]
    for each in hung:
        each.add_edges_from([("hub", min(ring)) for ring in [*nx.connected_components(each)]])
    assert graph_report(hung[:1], hung[1:], key=KEY).novel == 1
    assert graph_report(hung[:1], hung[:1], key=KEY).novel == 0


@pytest.mark.parametrize(
    "graph",
    [nx.grid_2d_graph(15, 15), nx.path_graph(300), nx.random_regular_graph(3, 100, seed=0),
     nx.empty_graph(40), nx.complete_graph(30), nx.gnm_random_graph(200, 500, seed=0)],
)  # fmt: skip
def test_other_numbers_are_no_other_graph(graph):
    graph = from_networkx(graph)
    report = graph_report([shuffled(graph, 1), shuffled(graph, 2)], [graph], key=KEY)
    assert (report.unique, report.novel) == (0.5, 0)
    np.testing.assert_allclose(report.samples, 0, atol=1e-12)


def test_a_report_is_of_its_parts():
    reference = MORE * 2
    report = graph_report(SOME, Graphs(tuple(map(from_networkx, reference))), train=MORE, key=KEY)
    beside = graph_histograms(reference)
    assert report.samples == graph_mmd2(graph_histograms(SOME), beside)
    assert report.count == 3
    assert (report.connected, report.reference_connected) == (2 / 3, 3 / 4)
    assert (report.nodes, report.edges) == (59 / 3, (40 + len(SOME[1].edges) + 16) / 3)
    assert report.reference_nodes == (20 + 3 + 7 + 10) / 4
    assert report.reference_edges == (31 + 0 + 21 + 9) / 4
    assert (report.unique, report.novel) == (1, 1)
    rows = dict(report.rows())
    assert rows["degree_mmd2"] == report.samples.degree_mmd2
    assert rows["erdos_renyi_orbits_mmd2"] == report.erdos_renyi.orbits_mmd2
    assert rows["train_spectrum_mmd2"] == report.train.spectrum_mmd2
    assert list(rows)[:4] == ["connected", "reference_connected", "unique", "novel"]
    again = graph_report(SOME, reference, train=MORE, key=KEY)
    assert again == report
    other = graph_report(SOME, reference, train=MORE, key=jax.random.key(1))
    assert other.erdos_renyi != report.erdos_renyi


def test_as_many_are_compared_of_each_side():
    """Of equal graphs, so that those chosen do not matter: with 3 or with 9 the mean is another."""
    ring, path = nx.cycle_graph(5), nx.path_graph(5)
    report = graph_report([ring] * 3, [path, ring], train=[ring] * 9 + [path] * 9, key=KEY)
    beside = graph_histograms([path, ring])
    split = [graph_mmd2(graph_histograms([ring] * k + [path] * (3 - k)), beside) for k in range(4)]
    assert min(abs(report.train.degree_mmd2 - each.degree_mmd2) for each in split) < 1e-15
    assert report.novel == 0
    few = graph_report([ring] * 3, [path, ring], train=[path], key=KEY)
    assert few.train == graph_mmd2(graph_histograms([path]), beside)
    assert np.isnan(graph_report([ring], [path], key=KEY).train).all()
    # Of density 1 and 0, so that what is thrown is what was there; of one sample the first alone.
    ends = [nx.complete_graph(4), nx.empty_graph(4)]
    one = graph_report([ring], ends, key=KEY).erdos_renyi
    assert one == graph_mmd2(graph_histograms(ends[:1]), graph_histograms(ends))


def test_edges_are_thrown_as_often_as_they_are_found():
    others = [nx.gnm_random_graph(30, 60, seed=0), nx.gnm_random_graph(9, 30, seed=0)]
    thrown = erdos_renyi(others, 400, key=KEY).graphs
    assert [each.nodes for each in thrown] == [30, 9] * 200
    for start, other in enumerate(others):
        pairs = len(other) * (len(other) - 1) / 2
        counts = [len(each.edges) for each in thrown[start::2]]
        share = len(other.edges) / pairs
        error = np.sqrt(pairs * share * (1 - share) / 200)
        assert abs(np.mean(counts) - len(other.edges)) < 4 * error
        ends = np.concatenate([each.edges for each in thrown[start::2]])
        assert len(np.unique(ends, axis=0)) == pairs
    ends = [nx.empty_graph(5), nx.complete_graph(5), nx.empty_graph(1)]
    assert [len(each.edges) for each in erdos_renyi(ends, key=KEY).graphs] == [0, 10, 0]


@pytest.mark.parametrize(
    ("arguments", "kind", "match"),
    [
        ({"samples": []}, ValueError, "`samples` must hold at least one graph"),
        ({"samples": MORE[0]}, TypeError, r"`samples` must be several graphs, got one: write \["),
        ({"reference": Graph(2, np.zeros((0, 2), int))}, TypeError, "`reference` must be several"),
        ({"reference": [MORE[0], nx.Graph()]}, ValueError, "`reference`, place 1: a graph without"),
        ({"train": [nx.DiGraph([(0, 1)])]}, ValueError, "`train`, place 0: .*directions"),
        ({"train": ["C1CC1"]}, TypeError, "`train`, place 0: .*got str"),
        ({"key": 3}, TypeError, r"jax.random.key\(3\)"),
    ],
)
def test_what_nothing_is_reported_of(arguments, kind, match, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(kind, match=match):
        graph_report(**{"samples": SOME, "reference": MORE, "key": KEY, **arguments})
    with pytest.raises(ValueError, match="`count` must be"):
        erdos_renyi(SOME, 0, key=KEY)


@pytest.mark.parametrize("given", [None, 5])
def test_what_is_not_several_graphs_is_refused(given, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(TypeError, match=f"`samples` must be several graphs, got {given}"):
        graph_report(given, SOME, key=KEY)
    with pytest.raises(TypeError, match=f"`graphs` must be several graphs, got {given}"):
        graph_histograms(given)


def test_distances_are_of_histograms(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    histograms = graph_histograms(SOME)
    with pytest.raises(TypeError, match=r"`ours` must be what `graph_histograms` .* got list"):
        graph_mmd2(SOME, histograms)
    with pytest.raises(TypeError, match="`theirs` must be what `graph_histograms` makes"):
        graph_mmd2(histograms, SOME)

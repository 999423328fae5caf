"""Samples of `GRAN` against its likelihood, by enumeration."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest

from pullback.data import Graph
from pullback.models.graphs import GRAN, _draw, block_log_prob, ordered_graph
from pullback.models.graphs._draw import draw_block
from pullback.models.graphs._network import BlockLaw


def model_of(**given):
    settings = {"mixtures": 2, "width": 4, "layers": 1, "key": jr.key(0), **given}
    model = GRAN(settings.pop("max_nodes", 12), **settings)
    grow = lambda leaf: 3.0 * leaf if eqx.is_inexact_array(leaf) else leaf
    return eqx.tree_at(lambda m: m.network, model, jax.tree.map(grow, model.network))


def all_graphs(nodes):
    """Every graph, and the number that the bits of its strict lower triangle make."""
    pairs = np.array(list(itertools.combinations(range(nodes), 2)))
    bits = np.array(list(itertools.product([0, 1], repeat=len(pairs))), bool)
    return [Graph(nodes, pairs[row]) for row in bits], bits


def codes(graphs, nodes):
    pairs = {pair: n for n, pair in enumerate(itertools.combinations(range(nodes), 2))}
    worth = 2 ** np.arange(len(pairs))[::-1]
    return np.array([sum(worth[pairs[a, b]] for a, b in graph.edges.tolist()) for graph in graphs])


def block_probabilities(model, graphs, block):
    """Of each graph (a row) and block (a column), given the blocks before."""
    stack = jax.tree.map(
        lambda *leaves: jnp.stack(leaves),
        *[ordered_graph(graph, "default", shape=(8, 4, 0)) for graph in graphs],
    )
    starts = jnp.arange(0, graphs[0].nodes, block)
    each = eqx.filter_vmap(block_log_prob, in_axes=(None, None, 0))
    return np.exp(
        eqx.filter_jit(eqx.filter_vmap(each, in_axes=(None, 0, None)))(model, stack, starts)
    )


def within_four_sigma(found, expected, number):
    assert np.isclose(expected.sum(), 1, atol=1e-9)
    frequencies = np.bincount(found, minlength=len(expected)) / number
    sigma = np.sqrt(expected * (1 - expected) / number)
    assert np.all(np.abs(frequencies - expected) <= 4 * sigma + 1e-12)


@pytest.mark.parametrize("block", [1, 3])
def test_samples_follow_the_likelihood(block):
    model, number = model_of(block=block), 8_000
    graphs, _ = all_graphs(3)
    expected = block_probabilities(model, graphs, block).prod(axis=1)
    assert expected.max() > 2 * expected.min()
    drawn, steps = model.sample_with_steps(number, sizes=3, key=jr.key(1))
    within_four_sigma(codes(drawn.graphs, 3), expected, number)
    assert set(steps.tolist()) == {3 // block}


@pytest.mark.parametrize("block", [1, 2, 3])
def test_connected_samples_follow_each_block_given_that_its_rows_have_edges(block):
    model, number = model_of(block=block, density=0.2), 6_000
    graphs, bits = all_graphs(4)
    blocks = block_probabilities(model, graphs, block)
    pairs = np.array(list(itertools.combinations(range(4), 2)))
    joined = np.array([[np.any(row & (pairs[:, 1] == i)) for i in range(1, 4)] for row in bits])
    expected = np.ones(len(graphs))
    for number_of_block, start in enumerate(range(0, 4, block)):
        stop = min(start + block, 4)
        fine = np.all(joined[:, max(start - 1, 0) : stop - 1], axis=1)
        before, now = pairs[:, 1] < start, (pairs[:, 1] >= start) & (pairs[:, 1] < stop)
        for n, row in enumerate(bits):
            # The other rows of this block after the same ones, each pattern of them once.
            same = (bits[:, before] == row[before]).all(axis=1) & ~bits[:, ~before & ~now].any(
                axis=1
            )
            expected[n] *= fine[n] * blocks[n, number_of_block]
            expected[n] /= np.sum(blocks[same & fine, number_of_block])
    drawn = model.sample(number, sizes=4, connected=True, key=jr.key(2))
    within_four_sigma(codes(drawn.graphs, 4), expected, number)


def test_a_stride_below_the_block_keeps_its_first_rows():
    model, number = model_of(block=3), 8_000
    graphs, bits = all_graphs(3)
    pairs = list(itertools.combinations(range(3), 2))
    expected = np.ones(8)
    for n, graph in enumerate(graphs):
        ordered = ordered_graph(graph, "default")
        states = model.network.first_states(ordered)
        for start in (1, 2):
            law = eqx.filter_jit(type(model.network).law)(
                model.network, ordered, states, jnp.asarray(start)
            )
            theta = jax.nn.sigmoid(law.old[:start, 0])
            edges = np.array([bits[n, pairs.index((j, start))] for j in range(start)])[:, None]
            each = np.prod(np.where(edges, theta, 1 - theta), axis=0)
            expected[n] *= np.sum(np.exp(law.log_weights) * each)
    drawn, steps = model.sample_with_steps(number, sizes=3, stride=1, key=jr.key(3))
    within_four_sigma(codes(drawn.graphs, 3), expected, number)
    assert set(steps.tolist()) == {3}


@pytest.mark.parametrize(("block", "stride"), [(1, 1), (4, 4), (4, 3)])
def test_steps_sizes_and_connection(block, stride):
    model = model_of(max_nodes=40, block=block, density=0.05)
    sizes = [1, 2, 5, 16, 17, 33, 40]
    drawn, steps = model.sample_with_steps(
        7, sizes=sizes, stride=stride, connected=True, key=jr.key(4)
    )
    assert [graph.nodes for graph in drawn.graphs] == sizes
    assert steps.tolist() == [-(-n // stride) for n in sizes]
    for graph in drawn.graphs:
        # Each node but the first has an earlier neighbour.
        assert set(graph.edges[:, 1].tolist()) == set(range(1, graph.nodes))


def test_arrays_grow_where_edges_are_many_and_draw_the_same(monkeypatch):
    model = model_of(max_nodes=24, block=5, density=0.7)
    small = model.sample(2, sizes=[24, 20], key=jr.key(5)).graphs
    keys = jr.split(jr.key(5), 2)
    tables = _draw._drawn(model.network, np.array([24, 20]), 32, 5, False, keys)
    for table, listed, degrees in zip(
        tables.neighbours, tables.overflow, tables.degrees, strict=True
    ):
        # Each edge stands at both of its ends, once.
        owners, places = np.nonzero(table < 32)
        ends = [*zip(owners.tolist(), table[owners, places].tolist(), strict=True)]
        ends += [tuple(pair) for pair in listed.tolist() if pair[0] < 32]
        assert len(set(ends)) == len(ends) == degrees.sum()
        assert {(b, a) for a, b in ends} == set(ends)
    of_nothing = _draw._nothing

    def roomy(network, graphs, size):
        growing = of_nothing(network, graphs, size)
        table = jnp.full((graphs, size, size), size, jnp.int32)
        return eqx.tree_at(lambda g: g.neighbours, growing, table)

    monkeypatch.setattr(_draw, "_nothing", roomy)
    large = model.sample(2, sizes=[24, 20], key=jr.key(5)).graphs
    assert max(np.bincount(small[0].edges.ravel())) > 12
    for one, other in zip(small, large, strict=True):
        assert np.array_equal(one.edges, other.edges)


def test_edges_that_never_come_do_not_in_float32(x32):
    old, new = (jnp.full((n, 8, 1), -30.0) for n in (4096, 8))
    law = BlockLaw(old, new, jnp.zeros(1))
    start, kept = jnp.asarray(4080, jnp.int32), jnp.ones(8, bool)
    drawn = lambda key: jnp.sum(draw_block(law, start, kept, connected=False, key=key))
    assert jnp.sum(jax.lax.map(drawn, jr.split(jr.key(0), 500))) == 0


def test_rare_edges_are_drawn_by_their_law(x32):
    # Probabilities whose sum is lost in float32, and components that prefer other places.
    logits = jnp.array([[-75.0, -78.0], [-76.0, -77.0], [-77.0, -76.0], [-99.0, -99.0]])
    weights = jnp.log(jnp.array([0.3, 0.7]))
    law = BlockLaw(logits[:, None], jnp.zeros((1, 1, 2)), weights)
    start, kept, number = jnp.asarray(3, jnp.int32), jnp.ones(1, bool), 8_000
    draw = lambda key: draw_block(law, start, kept, connected=True, key=key)[0]
    drawn = jax.jit(jax.vmap(draw))(jr.split(jr.key(1), number))
    assert jnp.all(jnp.sum(drawn, axis=1) == 1)
    expected = np.exp(np.asarray(logits[:3] + weights[None], float) + 75).sum(axis=1)
    within_four_sigma(np.argmax(drawn, axis=1), expected / expected.sum(), number)


def test_sizes_are_drawn_as_often_as_they_count():
    model = eqx.tree_at(
        lambda m: m.size_counts, model_of(max_nodes=4), jnp.array([0, 1, 0, 3, 0], jnp.int32)
    )
    nodes = [graph.nodes for graph in model.sample(400, key=jr.key(6)).graphs]
    assert set(nodes) == {1, 3}
    assert abs(nodes.count(3) / 400 - 0.75) < 4 * np.sqrt(0.75 / 4 / 400)
    given = model.sample(400, sizes={2: 1.0, 4: 0}, key=jr.key(6)).graphs
    assert {graph.nodes for graph in given} == {2}
    # Large and small weights are drawn as the same shares of others are.
    drawn = lambda a, b: [
        graph.nodes for graph in model.sample(60, sizes={2: a, 3: b}, key=jr.key(7)).graphs
    ]
    assert drawn(1e308, 1e308) == drawn(1.0, 1.0) == drawn(5e-324, 5e-324)
    assert set(drawn(1.0, 1.0)) == {2, 3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "`count` must be 1 or more"),
        ({"stride": 4}, "`stride` must be up to `block` = 3, got 4"),
        ({"sizes": 13}, "between 1 and `max_nodes` = 12, got 13"),
        ({"sizes": [3, 0]}, "between 1 and `max_nodes` = 12, got 0"),
        ({"sizes": [3]}, "one for each of 2 graphs"),
        ({"sizes": np.array([2.5, 3.0])}, "must be a whole number"),
        ({"sizes": {}}, "empty dictionary"),
        ({"sizes": {3: -1.0}}, r"`sizes\[3\]` must be a weight that is 0 or more, got -1.0"),
        ({"sizes": {3: np.inf}}, r"`sizes\[3\]` must be a weight that is 0 or more, got inf"),
        ({"sizes": {3: 0, 4: 0.0}}, "must have a weight that is above 0"),
    ],
)
def test_bad_arguments_of_sample(options, message):
    with pytest.raises(ValueError, match=message):
        model_of(block=3).sample(options.pop("count", 2), **options, key=jr.key(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": {3: "a"}}, r"`sizes\[3\]` must be one number, got 'a'"),
        ({"connected": "no"}, "`connected` must be True or False, got 'no'"),
        ({"count": 2.0}, "`count` must be a whole number"),
    ],
)
def test_bad_kinds_of_arguments_of_sample(options, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(TypeError, match=message):
        model_of().sample(options.pop("count", 2), **options, key=jr.key(0))


def test_the_same_key_draws_the_same_graphs():
    draw = lambda seed: model_of(block=2).sample(3, sizes=9, key=jr.key(seed)).graphs
    same = lambda ours, theirs: all(
        np.array_equal(one.edges, other.edges) for one, other in zip(ours, theirs, strict=True)
    )
    assert same(draw(0), draw(0))
    assert not same(draw(0), draw(1))

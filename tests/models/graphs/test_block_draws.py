"""Batches of blocks: the log-probabilities they tell are those of whole graphs."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.data import Graph
from pullback.models.graphs import (
    GRAN,
    ORDERS,
    block_log_prob,
    canonical_order,
    marginal_log_prob,
    ordered_graph,
)
from pullback.models.graphs._block_draws import block_draws
from pullback.models.graphs._fit_gran import batch_log_prob

LONG = 10**9  # steps enough for every size to be worth its compilation


def random_graph(nodes, chance, seed=0):
    draw = np.random.default_rng(seed)
    return Graph(nodes, np.argwhere(np.triu(draw.uniform(size=(nodes, nodes)) < chance, 1)))


HUB = Graph(25, np.stack([np.full(24, 12), np.delete(np.arange(25), 12)], axis=1))
SOME = [Graph(1, np.zeros((0, 2), int)), random_graph(5, 0.5), HUB, random_graph(40, 0.15)]


def model_of(block):
    model = GRAN(40, block=block, mixtures=2, width=4, layers=2, key=jr.key(1))
    grow = lambda leaf: 3 * leaf if eqx.is_inexact_array(leaf) else leaf
    return eqx.tree_at(lambda m: m.network, model, jax.tree.map(grow, model.network))


def test_a_batch_of_all_blocks_tells_the_marginal_of_each_graph():
    model, kinds = model_of(3), ["dfs", "default", "degree"]
    draws = block_draws(
        SOME, kinds, block=3, stride=3, prefixes=None, steps=LONG, batch_size=len(SOME)
    )
    assert len(draws.tables) > 2
    batch = draws(jr.key(0))
    found = eqx.filter_jit(batch_log_prob)(model, batch)
    wanted = [float(marginal_log_prob(model, graph, kinds)) for graph in SOME]
    np.testing.assert_allclose(found, wanted, rtol=1e-11)
    np.testing.assert_allclose(batch.weights, 0.25)
    # Of one node and of a star the same matrix comes of several orders, and counts once.
    counts = [distinct(graph, kinds) for graph in SOME]
    assert np.asarray(batch.distinct).sum(axis=1).tolist() == counts
    assert counts[0] == 1 < counts[3]


def distinct(graph, kinds):
    found = set()
    for kind in kinds:
        order = canonical_order(graph, kind).tolist()
        edges = ((order.index(a), order.index(b)) for a, b in graph.edges.tolist())
        found.add(frozenset(map(frozenset, edges)))
    return len(found)


@pytest.mark.parametrize(("block", "stride"), [(1, 1), (3, 3), (3, 2)])
def test_each_block_that_is_drawn_is_that_of_the_whole_graph(block, stride):
    model = model_of(block)
    draws = block_draws(
        SOME, ["bfs"], block=block, stride=stride, prefixes=3, steps=LONG, batch_size=8
    )
    assert draws.slots == (2, 2, 2, 2)
    each = eqx.filter_jit(lambda graph, start: block_log_prob(model, graph, start))
    wholes = [ordered_graph(graph, "bfs") for graph in SOME]
    sizes = set()
    for seed in range(3):
        batch = draws(jr.key(seed))
        for blocks in batch.blocks:
            sizes.add(blocks.graphs.neighbours.shape[2])
            for place in range(len(blocks.starts)):
                one = jax.tree.map(lambda leaf, p=place: leaf[p, 0], blocks.graphs)
                start = blocks.starts[place]
                [whole] = [whole for whole in wholes if whole.nodes == one.nodes]
                assert start % stride == 0
                assert start < whole.nodes
                np.testing.assert_allclose(
                    each(one, start), each(whole, start), rtol=1e-11, atol=1e-14
                )
    assert sizes == {8, 16, 24, 32, 40}


@pytest.mark.parametrize(
    ("steps", "batch_size", "stride"), [(LONG, 5, 2), (1, 5, 2), (LONG, 1, 2), (LONG, 5, 1)]
)
def test_batches_are_right_in_the_mean(steps, batch_size, stride):
    nodes = [1, 2, 5, 9, 9, 17, 30]
    some = [random_graph(n, 0.3, seed) for seed, n in enumerate(nodes)]
    draws = block_draws(
        some, ["default"], block=2, stride=stride, prefixes=3, steps=steps, batch_size=batch_size
    )
    assert sum(draws.slots) == batch_size

    def of_batch(key):
        batch = draws(key)
        total = jnp.zeros(batch_size)
        for blocks in batch.blocks:
            of_block = jnp.cos(blocks.starts.astype(float)) + jnp.sqrt(
                blocks.graphs.nodes[:, 0].astype(float)
            )
            total = total.at[blocks.owners].add(blocks.weights * of_block)
        return jnp.sum(batch.weights * total)

    found = np.asarray(jax.jit(jax.vmap(of_batch))(jr.split(jr.key(0), 4000)))
    sums = [np.sum(np.cos(np.arange(0, n, stride)) + np.sqrt(n)) for n in nodes]
    wanted = np.mean(sums) * stride / 2
    band = 4 * found.std() / np.sqrt(len(found))
    assert abs(found.mean() - wanted) < band
    assert band < 0.1 * wanted


def test_a_batch_as_large_as_the_set_has_each_graph_once():
    some = [random_graph(n, 0.3) for n in range(2, 12)]
    for steps in (1, LONG):
        draws = block_draws(
            some, ["dfs"], block=1, stride=1, prefixes=1, steps=steps, batch_size=len(some)
        )
        nodes = np.concatenate([b.graphs.nodes[:, 0] for b in draws(jr.key(0)).blocks])
        assert sorted(nodes.tolist()) == list(range(2, 12))


def test_tables_are_those_of_each_graph_in_its_order():
    draws = block_draws(SOME, ORDERS, block=1, stride=1, prefixes=None, steps=LONG, batch_size=4)
    for table in draws.tables:
        size, width, listed = *table.neighbours.shape[2:], table.overflow.shape[2]
        for (number, graph), (place, kind) in itertools.product(enumerate(SOME), enumerate(ORDERS)):
            places = np.argsort(canonical_order(graph, kind))
            edges = places[graph.edges]
            part = Graph(min(graph.nodes, size), edges[(edges < size).all(axis=1)])
            wanted = ordered_graph(part, "default", shape=(size, width, listed))
            np.testing.assert_array_equal(table.neighbours[number, place], wanted.neighbours)
            np.testing.assert_array_equal(table.overflow[number, place], wanted.overflow)
            assert table.nodes[number, place] == graph.nodes
    assert any(table.overflow.shape[2] for table in draws.tables)

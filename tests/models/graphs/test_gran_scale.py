"""A graph of 5,000 nodes: by the compiler's account of memory, and drawn."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.data import Graph
from pullback.models.graphs import GRAN, _draw, block_log_prob, ordered_graph

NODES, EDGES, MIB = 5_000, 12_300, 2**20


def model(**given):
    settings = {"block": 10, "mixtures": 20, "width": 32, "layers": 3, **given}
    density = EDGES / (NODES * (NODES - 1) / 2)
    return GRAN(NODES, **settings, density=density, key=jr.key(0))


def temporary(function, *args, **options):
    compiled = function.lower(*args, **options).compile().compiled
    return compiled.memory_analysis().temp_size_in_bytes


def test_a_sample_takes_64_mib(x32):
    network = model().network
    asked, keys = jnp.array([NODES], jnp.int32), jr.split(jr.key(1), 1)
    growing = _draw._nothing(network, 1, _draw._size(NODES + 9))
    options = {"edges": 256, "stride": 10, "connected": True}
    taken = temporary(_draw.grow, network, growing, asked, keys, **options)
    assert taken <= 64 * MIB
    # No more graphs in a loop than fit.
    assert _draw._at_once(network, 5120, 100) * taken <= 64 * MIB


def test_the_gradient_of_a_prefix_takes_500_mib(x32):
    ends = np.random.default_rng(0).integers(0, NODES, (EDGES, 2))
    graph = ordered_graph(Graph(NODES, ends[ends[:, 0] != ends[:, 1]]), "default")
    slope = eqx.filter_jit(eqx.filter_grad(block_log_prob))
    assert temporary(slope, model(), graph, jnp.asarray(NODES - 10, jnp.int32)) <= 500 * MIB


@pytest.mark.slow
def test_a_graph_of_5000_nodes_is_drawn(x32):
    small = model(block=25, mixtures=4, width=8, layers=2)
    drawn, steps = small.sample_with_steps(1, sizes=NODES, key=jr.key(2))
    assert steps.tolist() == [NODES // 25]
    assert 0.5 * EDGES < len(drawn.graphs[0].edges) < 2 * EDGES

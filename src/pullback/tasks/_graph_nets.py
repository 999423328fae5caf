"""The network of a generator of graphs: fitted, kept as arrays, and asked."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from pullback._on_device import on_device
from pullback.data import Graph
from pullback.models.graphs import GRAN, fit_gran, ordered_graph, ordered_log_prob, ordered_shape

from ._store import ModelError

_WIDTH, _LAYERS, _MIXTURES = 32, 3, 10
_STEPS = 1200
_SIZES = (32, 128, 512, 2048)  # nodes, to which graphs are filled up when they are scored
_WIDTHS = (8, 32, 128)  # neighbours in a table, likewise
_POINTS = 50  # of the curve
ORDERS = ("dfs",)


class Curve(NamedTuple):
    """Minus the log-density of a graph, in nats and in the mean, over training."""

    step: list[int]
    nll: list[float]


def train(
    graphs: Sequence[Graph],
    *,
    max_nodes: int,
    block: int,
    steps: int | None,
    seed: int,
    progress: bool | None,
) -> tuple[GRAN, Curve]:
    """A generator of graphs, and the curve of its training."""
    steps = _STEPS if steps is None else steps
    every = max(1, steps // _POINTS)
    model, info = fit_gran(
        graphs, orders=ORDERS, max_nodes=max_nodes, block=block, mixtures=_MIXTURES, width=_WIDTH,
        layers=_LAYERS, position_features=True, steps=steps, log_every=every,
        progress=progress, key=_key(0, seed),
    )  # fmt: skip
    return model, Curve(info.history["step"].tolist(), info.history["nll"].tolist())


def sample(model: GRAN, count: int, *, sizes: Any, connected: bool, seed: int) -> list[Graph]:
    """Graphs that are drawn, with names."""
    drawn = model.sample(count, sizes=sizes, connected=connected, key=_key(1, seed))
    named = enumerate(drawn.graphs, 1)
    return [Graph(each.nodes, each.edges, f"sample{place}") for place, each in named]


def log_densities(model: GRAN, graphs: Sequence[Graph]) -> Float[np.ndarray, " graphs"]:
    """The log-density of each graph in its depth-first order."""
    ordered = [ordered_graph(each, ORDERS[0], shape=_shape(each, model)) for each in graphs]
    return np.array([float(_log_prob(model, each)) for each in ordered], float)


_log_prob = eqx.filter_jit(ordered_log_prob)


def _shape(graph: Graph, model: GRAN) -> tuple[int, int, int]:
    """Rows, width and length of the list: of the graph alone, and few, for each is a program."""
    largest = ordered_shape([Graph(model.max_nodes, np.zeros((0, 2), int))])[0]
    size = next((size for size in _SIZES if graph.nodes <= size), largest)
    degrees = np.bincount(graph.edges.ravel(), minlength=1)
    width = next((width for width in _WIDTHS if degrees.max() <= width), _WIDTHS[-1])
    over = int(np.maximum(degrees - width, 0).sum())
    return min(size, largest), width, 0 if not over else 4 ** math.ceil(math.log(over, 4))


def _key(number: int, seed: int) -> PRNGKeyArray:
    return jr.wrap_key_data(on_device(np.asarray([number, seed], np.uint32)))


def arrays_of(model: GRAN) -> dict[str, np.ndarray]:
    """The arrays of the network by name."""
    leaves = jax.tree.leaves(eqx.filter(model, eqx.is_array))
    return {f"gran.{place}": np.asarray(leaf) for place, leaf in enumerate(leaves)}


def from_arrays(arrays: dict[str, np.ndarray], max_nodes: int, block: int) -> GRAN:
    """The network that had these arrays."""
    make = lambda key: GRAN(
        max_nodes,
        block=block,
        mixtures=_MIXTURES,
        width=_WIDTH,
        layers=_LAYERS,
        position_features=True,
        key=key,
    )
    shape = eqx.filter_eval_shape(make, jr.key(0))
    is_array = lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)
    leaves, structure = jax.tree.flatten(shape, is_leaf=is_array)
    wanted = {f"gran.{place}": x for place, x in enumerate(filter(is_array, leaves))}
    found = {name: array for name, array in arrays.items() if name.startswith("gran.")}
    shapes = lambda of: {name: x.shape for name, x in of.items()}
    if shapes(found) != shapes(wanted):
        raise ModelError(
            f"the arrays are not those of a network of blocks of {block} and up to {max_nodes} "
            "nodes; fit again, and save it."
        )
    taken = (on_device(found[name]) for name in wanted)
    return jax.tree.unflatten(structure, [next(taken) if is_array(x) else x for x in leaves])

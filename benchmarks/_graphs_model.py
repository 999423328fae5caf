"""GRAN: a step of drawing and of training, whole graphs and memory, beside PyTorch."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import torch

from _graphs_bare import bare_drawn, bare_gradient, bare_prefix
from _graphs_torch import Twin, prefixes
from _harness import markdown_table, race
from pullback._in_batches import over_rows
from pullback.data import Graph
from pullback.models.graphs import GRAN, OrderedGraph, block_log_prob, ordered_graph, ordered_shape
from pullback.models.graphs._draw import Growing, grow
from pullback.models.graphs._ordered import padded_size

PACKAGES = ("pullback", "jax", "equinox", "optax", "torch")
SIZES = {100: 10, 500: 4, 5000: 1}  # nodes, and the prefixes of a step of training
BLOCK, WIDTH, LAYERS, MIXTURES = 10, 32, 3, 20
EDGES = 2.46  # a node: 12,300 of 5,000 nodes
OURS, BARE, TORCH = "pullback", "a bare program", "PyTorch"
MIB = 2**20


def near_edges(nodes: int) -> Graph:
    """A path with more edges between nodes that are near in it, as depth-first orders have."""
    generator = np.random.default_rng(nodes)
    along = np.arange(nodes - 1)
    found = {(int(a), int(a) + 1) for a in along}
    while len(found) < int(EDGES * nodes):
        a, gap = generator.integers(nodes), generator.integers(2, 50)
        if a + gap < nodes:
            found.add((int(a), int(a + gap)))
    return Graph(nodes, np.array(sorted(found)))


def model_of(nodes: int, block: int = BLOCK) -> GRAN:
    density = EDGES / ((nodes - 1) / 2)
    return GRAN(
        nodes, block=block, mixtures=MIXTURES, width=WIDTH, layers=LAYERS, density=density,
        key=jr.key(0),
    )  # fmt: skip


def growing_of(model: GRAN, graph: Graph, start: int) -> Growing:
    """The graph before `start`, as the sampler has it when it gets there."""
    kept = Graph(graph.nodes, graph.edges[graph.edges[:, 1] < start])
    size = padded_size(graph.nodes + model.block - 1)
    ordered = ordered_graph(kept, "default", shape=(size, 8, max(64, size // 8)))
    degrees = np.bincount(kept.edges.ravel(), minlength=size)
    return Growing(
        neighbours=ordered.neighbours[None],
        overflow=ordered.overflow[None],
        listed=jnp.sum(ordered.overflow[:, 0] < size, dtype=jnp.int32)[None],
        degrees=jnp.asarray(degrees, jnp.int32)[None],
        states=model.network.first_states(ordered)[None],
        steps=jnp.zeros(1, jnp.int32),
        start=jnp.asarray(start, jnp.int32),
    )


def dense(graph: Graph) -> np.ndarray:
    matrix = np.zeros((graph.nodes, graph.nodes), np.int8)
    matrix[graph.edges[:, 0], graph.edges[:, 1]] = 1
    return matrix + matrix.T


def measure(rounds: int) -> dict[str, Any]:
    """Seconds of steps at each size, bytes at the largest, and seconds of whole graphs."""
    steps = {str(nodes): _steps(nodes, rounds) for nodes in SIZES}
    return {"steps": steps, "memory": _memory(max(SIZES)), "whole": _whole()}


def _steps(nodes: int, rounds: int) -> dict[str, dict[str, float]]:
    """The last step of a graph's drawing, and a step of training on some prefixes."""
    graph, model, twin = near_edges(nodes), model_of(nodes), Twin(model_of(nodes).network)
    start = nodes - BLOCK
    matrix = torch.tensor(dense(graph), dtype=torch.float32)
    _check_same(model, twin, graph, matrix.clone(), start)
    drawing = _our_drawing(model, graph, start)
    bare = bare_prefix(graph.edges, start, BLOCK)
    draw = eqx.filter_jit(bare_drawn)
    calls: dict[str, Callable[[], object]] = {
        OURS: lambda: jax.block_until_ready(drawing()),
        BARE: lambda: jax.block_until_ready(draw(model.network, bare, key=jr.key(1))),
        TORCH: lambda: twin.step(matrix, start),
    }
    drawn = {name: timing.min for name, timing in race(calls, rounds=rounds).items()}
    if nodes == max(SIZES):
        single = _our_drawing(model_of(nodes, 1), graph, nodes - 1)
        once = race({OURS: lambda: jax.block_until_ready(single())}, rounds=rounds)
        drawn["block 1"] = once[OURS].min
    generator = np.random.default_rng(1)
    starts = np.sort(generator.choice(nodes // BLOCK, SIZES[nodes], replace=False)) * BLOCK
    if SIZES[nodes] == 1:
        starts = np.array([start])
    trained = race(_training(model, twin, graph, starts), rounds=rounds)
    print(nodes, drawn, trained, flush=True)
    return {"draw": drawn, "train": {name: timing.min for name, timing in trained.items()}}


def _our_drawing(model: GRAN, graph: Graph, start: int) -> Callable[[], Any]:
    growing, keys = growing_of(model, graph, start), jr.split(jr.key(0), 1)
    nodes = jnp.array([graph.nodes], jnp.int32)
    once = lambda: grow(
        model.network, growing, nodes, keys, edges=256, stride=model.block, connected=False
    )
    assert int(once()[0].start) == graph.nodes  # and so the step was taken
    return once


def _check_same(
    model: GRAN, twin: Twin, graph: Graph, matrix: torch.Tensor, start: int
) -> None:  # fmt: skip
    """Logits to the nodes so far agree, of all three, before any is timed."""
    ordered = ordered_graph(graph, "default")
    law = eqx.filter_jit(type(model.network).law)(
        model.network, ordered, model.network.first_states(ordered), jnp.asarray(start)
    )
    ours = np.swapaxes(np.asarray(law.old[:start]), 0, 1)
    theirs = twin.law(matrix, start)[0][:, :start].numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
    bare = bare_drawn(model.network, bare_prefix(graph.edges, start, BLOCK), key=jr.key(0))[1]
    np.testing.assert_allclose(ours, np.swapaxes(np.asarray(bare), 0, 1), rtol=1e-3, atol=1e-3)


def grouped(graph: Graph, starts: Sequence[int]) -> list[tuple[OrderedGraph, jax.Array]]:
    """The graph up to each block, in groups of one shape: what is beyond costs nothing."""
    groups: dict[int, list[tuple[Graph, int]]] = {}
    for start in starts:
        end = start + BLOCK
        kept = Graph(end, graph.edges[graph.edges[:, 1] < end])
        groups.setdefault(end.bit_length(), []).append((kept, start))
    found = []
    for group in groups.values():
        shape = ordered_shape([kept for kept, _ in group])
        ordered = [ordered_graph(kept, "default", shape=shape) for kept, _ in group]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *ordered)
        found.append((stacked, jnp.array([start for _, start in group], jnp.int32)))
    return found


def our_gradient(model: GRAN, groups: list[tuple[OrderedGraph, jax.Array]]) -> GRAN:
    def objective(model):
        one = lambda row: block_log_prob(model, *row)
        # As a fit does: at once what is small, and one by one what is large.
        some = lambda graphs: max(1, 512 // graphs.neighbours.shape[1])
        return -sum(
            jnp.sum(over_rows(one, group, some(group[0]), recompute=True)) for group in groups
        )

    return eqx.filter_grad(objective)(model)


def _training(
    model: GRAN, twin: Twin, graph: Graph, starts: np.ndarray
) -> dict[str, Callable[[], object]]:
    """A gradient and a step of Adam, of all three on the same prefixes."""
    adam = optax.adam(1e-4)
    state = adam.init(eqx.filter(model, eqx.is_inexact_array))
    groups = grouped(graph, starts.tolist())
    bare = [bare_prefix(graph.edges, int(start), BLOCK) for start in starts]

    @eqx.filter_jit
    def ours(model, state, groups):
        slopes: Any = our_gradient(model, groups)
        updates, state = adam.update(slopes, state)
        return eqx.filter(eqx.apply_updates(model, updates), eqx.is_array), state

    @eqx.filter_jit
    def plain(model, state, bare):
        slopes: Any = bare_gradient(model, bare)
        updates, state = adam.update(slopes, state)
        return eqx.filter(eqx.apply_updates(model, updates), eqx.is_array), state

    batch = prefixes(dense(graph), starts.tolist(), BLOCK)
    optimiser = torch.optim.Adam(twin.parameters(), lr=1e-4)

    def theirs() -> None:
        optimiser.zero_grad()
        twin.objective(batch).backward()
        optimiser.step()

    return {
        OURS: lambda: jax.block_until_ready(ours(model, state, groups)),
        BARE: lambda: jax.block_until_ready(plain(model, state, bare)),
        TORCH: theirs,
    }


def _memory(nodes: int) -> dict[str, float]:
    """MiB beside arguments: by the compiler's account, and of PyTorch by the system's."""
    graph, model = near_edges(nodes), model_of(nodes)
    start = nodes - BLOCK
    growing, keys = growing_of(model, graph, start), jr.split(jr.key(0), 1)
    growth: Any = grow
    drawing = growth.lower(
        model.network, growing, jnp.array([nodes], jnp.int32), keys, edges=256, stride=BLOCK,
        connected=False,
    )  # fmt: skip
    gradient: Any = eqx.filter_jit(our_gradient)
    slope = gradient.lower(model, grouped(graph, [start]))
    temporary = lambda lowered: (
        lowered.compile().compiled.memory_analysis().temp_size_in_bytes / MIB
    )
    found = {"draw": temporary(drawing), "train": temporary(slope)}
    twin, matrix = Twin(model.network), torch.tensor(dense(graph), dtype=torch.float32)
    batch = prefixes(dense(graph), [start], BLOCK)
    found["draw, PyTorch"] = _peak(lambda: twin.step(matrix, start))
    found["train, PyTorch"] = _peak(lambda: twin.objective(batch).backward())
    return found


def _peak(call: Callable[[], object]) -> float:
    """MiB that the process has at the most during a call, beyond those before."""
    read = lambda name: next(
        int(line.split()[1]) / 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith(name)
    )
    call()
    Path("/proc/self/clear_refs").write_text("5")
    before = read("VmRSS")
    call()
    return read("VmHWM") - before


def _whole() -> dict[str, dict[str, float]]:
    """Seconds of a whole graph: at the first call, with compiling, and up to 500 at the second."""
    found: dict[str, dict[str, float]] = {}
    for nodes in SIZES:
        model = model_of(nodes)
        draw = lambda seed, model=model: model.sample(1, key=jr.key(seed))
        first, processor, graphs = _timed(lambda draw=draw: draw(0))
        each = {"first": first, "processor": processor, "load": os.getloadavg()[0]}
        each["edges"] = len(graphs.graphs[0].edges)
        if nodes < max(SIZES):
            twin = Twin(model.network)
            each["second"] = _timed(lambda draw=draw: draw(0))[1]
            each["PyTorch"] = _timed(lambda twin=twin, nodes=nodes: twin.sample(nodes))[1]
        found[str(nodes)] = each
        print(nodes, each, flush=True)
    return found


def _timed(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds by the clock and of the processor, and what a call gives."""
    start, processor = time.perf_counter(), time.process_time()
    result = call()
    return time.perf_counter() - start, time.process_time() - processor, result


def tables(record: dict[str, Any]) -> list[str]:
    """What was measured, in words and in Markdown."""
    rows = []
    for nodes, parts in record["steps"].items():
        for what, called in (("draw", "drawing"), ("train", "training")):
            times = parts[what]
            rows.append([
                f"{int(nodes):,} nodes, {called}",
                *(f"{times[name] * 1e3:.1f}" for name in (OURS, BARE, TORCH)),
                f"{times[OURS] / times[BARE]:.2f}", f"{times[TORCH] / times[OURS]:.1f}",
            ])  # fmt: skip
    largest = record["steps"][str(max(SIZES))]["draw"]
    single = largest["block 1"] / largest[OURS] * BLOCK
    seconds = lambda each, name: f"{each[name]:.2f}" if name in each else ""
    whole = [
        [f"{int(nodes):,}", f"{each['first']:.1f}", f"{each['processor']:.1f}",
         seconds(each, "second"), seconds(each, "PyTorch"), f"{each['edges']:,}",
         f"{each['load']:.1f}"]
        for nodes, each in record["whole"].items()
    ]  # fmt: skip
    memory = record["memory"]
    return [
        "### GRAN",
        f"Width {WIDTH}, {LAYERS} layers, {MIXTURES} components, blocks of {BLOCK}, random "
        f"weights; graphs of {EDGES} edges a node. A step of drawing is the last of a graph; one "
        "of training takes the gradient of the last block at 5,000 nodes, of 4 blocks at 500 and "
        "of all 10 at 100, and a step of Adam. The twin in PyTorch has the same arrays and takes "
        "the steps of the authors' code; what it reads in training is made before. The bare "
        "program is JAX as one writes it, with a list of the very edges of each prefix, compiled "
        "for these alone. Logits of all three were checked to agree. ms; wanted: PyTorch at least "
        "2 of ours.",
        markdown_table(
            ["step", OURS, BARE, TORCH, "ours, of the bare one", "PyTorch, of ours"], rows
        ),
        f"With blocks of 1 as many rows take {single:.1f} times as long at 5,000 nodes.",
        f"Temporary memory of 5,000 nodes, by the compiler's account: {memory['draw']:.0f} MiB a "
        f"step of drawing (wanted: 64), {memory['train']:.0f} MiB the gradient of the last prefix "
        f"(wanted: 500). The twin takes {memory['draw, PyTorch']:.0f} and "
        f"{memory['train, PyTorch']:.0f} MiB by the system's, beyond its matrix of "
        f"{max(SIZES) ** 2 * 4 / MIB:.0f} MiB.",
        "Whole graphs, seconds: the first call, which compiles, by the clock and of the processor; "
        "a second one and PyTorch of the processor. Wanted of 5,000 nodes on two idle cores: 60.",
        markdown_table(
            ["nodes", "first call", "of the processor", "second call", TORCH, "edges", "load"],
            whole,
        ),
    ]  # fmt: skip

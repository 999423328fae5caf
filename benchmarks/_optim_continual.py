"""A step of synaptic intelligence beside one of the optimiser it wraps, and beside Avalanche's."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from _harness import markdown_table, race
from _optim_avalanche import trainers
from pullback.optim import consolidate, elastic_weight_consolidation, synaptic_intelligence

PACKAGES = ("pullback", "jax", "jaxlib", "equinox", "optax", "torch")
STEPS, BATCH, RATE = 100, 64, 1e-3
SIZES = ([64, 64, 64, 10], [784, 256, 256, 10])
ADAM, OURS, ELASTIC = "Adam", "synaptic intelligence", "elastic weights"


def network(sizes: list[int]) -> list[np.ndarray]:
    """Weights and biases of dense layers."""
    rng, found = np.random.default_rng(0), []
    for fan_in, fan_out in itertools.pairwise(sizes):
        found.append((rng.normal(size=(fan_out, fan_in)) / np.sqrt(fan_in)).astype(np.float32))
        found.append(np.zeros(fan_out, np.float32))
    return found


def loss(weights, batch):
    x, y = batch
    *hidden, last = zip(weights[::2], weights[1::2], strict=True)
    for weight, bias in hidden:
        x = jax.nn.relu(x @ weight.T + bias)
    logits = x @ last[0].T + last[1]
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y))


def scan_of(optimiser: Any, x: jax.Array, y: jax.Array) -> Callable[..., Any]:
    """Some steps as one compiled program."""

    def step(carry, batch):
        weights, state = carry
        gradient = jax.grad(loss)(weights, batch)
        updates, state = optimiser.update(gradient, state, weights)
        return (optax.apply_updates(weights, updates), state), None

    batches = x.reshape(STEPS, BATCH, -1), y.reshape(STEPS, BATCH)
    return jax.jit(lambda *carry: jax.lax.scan(step, carry, batches)[0])


def measure_size(sizes: list[int], rounds: int) -> dict[str, Any]:
    """Seconds a step of each at its best, after a first task."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(STEPS * BATCH, sizes[0])).astype(np.float32)
    y = rng.integers(sizes[-1], size=len(x)).astype(np.int32)
    weights = network(sizes)
    calls: dict[str, Callable[[], Any]] = {}
    adam = optax.adam(RATE)
    rivals = {
        ADAM: adam,
        OURS: synaptic_intelligence(adam, strength=0.1),
        ELASTIC: elastic_weight_consolidation(adam, strength=0.1),
    }
    for name, optimiser in rivals.items():
        run = scan_of(optimiser, jnp.asarray(x), jnp.asarray(y))
        params = [*map(jnp.asarray, weights)]
        params, state = run(params, optimiser.init(params))
        if name != ADAM:
            fisher = jax.tree.map(jnp.ones_like, params) if name == ELASTIC else None
            state = consolidate(optimiser, state, params, fisher=fisher)
        call = lambda run=run, start=(params, state): jax.block_until_ready(run(*start))
        calls[name] = call
    missing = None
    try:
        calls |= trainers(weights, x, y, BATCH, RATE)
    except ImportError as error:
        missing = str(error)
    timings = race(calls, rounds=rounds)
    per_step = {name: timing.min / STEPS for name, timing in timings.items()}
    count = sum(each.size for each in weights)
    return {"sizes": sizes, "parameters": count, "seconds": per_step, "missing": missing}


def measure(rounds: int) -> dict[str, Any]:
    """All sizes."""
    return {"sizes": [measure_size(sizes, rounds) for sizes in SIZES]}


def tables(found: dict[str, Any]) -> list[str]:
    """Paragraphs and tables of what was measured."""
    columns = found["sizes"]
    rows = []
    for name in columns[0]["seconds"]:
        cells = []
        for each in columns:
            mine, step = each["seconds"][name], each["seconds"]
            base = OURS if name.startswith("Avalanche") else ADAM
            cells += [f"{1e3 * mine:.3f}", f"{mine / step[base]:.2f} x {base}"]
        rows.append([name, *cells])
    head = ["ms a step"]
    for each in columns:
        head += ["-".join(map(str, each["sizes"])), "ratio"]
    parts = [
        f"**Earlier tasks kept.** Steps of {BATCH} rows in the second of two tasks, {STEPS} in one "
        "compiled scan; of Avalanche once through as many rows held in memory, its logger and "
        "evaluation off. Its rule is another paper's variant. The best of all turns. Ten times "
        "Avalanche is the aim, which is missed on the larger network: its products of matrices "
        "take most of a step, and cost both alike.",
        markdown_table(head, rows),
    ]
    missing = columns[0]["missing"]
    return parts if missing is None else [*parts, f"Avalanche could not be imported: {missing}."]

"""Lengths of a path through a deep network, beside the forward passes that they need."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import torch

from _harness import markdown_table, race
from pullback.analysis.signals import circle, trajectory_lengths, transitions
from pullback.nn import gaussian_init, hidden_states

PACKAGES = ("pullback", "jax", "equinox", "torch")
POINTS, WIDTH, DEPTH = 4096, 400, 8
FORWARD, OURS = "forward passes, all at once", "`trajectory_lengths`"
IN_BATCHES, BY_HAND = "forward passes, 512 at once", "all layers kept, then their chords"


def _torch(net: eqx.nn.MLP, points: np.ndarray) -> Callable[[], np.ndarray]:
    """By hand, as it is usually written."""
    weights = [torch.tensor(np.asarray(layer.weight)).T for layer in net.layers[:-1]]
    x = torch.tensor(points)

    def lengths() -> np.ndarray:
        z, found = x, []
        with torch.no_grad():
            for weight in weights:
                z = torch.nn.functional.hardtanh(z @ weight)
                found.append((z[1:] - z[:-1]).norm(dim=1).sum())
        return torch.stack(found).numpy()

    return lengths


def measure(rounds: int) -> dict[str, Any]:
    """Seconds of each way, and the memory of those that are one program."""
    key, path_key = jr.split(jr.key(0))
    net = eqx.nn.MLP(WIDTH, 1, WIDTH, DEPTH, jax.nn.hard_tanh, use_bias=False, key=key)
    net, path = (
        gaussian_init(net, weight_scale=2.0, key=key),
        circle(*jr.normal(path_key, (2, WIDTH))),
    )
    times = jnp.linspace(0, 1, POINTS)
    last = lambda net, path, t: hidden_states(net, path(t)).post[-2]
    size = lambda z: jnp.sum(z, axis=1)

    def by_hand(net, path):
        states = jax.vmap(lambda t: hidden_states(net, path(t)).post[:-1])(times)
        return jnp.stack([jnp.linalg.norm(jnp.diff(z, axis=0), axis=1).sum() for z in states])

    programs: dict[str, Callable[..., Any]] = {
        FORWARD: lambda net, path: size(jax.vmap(lambda t: last(net, path, t))(times)),
        IN_BATCHES: lambda net, path: jax.lax.map(
            lambda t: jnp.sum(last(net, path, t)), times, batch_size=512
        ),
        OURS: lambda net, path: trajectory_lengths(net, path, num=POINTS),
        f"{OURS}, all at once": lambda net, path: trajectory_lengths(
            net, path, num=POINTS, batch_size=None
        ),
        f"{OURS}, by speed": lambda net, path: trajectory_lengths(
            net, path, num=POINTS, method="jvp"
        ),
        "`transitions`": lambda net, path: transitions(net, path, num=POINTS),
        BY_HAND: by_hand,
    }
    arrays, static = eqx.partition((net, path), eqx.is_array)
    calls: dict[str, Callable[[], Any]] = {}
    memory: dict[str, float] = {}
    for name, program in programs.items():
        compiled: Any = (
            jax.jit(lambda arrays, of=program: of(*eqx.combine(arrays, static)))
            .lower(arrays)
            .compile()
        )
        analysis: Any = compiled.memory_analysis()
        memory[name] = analysis.temp_size_in_bytes / 2**20
        calls[name] = lambda compiled=compiled: jax.block_until_ready(compiled(arrays))
    # As a user calls it: the network is traced anew.
    calls[f"{OURS}, not compiled by the caller"] = lambda: jax.block_until_ready(
        trajectory_lengths(net, path, num=POINTS)
    )
    torch.set_num_threads(1)
    calls["by hand, PyTorch"] = _torch(net, np.asarray(jax.vmap(path)(times)))
    wanted = np.asarray(calls[BY_HAND]())
    for name in (OURS, f"{OURS}, all at once", "by hand, PyTorch"):
        np.testing.assert_allclose(calls[name](), wanted, rtol=1e-3)
    found = race(calls, rounds=rounds)
    return {"calls": {name: {"time": found[name], "memory": memory.get(name)} for name in calls}}


def tables(record: dict[str, Any]) -> list[str]:
    """What was measured, in words."""
    calls = record["calls"]
    floor = calls[FORWARD]["time"].min
    rows = [
        [
            name,
            f"{row['time'].min * 1e3:.1f}",
            f"{row['time'].min / floor:.2f}",
            "" if row["memory"] is None else f"{row['memory']:.0f}",
        ]
        for name, row in calls.items()
    ]
    best = min(calls[FORWARD]["time"].min, calls[IN_BATCHES]["time"].min)
    ratio = calls[OURS]["time"].min / best
    verdict = "which is met" if ratio <= 1.2 else "which is missed"
    return [
        f"**A path through a network.** {POINTS:,} points through {DEPTH} hidden layers of "
        f"{WIDTH} units, hard tanh; the best of all turns. The aim is 1.2 of the faster of the "
        f"two ways to do the forward passes alone, {verdict}: {ratio:.2f}.",
        markdown_table(["", "ms", "/ forward passes", "MiB beside the arguments"], rows),
    ]

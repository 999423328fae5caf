"""Clusters of gradients beside clusters of a matrix of them, and norms beside PyTorch's."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits
from torch.nn import functional

from _harness import markdown_table, race
from pullback.analysis import gradient_variance
from pullback.nn import layer_factors, per_example_gradients, per_example_norms
from pullback.optim import cluster_gradients

PACKAGES = (
    "pullback", "jax", "equinox", "torch", "backpack-for-pytorch", "opacus", "scikit-learn",
)  # fmt: skip
CLUSTERS, ROWS, ITERATIONS = 32, 1000, 10
OURS, BY_HAND = "`layer_factors`, `cluster_gradients`", "matrix of gradients, weighted iterations"
SKLEARN = "matrix of gradients, scikit-learn's k-means"
NORMS, GRADIENT = "pullback `per_example_norms`", "plain gradient, JAX"


def digits(count: int) -> tuple[jax.Array, jax.Array]:
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))[:count]
    return jnp.asarray(data.data[order] / 16, jnp.float32), jnp.asarray(data.target[order])


def network(widths: list[int]) -> eqx.nn.MLP:
    """A ReLU network 64-...-10 of hidden layers that are all as wide, for PyTorch to copy."""
    return eqx.nn.MLP(64, 10, widths[0], len(widths), key=jr.key(0))


def loss(net: eqx.nn.MLP, batch: Any, *, key: Any) -> tuple[jax.Array, dict]:
    x, y = batch
    return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(net)(x), y).mean(), {}


@eqx.filter_jit
def matrix(net: eqx.nn.MLP, batch: Any) -> jax.Array:
    tree = per_example_gradients(loss, net, batch, key=jr.key(0))
    return jnp.concatenate([g.reshape(len(g), -1) for g in jax.tree.leaves(tree)], axis=1)


@eqx.filter_jit
def by_hand(gradients: jax.Array) -> jax.Array:
    """The weighted iterations of the paper on formed gradients, from rows drawn at random."""
    rows = jr.choice(jr.key(0), len(gradients), (CLUSTERS,), replace=False)
    squares = jnp.square(gradients).sum(axis=1)[:, None]

    def distances(centres):
        return squares - 2 * gradients @ centres.T + jnp.square(centres).sum(axis=1)

    def step(state, _):
        centres, nearest = state
        members = jax.nn.one_hot(nearest, CLUSTERS)
        sizes = members.sum(axis=0)
        means = members.T @ gradients / jnp.maximum(sizes, 1)[:, None]
        centres = jnp.where(sizes[:, None] > 0, means, centres)
        return (centres, jnp.argmin((sizes + 1) * distances(centres), axis=1)), None

    start = gradients[rows], jnp.argmin(distances(gradients[rows]), axis=1)
    return jax.lax.scan(step, start, length=ITERATIONS)[0][1]


def _sklearn(net: eqx.nn.MLP, batch: Any) -> np.ndarray:
    gradients = np.asarray(matrix(net, batch))
    with threadpool_limits(1):
        means = KMeans(CLUSTERS, init="random", n_init=1, max_iter=ITERATIONS, random_state=0)
        return means.fit_predict(gradients)


def measure_refresh(widths: list[int], rounds: int) -> dict[str, Any]:
    """Seconds of one refresh, from weights to clusters, and what they are worth."""
    net, batch = network(widths), digits(ROWS)
    step = optax.sgd(0.1, 0.9)
    state = step.init(eqx.filter(net, eqx.is_array))

    @eqx.filter_jit
    def train(net, state):
        slope = eqx.filter_grad(lambda net: loss(net, batch, key=None)[0])(net)
        updates, state = step.update(slope, state)
        return eqx.apply_updates(net, updates), state

    for _ in range(100):
        net, state = train(net, state)

    @eqx.filter_jit
    def factors(net):
        return layer_factors(loss, net, batch, key=jr.key(0))

    ours = lambda: cluster_gradients(factors(net), CLUSTERS, key=jr.key(0)).assignment
    calls = {
        OURS: lambda: jax.block_until_ready(ours()),
        BY_HAND: lambda: jax.block_until_ready(by_hand(matrix(net, batch))),
        SKLEARN: lambda: _sklearn(net, batch),
    }
    # By what uniform batches have.
    uniform = gradient_variance(factors(net), batch_size=CLUSTERS)
    found: dict[str, Any] = {}
    times = race(calls, rounds=rounds)
    for name, call in calls.items():
        labels = np.asarray(call())
        value = gradient_variance(
            factors(net), batch_size=len(np.unique(labels)), estimator="stratified",
            strata=labels,
        )  # fmt: skip
        found[name] = {"time": times[name], "variance": float(value / uniform)}
    weights = sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(net, eqx.is_array)))
    return {"weights": weights, "calls": found}


def _copied(net: eqx.nn.MLP) -> torch.nn.Sequential:
    parts: list[torch.nn.Module] = []
    for layer in net.layers:
        out, width = layer.weight.shape
        copy = torch.nn.Linear(width, out)
        with torch.no_grad():
            copy.weight.copy_(torch.tensor(np.asarray(layer.weight)))
            copy.bias.copy_(torch.tensor(np.asarray(layer.bias)))
        parts += [copy, torch.nn.ReLU()]
    return torch.nn.Sequential(*parts[:-1])


def _peers(net: eqx.nn.MLP, batch: Any) -> dict[str, Callable[[], torch.Tensor]]:
    """Norms of each example's gradient in PyTorch; the first is a plain gradient alone."""
    from backpack import backpack, extend
    from backpack.extensions import BatchL2Grad
    from opacus.grad_sample import GradSampleModule
    from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import (
        GradSampleModuleFastGradientClipping,
    )

    x = torch.tensor(np.asarray(batch[0]))
    y = torch.tensor(np.asarray(batch[1]), dtype=torch.int64)
    plain = _copied(net)
    extended, entropy = extend(_copied(net)), extend(torch.nn.CrossEntropyLoss(reduction="sum"))
    sampled = GradSampleModule(_copied(net), loss_reduction="sum")
    ghost = GradSampleModuleFastGradientClipping(_copied(net), loss_reduction="sum")

    def gradient() -> torch.Tensor:
        value = functional.cross_entropy(plain(x), y)
        return torch.autograd.grad(value, list(plain.parameters()))[0]

    def by_backpack() -> torch.Tensor:
        extended.zero_grad()
        with backpack(BatchL2Grad()):
            entropy(extended(x), y).backward()
        return torch.stack([p.batch_l2 for p in extended.parameters()]).sum(dim=0).sqrt()

    def by_opacus() -> torch.Tensor:
        sampled.zero_grad()
        functional.cross_entropy(sampled(x), y, reduction="sum").backward()
        norms = [p.grad_sample.flatten(1).norm(dim=1) for p in sampled.parameters()]
        return torch.stack(norms).norm(dim=0)

    def by_ghosts() -> torch.Tensor:
        ghost.zero_grad()
        functional.cross_entropy(ghost(x), y, reduction="sum").backward()
        return torch.stack([p._norm_sample for p in ghost.parameters()]).norm(dim=0).detach()

    return {
        "plain gradient, PyTorch": gradient,
        "BackPACK, `BatchL2Grad`": by_backpack,
        "Opacus, `GradSampleModule`": by_opacus,
        "Opacus, ghost norms": by_ghosts,
    }


def measure_norms(widths: list[int], rounds: int) -> dict[str, Any]:
    """Seconds for the norms of all examples of a batch."""
    net, batch = network(widths), digits(512)
    by_factors = eqx.filter_jit(lambda net: per_example_norms(loss, net, batch, key=jr.key(0)))
    formed = eqx.filter_jit(lambda net: jnp.sqrt(jnp.square(matrix(net, batch)).sum(axis=1)))
    plain = eqx.filter_jit(eqx.filter_grad(lambda net: loss(net, batch, key=None)[0]))
    peers = _peers(net, batch)
    wanted = np.asarray(by_factors(net))
    np.testing.assert_allclose(np.asarray(formed(net)), wanted, rtol=1e-4)
    for call in itertools.islice(peers.values(), 1, None):
        np.testing.assert_allclose(call().detach().numpy(), wanted, rtol=1e-4)
    ready = lambda program: lambda: jax.block_until_ready(program(net))
    calls: dict[str, Callable[[], Any]] = {
        GRADIENT: ready(plain),
        NORMS: ready(by_factors),
        "`jax.vmap(jax.grad)`, norms of its rows": ready(formed),
        **peers,
    }
    return {name: {"time": timing} for name, timing in race(calls, rounds=rounds).items()}


def measure(rounds: int) -> dict[str, Any]:
    """All that is measured of clusters and norms."""
    torch.set_num_threads(1)
    refresh = functools.partial(measure_refresh, rounds=rounds)
    return {
        "refresh": [refresh([64]), refresh([256, 256])],
        "norms": measure_norms([256, 256], rounds),
    }


def tables(found: dict[str, Any]) -> list[str]:
    """Paragraphs and tables of Markdown."""
    parts = [
        f"**Clusters of gradients**: {CLUSTERS} of {ROWS} digits after 100 steps of training, "
        f"{ITERATIONS} iterations or sweeps at most; from the weights to the clusters, the "
        "gradients of all examples included. The variance is that of a batch with one of each, by "
        "that of a uniform batch."
    ]
    for one in found["refresh"]:
        first = one["calls"][OURS]["time"].min
        rows = [
            [name, f"{1e3 * row['time'].min:.1f}", f"{row['time'].min / first:.1f}",
             f"{row['variance']:.3f}"]
            for name, row in one["calls"].items()
        ]  # fmt: skip
        header = [f"{one['weights']:,} weights", "ms", "/ pullback", "variance"]
        parts.append(markdown_table(header, rows))
    parts.append(
        "Ten times cheaper than the matrix is the aim: it is missed on the small network, where "
        "visits of one row after another take most of the time, which do not depend on how many "
        "weights there are."
    )
    first = found["norms"][NORMS]["time"].min
    rows = []
    for name, row in found["norms"].items():
        own = "plain gradient, PyTorch" if "acus" in name or "PACK" in name else GRADIENT
        own = name if name.startswith("plain") else own
        best = row["time"].min
        rows.append([
            name, f"{1e3 * best:.2f}", f"{best / found['norms'][own]['time'].min:.2f}",
            f"{best / first:.2f}",
        ])  # fmt: skip
    return [
        *parts,
        "**Norms of each example's gradient**: a ReLU network 64-256-256-10, 512 rows of digits; "
        "all give the same numbers, which is checked first.",
        markdown_table(["", "ms", "/ plain gradient", "/ pullback"], rows),
    ]

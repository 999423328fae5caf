"""The network of `ContinualClassifier`: how it learns one task, is kept and asked."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from pullback._on_device import on_device
from pullback.optim import ContinualState, fit_tasks, synaptic_intelligence

from ._padded import CHUNK, chunks, padded

_WIDTH, _DEPTH = 128, 2
_RATE, _BATCH, _CLIP = 1e-3, 64, 10.0
_EPOCHS, _FEWEST, _MOST, _LOG_EVERY = 20, 300, 3000, 50


class Learned(NamedTuple):
    """What the tasks so far have taught, and all that the next one has to know of them.

    Attributes:
        weights: of each layer.
        biases: of each layer.
        weights_worth: the importance of each weight.
        biases_worth: that of each bias.
        tasks: how many there were.
    """

    weights: list[Float[np.ndarray, "out in"]]
    biases: list[Float[np.ndarray, " out"]]
    weights_worth: list[Float[np.ndarray, "out in"]]
    biases_worth: list[Float[np.ndarray, " out"]]
    tasks: Int[np.ndarray, ""]


class _Rows(NamedTuple):
    """Rows, their classes, and by how much each counts."""

    x: Float[Array | np.ndarray, "n d"]
    y: Int[Array | np.ndarray, " n"]
    weight: Float[Array | np.ndarray, " n"]


def learn(
    before: Learned | None,
    z: Float[np.ndarray, "n d"],
    codes: Int[np.ndarray, " n"],
    classes: int,
    *,
    strength: float | int,
    damping: float | int,
    steps: int | None,
    seed: int,
    progress: bool | None,
) -> tuple[Learned, int]:
    """What is known after one more task, and how many steps it took.

    Args:
        before: what is known by now; None: nothing.
        z: standardised rows of the task.
        codes: their classes.
        classes: how many there are in all.
        strength: of synaptic intelligence.
        damping: of synaptic intelligence.
        steps: how many; None: so many that each row is seen some twenty times.
        seed: of the first weights and of the order of rows.
        progress: as for `fit`.
    """
    optimiser = _optimiser(strength, damping)
    net, state = _network(z.shape[1], classes, seed), None
    if before is not None:
        net, state = _at(before, net, optimiser)
    if steps is None:
        wanted = min(max(_EPOCHS * len(z) // _BATCH, _FEWEST), _MOST)
        steps = -(-wanted // _LOG_EVERY) * _LOG_EVERY
    rows = padded(len(z), 256)
    data = _Rows(
        z[rows.places].astype(np.float32),
        codes[rows.places].astype(np.int32),
        rows.weights.astype(np.float32),
    )
    key = jr.wrap_key_data(on_device(np.asarray([1, seed], np.uint32)))
    net, state, _ = fit_tasks(
        net, _loss, [data], optimiser=optimiser, steps=steps, batch_size=_BATCH, state=state,
        log_every=min(_LOG_EVERY, steps), progress=progress, key=key,
    )  # fmt: skip
    worth: Any = state.importance
    parts = (
        [np.asarray(getattr(layer, name)) for layer in tree.layers]
        for tree in (net, worth)
        for name in ("weight", "bias")
    )
    found = dict(zip(Learned._fields, parts, strict=False))
    return Learned(**found, tasks=np.asarray(state.tasks)), steps


def _at(before: Learned, net: eqx.nn.MLP, optimiser: Any) -> tuple[eqx.nn.MLP, ContinualState]:
    """The network and the state of the optimiser at the start of the next task.

    The rest of the state is what it is at the start of every task.
    """

    def filled(tree: Any, weights: list[np.ndarray], biases: list[np.ndarray]) -> Any:
        where = lambda tree: [
            getattr(layer, name) for name in ("weight", "bias") for layer in tree.layers
        ]
        return eqx.tree_at(where, tree, [*map(on_device, [*weights, *biases])])

    net = filled(net, before.weights, before.biases)
    state = optimiser.init(eqx.filter(net, eqx.is_inexact_array))
    worth = filled(state.importance, before.weights_worth, before.biases_worth)
    kept = worth, on_device(before.tasks)
    return net, eqx.tree_at(lambda state: (state.importance, state.tasks), state, kept)


def _optimiser(strength: float | int, damping: float | int) -> optax.GradientTransformation:
    inner = optax.chain(optax.clip_by_global_norm(_CLIP), optax.adam(_RATE))
    return synaptic_intelligence(inner, strength=strength, damping=damping)


def _loss(net: Any, batch: _Rows, *, key: PRNGKeyArray) -> tuple[Array, dict]:
    del key
    losses = optax.softmax_cross_entropy_with_integer_labels(jax.vmap(net)(batch.x), batch.y)
    return jnp.mean(batch.weight * losses), {}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _made(columns: int, classes: int, key: PRNGKeyArray) -> PyTree:
    net = eqx.nn.MLP(columns, classes, _WIDTH, _DEPTH, jax.nn.silu, dtype=jnp.float32, key=key)
    return eqx.filter(net, eqx.is_array)


def _network(columns: int, classes: int, seed: int) -> Any:
    """The network before the first task."""
    key = jr.wrap_key_data(on_device(np.asarray([0, seed], np.uint32)))
    shape = columns, classes, _WIDTH, _DEPTH, jax.nn.silu
    rest = eqx.filter_eval_shape(eqx.nn.MLP, *shape, dtype=jnp.float32, key=key)
    return eqx.combine(_made(columns, classes, key), rest)


def logits(learned: Learned, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
    """Of rows, each the same to the bit whatever is beside it."""
    layers = [*map(on_device, learned.weights)], [*map(on_device, learned.biases)]
    parts = [np.zeros((0, len(learned.biases[-1])))]
    for start, stop in chunks(len(z)):
        part = z[start:stop].astype(np.float32)
        filled = np.concatenate([part, np.repeat(part[:1], CHUNK - len(part), axis=0)])
        parts.append(np.asarray(_logits(*layers, on_device(filled)), np.float64)[: stop - start])
    return np.concatenate(parts)


@jax.jit
def _logits(weights: list[Array], biases: list[Array], z: Array) -> Array:
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        z = jax.nn.silu(z @ weight.T + bias[None])
    return z @ weights[-1].T + biases[-1][None]


def arrays_of(learned: Learned) -> dict[str, np.ndarray]:
    """By name the arrays that the next task goes on from."""
    layers = {
        f"net.{name}.{place}": array
        for name, arrays in learned._asdict().items()
        if name != "tasks"
        for place, array in enumerate(arrays)
    }
    return {**layers, "net.tasks": learned.tasks}


def from_arrays(arrays: dict[str, np.ndarray]) -> Learned:
    """What had these arrays."""
    kinds = Learned._fields[:-1]
    layers = {kind: [arrays[f"net.{kind}.{k}"] for k in range(_DEPTH + 1)] for kind in kinds}
    return Learned(**layers, tasks=arrays["net.tasks"])

"""`fit_gran`: graphs in, a `GRAN` out that draws others like them."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._in_batches import over_rows
from pullback._inputs import positive
from pullback._key import checked_key
from pullback._numbers import check_number
from pullback.data import Graph, Graphs
from pullback.train import TrainingInfo, fit

from ._block_draws import BlockDraws, Blocks, GraphBatch, block_draws
from ._gran import GRAN, block_log_prob
from ._orders import ORDERS, checked_graphs

_ROWS = 4096  # nodes of blocks in memory at once
_PARTS = 4  # blocks of a graph, where there is one order
_HELD = 64  # graphs that the held-out loss is taken of
_CLIP = 1.0  # the norm of the gradient of nats per possible edge


def fit_gran(
    graphs: Sequence[Any] | Graphs,
    *,
    orders: Sequence[str] = ("dfs",),
    max_nodes: int | None = None,
    block: int = 1,
    mixtures: int = 20,
    width: int = 32,
    layers: int = 3,
    position_features: bool = False,
    size_input: bool = False,
    stride: int | None = None,
    prefixes: int | None = None,
    steps: int = 1500,
    batch_size: int = 16,
    learning_rate: float = 3e-3,
    validation: Sequence[Any] | Graphs | None = None,
    patience: int | None = None,
    log_every: int = 100,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    mesh: jax.sharding.Mesh | None = None,
    key: PRNGKeyArray,
) -> tuple[GRAN, TrainingInfo]:
    r"""Train a `GRAN` on graphs, so that it draws others like them.

    $$ L = -\frac{1}{\bar m} \sum_G \frac{1}{n} \log \sum_{\pi \in Q} \exp \Big(
       \frac{T_G}{k} \sum_{t \in S_G} \log p(A^\pi_{b_t} \mid A^\pi_{b_1 \dots b_{t-1}}) \Big) $$

    over batches of n graphs, the distinct matrices of each in the orders Q, and k of its
    $T_G$ blocks, one at random of each of k equal parts. $\bar m$ is the mean number of possible
    edges, for a slope of a size that does not depend on the data. With one order, or all blocks,
    L is in the mean over batches the loss of all blocks of all graphs. With several orders and
    some blocks it is above that. With a stride below the block, blocks overlap, a row is in about
    block / stride of them, and all are counted so much less: no likelihood, but what samples at any
    stride are drawn by is learnt.

    Blocks are padded to a few sizes, which depend on the graphs and on `steps`. All are in one
    compiled program, of Adam with a learning rate that falls to 0 as a cosine does.

    Args:
        graphs: each a `Graph`, of one node or more.
        orders: Q, out of `ORDERS`. Of the one order `"dfs"` there is most to learn from: nodes that
            are there already are seldom alike. With more a step costs as many times as much.
        max_nodes: the most nodes of a graph to draw. None: of those that are given.
        block: as for `GRAN`, as are those that follow.
        mixtures: components of the law of a block.
        width: of states and hidden layers.
        layers: rounds of messages.
        position_features: tell nodes their number.
        size_input: tell the network how many nodes there will be.
        stride: rows from one block to the next, up to `block`. None: `block`, whose blocks make up
            the likelihood. Take 1 where samples are to be drawn at a stride below the block.
        prefixes: k, or all blocks of a graph that has fewer. None: 4 with one order, and all with
            several, of which the sum wants them all.
        steps: updates.
        batch_size: n. Every size of graphs has its share of a batch.
        learning_rate: of the first step.
        validation: held-out graphs, of which the loss is in the history as `validation_loss` and
            `validation_nll`: of 64 of them, the same each time, where there are more.
        patience: stop after so many evaluations without a lower loss on `validation`.
        log_every: steps between two points of the history, and between two evaluations.
        folder: as for `pullback.train.fit`, as are those that follow.
        resume: go on from the checkpoint in `folder`.
        progress: show a bar on stderr.
        mesh: spread each batch over these devices.
        key: a typed PRNG key.

    Returns:
        The model, with the `size_counts` of `graphs` and the `stride` that was learnt, and a
        `TrainingInfo`, whose history has `nll`: minus the log-probability of a graph, in nats.

    Raises:
        ValueError: there is no graph, one has no node or more than `max_nodes`, `orders` are none
            or not out of `ORDERS`, or a setting is out of its range.
        TypeError: something among the graphs is none, or a setting is no number.

    Example:
        >>> import jax
        >>> from pullback.data import four_graphs
        >>> model, info = fit_gran(four_graphs(), steps=2, batch_size=2, width=4, layers=1,
        ...                        mixtures=2, key=jax.random.key(0))
        >>> model.max_nodes, info.step
        (12, 2)

    Source: Liao et al., Efficient Graph Generation with Graph Recurrent Attention Networks, arXiv
    1910.00760, sections 2.3 and 2.4. The official code learns blocks from every row, a stride of 1,
    and divides by sizes before it sums over orders, which is no bound of the likelihood.
    """
    key = checked_key(key)
    stride = block if stride is None else stride
    positive(block=block, stride=stride, steps=steps, batch_size=batch_size, log_every=log_every)
    if stride > block:
        raise ValueError(f"`stride` must be up to `block` = {block}, got {stride}.")
    check_number("learning_rate", learning_rate, "positive", lambda value: value > 0)
    _check_orders(orders)
    if prefixes is not None:
        positive(prefixes=prefixes)
    if max_nodes is not None:
        positive(max_nodes=max_nodes)
    some = _checked("graphs", graphs, max_nodes)
    held = [] if validation is None else _checked("validation", validation, max_nodes)
    making, training, choosing = jr.split(key, 3)
    nodes = np.array([graph.nodes for graph in some])
    pairs = float(np.mean(nodes * (nodes - 1) / 2))
    edges = float(np.mean([len(graph.edges) for graph in some]))
    largest = max(graph.nodes for graph in [*some, *held]) if max_nodes is None else max_nodes
    model = _start(
        largest, block=block, mixtures=mixtures, width=width, layers=layers,
        position_features=position_features, size_input=size_input,
        density=(edges + 0.5) / (pairs + 1), key=making,
    )  # fmt: skip
    counts = jnp.asarray(np.bincount(nodes, minlength=largest + 1), model.size_counts.dtype)
    learnt = jnp.asarray(stride, model.stride.dtype)
    model = eqx.tree_at(lambda model: (model.size_counts, model.stride), model, (counts, learnt))
    if prefixes is None and len(orders) == 1:
        prefixes = _PARTS
    draws = lambda graphs, count, times: block_draws(
        graphs, orders, block=block, stride=stride, prefixes=prefixes, steps=times, batch_size=count
    )
    loss = _Objective(1 / max(pairs, 1.0))
    measure = None
    if validation is not None:
        chosen = jr.permutation(choosing, len(held))[:_HELD]
        held = [held[place] for place in np.sort(chosen)]
        measure = _HeldOut(loss, draws(held, len(held), -(-steps // log_every)))
    return fit(
        model, loss, draws(some, batch_size, steps),
        optimiser=optax.adam(optax.cosine_decay_schedule(learning_rate, steps)), steps=steps,
        clip_norm=_CLIP, validation=measure, patience=patience, log_every=min(log_every, steps),
        folder=folder, resume=resume, progress=progress, mesh=mesh, key=training,
    )  # fmt: skip


def _check_orders(orders: Sequence[str]) -> None:
    names = [] if isinstance(orders, str) or not isinstance(orders, Iterable) else list(orders)
    known = all(isinstance(name, str) and name in ORDERS for name in names)
    if not names or not known or len(set(names)) < len(names):
        raise ValueError(
            f"`orders` must be one or more of {', '.join(ORDERS)}, each once, as a sequence; got "
            f"{orders!r}."
        )


def _checked(name: str, graphs: Sequence[Any] | Graphs, max_nodes: int | None) -> Sequence[Graph]:
    found = checked_graphs(name, graphs)
    for place, graph in enumerate(found):
        if not 0 < graph.nodes <= (max_nodes or graph.nodes):
            room = "1 node or more" if max_nodes is None else f"from 1 to {max_nodes} nodes"
            raise ValueError(
                f"`{name}` must have {room}, and the one at {place} has {graph.nodes}: leave it "
                f"out{'' if max_nodes is None else ', or raise `max_nodes`'}."
            )
    return found


_start = eqx.filter_jit(GRAN)


class _Objective(eqx.Module):
    """Minus the log-probability of graphs, by some of their blocks, per possible edge."""

    scale: float = eqx.field(static=True)

    def __call__(
        self, model: GRAN, batch: GraphBatch, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        nll = -jnp.sum(batch.weights * batch_log_prob(model, batch))
        return nll * self.scale, {"nll": nll}


class _HeldOut(eqx.Module):
    """The loss of held-out graphs: the same blocks of them at each evaluation."""

    loss: _Objective
    draws: BlockDraws

    def __call__(self, model: GRAN, *, key: PRNGKeyArray) -> dict[str, Array]:
        loss, metrics = self.loss(model, self.draws(key), key=key)
        return {"loss": loss, **metrics}


def batch_log_prob(model: GRAN, batch: GraphBatch) -> Float[Array, " graphs"]:
    """Of each graph in any of its orders, as its blocks tell."""
    total = jnp.zeros(batch.distinct.shape, model.network.rows.dtype)
    for blocks in batch.blocks:
        found = _of_blocks(model, blocks)
        total = total.at[blocks.owners].add(blocks.weights[:, None] * found)
    return jax.nn.logsumexp(total, axis=1, where=batch.distinct)


def _of_blocks(model: GRAN, blocks: Blocks) -> Float[Array, "blocks orders"]:
    orders, size = blocks.graphs.neighbours.shape[1:3]

    def of_block(block: Any) -> Array:
        graphs, start = block
        return jax.vmap(lambda graph: block_log_prob(model, graph, start))(graphs)

    some = max(1, _ROWS // (orders * size))
    return over_rows(of_block, (blocks.graphs, blocks.starts), some, recompute=True)

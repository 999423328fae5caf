"""`GRAN`: graphs drawn block of rows by block of rows, with a likelihood that is exact."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._in_batches import over_rows
from pullback._inputs import positive
from pullback._key import checked_key
from pullback._numbers import check_number
from pullback.data import Graph, Graphs
from pullback.models.graphs._draw import draw_graphs
from pullback.models.graphs._network import Network, block_edges
from pullback.models.graphs._ordered import TILE, OrderedGraph, ordered_graph
from pullback.models.graphs._orders import checked_graph
from pullback.models.graphs._sizes import drawn_sizes


class GRAN(eqx.Module):
    r"""A law of simple undirected graphs, written B rows of their matrix at a time.

    $$ p(L) = \prod_t p(L_{b_t} \mid L_{b_1 \dots b_{t-1}}), \qquad
       p(L_b \mid \cdot) = \sum_k \alpha_k \prod_{i \in b,\; j < i} \theta_{kij}^{L_{ij}}
       (1 - \theta_{kij})^{1 - L_{ij}} $$

    L is the strict lower triangle of the adjacency matrix with the nodes in some order. At each
    block a network of `layers` rounds of messages runs on the graph so far with the new nodes
    joined to all of it. A message is weighed by a sigmoid of its own, and a gated unit takes the
    sum of them up. $\theta$ and $\alpha$ are read from differences of two states. Edges are kept
    sparse: work and memory grow with nodes and edges, never with nodes squared.

    The number of nodes is not a part of the law: it is given, or drawn from `size_counts`.

    Args:
        max_nodes: the most nodes of a graph.
        block: B, rows a step. A graph takes ceil(nodes / B) steps.
        mixtures: components, K. With one, edges of a block are independent.
        width: of states and hidden layers.
        layers: rounds of messages, each with weights of its own.
        position_features: tell nodes their number. Without it nodes that no edge tells apart get
            equal probabilities.
        size_input: tell the network how many nodes there will be, and how many are missing.
        density: the probability of an edge at the start, in (0, 1): that of the data saves steps.
        key: for the weights.

    Attributes:
        network: the weights.
        size_counts: how many graphs of 0, 1, ... nodes were learnt from: the law that `sample`
            draws sizes from. At the start all have `max_nodes`.
        stride: rows from one block that was learnt to the next: `sample` takes multiples of it. At
            the start 1, which allows all.

    Raises:
        TypeError: a size or `density` is no number, or a switch not True or False.
        ValueError: a size is below 1, or `density` is not inside (0, 1).

    Example:
        >>> import jax, numpy as np
        >>> from pullback.data import Graph
        >>> model = GRAN(8, block=2, mixtures=2, width=8, layers=2, key=jax.random.key(0))
        >>> graph = Graph(3, np.array([[0, 1], [1, 2]]))
        >>> model.log_prob(graph).shape
        ()

    Source: Liao et al., Efficient Graph Generation with Graph Recurrent Attention Networks, arXiv
        1910.00760, section 2. The likelihood is of the strict lower triangle alone, so that it is
        normalised; a last block that is not whole has no nodes beyond the graph's.
    """

    network: Network
    size_counts: Int[Array, " sizes"]
    stride: Int[Array, ""]

    def __init__(
        self,
        max_nodes: int,
        *,
        block: int = 1,
        mixtures: int = 20,
        width: int = 64,
        layers: int = 4,
        position_features: bool = False,
        size_input: bool = False,
        density: float = 0.5,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(max_nodes=max_nodes, block=block, mixtures=mixtures, width=width, layers=layers)
        check_number("density", density, "above 0 and below 1", lambda value: 0 < value < 1)
        check_flags(position_features=position_features, size_input=size_input)
        self.network = Network(
            max_nodes, block, mixtures, width, layers, position_features, size_input, density, key
        )
        self.size_counts = jnp.zeros(max_nodes + 1, jnp.int32).at[-1].set(1)
        self.stride = jnp.ones((), jnp.int32)

    @property
    def max_nodes(self) -> int:
        """The most nodes of a graph."""
        return len(self.network.rows)

    @property
    def block(self) -> int:
        """Rows a step."""
        return self.network.block

    def log_prob(
        self, graph: Graph, order: Sequence[int] | np.ndarray | str = "dfs"
    ) -> Float[Array, ""]:
        """The log-probability of a graph with its nodes in this order, given how many they are.

        It is a lower bound of the log-probability of the graph in any order.

        Args:
            graph: the graph, on the host.
            order: one of `ORDERS`; or which node comes first, second and so on.

        Raises:
            TypeError: `graph` is no `Graph`.
            ValueError: the graph has more than `max_nodes` nodes, or `order` does not have each
                node once.
        """
        if checked_graph(graph).nodes > self.max_nodes:
            raise ValueError(
                f"`graph` has {graph.nodes} nodes, and this model is for {self.max_nodes} at most: "
                "make one with a larger `max_nodes`, or leave the graph out."
            )
        return _ordered_log_prob(self, ordered_graph(graph, order))

    def sample(
        self,
        count: int = 1,
        *,
        stride: int | None = None,
        sizes: int | Sequence[int] | np.ndarray | Mapping[int, float] | None = None,
        connected: bool = False,
        key: PRNGKeyArray,
    ) -> Graphs:
        """Draw graphs. Their nodes are numbered as they came.

        Args:
            count: how many.
            stride: rows kept of each block, up to `block`, the default: the others are drawn again
                with more of the graph known. It takes ceil(nodes / stride) steps.
            sizes: nodes of a graph: a number for all; one for each; or a dictionary of how often
                each is drawn. None: as often as in `size_counts`.
            connected: draw each block given that each of its nodes is joined to an earlier one. All
                graphs are then connected, and of their full size. It conditions block by block,
                not the law of the whole graph; where orders are depth or breadth first and graphs
                connected, a trained model gives all but nothing to what is left out.
            key: a random key. With other sizes beside it a graph is another.

        Raises:
            TypeError: `connected` is not True or False, or something is no number.
            ValueError: there is no room for so many nodes, or a number does not fit.

        Example:
            >>> import jax
            >>> model = GRAN(8, block=3, mixtures=2, width=8, layers=1, key=jax.random.key(0))
            >>> drawn = model.sample(2, sizes=[4, 7], connected=True, key=jax.random.key(1))
            >>> [graph.nodes for graph in drawn.graphs]
            [4, 7]
        """
        key = checked_key(key)
        return self.sample_with_steps(
            count, stride=stride, sizes=sizes, connected=connected, key=key
        )[0]

    def sample_with_steps(
        self,
        count: int = 1,
        *,
        stride: int | None = None,
        sizes: int | Sequence[int] | np.ndarray | Mapping[int, float] | None = None,
        connected: bool = False,
        key: PRNGKeyArray,
    ) -> tuple[Graphs, Int[np.ndarray, " count"]]:
        """`sample`, and how many times the network ran for each of the graphs."""
        key, of_sizes = jr.split(checked_key(key))
        positive(count=count)
        learnt = int(self.stride)
        stride = self.block // learnt * learnt if stride is None else stride
        positive(stride=stride)
        check_flags(connected=connected)
        if stride > self.block:
            raise ValueError(f"`stride` must be up to `block` = {self.block}, got {stride}.")
        if stride % learnt:
            raise ValueError(
                f"`stride` must be a multiple of {learnt}, for blocks that start between its "
                f"multiples were not learnt; got {stride}: fit with `stride=1`, and all are."
            )
        nodes = drawn_sizes(sizes, self.size_counts, count, of_sizes)
        edges, steps = draw_graphs(self.network, nodes, stride, connected, key)
        found = [Graph(int(n), ends) for n, ends in zip(nodes, edges, strict=True)]
        return Graphs(tuple(found), source="graphs drawn by a GRAN"), steps


def check_flags(**flags: object) -> None:
    """Raise for a switch that is not True or False, such as "no", by its name."""
    for name, flag in flags.items():
        if not isinstance(flag, bool | np.bool_):
            raise TypeError(f"`{name}` must be True or False, got {flag!r}.")


def ordered_log_prob(model: GRAN, graph: OrderedGraph) -> Float[Array, ""]:
    """The log-probability of a graph in an order, given how many nodes it has.

    It is `GRAN.log_prob` to be differentiated, compiled and mapped: `jax.vmap` over graphs of one
    shape. Blocks start at multiples of `model.block`.

    Args:
        model: a model, of at least `graph.nodes` nodes: that is for the caller to see to.
        graph: the graph, as of `ordered_graph`.

    Example:
        >>> import equinox as eqx, jax, numpy as np
        >>> from pullback.data import Graph
        >>> model = GRAN(4, mixtures=1, width=4, layers=1, key=jax.random.key(0))
        >>> graph = ordered_graph(Graph(3, np.array([[0, 2]])), [0, 2, 1])
        >>> eqx.filter_jit(eqx.filter_grad(ordered_log_prob))(model, graph).network.bias.shape
        (4,)
    """
    size, block = len(graph.neighbours), model.block
    states = model.network.first_states(graph)
    starts = jnp.arange(0, size, block, dtype=jnp.int32)
    some = max(1, 2 * TILE // size)
    of_block = lambda start: _block_log_prob(model.network, graph, states, start)
    if some == 1:
        nothing = jnp.zeros((), states.dtype)
        of_start = lambda start: jax.lax.cond(
            start < graph.nodes, of_block, lambda start: nothing, start
        )
    else:
        of_start = of_block
    return jnp.sum(over_rows(of_start, starts, some, recompute=True))


def block_log_prob(model: GRAN, graph: OrderedGraph, start: Int[Array, ""]) -> Float[Array, ""]:
    """The log-probability of the rows from `start` on, of one block, given those before.

    The sum over `start` = 0, B, 2 B, ... is `ordered_log_prob`. It and its gradient cost what is
    there before `start`. For many starts use `jax.vmap` up to 128 nodes and `jax.lax.map` beyond,
    where several at once cost as much as the latest each.

    Args:
        model: a model.
        graph: the graph, as of `ordered_graph`.
        start: the first row, from 0. Rows beyond the graph's are not there.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, numpy as np
        >>> from pullback.data import Graph
        >>> model = GRAN(4, mixtures=1, width=4, layers=1, key=jax.random.key(0))
        >>> graph = Graph(3, np.array([[0, 2]]))
        >>> each = eqx.filter_jit(eqx.filter_vmap(block_log_prob, in_axes=(None, None, 0)))
        >>> rows = each(model, ordered_graph(graph), jnp.arange(3))
        >>> bool(jnp.allclose(jnp.sum(rows), model.log_prob(graph)))
        True
    """
    return _block_log_prob(model.network, graph, model.network.first_states(graph), start)


def _block_log_prob(network: Network, graph: OrderedGraph, states: Array, start: Array) -> Array:
    start = start.astype(jnp.int32)
    law = network.law(graph, states, start)
    numbers = jnp.arange(len(states), dtype=jnp.int32)
    rows = jnp.arange(network.block, dtype=jnp.int32)
    live = start + rows < graph.nodes
    old, new = block_edges(graph, start, network.block)

    def of_pairs(logits: Array, edges: Array, counted: Array) -> Array:
        each = jax.nn.log_sigmoid(jnp.where(edges[..., None], logits, -logits))
        return jnp.sum(jnp.where(counted[..., None], each, 0), axis=(0, 1))

    each = of_pairs(law.old, old, (numbers < start)[:, None] & live[None])
    each = each + of_pairs(law.new, new, (rows[:, None] > rows[None]) & live[:, None])
    return jax.nn.logsumexp(law.log_weights + each)


@eqx.filter_jit
def _ordered_log_prob(model: Any, graph: OrderedGraph) -> Array:
    return ordered_log_prob(model, graph)

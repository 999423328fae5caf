"""The log-probability of a graph in any of several orders of its nodes."""

from collections.abc import Sequence, Sized

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pullback.data import Graph

from ._gran import GRAN
from ._ordered import places_of
from ._orders import ORDERS, checked_graph


def marginal_log_prob(
    model: GRAN, graph: Graph, orders: Sequence[str | Sequence[int] | np.ndarray] = ORDERS
) -> Float[Array, ""]:
    r"""The log-probability that the model draws a graph in one of several orders of its nodes.

    $$ \log \sum_{A \in \{A^\pi : \pi \in Q\}} p(A) \;\le\; \log p(G) $$

    Two orders that give one matrix count once. So of all orders it is the log-probability of the
    graph itself, whatever its nodes are called; of a few it is a bound from below, the closer the
    more orders there are.

    Args:
        model: the model.
        graph: the graph, of at most `model.max_nodes` nodes.
        orders: Q: names out of `ORDERS`, or permutations, each as `GRAN.log_prob` takes it.

    Raises:
        TypeError: `graph` is no `Graph`.
        ValueError: there is no order, or one is none of this graph; or the graph has too many
            nodes for the model.

    Example:
        >>> import jax, numpy as np
        >>> from pullback.data import Graph
        >>> model = GRAN(3, mixtures=1, width=4, layers=1, key=jax.random.key(0))
        >>> graph = Graph(3, np.array([[0, 1], [1, 2]]))
        >>> bool(marginal_log_prob(model, graph) > model.log_prob(graph))
        True

    Source: Liao et al., arXiv 1910.00760, section 2.4.
    """
    graph = checked_graph(graph)
    if isinstance(orders, str) or not isinstance(orders, Sized) or not len(orders):
        raise ValueError(f"`orders` must be a sequence of one order or more, got {orders!r}.")
    distinct = {}
    for order in orders:
        ends = np.sort(places_of(graph, order)[graph.edges], axis=1)
        distinct.setdefault(ends[np.lexsort(ends.T)].tobytes(), order)
    found = [model.log_prob(graph, order) for order in distinct.values()]
    return jax.nn.logsumexp(jnp.stack(found))

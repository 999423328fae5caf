"""Graphs: networks that draw graphs of many nodes, block of rows by block of rows."""

from pullback import _contents
from pullback.models.graphs._orders import ORDERS as ORDERS
from pullback.models.graphs._orders import canonical_order as canonical_order

from ._fit_gran import fit_gran as fit_gran
from ._gran import GRAN as GRAN
from ._gran import block_log_prob as block_log_prob
from ._gran import ordered_log_prob as ordered_log_prob
from ._marginal import marginal_log_prob as marginal_log_prob
from ._ordered import OrderedGraph as OrderedGraph
from ._ordered import ordered_graph as ordered_graph
from ._ordered import ordered_shape as ordered_shape

__all__, __dir__ = _contents.of(__name__)

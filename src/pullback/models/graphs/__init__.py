"""Graphs: networks that draw graphs of many nodes, block of rows by block of rows."""

from pullback import _contents
from pullback.models.graphs._orders import ORDERS as ORDERS
from pullback.models.graphs._orders import canonical_order as canonical_order

__all__, __dir__ = _contents.of(__name__)

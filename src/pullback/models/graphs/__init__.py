"""Graphs: networks that draw graphs of many nodes, block of rows by block of rows."""

from pullback import _contents

__all__, __dir__ = _contents.of(__name__)

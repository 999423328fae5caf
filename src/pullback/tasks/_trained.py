"""What a training leaves: a network, and what it takes to go on."""

from typing import Any, NamedTuple


class Trained(NamedTuple):
    """A network that did best on the rows to choose by.

    Attributes:
        net: that network.
        state: what training goes on from.
        steps: that it took.
    """

    net: Any
    state: Any
    steps: int

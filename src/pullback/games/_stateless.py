"""Players are functions of one example, and no more."""

from typing import Any

import equinox as eqx
import jax


def check_stateless(name: str, player: Any) -> None:
    """Raise for layers that keep averages from step to step, or look at the whole batch."""
    stateful = (eqx.nn.StatefulLayer, eqx.nn.StateIndex)
    # Of a sequence its layers are asked.
    is_stateful = lambda node: isinstance(node, stateful) and type(node) is not eqx.nn.Sequential
    for node in jax.tree.leaves(player, is_leaf=is_stateful):
        if is_stateful(node):
            raise ValueError(
                f"`{name}` keeps averages from step to step ({type(node).__name__}): steps that "
                "are looked ahead would change them, and a batch of data and one of samples have "
                "others. Use `eqx.nn.LayerNorm` or `eqx.nn.GroupNorm`, and for a bound on slopes "
                "the layers of `pullback.nn`."
            )

"""A network that responds to hyperparameters, to first order in the gate."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ._self_tuning import is_hyper_layer, over_layers, respond


def linearised(model: PyTree, gate: Float[Array, "..."]) -> Any:
    r"""The network whose outputs move along a line as the gate opens.

    $$ f(x; 0) + \frac{\partial f(x; \lambda)}{\partial \lambda}\Big|_0 \lambda $$

    One product of the Jacobian, by forward mode, whatever is called: the network itself or a method
    of it. So what a response learns from perturbations is its slope, and not the bend between them.

    Args:
        model: as `self_tuning` gives it; a `centred` one.
        gate: $\lambda$, the move.

    Returns:
        What is called as `model` is. Its attributes that are no methods and hold no layer that
        responds are those of `model`.

    Raises:
        ValueError: `model` has no layer that responds, `gate` has another shape, or the network is
            not `centred`: it is no plain one at 0.
        AttributeError: a layer that responds is asked for by itself, for then the whole would not
            be linear.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = eqx.nn.MLP(3, 2, 8, 1, key=jax.random.key(0))
        >>> from pullback.nn import self_tuning
        >>> tuned = self_tuning(net, 4, key=jax.random.key(1))
        >>> linearised(tuned, jnp.ones(4))(jnp.ones(3)).shape
        (2,)

    Source: Bae and Grosse, Delta-STN, arXiv 2010.13514, section 4.
    """
    model = respond(model, gate)  # which checks both
    layers = list(filter(is_hyper_layer, jax.tree.leaves(model, is_leaf=is_hyper_layer)))
    if not all(layer.centred for layer in layers):
        raise ValueError(
            "`model` must be centred, so that its line starts at the plain network: make it by "
            "`self_tuning(..., centred=True)`."
        )
    marked = lambda layer: eqx.tree_at(lambda at: at.at_zero, layer, True)
    return _Linearised(over_layers(marked, lambda leaf: leaf, model), jnp.asarray(gate))


class _Linearised(eqx.Module):
    model: PyTree
    gate: Array

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._along(lambda model: model(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("model", "gate"):
            raise AttributeError(name)
        found = getattr(self.model, name)
        if hasattr(found, "__self__") and found.__self__ is self.model:
            along = lambda *args, **kwargs: self._along(
                lambda model: getattr(model, name)(*args, **kwargs)
            )
            return along
        if any(map(is_hyper_layer, jax.tree.leaves(found, is_leaf=is_hyper_layer))):
            raise AttributeError(
                f"`{name}` holds layers that respond to hyperparameters, and what they give by "
                "themselves is not linear in them: call the model or a method of it, or tune with "
                "`linearised=False`."
            )
        return found

    def _along(self, call: Callable[[PyTree], Any]) -> Any:
        at = lambda gate: call(respond(self.model, gate))
        out, slope = eqx.filter_jvp(at, (jnp.zeros_like(self.gate),), (self.gate,))
        add = lambda slope, value: value if slope is None else value + slope
        return jax.tree.map(add, slope, out, is_leaf=lambda leaf: leaf is None)

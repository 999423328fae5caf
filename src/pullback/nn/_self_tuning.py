"""A user's own network, made to respond to hyperparameters, and made plain again."""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from pullback._inputs import positive
from pullback._key import checked_key

from ._hyper_conv import HyperConv2d
from ._hyper_layer import AbstractHyperLayer
from ._hyper_linear import HyperLinear

M = TypeVar("M")

_KINDS: dict[type, Callable[..., AbstractHyperLayer]] = {
    eqx.nn.Linear: HyperLinear,
    eqx.nn.Conv2d: HyperConv2d,
}


def self_tuning(model: M, count: int, *, centred: bool = True, key: PRNGKeyArray) -> M:
    r"""The same network with every dense layer and every convolution responding to hyperparameters.

    Each `eqx.nn.Linear` and `eqx.nn.Conv2d`, wherever it stands in the PyTree, becomes a
    `HyperLinear` or a `HyperConv2d` with the same weights; all else stays as it is. The network is
    called as before. A `centred` one computes what it did before until it is trained.

    `pullback.bilevel.fit_self_tuning` trains it. The gate of a layer is an array of its own, which
    `fit` would take for a parameter: train by `fit` what `freeze_response` gives.

    Args:
        model: any PyTree.
        count: how many hyperparameters: entries of $\lambda$.
        centred: as for `HyperLinear`.
        key: for what the layers learn beside their weights.

    Raises:
        ValueError: `model` has no such layer, has one that responds already, has one object as a
            layer in two places, or normalises over a batch.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = eqx.nn.MLP(3, 2, 8, 1, key=jax.random.key(0))
        >>> tuned = self_tuning(net, 4, key=jax.random.key(1))
        >>> type(tuned.layers[0]).__name__, bool(jnp.allclose(tuned(jnp.ones(3)), net(jnp.ones(3))))
        ('HyperLinear', True)

    Source: MacKay et al., Self-Tuning Networks, arXiv 1903.03088, section 3; Bae and Grosse,
        Delta-STN, arXiv 2010.13514.
    """
    key = checked_key(key)
    positive(count=count)
    nodes, structure = jax.tree_util.tree_flatten_with_path(model, is_leaf=_stops)
    first: dict[int, str] = {}
    found = []
    for number, (path, node) in enumerate(nodes):
        where = f"`model{jax.tree_util.keystr(path)}`"
        _check(node, where)
        if type(node) in _KINDS:
            if first.setdefault(id(node), where) != where:
                raise ValueError(
                    f"{first[id(node)]} and {where} are one layer, which JAX would train as two: "
                    "tie them by `eqx.nn.Shared`."
                )
            make = _KINDS[type(node)]
            node = make(node, count, centred=centred, key=jr.fold_in(key, number))
        found.append(node)
    if not first:
        raise ValueError("`model` must have an `eqx.nn.Linear` or an `eqx.nn.Conv2d`; it has none.")
    made = jax.tree.unflatten(structure, found)
    _check_ties(made)
    return made


def respond(model: M, gate: Float[Array, "..."]) -> M:
    r"""The same network with this $\lambda$ in every layer that responds.

    Args:
        model: as `self_tuning` gives it.
        gate: $\lambda$; for `centred` layers, how far hyperparameters are from where they stand. A
            batch has another one for each example by `jax.vmap` over both.

    Raises:
        ValueError: `model` has no layer that responds, or `gate` has another shape than theirs.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = eqx.nn.MLP(3, 2, 8, 1, key=jax.random.key(0))
        >>> tuned = self_tuning(net, 4, centred=False, key=jax.random.key(1))
        >>> at = lambda x, gate: respond(tuned, gate)(x)
        >>> jax.vmap(at)(jnp.ones((5, 3)), jnp.ones((5, 4))).shape
        (5, 2)
    """
    layers = _layers(model)
    gate = jnp.asarray(gate)
    counts = {layer.gate.shape[-1] for layer in layers}
    if counts != {gate.shape[-1] if gate.ndim == 1 else None}:
        raise ValueError(
            f"`gate` must have shape ({', '.join(map(str, sorted(counts)))},), the `count` of "
            f"`self_tuning`; got {gate.shape}. For one gate an example, use `jax.vmap`."
        )
    opened = lambda layer: jnp.broadcast_to(gate.astype(layer.gate.dtype), layer.gate.shape)
    put = lambda layer: eqx.tree_at(lambda at: at.gate, layer, opened(layer))
    return over_layers(put, lambda other: other, model)


def freeze_response(model: M, gate: Float[Array, "..."] | None = None) -> M:
    r"""The plain network that one that responds is at some $\lambda$.

    Each layer becomes the `eqx.nn.Linear` or `eqx.nn.Conv2d` of the weights that it has there: to
    be saved, handed on, or trained further.

    Args:
        model: as `self_tuning` gives it.
        gate: as for `respond`; None: what stands in the layers.

    Raises:
        ValueError: as for `respond`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = eqx.nn.MLP(3, 2, 8, 1, key=jax.random.key(0))
        >>> tuned = self_tuning(net, 4, key=jax.random.key(1))
        >>> bool(eqx.tree_equal(freeze_response(tuned), net))
        True
    """
    _layers(model)
    model = model if gate is None else respond(model, gate)
    return over_layers(lambda layer: layer.frozen(), lambda other: other, model)


def response_parameters(model: M) -> M:
    """Which leaves of a network are parameters of its response: a filter for `eqx.partition`.

    Args:
        model: as `self_tuning` gives it.

    Returns:
        The same PyTree with True at the parameters by which layers respond, and False at every
        other leaf.

    Raises:
        ValueError: `model` has no layer that responds.

    Example:
        >>> import jax
        >>> net = eqx.nn.Linear(3, 2, key=jax.random.key(0))
        >>> marked = response_parameters(self_tuning(net, 4, key=jax.random.key(1)))
        >>> marked.general.weight, marked.response.weight, marked.weight_gate, marked.gate
        (False, True, True, False)
    """
    _layers(model)
    return over_layers(lambda layer: layer.responds(), lambda other: False, model)


def is_hyper_layer(node: Any) -> bool:
    """Whether a part of a PyTree is a layer that responds."""
    return isinstance(node, AbstractHyperLayer)


def _layers(model: PyTree) -> list[AbstractHyperLayer]:
    found = [
        node for node in jax.tree.leaves(model, is_leaf=is_hyper_layer) if is_hyper_layer(node)
    ]
    if not found:
        raise ValueError(
            "`model` must have layers that respond to hyperparameters, as `self_tuning(model, "
            "count, key=key)` gives it; it has none."
        )
    return found


def over_layers(of_layer: Callable, of_leaf: Callable, model: M) -> M:
    """A tree with something else for each layer that responds, and for each leaf beside them."""
    each = lambda node: of_layer(node) if is_hyper_layer(node) else of_leaf(node)
    return jax.tree.map(each, model, is_leaf=is_hyper_layer)


def _stops(node: Any) -> bool:
    return type(node) in _KINDS or isinstance(node, AbstractHyperLayer | eqx.nn.BatchNorm)


def _check(node: Any, where: str) -> None:
    if isinstance(node, eqx.nn.BatchNorm):
        raise ValueError(
            f"{where} normalises over the batch, which mixes examples whose hyperparameters "
            "differ: use `eqx.nn.GroupNorm` or `eqx.nn.LayerNorm`."
        )
    if is_hyper_layer(node):
        raise ValueError(f"{where} responds already; give the network before `self_tuning`.")
    if type(node) in _KINDS and not eqx.is_inexact_array(node.weight):
        raise ValueError(
            f"{where} has no weight of its own, {node.weight!r}: where layers share their weights, "
            "tie the layers whole, as in `eqx.nn.Shared(model, lambda m: m[1], lambda m: m[0])`."
        )


def _check_ties(model: PyTree) -> None:
    """Raise where a tie of `eqx.nn.Shared` names a part that a layer has no longer."""
    is_tie = lambda node: isinstance(node, eqx.nn.Shared)
    for tie in filter(is_tie, jax.tree.leaves(model, is_leaf=is_tie)):
        try:
            tie.where(tie.pytree)
            tie.get(tie.pytree)
        except AttributeError as error:
            raise ValueError(
                f"an `eqx.nn.Shared` ties a part of a layer that responds ({error}): tie the "
                "layers whole."
            ) from None

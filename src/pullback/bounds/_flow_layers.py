"""The bijections of the flow families, stacked so that a scan runs through them."""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback.nn import StrictMADE

N = TypeVar("N")
# Of the log of a layer's scale: further out, one step of an optimiser may ruin a flow.
_REACH = 2.0


class CouplingLayers(eqx.Module):
    """Affine couplings; the entries are turned round after each, so that the halves take turns."""

    nets: eqx.nn.MLP
    count: int = eqx.field(static=True)
    kept: int = eqx.field(static=True)

    def __init__(self, dim: int, count: int, width: int, context: int, *, key: PRNGKeyArray):
        key = checked_key(key)
        self.count, self.kept = count, dim // 2

        def net(key: PRNGKeyArray) -> eqx.nn.MLP:
            sizes = self.kept + context, 2 * (dim - self.kept)
            return zero_last_layer(eqx.nn.MLP(*sizes, width, 1, jnp.tanh, key=key))

        self.nets = eqx.filter_vmap(net)(jr.split(key, count))

    def forward(
        self, start: Float[Array, " dim"], context: Float[Array, " context"]
    ) -> tuple[Float[Array, " dim"], Float[Array, ""]]:
        """The flow, and the log-determinant of its Jacobian."""

        def layer(net: eqx.nn.MLP, z: Array) -> tuple[Array, Array]:
            still, moved = z[: self.kept], z[self.kept :]
            shift, log_scale = _shift_and_scale(net(jnp.concatenate([still, context])))
            moved = shift + jnp.exp(log_scale) * moved
            return jnp.concatenate([still, moved])[::-1], jnp.sum(log_scale)

        z, log_det = _through(layer, self.nets, start)
        return (z[::-1] if self.count % 2 else z), log_det

    def inverse(
        self, end: Float[Array, " dim"], context: Float[Array, " context"]
    ) -> tuple[Float[Array, " dim"], Float[Array, ""]]:
        """Where the flow came from, and the log-determinant there of its (forward) Jacobian."""

        def layer(net: eqx.nn.MLP, z: Array) -> tuple[Array, Array]:
            still, moved = z[::-1][: self.kept], z[::-1][self.kept :]
            shift, log_scale = _shift_and_scale(net(jnp.concatenate([still, context])))
            moved = (moved - shift) * jnp.exp(-log_scale)
            return jnp.concatenate([still, moved]), jnp.sum(log_scale)

        end = end[::-1] if self.count % 2 else end
        return _through(layer, self.nets, end, reverse=True)


class _Row(eqx.Module):
    """Shift and scale of each entry from the entries before it and the context."""

    net: StrictMADE
    context: eqx.nn.Linear | None
    last: Float[Array, "dim 2 features"]

    def __init__(self, dim: int, width: int, context: int, *, key: PRNGKeyArray):
        before, beside = jr.split(key)
        features = 8
        self.net = StrictMADE(dim, features, max(width, dim - 1), key=before)
        self.context = (
            eqx.nn.Linear(context, dim * features, use_bias=False, key=beside) if context else None
        )
        self.last = jnp.zeros((dim, 2, features))

    def __call__(self, start: Array, context: Array) -> tuple[Array, Array]:
        rows = self.net(jnp.zeros((), start.dtype), start)
        if self.context is not None:
            rows = rows + self.context(context).reshape(rows.shape)
        shift, raw = jnp.einsum("def,df->ed", self.last, jnp.tanh(rows))
        return shift, _bounded(raw)


class InverseAutoregressiveLayers(eqx.Module):
    """Layers whose entries depend on the entries before them of what came in."""

    nets: _Row
    count: int = eqx.field(static=True)

    def __init__(self, dim: int, count: int, width: int, context: int, *, key: PRNGKeyArray):
        key = checked_key(key)
        self.count = count
        self.nets = eqx.filter_vmap(lambda key: _Row(dim, width, context, key=key))(
            jr.split(key, count)
        )

    def forward(
        self, start: Float[Array, " dim"], context: Float[Array, " context"]
    ) -> tuple[Float[Array, " dim"], Float[Array, ""]]:
        """The flow, and the log-determinant of its Jacobian."""

        def layer(net: _Row, z: Array) -> tuple[Array, Array]:
            shift, log_scale = net(z, context)
            return (shift + jnp.exp(log_scale) * z)[::-1], jnp.sum(log_scale)

        z, log_det = _through(layer, self.nets, start)
        return (z[::-1] if self.count % 2 else z), log_det

    def inverse(
        self, end: Float[Array, " dim"], context: Float[Array, " context"]
    ) -> tuple[Float[Array, " dim"], Float[Array, ""]]:
        """Where the flow came from, one entry after the other, and the log-determinant there."""

        def layer(net: _Row, z: Array) -> tuple[Array, Array]:
            z = z[::-1]

            # After pass i the entries up to i are right, for they depend on those before alone.
            def entry(start: Array, _: None) -> tuple[Array, None]:
                shift, log_scale = net(start, context)
                return (z - shift) * jnp.exp(-log_scale), None

            start, _ = jax.lax.scan(entry, z, length=len(z))
            return start, jnp.sum(net(start, context)[1])

        end = end[::-1] if self.count % 2 else end
        return _through(layer, self.nets, end, reverse=True)


def zero_last_layer(mlp: eqx.nn.MLP) -> eqx.nn.MLP:
    """The same network with a last layer of zeros."""
    last = lambda mlp: (mlp.layers[-1].weight, mlp.layers[-1].bias)
    return eqx.tree_at(last, mlp, tuple(map(jnp.zeros_like, last(mlp))))


def _through(
    layer: Callable[[N, Array], tuple[Array, Array]], nets: N, z: Array, *, reverse: bool = False
) -> tuple[Array, Array]:
    """`layer` with each of the stacked networks in turn, and the sum of the log-determinants."""
    arrays, rest = eqx.partition(nets, eqx.is_array)

    def step(carry: tuple[Array, Array], arrays: Any) -> tuple[tuple[Array, Array], None]:
        z, total = carry
        z, log_det = layer(eqx.combine(arrays, rest), z)
        return (z, total + log_det), None

    start = (z, jnp.zeros((), z.dtype))
    (z, total), _ = jax.lax.scan(step, start, arrays, reverse=reverse)
    return z, total


def _shift_and_scale(out: Array) -> tuple[Array, Array]:
    shift, raw = jnp.split(out, 2)
    return shift, _bounded(raw)


def _bounded(raw: Array) -> Array:
    return _REACH * jnp.tanh(raw / _REACH)

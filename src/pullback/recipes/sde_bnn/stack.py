"""Networks of the recipe `sde-bnn` that are trained side by side, in one program."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, PRNGKeyArray, PyTree

from pullback.runs import Context
from pullback.train import fit


class Stacked(eqx.Module):
    """The sum of a loss over networks `[seed, member]`; the data have an axis of seeds, the second.

    A gradient of the sum is that of each network by itself, and Adam treats every number apart.
    Networks of convolutions are `mapped` one after another, which a CPU does faster.
    """

    loss: Callable[..., tuple[Array, dict[str, Array]]]
    mapped: bool = False

    def __call__(
        self, models: PyTree, batch: PyTree, *, key: PRNGKeyArray
    ) -> tuple[Array, dict[str, Array]]:
        arrays, rest = eqx.partition(models, eqx.is_array)
        shape = jax.tree.leaves(arrays)[0].shape[:2]
        over = jax.lax.map if self.mapped else lambda one, rows: jax.vmap(one)(rows)

        def of_seed(each: tuple[PyTree, PyTree, Array]) -> tuple[Array, dict[str, Array]]:
            members, own, keys = each
            one = lambda m: self.loss(eqx.combine(m[0], rest), own, key=m[1])
            return over(one, (members, keys))

        rows = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), batch)
        losses, metrics = over(of_seed, (arrays, rows, jr.split(key, shape)))
        result = metrics.get("result", jnp.zeros((), jnp.int32))
        return jnp.sum(losses), {"result": jnp.max(result)}


def trained(
    context: Context, name: str, models: Any, loss: Callable[..., Any], data: Any, *, steps: int,
    learning_rate: float, batch_size: int, mapped: bool = False,
) -> Any:  # fmt: skip
    """Stacked networks after training with Adam, whose rate falls to zero along a cosine."""
    models, _ = fit(
        models,
        Stacked(loss, mapped),
        data,
        optimiser=optax.adam(optax.cosine_decay_schedule(learning_rate, steps)),
        steps=steps,
        batch_size=min(batch_size, len(jax.tree.leaves(data)[0])),
        log_every=max(1, steps // 20),
        **context.training(name),
        key=jr.fold_in(jr.key(context.seed), 2),
    )
    return models

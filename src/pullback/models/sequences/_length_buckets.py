"""Batches of sequences of about one length, so that little is computed of padding."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray


class LengthBuckets(eqx.Module):
    """Draws batches, each of sequences of one bucket: all sequences are as likely."""

    codes: Int[Array, "n time"]
    targets: Float[Array, "n targets"]
    starts: Int[Array, " buckets"]
    counts: Int[Array, " buckets"]
    batch_size: int = eqx.field(static=True)

    def __call__(self, key: PRNGKeyArray) -> tuple[Array, Array]:
        """A batch, with replacement."""
        bucket, rows = jr.split(key)
        place = jr.randint(bucket, (), 0, len(self.codes), jnp.int32)
        which = jnp.sum(place >= self.starts[1:])
        among = jr.randint(rows, (self.batch_size,), 0, self.counts[which], jnp.int32)
        chosen = self.starts[which] + among
        return self.codes[chosen], self.targets[chosen]


def length_batches(
    codes: Int[np.ndarray, "n time"],
    targets: Float[np.ndarray, "n targets"],
    needed: Int[np.ndarray, " n"],
    lengths: tuple[int, ...],
    batch_size: int,
) -> LengthBuckets:
    """What draws batches by the lengths that `bucket_sizes` gives."""
    bucket = np.searchsorted(lengths, needed)
    order = np.argsort(bucket, kind="stable")
    counts = np.bincount(bucket, minlength=len(lengths)).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int32)
    return LengthBuckets(
        jnp.asarray(codes[order]),
        jnp.asarray(targets[order]),
        jnp.asarray(starts),
        jnp.asarray(counts),
        batch_size,
    )


class CutLoss(eqx.Module):
    """A loss of a batch cut to the least of some lengths that holds its longest sequence.

    Args:
        loss: of `(codes, targets)`, to which padding makes no difference.
        lengths: rising.
    """

    loss: Callable[..., Any]
    lengths: tuple[int, ...] = eqx.field(static=True)

    def check(self, model: Any, batch: Any) -> None:
        """As the loss itself."""
        self.loss.check(model, batch)  # pyrefly: ignore

    def __call__(
        self, model: Any, batch: tuple[Array, Array], *, key: PRNGKeyArray, step: Any = None
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        params, rest = eqx.partition(model, eqx.is_inexact_array)
        longest = jnp.max(jnp.sum(batch[0] != 0, axis=1)) + 1
        which = jnp.sum(longest > jnp.asarray(self.lengths[:-1], longest.dtype))

        def of(length: int) -> Callable[..., Any]:
            def cut(params: Any, batch: Any, key: Any, step: Any) -> Any:
                codes, targets = batch
                model = eqx.combine(params, rest)
                return self.loss(model, (codes[:, :length], targets), key=key, step=step)

            return cut

        losses = [of(length) for length in self.lengths]
        slopes = [jax.value_and_grad(loss, has_aux=True) for loss in losses]

        # The slope is taken within the branch: else what each of them keeps for it is written for
        # all of them, at every step.
        @jax.custom_vjp
        def value(*given: Any) -> Any:
            return jax.lax.switch(which, losses, *given)

        def forward(*given: Any) -> Any:
            return jax.lax.switch(which, slopes, *given)

        def backward(slope: Any, moved: Any) -> Any:
            return jax.tree.map(lambda leaf: moved[0] * leaf, slope), None, None, None

        value.defvjp(forward, backward)
        return value(params, batch, key, step)

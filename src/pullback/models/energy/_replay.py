"""Chains that are kept between training steps."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._key import checked_key
from pullback.models.energy._starts import AbstractStart


class ReplayBuffer(eqx.Module):
    """Where the chains of past training steps ended, and where new ones start.

    The chains of an energy-based model are too long for one training step. A step draws some of
    the kept points, moves them on, and writes them back: persistent contrastive divergence. A small
    share starts afresh, so that the model is asked about regions that no chain has been in lately.

    With classes, the points of class c are the c-th of equal slices.

    Args:
        data: the points, `[size, ...]`.
        start: the distribution of fresh points.
        classes: into how many slices; None: no slices.

    Raises:
        ValueError: `data` does not have points of the shape of `start`, or does not divide into
            the classes.

    Example:
        >>> import jax
        >>> from pullback.models.energy import BoxStart
        >>> buffer = ReplayBuffer.init(BoxStart((2,)), 100, key=jax.random.key(0))
        >>> x, rows = buffer.draw(8, key=jax.random.key(1))
        >>> buffer = buffer.write(rows, 0.9 * x)
        >>> buffer.data.shape
        (100, 2)

    Source: Du and Mordatch, Implicit Generation and Modeling with Energy-Based Models, arXiv
    1903.08689, section 3.2; Grathwohl et al., arXiv 1912.03263, algorithm 1.
    """

    data: Float[Array, "size ..."]
    start: AbstractStart
    classes: int | None = eqx.field(default=None, static=True)

    def __check_init__(self):
        shape = jnp.shape(self.data)
        # `equinox.filter_vmap` builds the stack of many, with an axis in front.
        if shape[-len(self.start.shape) :] != self.start.shape and self.start.shape:
            raise ValueError(
                f"`data` must hold points of shape {self.start.shape}, as `start` does, got "
                f"{shape}."
            )

    @classmethod
    def init(
        cls, start: AbstractStart, size: int, *, classes: int | None = None, key: PRNGKeyArray
    ) -> "ReplayBuffer":
        """A buffer of fresh points.

        Args:
            start: their distribution.
            size: how many.
            classes: into how many slices; None: no slices.
            key: a typed PRNG key.

        Raises:
            ValueError: `size` is below 1, or is no multiple of `classes`.
        """
        key = checked_key(key)
        if size < 1 or (classes is not None and (classes < 1 or size % classes)):
            raise ValueError(
                f"`size` must be at least 1 and a multiple of `classes`, got {size} and {classes}."
            )
        labels = None
        if classes is not None:
            labels = jnp.repeat(jnp.arange(classes), size // classes)
        return cls(start.sample(size, labels=labels, key=key), start, classes)

    def draw(
        self,
        n: int,
        *,
        reinit: float = 0.05,
        labels: Int[Array, " n"] | None = None,
        key: PRNGKeyArray,
    ) -> tuple[Float[Array, "n ..."], Int[Array, " n"]]:
        """Points to start chains from, and the rows to write their ends to.

        Args:
            n: how many, drawn with replacement.
            reinit: the share that is drawn afresh instead, in expectation.
            labels: the classes to draw from, if the buffer is sliced; None: any.
            key: a typed PRNG key.

        Returns:
            The points `[n, ...]`, and their rows in the buffer `[n]`.

        Raises:
            ValueError: `reinit` is not in [0, 1], or there are labels and no slices.
        """
        key = checked_key(key)
        if not 0 <= reinit <= 1:
            raise ValueError(f"`reinit` must lie in [0, 1], got {reinit}.")
        if labels is not None and self.classes is None:
            raise ValueError("`labels` need a buffer with `classes`, and this one has none.")
        size = self.data.shape[0]
        rows_key, which, fresh_key = jr.split(key, 3)
        if labels is None:
            rows = jr.randint(rows_key, (n,), 0, size, jnp.int32)
        else:
            part = size // (self.classes or 1)
            rows = jr.randint(rows_key, (n,), 0, part, jnp.int32) + labels.astype(jnp.int32) * part
        fresh = self.start.sample(n, labels=self._labels(rows), key=fresh_key)
        again = jr.uniform(which, (n, *(1,) * (self.data.ndim - 1))) < reinit
        return jnp.where(again, fresh.astype(self.data.dtype), self.data[rows]), rows

    def write(self, rows: Int[Array, " n"], x: Float[Array, "n ..."]) -> "ReplayBuffer":
        """The buffer with other points in these rows; of a row named twice one of the two."""
        return ReplayBuffer(self.data.at[rows].set(x), self.start, self.classes)

    def _labels(self, rows: Int[Array, " n"]) -> Int[Array, " n"] | None:
        return None if self.classes is None else rows // (self.data.shape[0] // self.classes)

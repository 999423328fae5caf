"""How noisy a stochastic gradient is."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from pullback._in_batches import check_batch_size
from pullback._key import checked_keys
from pullback._traced import compiled

M = TypeVar("M")


class GradStats(NamedTuple):
    """The spread of a gradient over keys, entry by entry, in the structure of the parameters.

    Attributes:
        mean: of the gradient.
        std: its standard deviation from one key to the next, not that of the mean.
        value: the mean of the loss.
        count: the number of keys, n.
    """

    mean: PyTree
    std: PyTree
    value: Float[Array, ""]
    count: int

    @property
    def variance(self) -> PyTree:
        """Of one draw of the gradient."""
        return jax.tree.map(jnp.square, self.std)

    @property
    def standard_error(self) -> PyTree:
        r"""Of `mean`: $\mathrm{std} / \sqrt n$."""
        return jax.tree.map(lambda s: s / math.sqrt(self.count), self.std)

    @property
    def snr(self) -> PyTree:
        r"""Signal to noise, $|\mathrm{mean}| / \mathrm{std}$.

        Infinite where there is no noise, and 0 where the mean is 0, even without noise: a parameter
        that the loss does not use has no signal.
        """
        return jax.tree.map(lambda m, s: jnp.abs(m) / jnp.where(m == 0, 1, s), self.mean, self.std)


def grad_stats(
    loss: Callable[..., Float[Array, ""]],
    model: PyTree,
    keys: Key[Array, " n"],
    *,
    batch_size: int | None = None,
) -> GradStats:
    r"""Mean and standard deviation of a stochastic gradient, over keys.

    $$ \hat g_k = \nabla_\theta L(\theta, k), \qquad
       \mathrm{std}^2 = \frac{1}{n - 1} \sum_k (\hat g_k - \bar g)^2 $$

    Args:
        loss: `loss(model, *, key)` gives a scalar, drawn at random by the key.
        model: any PyTree; its floating arrays are the parameters.
        keys: one for each draw, `[n]` with n at least 2.
        batch_size: the most draws held in memory at once; all of them when None.

    Returns:
        A `GradStats`, whose `mean` and `std` have None where `model` has no parameter.

    Raises:
        ValueError: there are fewer than two keys, or `batch_size` is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def loss(theta, *, key):
        ...     return theta * (1 + 2 * jax.random.normal(key))
        >>> keys = jax.random.split(jax.random.key(0), 4000)
        >>> found = grad_stats(loss, jnp.asarray(3.0), keys)
        >>> bool(abs(found.mean - 1) < 0.15), bool(abs(found.std - 2) < 0.1)
        (True, True)
    """
    keys = checked_keys(keys)
    if len(keys) < 2:
        raise ValueError(f"`keys` must be at least two keys, got {len(keys)}.")
    check_batch_size(batch_size)
    value, mean, std = _moments(loss, model, keys, min(batch_size or len(keys), len(keys)))
    return GradStats(mean, std, value, len(keys))


class _Sums(NamedTuple):
    count: Array
    mean: PyTree
    # The sum of squared distances from the mean.
    spread: PyTree


@compiled
def _moments(loss: Callable, model: Any, keys: Array, batch_size: int) -> tuple:
    params, rest = eqx.partition(model, eqx.is_inexact_array)

    def gradient(key: Array) -> tuple[Array, PyTree]:
        return jax.value_and_grad(lambda p: loss(eqx.combine(p, rest), key=key))(params)

    def of_chunk(keys: Array) -> _Sums:
        draws = jax.vmap(gradient)(keys)
        mean = jax.tree.map(lambda x: jnp.mean(x, axis=0), draws)
        spread = jax.tree.map(lambda x, m: jnp.sum(jnp.square(x - m[None]), axis=0), draws, mean)
        return _Sums(jnp.asarray(len(keys), mean[0].dtype), mean, spread)

    whole = len(keys) // batch_size * batch_size
    total = of_chunk(keys[:batch_size])
    if whole > batch_size:
        chunks = keys[batch_size:whole].reshape(-1, batch_size)
        total, _ = jax.lax.scan(lambda sums, k: (_merged(sums, of_chunk(k)), None), total, chunks)
    if whole < len(keys):
        total = _merged(total, of_chunk(keys[whole:]))
    value, mean = total.mean
    std = jax.tree.map(lambda s: jnp.sqrt(s / (len(keys) - 1)), total.spread[1])
    return value, mean, std


def _merged(a: _Sums, b: _Sums) -> _Sums:
    """The sums over both sets, free of a mean of squares' cancellation (Chan et al., 1979)."""
    count = a.count + b.count
    weight = b.count / count
    apart = jax.tree.map(jnp.subtract, b.mean, a.mean)
    return _Sums(
        count,
        jax.tree.map(lambda m, d: m + weight.astype(m.dtype) * d, a.mean, apart),
        jax.tree.map(
            lambda s, r, d: s + r + (a.count * weight).astype(d.dtype) * jnp.square(d),
            a.spread,
            b.spread,
            apart,
        ),
    )

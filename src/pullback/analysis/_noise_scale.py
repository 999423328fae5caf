"""Whether a batch is too small."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from pullback._in_batches import check_batch_size, over_batches_summed
from pullback._key import checked_key
from pullback._leading_axis import leading_axis
from pullback._traced import compiled
from pullback.nn import layer_factors


class NoiseScale(eqx.Module):
    """The batch size at which the gradient's noise is as large as itself.

    Attributes:
        scale: the noise over the signal, in examples. Batches far below it gain nearly in full by
            more examples, and those far above it next to nothing. Infinite where the examples do
            not tell the gradient from 0.
        variance: of one example's gradient, summed over parameters.
        signal: the square of the gradient's norm, without what noise adds to it; it may be below 0.
    """

    scale: Float[Array, ""]
    variance: Float[Array, ""]
    signal: Float[Array, ""]


def noise_scale(
    loss: Callable[..., Any],
    model: PyTree,
    data: PyTree,
    *,
    batch_size: int = 256,
    key: PRNGKeyArray,
) -> NoiseScale:
    r"""The simple noise scale of a loss: is my batch too small?

    $$ \mathcal B = \frac{\mathrm{tr}\,\Sigma}{|G|^2}, \qquad
       \widehat{\mathrm{tr}\,\Sigma} = \frac{1}{N - 1} \sum_i \|g_i - \bar g\|^2, \qquad
       \widehat{|G|^2} = \|\bar g\|^2 - \frac{1}{N} \widehat{\mathrm{tr}\,\Sigma} $$

    The examples are taken for a sample of all that there could be, and both estimates are unbiased.
    For any network; its layers' factors give all norms from one backward pass.

    Args:
        loss: `loss(model, batch, *, key) -> (scalar, dict of metrics)`, a mean over its batch.
        model: any PyTree, in the mode that it trains in.
        data: a PyTree of arrays with a leading axis N, two examples or more: the set, or a part.
        batch_size: how many are in memory at once; the answer does not depend on it, but for what
            is drawn by keys.
        key: of dropout and its like.

    Raises:
        ValueError: there is one example, or no gradient but zero, or one that is not finite: NaN
            where the call is being compiled.
        TypeError: `loss` returns something else.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> net = eqx.nn.MLP(3, "scalar", 8, 1, key=jax.random.key(0))
        >>> def loss(net, batch, *, key):
        ...     x, y = batch
        ...     return jnp.mean((jax.vmap(net)(x) - y) ** 2), {}
        >>> x = jax.random.normal(jax.random.key(1), (500, 3))
        >>> found = noise_scale(loss, net, (x, jnp.sin(x[:, 0])), key=jax.random.key(2))
        >>> bool(2 < found.scale < 50)
        True

    Source: McCandlish et al., An Empirical Model of Large-Batch Training, arXiv 1812.06162,
        section 2.2 and appendix A.1.
    """
    key = checked_key(key)
    check_batch_size(batch_size)
    n = leading_axis(data, name="data")
    if n < 2:
        raise ValueError("`data` must hold two examples or more, got one: it has no variance.")
    found = compiled(_measured)(loss, model, data, batch_size, key)
    if isinstance(found.scale, Tracer):
        return found
    if not bool(jnp.isfinite(found.variance)):
        raise ValueError("gradients of some examples are not finite: look at `per_example_norms`.")
    if found.variance == 0 and found.signal == 0:
        raise ValueError("all gradients are zero, so that there is no noise and no signal.")
    return found


def _measured(
    loss: Callable[..., Any], model: PyTree, data: PyTree, batch_size: int, key: PRNGKeyArray
) -> NoiseScale:
    n = leading_axis(data, name="data")

    def total(batch: PyTree, number: Array) -> tuple[Array, PyTree]:
        factors = layer_factors(loss, model, batch, exclude=None, key=jr.fold_in(key, number))
        summed = jax.tree.map(lambda leaf: leaf * len(factors.losses), factors.gradient())
        return jnp.square(factors.norms()).sum(), summed

    squares, summed = over_batches_summed(total, jax.tree.map(jnp.asarray, data), batch_size)
    leaves = [jnp.square(leaf / n).sum() for leaf in jax.tree.leaves(summed)]
    mean = jnp.stack(leaves).sum()
    variance = jnp.maximum(squares / n - mean, 0) * (n / (n - 1))
    signal = mean - variance / n
    scale = jnp.where(signal > 0, variance / signal, jnp.inf)
    nothing = (variance == 0) & (signal == 0)
    good = ~nothing & jnp.isfinite(variance)
    return NoiseScale(jnp.where(good, scale, jnp.nan), variance, signal)

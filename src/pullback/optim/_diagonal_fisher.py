"""The diagonal of the Fisher information of a network."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray, PyTree

from pullback._in_batches import check_batch_size, over_batches_summed
from pullback._key import checked_key
from pullback._leading_axis import leading_axis
from pullback._promotion import standard_promotion
from pullback._traced import compiled
from pullback.nn import per_example_squares
from pullback.optim._likelihood import Likelihood


def diagonal_fisher(
    model: PyTree,
    likelihood: Callable[[Any], Any],
    x: PyTree,
    y: PyTree = None,
    *,
    trainable: PyTree = True,
    batch_size: int | None = 128,
    key: PRNGKeyArray,
) -> PyTree:
    r"""How much each weight matters to what a network says of its inputs.

    $$ F_k = \frac1n \sum_i E_{y \sim p(y | x_i)} \Big[\Big(
       \frac{\partial \log p(y | x_i)}{\partial \theta_k} \Big)^2\Big] $$

    by one draw of y for each row, from the model itself: the Fisher information. With `y` its
    labels take the place of the draws, which is the empirical Fisher: near 0 for whatever fits its
    labels well, and far from the curvature where it does not.

    Args:
        model: a function of one example, such as an Equinox network; taken in inference mode.
        likelihood: from the output for an example to a distribution, with `log_prob` and `sample`
            as NumPyro's have, of one number for each example: for classes
            `lambda logits: numpyro.distributions.Categorical(logits=logits)`.
        x: the examples, along a leading axis of n.
        y: their labels. None: they are drawn, as is the standard.
        trainable: the parameters to look at, as for `pullback.train.fit`.
        batch_size: how many gradients to hold at once; None: all.
        key: a random key.

    Returns:
        A tree like the parameters, 0 or more, in float32 at least, None elsewhere.

    Raises:
        TypeError: `model` has no parameters, or `trainable` leaves none.
        ValueError: there is no row; `log_prob` is not one number an example.

    Example:
        >>> import equinox as eqx, jax
        >>> import numpyro.distributions as dist
        >>> net = eqx.nn.Linear(1, 1, use_bias=False, key=jax.random.key(1))
        >>> likelihood = lambda mean: dist.Normal(mean[0], 0.5)
        >>> x = jax.random.normal(jax.random.key(2), (10_000, 1))
        >>> found = diagonal_fisher(net, likelihood, x, key=jax.random.key(3))
        >>> print(found.weight.round())  # 1 / 0.5 squared
        [[4.]]

    Source: Kirkpatrick et al., arXiv 1612.00796; of drawn and given labels, Kunstner, Balles and
        Hennig, Limitations of the empirical Fisher approximation, arXiv 1905.12558.
    """
    key = checked_key(key)
    n = leading_axis((x, y), name="x")
    check_batch_size(batch_size)
    floats = eqx.filter(model, eqx.is_inexact_array)
    if not jax.tree.leaves(floats):
        raise TypeError("`model` has no parameters: no leaf of it is a floating array.")
    if not jax.tree.leaves(eqx.filter(floats, trainable)):
        raise TypeError(
            "`trainable` leaves nothing of `model` to look at: it is true for none of the "
            f"{len(jax.tree.leaves(floats))} floating arrays."
        )
    net = eqx.nn.inference_mode(model)
    mean = Likelihood(likelihood, drawn=y is None)

    def loss(net: PyTree, row: tuple, *, key: PRNGKeyArray) -> tuple[Array, dict]:
        x, y, keys = row  # the draw of a row is the same in whatever batch it comes
        return mean(net, (x, y), key=keys[0])

    def total(net: PyTree, rows: PyTree) -> PyTree:
        def summed(rows: PyTree, number: Array) -> PyTree:
            del number
            count = jax.tree.leaves(rows)[0].shape[0]
            squares = per_example_squares(loss, net, rows, key=key)
            return jax.tree.map(lambda leaf: count * leaf, squares)

        return jax.tree.map(lambda leaf: leaf / n, over_batches_summed(summed, rows, batch_size))

    with standard_promotion():
        found = compiled(total)(net, (jax.tree.map(jnp.asarray, x), y, jr.split(key, n)))
    return eqx.filter(found, trainable)

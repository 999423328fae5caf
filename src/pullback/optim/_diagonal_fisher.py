"""The diagonal of the Fisher information of a network."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray, PyTree

from pullback._floating import at_least_float32
from pullback._in_batches import check_batch_size
from pullback._key import checked_key
from pullback._leading_axis import leading_axis
from pullback._promotion import standard_promotion
from pullback._traced import compiled


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
    floats, rest = eqx.partition(model, eqx.is_inexact_array)
    params, frozen = eqx.partition(floats, trainable)
    if not jax.tree.leaves(params):
        raise TypeError("`model` has no parameters: no leaf of it is a floating array.")
    drawn = y is None

    def of_row(given: tuple) -> PyTree:
        params, x, y, key = given

        def log_prob(params: PyTree) -> Array:
            net = eqx.nn.inference_mode(eqx.combine(params, frozen, rest))
            said = likelihood(net(x))
            seen = jax.lax.stop_gradient(said.sample(key)) if drawn else y
            found = said.log_prob(seen)
            if jnp.shape(found) != ():
                raise ValueError(
                    "`log_prob` of `likelihood` must be one number for an example, got shape "
                    f"{jnp.shape(found)}: sum over its parts, as `.to_event(1)` does."
                )
            return found

        square = lambda g: jnp.square(g.astype(at_least_float32(g.dtype)))
        return jax.tree.map(square, jax.grad(log_prob)(params))

    def total(params: PyTree, rows: PyTree) -> PyTree:
        size = n if batch_size is None else min(n, batch_size)
        places = jnp.arange(-(-n // size) * size).reshape(-1, size)

        def add(sums: PyTree, at: Array) -> tuple[PyTree, None]:
            # The last batch is filled up with rows that do not count.
            batch = jax.tree.map(lambda leaf: leaf[at % n], rows)
            squares = jax.vmap(lambda row: of_row((params, *row)))(batch)
            counted = lambda sums, leaf: sums + jnp.tensordot((at < n).astype(leaf.dtype), leaf, 1)
            return jax.tree.map(counted, sums, squares), None

        zero = jax.tree.map(lambda p: jnp.zeros(p.shape, at_least_float32(p.dtype)), params)
        sums, _ = jax.lax.scan(add, zero, places)
        return jax.tree.map(lambda leaf: leaf / n, sums)

    with standard_promotion():
        return compiled(total)(params, (jax.tree.map(jnp.asarray, x), y, jr.split(key, n)))

"""Noisy Adam as an Optax transformation, for a training loop of one's own."""

import math
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from pullback._key import checked_key
from pullback.optim._check_numbers import check_numbers

P = TypeVar("P")


class NoisyAdamState(NamedTuple):
    r"""What noisy Adam keeps.

    Attributes:
        count: of steps.
        momentum: m.
        fisher: f, in the parameters' structure.
        intrinsic: $\gamma_\mathrm{in}$.
        scale: $\sqrt{\lambda / N}$.
    """

    count: Int[Array, ""]
    momentum: PyTree
    fisher: PyTree
    intrinsic: Float[Array, ""]
    scale: Float[Array, ""]


def noisy_adam(
    learning_rate: float,
    *,
    rows: int,
    prior_variance: float | int = 1.0,
    kl_weight: float | int = 1.0,
    b1: float | int = 0.9,
    b2: float | int = 0.999,
    damping: float | int = 0.0,
) -> optax.GradientTransformationExtraArgs:
    r"""Natural-gradient steps of a fully factorised posterior's mean.

    $$ m \leftarrow \beta_1 m + (1 - \beta_1)(g + \gamma_\mathrm{in} \mu), \qquad
       f \leftarrow (1 - s_t) f + s_t h, \qquad
       \mu \leftarrow \mu - \alpha\,
       \frac{m / (1 - \beta_1^t)}{f + \gamma_\mathrm{in} + \mathrm{damping}} $$

    g is the mean gradient of the negative log-likelihood of one example at weights from
    `draw_weights`, and h the mean of squares of each example's gradient, of labels drawn from the
    model, as `pullback.nn.per_example_squares` gives it: `update(g, state, params, squares=h)`.
    Its share is $s_t = \max(1 - \beta_2, 1 / t)$. A start of 1 is in no average, but f is near 0 at
    first in directions of which few examples say something: steps have $1 / (t + 1)$ added to it,
    and draws $2^{-t}$.
    There is no square root. `fit_posterior` with `Diagonal()` is that and the loop around it.

    Args:
        learning_rate: $\alpha$.
        rows: N, of the data.
        prior_variance: $\eta$, of each weight.
        kl_weight: $\lambda$.
        b1: of the momentum.
        b2: of the squares.
        damping: of the steps alone.

    Raises:
        ValueError: a number is out of range; `update` is not given `squares`.
        TypeError: an array stands for a number.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> adam = noisy_adam(0.5, rows=100)
        >>> mean = jnp.asarray([1.0])
        >>> state = adam.init(mean)
        >>> weights = draw_weights(state, mean, key=jax.random.key(0))
        >>> updates, state = adam.update(weights - 3, state, mean, squares=jnp.ones(1))
        >>> 1 < float(optax.apply_updates(mean, updates)[0]) < 3
        True

    Source: Zhang et al., arXiv 1712.02390, algorithm 1.
    """
    check_numbers(prior_variance=prior_variance, kl_weight=kl_weight, damping=damping)
    if rows < 1:
        raise ValueError(f"`rows` must be 1 or more, got {rows}.")
    for name, value in {"b1": b1, "b2": b2}.items():
        if not 0 <= value < 1:
            raise ValueError(f"`{name}` must be in [0, 1), got {value}.")
    intrinsic, scale = kl_weight / (rows * prior_variance), math.sqrt(kl_weight / rows)

    def init(params: PyTree) -> NoisyAdamState:
        dtype = jnp.result_type(*jax.tree.leaves(params))
        return NoisyAdamState(
            jnp.asarray(0, jnp.int32),
            jax.tree.map(jnp.zeros_like, params),
            jax.tree.map(jnp.zeros_like, params),
            jnp.asarray(intrinsic, dtype),
            jnp.asarray(scale, dtype),
        )

    def update(
        updates: PyTree,
        state: NoisyAdamState,
        params: PyTree = None,
        *,
        squares: PyTree = None,
        **_: Any,
    ) -> tuple[PyTree, NoisyAdamState]:
        if params is None or squares is None:
            raise ValueError(
                "`update` of noisy Adam needs the mean, as `params`, and `squares`, the mean of "
                "the squares of each example's gradient, as `per_example_squares` gives it."
            )
        count = state.count + 1
        slope = jax.tree.map(lambda g, mean: g + intrinsic * mean, updates, params)
        momentum = jax.tree.map(lambda m, v: b1 * m + (1 - b1) * v, state.momentum, slope)
        share = jnp.maximum(1 - b2, 1 / count.astype(float))
        average = lambda f, h: f + share.astype(f.dtype) * (h - f)
        fisher = jax.tree.map(average, state.fisher, squares)

        def step(m: Array, f: Array) -> Array:
            unbiased = 1 - b1 ** count.astype(m.dtype)
            left = 1 / (count.astype(f.dtype) + 1)  # of a start that holds the first steps
            return -learning_rate * m / unbiased / (f + left + intrinsic + damping)

        new = state._replace(count=count, momentum=momentum, fisher=fisher)
        return jax.tree.map(step, momentum, fisher), new

    return optax.GradientTransformationExtraArgs(init, cast(Any, update))


def draw_weights(state: NoisyAdamState, params: P, *, key: PRNGKeyArray) -> P:
    r"""Weights from noisy Adam's posterior, $N(\mu, \frac\lambda N (f + \gamma_\mathrm{in})^{-1})$.

    Args:
        state: of `noisy_adam`.
        params: the mean.
        key: a random key.

    Example:
        See `noisy_adam`.
    """
    leaves, structure = jax.tree.flatten(params)
    keys = jax.tree.unflatten(structure, list(jr.split(checked_key(key), max(1, len(leaves)))))

    def drawn(mean: Array, f: Array, key: PRNGKeyArray) -> Array:
        scale, intrinsic = state.scale.astype(mean.dtype), state.intrinsic.astype(mean.dtype)
        return mean + scale * jax.lax.rsqrt(_settled(f, state.count) + intrinsic) * jr.normal(
            key, mean.shape, mean.dtype
        )

    return jax.tree.map(drawn, params, state.fisher, keys)


def _settled(fisher: Array, count: Array) -> Array:
    """f, and beside it a start of 1, of which a half is left after each step."""
    return fisher + jnp.exp2(-count.astype(fisher.dtype))

"""Unbiased functions of an expectation, by a random level of antithetic doubling."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from pullback._key import checked_key

from ._truncation import AbstractTruncation, Geometric


class Multilevel(NamedTuple):
    """What a multilevel estimate draws, and from which distribution.

    Attributes:
        base: samples of the part that is always taken.
        truncation: of one plus the level. Its ratio weighs variance, which falls by 4 from one
            level to the next, against cost, which doubles: the best of them is $2^{-3/2}$. Its cap
            is one more than the last level.
    """

    base: int = 8
    truncation: AbstractTruncation = Geometric(2**-1.5, cap=10)

    def samples(self, stop: Any) -> Any:
        """How many samples a draw takes that stopped at `stop`: `base * (1 + 2 ** stop)`.

        A Python integer, or a NumPy array of them.
        """
        return self.base * (1 + 2**stop)

    def mean_samples(self) -> float:
        """How many samples a draw takes on average."""
        k = jnp.arange(1, self.truncation.cap + 1)
        shares = self.truncation.probability(k)
        return self.base * (1 + float(jnp.sum(shares * 2.0 ** k.astype(shares.dtype))))


def multilevel_estimate(
    function: Callable[[PyTree], Float[Array, "*shape"]],
    samples: PyTree,
    stop: int,
    multilevel: Multilevel = Multilevel(),  # noqa: B008, frozen
) -> Float[Array, "*shape"]:
    r"""Estimate $\lim_n f_n(x_1, \dots, x_n)$ without bias, for a smooth function of an average.

    The function takes any number of independent samples, as the log of their mean does. With
    $n_0$ samples at the base, and $2^{L+1} n_0$ fresh ones at a random level $L$,

    $$ \hat f = f_{n_0} + \frac{1}{P(L)} \Big( f(\text{all})
       - \tfrac12 f(\text{first half}) - \tfrac12 f(\text{second half}) \Big). $$

    The halves cancel to second order, so the difference's variance falls as $4^{-L}$ where one
    sample more or less changes $f$ by $1 / n$: variance and cost are both finite, which no
    truncation that adds single samples can have. The expectation is $f$ of
    $2^{\mathrm{cap}} n_0$ samples.

    Args:
        function: from a PyTree of samples, along the first axis of its leaves, to an array.
        samples: `multilevel.samples(stop)` of them, the base's first.
        stop: one plus the level, a Python number, because shapes depend on it:
            `int(multilevel.truncation.sample(key=key))`.
        multilevel: the base and the truncation.

    Returns:
        The estimate. Its gradient is unbiased for that of the limit.

    Raises:
        ValueError: `stop` is not in 1, ..., cap, or there are not as many samples.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> plan = Multilevel(base=4)
        >>> log_mean = lambda w: jnp.log(jnp.mean(w))
        >>> estimate = multilevel_estimate(log_mean, jnp.ones(plan.samples(2)), 2, plan)
        >>> print(f"{estimate:.1f}")
        0.0

    Source: Giles, Multilevel Monte Carlo Methods, Acta Numerica 24 (2015); Blanchet and Glynn,
    Unbiased Monte Carlo for Optimization and Functions of Expectations, Winter Simulation
    Conference (2015).
    """
    base, truncation = multilevel
    if not 1 <= stop <= truncation.cap:
        raise ValueError(f"`stop` must be in 1, ..., {truncation.cap}, got {stop}.")
    needed = multilevel.samples(stop)
    sizes = {leaf.shape[0] for leaf in jax.tree.leaves(samples)}
    if sizes != {needed}:
        raise ValueError(f"`samples` must be {needed} for `stop` {stop}, got {sorted(sizes)}.")
    part = lambda start, end: function(jax.tree.map(lambda x: x[start:end], samples))
    middle = base + (needed - base) // 2
    halves = (part(base, middle) + part(middle, needed)) / 2
    difference = part(base, needed) - halves
    return part(0, base) + difference / truncation.probability(jnp.asarray(stop)).astype(
        difference.dtype
    )


def multilevel_batch(
    function: Callable[[PyTree], Float[Array, "*shape"]],
    draw: Callable[[Any, int, PRNGKeyArray], PyTree],
    inputs: PyTree,
    stop: Int[np.ndarray, " batch"],
    multilevel: Multilevel = Multilevel(),  # noqa: B008, frozen
    *,
    key: PRNGKeyArray,
) -> Float[Array, "batch *shape"]:
    """One `multilevel_estimate` for each input, every one at the level that it drew.

    Inputs of one level go through one program, and their number is padded to a power of two. So no
    input pays for the level of another, and a handful of programs serve all draws.

    Args:
        function: as in `multilevel_estimate`. It and `draw` are compiled once for each function
            object: what they read that changes has to be in `inputs`, or in an `eqx.Module` that
            they are.
        draw: from one input, a number n and a key to n samples, along the first axis.
        inputs: a PyTree whose leaves begin with the axis of the batch.
        stop: one plus each input's level, drawn outside of `jax.jit`.
        multilevel: the base and the truncation.
        key: for the samples; each input has its own.

    Returns:
        The estimates. `jax.grad` goes through, though not `jax.jit`: compile the parts.

    Raises:
        ValueError: as in `multilevel_estimate`.

    Example:
        >>> import jax, jax.numpy as jnp, jax.random as jr, numpy as np
        >>> plan, means = Multilevel(), jnp.array([0.0, 1.0])
        >>> draw = lambda mean, n, key: mean + jr.normal(key, (n,))
        >>> stop = np.asarray(plan.truncation.sample((2,), key=jr.key(0)))
        >>> multilevel_batch(jnp.mean, draw, means, stop, plan, key=jr.key(1)).shape
        (2,)

    Source: Giles, Multilevel Monte Carlo Methods, Acta Numerica 24 (2015).
    """
    key = checked_key(key)
    stop = np.asarray(stop)
    keys = jr.split(key, len(stop))
    found, order = [], []
    for level in np.unique(stop):
        rows = np.flatnonzero(stop == level)
        padded = np.resize(rows, 1 << (len(rows) - 1).bit_length())
        here = jax.tree.map(lambda x, padded=padded: x[padded], inputs)
        values = _at_level(function, draw, here, keys[padded], int(level), multilevel)
        found.append(values[: len(rows)])
        order.append(rows)
    return jnp.concatenate(found)[np.argsort(np.concatenate(order))]


@eqx.filter_jit
def _at_level(
    function: Callable, draw: Callable, inputs: PyTree, keys: Array, stop: int, plan: Multilevel
) -> Array:
    def one(inputs: PyTree, key: PRNGKeyArray) -> Array:
        return multilevel_estimate(function, draw(inputs, plan.samples(stop), key), stop, plan)

    return jax.vmap(one)(inputs, keys)

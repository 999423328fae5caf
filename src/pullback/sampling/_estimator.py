"""What an estimator of the gradient of an expectation is."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from pullback._in_batches import over_rows
from pullback._key import checked_keys
from pullback._once import once

from ._distribution import Distribution
from ._orders import beside


class AbstractEstimator(eqx.Module):
    r"""A way to estimate an expectation and, above all, its gradient.

    To write one of your own, define `__call__`: draw with `pullback.sampling.draw`, take densities
    by `pullback.sampling.log_prob`, which knows the support of q, and go through the keys with
    `over_samples`, which keeps `batch_size`. What is differentiated is the number returned, so an
    estimator is a scalar whose value is the estimate and whose gradient is the one wanted:

    - of a sample through which gradients flow (`require_reparameterised`) that is `f(z, q)` itself;
    - of one that is held it is `f(z, q)` times `likelihood_ratio(log_prob(q, z))`, which is 1 and
      has the score as its derivative, and is right to every order.

    Two properties say more of one, where it has them:

    - `learned_parts`: the PyTree of what it learns, by which `pullback.train.JointLoss` finds what
      to train beside the model. The gradient by these arrays is that of their own objective.
    - `relaxes`: True if it calls `f` at values that no discrete distribution has a density at.
      Bounds with a sampled divergence refuse it.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> from pullback import sampling
        >>> class Antithetic(sampling.AbstractEstimator):
        ...     def __call__(self, f, q, keys, batch_size):
        ...         sampling.require_reparameterised(q, "Antithetic")
        ...
        ...         def pair(key):
        ...             z = sampling.draw(q, key)
        ...             return (f(z, q) + f(2 * q.mean - z, q)) / 2
        ...
        ...         return jnp.mean(sampling.over_samples(pair, keys, batch_size))
        >>> def mean(m):
        ...     return sampling.expectation(
        ...         lambda z, q: z, dist.Normal(m, 1.0), estimator=Antithetic(),
        ...         key=jax.random.key(0))
        >>> value, slope = jax.value_and_grad(mean)(3.0)
        >>> print(f"{value:.3f} {slope:.3f}")  # without any noise, for what is odd
        3.000 1.000
    """

    @abc.abstractmethod
    def __call__(
        self,
        f: Callable[[Any, Any], Float[Array, ""]],
        q: Distribution,
        keys: Key[Array, " sample"],
        batch_size: int | None,
    ) -> Float[Array, ""]:
        """The mean of `f(z, q)` over one sample for each key.

        `jax.grad` of it is the estimator's gradient, with respect to the parameters of `q`, to what
        `f` closes over, and to the estimator's own arrays, if it has any.

        Args:
            f: from a sample, of the shape that `q.sample(key, ())` has, and the distribution to a
                floating scalar. Give it q as its gradient is to be seen: `stop_gradient(q)` cuts
                that.
            q: the distribution; its whole batch shape is one draw. A `Replicated` one with a
                `LogMeanExp` as `f` is a weighted bound.
            keys: one for each sample.
            batch_size: the most samples held in memory at once; None: all of them.

        Raises:
            ValueError: q or `f` does not fit; say what does.
        """


def over_samples(
    function: Callable[[Key[Array, ""]], PyTree],
    keys: Key[Array, " sample"],
    batch_size: int | None,
) -> PyTree:
    """`function` of each key, with no more than `batch_size` of them in memory at once.

    Args:
        function: from a key to what one sample gives, any PyTree of arrays.
        keys: one for each sample.
        batch_size: the most at once; their work is done again in the backward pass. None: all.

    Returns:
        Its values, with an axis of samples in front.

    Example:
        >>> import jax
        >>> keys = jax.random.split(jax.random.key(0), 6)
        >>> over_samples(lambda key: jax.random.normal(key, (2,)), keys, 4).shape
        (6, 2)
    """
    return over_rows(function, checked_keys(keys), batch_size, recompute=True)


@eqx.filter_custom_jvp
def _with_objective(value: Array, objective: Array, seen: PyTree) -> Array:
    return beside(value, objective)


@_with_objective.def_jvp
def _with_objective_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array | None]:
    value, objective, seen = primals
    moved, learned, _ = tangents
    if learned is not None:
        instead = (
            "differentiate with the estimator held (`pullback.sampling.stop_gradient(estimator)`), "
            "which is right to every order, or take `ScoreFunction` or `Enumeration`"
        )
        gate = once("the objective of a control variate", instead, seen)
        learned = (learned * gate.astype(learned.dtype)).astype(value.dtype)
        moved = learned if moved is None else moved + learned
    return _with_objective(value, objective, seen), moved


def attach_objective(
    value: Float[Array, ""], objective: Float[Array, ""], seen: PyTree
) -> Float[Array, ""]:
    """`value`, with the gradient of `objective` added: downhill even where `value` is negated.

    The objective is made of held arrays, so a second derivative by `seen`, the live ones, raises.
    """
    seen = eqx.filter(seen, eqx.is_inexact_array)
    return _with_objective(value, downhill(objective), seen)


@jax.custom_vjp
def downhill(objective: Array) -> Array:
    """The same, with a gradient that goes down even where what is made of it is negated."""
    return objective


def _downhill_backward(_: None, cotangent: Array) -> tuple[Array]:
    # Who maximises an expectation negates it; the variance is still to be made small.
    return (jnp.abs(cotangent),)


downhill.defvjp(lambda objective: (objective, None), _downhill_backward)

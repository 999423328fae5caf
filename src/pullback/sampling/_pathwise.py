"""Gradients through the sample: reparameterised, path derivative, doubly reparameterised."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from pullback._promotion import standard_promotion

from ._distribution import (
    Distribution,
    Replicated,
    draw,
    is_mixture,
    require_reachable,
    require_reparameterised,
    require_tree,
)
from ._estimator import AbstractEstimator, over_samples
from ._orders import at_first


class LogMeanExp(eqx.Module):
    r"""The integrand of an importance-weighted bound, the log of a mean of the weights.

    $$ f(z_{1..k}) = \frac1r \log \frac1k \sum_i w(z_i)^r $$

    It goes with a distribution that is `Replicated`. Estimators know it by its type, because some
    are biased on it and one is made for it.

    Args:
        log_weight: `log_weight(z, q)`, the log of one sample's weight, such as
            $\log p(x, z) - \log q(z)$.
        power: r, not 0; at infinity it is the largest weight.

    Raises:
        ValueError: `power` is 0, which is the mean of the log-weights, or NaN or minus infinity.
    """

    log_weight: Callable[[Any, Any], Float[Array, ""]]
    power: float = eqx.field(default=1.0, static=True)

    def __check_init__(self):
        if not self.power > -math.inf or self.power == 0:
            raise ValueError(f"`power` must be above minus infinity and not 0, got {self.power}.")

    def log_weights(self, z: Any, q: Any) -> Float[Array, " k"]:
        """The log-weights of the k samples of a draw."""
        _require_replicated(q)
        one = lambda z: scalar("log_weight", self.log_weight(z, q.base))
        return jax.vmap(one)(z)

    def __call__(self, z: Any, q: Any) -> Float[Array, ""]:
        """The log of the mean weight, or of the power mean."""
        return self.of(self.log_weights(z, q))

    def of(self, log_weights: Float[Array, " k"]) -> Float[Array, ""]:
        """The same, of log-weights that are there."""
        if self.power == 1:
            return log_mean_exp(log_weights)
        top = jnp.max(log_weights) if self.power > 0 else jnp.min(log_weights)
        if self.power == math.inf:
            return top
        # Below one in every entry and exact near zero, so that a small power takes no digits.
        top = jax.lax.stop_gradient(jnp.where(jnp.isfinite(top), top, 0))
        mean = jnp.mean(jnp.expm1(self.power * (log_weights - top)))
        return top + jnp.log1p(mean) / self.power


def scalar(name: str, value: Array) -> Array:
    """The value of a function of the user's, which is to be one number."""
    if jnp.shape(value):
        raise ValueError(
            f"`{name}` must give a scalar, got the shape {list(jnp.shape(value))}: sum over what "
            "belongs to one example, in NumPyro by `.to_event(...)`; over examples `jax.vmap`."
        )
    return value


def log_mean_exp(log_weights: Float[Array, " k"]) -> Float[Array, ""]:
    """The log of the mean of k numbers that are given by their logs."""
    return jax.nn.logsumexp(log_weights) - jnp.log(jnp.asarray(len(log_weights), log_weights.dtype))


def _require_replicated(q: Any) -> None:
    if not isinstance(q, Replicated):
        raise ValueError(
            f"`q` must be `Replicated` for a `LogMeanExp`, got {type(q).__name__}: "
            "write `Replicated(q, k)`."
        )


class Reparameterised(AbstractEstimator):
    r"""The total derivative through a sample $z = t(\epsilon, \phi)$.

    $$ \hat g = \nabla_\phi f\big(t(\epsilon, \phi); q_\phi\big) $$

    Unbiased. Of a mixture, `numpyro.distributions.MixtureSameFamily`, one sample of every component
    is taken, and $\sum_c \pi_c f(z_c; q)$ has the gradient of the weights too.

    Source: Kingma and Welling, Auto-Encoding Variational Bayes, arXiv 1312.6114.
    """

    def __call__(
        self,
        f: Callable[[Any, Any], Float[Array, ""]],
        q: Distribution,
        keys: Key[Array, " sample"],
        batch_size: int | None,
    ) -> Float[Array, ""]:
        return _pathwise(f, q, keys, batch_size, type(self).__name__)


class PathDerivative(AbstractEstimator):
    r"""The derivative along the sample alone: sticking the landing.

    $$ \hat g = \nabla_\phi f\big(t(\epsilon, \phi); q_{\bar\phi}\big), \qquad
       \bar\phi = \phi \text{, held} $$

    For an integrand that has $q$ in it as $-c \log q(z)$ and in no other way, such as that of a
    sampled ELBO, what is left out, $c \nabla \log q(z)$ at a fixed sample, has the mean zero: the
    gradient is unbiased, and its variance is zero where q is the posterior. Far from there it is
    larger than that of `Reparameterised`: for normals by $(1/s^2 - 1)^2$ as the standard deviation
    s falls below the target's. Mixtures are stratified as in `Reparameterised`. Of a flow the
    log-density at the sample is computed anew, so the flow must be able to invert itself.

    Args:
        allow_bias: take it on a `LogMeanExp` of several samples as well, where it is biased: its
            fixed point is then another one. Under `pullback.bounds.SUMO` it is then the gradient of
            $-\mathrm{KL}(p(z|x) \| q)$.

    Source: Roeder, Wu and Duvenaud, Sticking the Landing, arXiv 1703.09194.
    """

    allow_bias: bool = eqx.field(default=False, static=True, kw_only=True)

    def __call__(
        self,
        f: Callable[[Any, Any], Float[Array, ""]],
        q: Distribution,
        keys: Key[Array, " sample"],
        batch_size: int | None,
    ) -> Float[Array, ""]:
        several = isinstance(q, Replicated) and q.count > 1
        if isinstance(f, LogMeanExp) and several and not self.allow_bias:
            raise ValueError(
                "`estimator` PathDerivative is biased on an importance-weighted bound of more than "
                "one sample: take `DoublyReparameterised`, or `PathDerivative(allow_bias=True)`."
            )
        require_tree(q)
        require_reachable(q, type(self).__name__)
        held = lambda z, q: at_first(f, z, q)
        return _pathwise(held, q, keys, batch_size, type(self).__name__)


class DoublyReparameterised(AbstractEstimator):
    r"""The gradient of an importance-weighted bound whose signal does not fade with k.

    $$ \hat g_\phi = \sum_{i=1}^k \tilde w_i^2 \, \frac{\partial \log w_i}{\partial z_i} \,
       \nabla_\phi t(\epsilon_i, \phi), \qquad \tilde w = \mathrm{softmax}(\log w) $$

    For a mean of the power r the factor $\tilde w_i^2$ is
    $(1 - r)\, \tilde w_i + r\, \tilde w_i^2$, with $\tilde w = \mathrm{softmax}(r \log w)$.

    Unbiased, for a `LogMeanExp` and a `Replicated` distribution. What the weight closes over (the
    model's parameters) has the ordinary gradient of the bound. The weight must have $q$ in it as
    $-\log q(z)$ and in no other way.

    Source: Tucker et al., Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives,
    arXiv 1810.04152.
    """

    def __call__(
        self,
        f: Callable[[Any, Any], Float[Array, ""]],
        q: Distribution,
        keys: Key[Array, " sample"],
        batch_size: int | None,
    ) -> Float[Array, ""]:
        if not isinstance(f, LogMeanExp):
            raise ValueError(
                "`estimator` DoublyReparameterised is for importance-weighted bounds: `f` must be "
                f"a `LogMeanExp`, got {type(f).__name__}. For another, take `PathDerivative`."
            )
        _require_replicated(q)
        require_reparameterised(q, type(self).__name__)
        require_tree(q)
        require_reachable(q, type(self).__name__)
        power = f.power
        if math.isinf(power):
            raise ValueError(
                "`estimator` DoublyReparameterised has no gradient of the largest weight alone: "
                "take `Reparameterised`."
            )

        def one(key: Array) -> Array:
            z = draw(q, key)
            shares = jax.nn.softmax(power * f.log_weights(z, q))
            return at_first(f, z, q, (1 - power) + power * shares)

        return jnp.mean(over_samples(one, keys, batch_size))


def _pathwise(
    f: Callable[[Any, Any], Array],
    q: Distribution,
    keys: Array,
    batch_size: int | None,
    name: str,
) -> Array:
    """The mean of `f(z, q)` over samples of q that gradients flow through."""
    if is_mixture(q):
        return jnp.mean(over_samples(lambda key: _stratified(f, q, key, name), keys, batch_size))
    require_reparameterised(q, name)
    return jnp.mean(over_samples(lambda key: f(draw(q, key), q), keys, batch_size))


def _stratified(f: Callable[[Any, Any], Array], q: Any, key: Array, name: str) -> Array:
    """One sample of each component; sampling a component would lose the weights' gradient."""
    if q.batch_shape:
        raise ValueError(
            f"`q` is a batch of mixtures, of shape {q.batch_shape}, which would take every choice "
            "of components: `jax.vmap` over single mixtures, or take `ScoreFunction`."
        )
    require_reparameterised(q.component_distribution, name)
    z = draw(q.component_distribution, key)
    with standard_promotion():
        weights = q.mixing_distribution.probs
    return jnp.sum(weights * jax.vmap(lambda one: f(one, q))(z))

"""Unbiased gradients with learned control variates: REBAR, RELAX and LAX."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ._control_variate import (
    AbstractControlVariate,
    RebarControlVariate,
    controlled,
)
from ._discrete import Discrete, discrete
from ._distribution import Distribution, draw, log_prob, require_reparameterised, stop_gradient
from ._estimator import AbstractEstimator, attach_objective, over_samples
from ._orders import attach, likelihood_ratio, weighted_later
from ._relaxation import relaxation_noise, relaxed_from


class Relax(AbstractEstimator):
    r"""The score-function gradient of a discrete variable, with a learned control variate.

    $$ \hat g = \big(f(b) - c(\tilde z)\big) \nabla \log q(b) + \nabla c(z) - \nabla c(\tilde z),
       \qquad z \sim p(z), \quad b = H(z), \quad \tilde z \sim p(z \mid b) $$

    with respect to the logits of q, and on from there by the chain rule. Unbiased for every c. For
    `numpyro.distributions.Bernoulli`, `OneHotCategorical` and a distribution of your own with
    `as_discrete()` (see `Distribution`); `f` is called once a sample, with zeros and ones as
    floats, and never differentiated with respect to them, so it may be a black box
    (`jax.pure_callback`), unless the control variate contains it.

    The gradient with respect to the control variate's own arrays is that of $\sum_i \hat g_i^2$,
    whose mean is the variance but for a constant. Over `num_samples` n it is the mean of that over
    the samples: n times the variance of the gradient that is returned. What `f` has of q itself is
    in the gradient and not in that objective. It reaches nothing else, and it points uphill in
    variance even where the expectation is negated: hand it to an optimiser that minimises.

    The control variate learns from scratch, so this pays where one distribution is met again and
    again. Where `f` is a network that can be differentiated, `GumbelSoftmax` often trains better;
    with two calls of `f` or more, `ScoreFunction("leave_one_out")` is a strong rival.

    Args:
        control_variate: c; `NeuralControlVariate` makes it RELAX and `RebarControlVariate` REBAR.

    Raises:
        ValueError: when called, if `q` is another distribution.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> from pullback.sampling import RebarControlVariate, value_and_grad
        >>> f = lambda b, q: jnp.sum(b * jnp.array([1.0, 2.0, 3.0]))
        >>> estimator = Relax(RebarControlVariate(eta=1.0, temperature=0.5))
        >>> run = value_and_grad(f, dist.BernoulliLogits, estimator=estimator, num_samples=20_000)
        >>> found = run(jnp.zeros(3), key=jax.random.key(0))
        >>> print(jnp.round(found.params * 4, 1))  # exact: 1, 2, 3
        [1. 2. 3.]
        >>> found.estimator.control_variate.eta.shape
        ()

    Source: Grathwohl et al., Backpropagation through the Void, arXiv 1711.00123, equation 8 and
    algorithm 1; Tucker et al., REBAR, arXiv 1703.07370.
    """

    control_variate: AbstractControlVariate

    @property
    def relaxes(self) -> bool:
        """Whether `f` sees values that no discrete distribution has a density at."""
        return getattr(self.control_variate, "relaxes", False)

    @property
    def learned_parts(self) -> AbstractControlVariate:
        """The control variate."""
        return self.control_variate

    def __call__(
        self,
        f: Callable[[Any, Any], Float[Array, ""]],
        q: Distribution,
        keys: Key[Array, " sample"],
        batch_size: int | None,
    ) -> Float[Array, ""]:
        distribution = discrete(q, type(self).__name__)
        held, held_q = stop_gradient(distribution), stop_gradient(q)

        def relaxed(z: Array, temperature: Array) -> Array:
            return _held(f, held.soften(z, temperature), held_q)

        def evaluate(
            control: AbstractControlVariate, zs: Array, ratio: Array
        ) -> tuple[Array, Array]:
            at = jax.vmap(lambda z: control(z, relaxed))(zs)
            return at[0] - ratio.astype(at.dtype) * at[1], at[1]

        def one(key: Array) -> Array:
            noise = relaxation_noise(held, key)
            b = relaxed_from(held, *noise).b
            value, score = f(b, q), distribution.log_prob(b)

            def path(logits: Array) -> tuple[Array, Array]:
                moved = Discrete(logits, held.one_hot)
                _, z, z_tilde = relaxed_from(moved, *noise)
                return jnp.stack([z, z_tilde]), moved.log_prob(b)

            g, objective = controlled(
                evaluate,
                self.control_variate,
                path,
                distribution.logits,
                value,
                likelihood_ratio(score),
            )
            value = attach(weighted_later(value, score), distribution.logits, g)
            return attach_objective(value, objective, (self, distribution, q, value))

        return jnp.mean(over_samples(one, keys, batch_size))


def rebar(*, eta: float = 1.0, temperature: float = 0.5) -> Relax:
    r"""REBAR: `Relax` with the softened integrand, $c(z) = \eta f(\sigma(z / T))$.

    $\eta$ and T are learned with the variance as their objective. `f` must be differentiable, and
    make sense, between zero and one.

    Args:
        eta: to start from.
        temperature: T to start from.

    Returns:
        The estimator.

    Raises:
        ValueError: `temperature` is not positive.

    Example:
        >>> rebar(temperature=0.1).control_variate.eta.item()
        1.0

    Source: Tucker et al., REBAR: Low-Variance, Unbiased Gradient Estimates for Discrete Latent
    Variable Models, arXiv 1703.07370.
    """
    return Relax(RebarControlVariate(eta=eta, temperature=temperature))


class Lax(AbstractEstimator):
    r"""The score-function gradient of a continuous variable, with a learned control variate.

    $$ \hat g = \big(f(b) - c(b)\big) \nabla \log q(b) + \nabla c(b), \qquad b = t(\epsilon, \phi)
    $$

    with respect to the arrays that q is made of: held in the first term, where `f` may be a black
    box or have steps, and through t in the last. Unbiased for every c; with c = f it is
    `Reparameterised`, with c = 0 `ScoreFunction`. The control variate has the gradient of the
    variance, as in `Relax`. Samples must be one array, and q reparameterised.

    Args:
        control_variate: c, such as `NeuralControlVariate(net, temperature=None)`.

    Raises:
        ValueError: when called, if no gradients flow through the samples of `q`.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> from pullback.sampling import NeuralControlVariate, value_and_grad
        >>> net = eqx.nn.MLP(1, "scalar", 8, 1, jnp.tanh, key=jax.random.key(0))
        >>> estimator = Lax(NeuralControlVariate(net, temperature=None))
        >>> f = lambda b, q: jnp.where(b > 0, 1.0, 0.0)
        >>> family = lambda mean: dist.Normal(mean, 1.0)
        >>> run = value_and_grad(f, family, estimator=estimator, num_samples=20_000)
        >>> print(f"{run(jnp.zeros(()), key=jax.random.key(0)).params:.1f}")  # exact: 0.399
        0.4

    Source: Grathwohl et al., arXiv 1711.00123, equation 5.
    """

    control_variate: AbstractControlVariate

    @property
    def learned_parts(self) -> AbstractControlVariate:
        """The control variate."""
        return self.control_variate

    def __call__(
        self,
        f: Callable[[Any, Any], Float[Array, ""]],
        q: Distribution,
        keys: Key[Array, " sample"],
        batch_size: int | None,
    ) -> Float[Array, ""]:
        require_reparameterised(q, type(self).__name__)
        params, rest = eqx.partition(q, eqx.is_inexact_array)
        held_q = stop_gradient(q)

        def relaxed(z: Array, temperature: Array) -> Array:
            del temperature
            return _held(f, z, held_q)

        def evaluate(
            control: AbstractControlVariate, z: Array, ratio: Array
        ) -> tuple[Array, Array]:
            del ratio
            at = control(z, relaxed)
            return at, at

        def one(key: Array) -> Array:
            b = draw(held_q, key)
            value, score = f(b, q), log_prob(q, b)

            def path(params: Any) -> tuple[Array, Array]:
                moved = eqx.combine(params, rest)
                return draw(moved, key), log_prob(moved, b)

            g, objective = controlled(
                evaluate, self.control_variate, path, params, value, likelihood_ratio(score),
                moving=False,
            )  # fmt: skip
            value = attach(weighted_later(value, score), params, g)
            return attach_objective(value, objective, (self, q, value))

        return jnp.mean(over_samples(one, keys, batch_size))


def _held(f: Callable[[Any, Any], Array], z: Array, q: Any) -> Array:
    """The integrand, with q and all that it closes over held.

    A control variate's gradients must not reach a decoder that the integrand closes over.
    """
    return stop_gradient(eqx.filter_closure_convert(f, z, q))(z, q)

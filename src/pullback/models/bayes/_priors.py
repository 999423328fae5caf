"""What is believed of the weights before there are data: a process in depth."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, ScalarLike

from pullback.nn import Constant


class AbstractWeightPrior(eqx.Module):
    r"""A process of the weights, $dw = h(t, w)\,dt + \sigma\,dB$ with a constant $\sigma$.

    What a prior holds is a setting and not a parameter: it is kept as a `pullback.nn.Constant`, to
    which no gradient flows and which no decay of weights moves.
    """

    @property
    @abc.abstractmethod
    def sigma(self) -> Float[Array, ""]:
        r"""The diffusion $\sigma$, positive."""

    @abc.abstractmethod
    def drift(
        self, t: ScalarLike, weights: Float[Array, "*paths weights"]
    ) -> Float[Array, "*paths weights"]:
        """The drift `h` at time `t`."""

    def diffusion(self, weights: Float[Array, "*paths weights"]) -> Float[Array, "*paths weights"]:
        """The diffusion `sigma`, once for each weight."""
        return self.sigma.astype(weights.dtype) * jnp.ones_like(weights)


class OUPrior(AbstractWeightPrior):
    r"""An Ornstein-Uhlenbeck process: weights are pulled to zero, and noise drives them away.

    $$ dw = -\lambda w\,dt + \sigma\,dB, \qquad
       w_t \mid w_0 \sim N\Big(w_0 e^{-\lambda t},
           \tfrac{\sigma^2}{2\lambda}\big(1 - e^{-2\lambda t}\big)\Big) $$

    Args:
        sigma: the diffusion, positive.
        rate: the pull `lambda`, positive, per unit of depth.

    Raises:
        ValueError: an argument is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> OUPrior(sigma=0.2, rate=2.0).drift(0.0, jnp.ones(3)).tolist()
        [-2.0, -2.0, -2.0]

    Source: Xu et al., Infinitely Deep Bayesian Neural Networks with Stochastic Differential
    Equations (arXiv 2102.06559), section 3.1.
    """

    held: tuple[Constant, Constant]

    def __init__(self, *, sigma: Float[ArrayLike, ""], rate: Float[ArrayLike, ""] = 1.0):
        self.held = (_positive("sigma", sigma), _positive("rate", rate))

    @property
    def sigma(self) -> Float[Array, ""]:
        """The diffusion."""
        return self.held[0].values

    @property
    def rate(self) -> Float[Array, ""]:
        """The pull to zero."""
        return self.held[1].values

    def drift(
        self, t: ScalarLike, weights: Float[Array, "*paths weights"]
    ) -> Float[Array, "*paths weights"]:
        """The pull to zero; the same at all times."""
        return -self.rate.astype(weights.dtype) * weights


class BrownianPrior(AbstractWeightPrior):
    r"""Brownian motion from the first weights, $dw = \sigma\,dB$.

    Args:
        sigma: the diffusion, positive.

    Raises:
        ValueError: `sigma` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> BrownianPrior(sigma=0.2).drift(0.0, jnp.ones(3)).tolist()
        [0.0, 0.0, 0.0]

    Source: Xu et al., arXiv 2102.06559, section 3.1.
    """

    held: Constant

    def __init__(self, *, sigma: Float[ArrayLike, ""]):
        self.held = _positive("sigma", sigma)

    @property
    def sigma(self) -> Float[Array, ""]:
        """The diffusion."""
        return self.held.values

    def drift(
        self, t: ScalarLike, weights: Float[Array, "*paths weights"]
    ) -> Float[Array, "*paths weights"]:
        """Zero."""
        return jnp.zeros_like(weights)


def _positive(name: str, value: Any) -> Constant:
    # An array, and not of a weak type: another value must not compile anything again.
    value = jnp.asarray(value)
    value = value.astype(jnp.result_type(float) if value.weak_type else value.dtype)
    if not isinstance(value, Tracer) and not value > 0:
        raise ValueError(f"`{name}` must be positive, got {value}.")
    return Constant(value)

"""Control variates of relaxed samples, and what they do to a gradient."""

import abc
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from ._distribution import stop_gradient

P = TypeVar("P")
Relaxed = Callable[[Float[Array, "..."], Float[Array, ""]], Float[Array, ""]]


class AbstractControlVariate(eqx.Module):
    """A scalar function of a relaxed sample, made to move as the integrand does.

    Its floating arrays are what is learned, so all of it must be smooth in them and, twice, in the
    sample: tanh or SiLU, and not ReLU; once more for each derivative beyond the first. The
    estimators stay unbiased whatever it is.
    """

    @abc.abstractmethod
    def __call__(self, z: Float[Array, "..."], relaxed: Relaxed) -> Float[Array, ""]:
        """The value at z.

        Args:
            z: a relaxed sample, before any softening: scores, in the shape of a sample of q.
            relaxed: `relaxed(z, temperature)` is the integrand at the softened sample; for `Lax` at
                z itself, whatever the temperature. Not to be called for an integrand that is a
                black box.
        """


class NeuralControlVariate(AbstractControlVariate):
    r"""A network of the relaxed sample, and, if asked for, the relaxed integrand beside it.

    $$ c(z) = r\big(\tanh(z / 2 T)\big) \; \big[\, + f(\sigma(z / T)) \,\big], \qquad
       \tanh(z / 2T) = 2 \sigma(z / T) - 1 $$

    Without the integrand this is for black boxes, and the default. What the network shall know
    besides, such as the example at hand, goes in as `eqx.Partial(net, context=x)`; stop the
    gradient of a context that is computed, for the control variate would train it too.

    Args:
        net: from a vector, z raveled, to a scalar (`eqx.nn.MLP(n, "scalar", ...)`), with a smooth
            activation.
        temperature: T to start from, learned as its logarithm; None gives z as it is, which fits
            the unbounded samples of `Lax`.
        residual: add the integrand at the softened sample.

    Raises:
        ValueError: `temperature` is not positive, or `residual` lacks one; when called, if the
            network's value is no scalar.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> net = eqx.nn.MLP(3, "scalar", 8, 1, jnp.tanh, key=jax.random.key(0))
        >>> c = NeuralControlVariate(net)
        >>> c(jnp.zeros(3), lambda z, temperature: jnp.zeros(())).shape
        ()

    Source: Grathwohl et al., Backpropagation through the Void, arXiv 1711.00123, section 3.3.
    """

    net: Callable[[Array], Array]
    log_temperature: Float[Array, ""] | None
    residual: bool = eqx.field(static=True)

    def __init__(
        self,
        net: Callable[[Array], Array],
        *,
        temperature: float | None = 0.5,
        residual: bool = False,
    ):
        if temperature is None and residual:
            raise ValueError("`residual` softens the sample, so `temperature` must not be None.")
        self.net = net
        self.log_temperature = None if temperature is None else _log_of(temperature)
        self.residual = residual

    @property
    def relaxes(self) -> bool:
        """Whether it is made of the integrand at softened samples."""
        return self.residual

    def __call__(self, z: Float[Array, "..."], relaxed: Relaxed) -> Float[Array, ""]:
        if self.log_temperature is None:
            return _scalar(self.net(jnp.ravel(z)))
        temperature = jnp.exp(self.log_temperature).astype(z.dtype)
        value = _scalar(self.net(jnp.tanh(jnp.ravel(z) / (2 * temperature))))
        return value + relaxed(z, temperature) if self.residual else value


class RebarControlVariate(AbstractControlVariate):
    r"""The integrand at the softened sample, with a learned weight and temperature.

    $$ c(z) = \eta\, f(\sigma(z / T)) $$

    Args:
        eta: $\eta$ to start from.
        temperature: T to start from, learned as its logarithm.

    Raises:
        ValueError: `temperature` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> c = RebarControlVariate(eta=2.0)
        >>> print(c(jnp.ones(3), lambda z, temperature: jnp.sum(z)))
        6.0

    Source: Tucker et al., REBAR, arXiv 1703.07370.
    """

    eta: Float[Array, ""]
    log_temperature: Float[Array, ""]

    def __init__(self, *, eta: float = 1.0, temperature: float = 0.5):
        self.eta = jnp.asarray(eta, float)
        self.log_temperature = _log_of(temperature)

    @property
    def relaxes(self) -> bool:
        """It is made of the integrand at softened samples."""
        return True

    def __call__(self, z: Float[Array, "..."], relaxed: Relaxed) -> Float[Array, ""]:
        value = relaxed(z, jnp.exp(self.log_temperature).astype(z.dtype))
        return self.eta.astype(value.dtype) * value


def controlled(
    evaluate: Callable[[Any, PyTree, Array], tuple[Array, Array]],
    control_variate: Any,
    path: Callable[[P], tuple[PyTree, Array]],
    params: P,
    values: Array,
    ratios: Array,
    *,
    moving: bool = True,
) -> tuple[P, Array]:
    r"""A score-function gradient with a control variate, and the control variate's objective.

    $$ g = \sum_t (f_t - c_t) \nabla \log q_t + \nabla \sum_t a_t, \qquad
       V = \textstyle\sum_i g_i^2, \qquad
       \nabla_\varphi V = \nabla_\varphi \, 2 \Big[ D_{\bar g} \sum_t a_t
       - \sum_t c_t \, D_{\bar g} \log q_t \Big] $$

    with $D_{\bar g}$ the derivative of the path along g, held. So the gradient of V costs one
    forward and one reverse pass through the control variate, and no second order of the path. The
    derivative of g is right, too: what is at the held draw is weighted by its likelihood ratio.

    Args:
        evaluate: of the control variate, the relaxed samples and the ratios, $\sum_t a_t$ and
            $c_t$.
        control_variate: with what is learned.
        path: from the parameters to relaxed samples and log-probabilities $\log q_t$.
        params: of q.
        values: $f_t$.
        ratios: those of the held draw, for each t or for all.
        moving: whether $c_t$ moves with the parameters at a held draw, as at a relaxed sample given
            it, or is at the draw itself.

    Returns:
        g, and a scalar whose gradient with respect to the control variate is that of V. All else
        in the scalar is held.
    """
    held = stop_gradient(control_variate)
    (zs, log_probs), pull = jax.vjp(path, params)
    total, back, controls = jax.vjp(lambda zs: evaluate(held, zs, ratios), zs, has_aux=True)
    (slopes,) = back(jnp.ones_like(total))
    controls = controls if moving else jax.lax.stop_gradient(controls)
    gaps = ratios.astype(controls.dtype) * (values.astype(controls.dtype) - controls)
    (g,) = pull((slopes, gaps.astype(log_probs.dtype)))
    params, zs, ahead = jax.lax.stop_gradient((params, zs, g))
    _, (moves, drifts) = jax.jvp(path, (params,), (ahead,))
    fixed = jax.lax.stop_gradient(ratios)
    _, rate, controls = jax.jvp(
        lambda zs: evaluate(control_variate, zs, fixed), (zs,), (moves,), has_aux=True
    )
    return g, 2 * (rate - jnp.sum(controls * drifts.astype(controls.dtype)))


def _scalar(value: Array) -> Array:
    if value.shape:
        raise ValueError(
            f"`net` must give a scalar, got the shape {value.shape}: with `eqx.nn.MLP`, take "
            '`out_size="scalar"`.'
        )
    return value


def _log_of(temperature: float) -> Array:
    if not isinstance(temperature, Tracer) and temperature <= 0:
        raise ValueError(f"`temperature` must be positive, got {temperature}.")
    return jnp.log(jnp.asarray(temperature, float))

"""How data scatter about what a decoder says."""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from pullback._key import checked_key


class AbstractLikelihood(eqx.Module):
    """A density of data given an array of parameters, which a decoder emits.

    All entries of the data are independent given the parameters, and densities are normalised: of
    one example, summed over its entries, in nats.
    """

    @abc.abstractmethod
    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the parameters for data of `shape`."""

    @abc.abstractmethod
    def log_prob(self, params: Float[Array, "..."], x: Array) -> Float[Array, ""]:
        r"""$\\log p(x)$ of one example."""

    @abc.abstractmethod
    def mean(self, params: Float[Array, "..."]) -> Float[Array, "..."]:
        """The mean of x; of categories, the probability of each, with one more axis."""

    @abc.abstractmethod
    def sample(self, params: Float[Array, "..."], *, key: PRNGKeyArray) -> Array:
        """A draw of x."""

    @abc.abstractmethod
    def check(self, x: np.ndarray) -> None:
        """Raise ValueError if the data cannot be of this likelihood."""


class Bernoulli(AbstractLikelihood):
    r"""Binary entries; the parameters are logits l.

    $$ \log p(x) = \sum_i x_i l_i - \log(1 + e^{l_i}) $$

    Grey levels in [0, 1] are taken as they are: the value is then the mean over binary images with
    those probabilities, and no density of grey levels.

    Example:
        >>> import jax.numpy as jnp
        >>> print(f"{Bernoulli().log_prob(jnp.zeros(3), jnp.array([0.0, 1.0, 1.0])):.4f}")
        -2.0794
    """

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def log_prob(self, params: Float[Array, "..."], x: Array) -> Float[Array, ""]:
        return _where_any((x < 0) | (x > 1), bernoulli_log_prob(params, x))

    def mean(self, params: Float[Array, "..."]) -> Float[Array, "..."]:
        return jax.nn.sigmoid(params)

    def sample(self, params: Float[Array, "..."], *, key: PRNGKeyArray) -> Array:
        key = checked_key(key)
        return jr.bernoulli(key, jax.nn.sigmoid(params)).astype(params.dtype)

    def check(self, x: np.ndarray) -> None:
        _check_range(x, 0.0, 1.0, "Bernoulli", "scale the data, or take `Gaussian`")


class Categorical(AbstractLikelihood):
    r"""Entries of one of `levels` classes, given by number; the parameters are logits, `[..., K]`.

    Args:
        levels: K, the number of classes, 2 or more.

    Example:
        >>> import jax.numpy as jnp
        >>> print(f"{Categorical(4).log_prob(jnp.zeros((2, 4)), jnp.array([0, 3])):.4f}")
        -2.7726
    """

    levels: int = eqx.field(static=True)

    def __check_init__(self):
        if self.levels < 2:
            raise ValueError(f"`levels` must be 2 or more, got {self.levels}.")

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape, self.levels)

    def log_prob(self, params: Float[Array, "..."], x: Array) -> Float[Array, ""]:
        places = x.astype(jnp.int32)[..., None]
        value = jnp.sum(jnp.take_along_axis(jax.nn.log_softmax(params), places, axis=-1))
        return _where_any(_is_no_level(x, self.levels), value)

    def mean(self, params: Float[Array, "..."]) -> Float[Array, "..."]:
        return jax.nn.softmax(params)

    def sample(self, params: Float[Array, "..."], *, key: PRNGKeyArray) -> Array:
        key = checked_key(key)
        return jr.categorical(key, params)

    def check(self, x: np.ndarray) -> None:
        what = f"Categorical({self.levels})"
        _check_range(x, 0, self.levels - 1, what, "number the classes from 0")
        if not np.array_equal(x, np.rint(x)):
            raise ValueError(f"`data` of a {what} must be whole numbers, got {_first_odd(x)}.")


class Gaussian(AbstractLikelihood):
    r"""Independent normals, with the normaliser kept.

    $$ \log p(x) = -\sum_i \frac{(x_i - m_i)^2}{2 s_i^2} + \log s_i + \tfrac12 \log 2 \pi $$

    Args:
        scale: the standard deviation s, in units of the data, one for all. None: the decoder emits
            $\log s$ of each entry beside its mean, `[..., 2]`; nothing then keeps s from falling to
            zero where the data allow it.

    Example:
        >>> import jax.numpy as jnp
        >>> print(f"{Gaussian(1.0).log_prob(jnp.zeros(1), jnp.ones(1)):.4f}")
        -1.4189
    """

    scale: float | int | None = eqx.field(default=None, static=True)

    def __check_init__(self):
        if self.scale is not None and not 0 < self.scale < math.inf:
            raise ValueError(f"`scale` must be positive, or None, got {self.scale}.")

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape if self.scale is not None else (*shape, 2)

    def log_prob(self, params: Float[Array, "..."], x: Array) -> Float[Array, ""]:
        mean, log_std = self._split(params)
        square = jnp.square((x - mean) * jnp.exp(-log_std))
        return -jnp.sum(square / 2 + log_std + math.log(2 * math.pi) / 2)

    def mean(self, params: Float[Array, "..."]) -> Float[Array, "..."]:
        return self._split(params)[0]

    def sample(self, params: Float[Array, "..."], *, key: PRNGKeyArray) -> Array:
        key = checked_key(key)
        mean, log_std = self._split(params)
        return mean + jnp.exp(log_std) * jr.normal(key, mean.shape, mean.dtype)

    def check(self, x: np.ndarray) -> None:
        _check_range(x, -math.inf, math.inf, "Gaussian", "leave out rows with holes")

    def _split(self, params: Array) -> tuple[Array, Array]:
        if self.scale is None:
            return params[..., 0], params[..., 1]
        return params, jnp.full_like(params, math.log(self.scale))


class DiscretisedLogisticMixture(AbstractLikelihood):
    r"""Whole numbers from 0 to `levels` - 1: the mass that a mixture of logistics has in each bin.

    $$ p(x) = \sum_k \pi_k \left[ \sigma\Big(\frac{u(x) + w - m_k}{s_k}\Big)
       - \sigma\Big(\frac{u(x) - w - m_k}{s_k}\Big) \right], \qquad
       u(x) = \frac{2 x}{\text{levels} - 1} - 1, \quad w = \frac{1}{\text{levels} - 1} $$

    The first bin has all the mass below it, the last all above, so it sums to 1. The parameters are
    $(\log \pi_k, m_k, \log s_k)$, `[..., K, 3]`; $\log s$ is held above -7.

    Args:
        components: K.
        levels: how many grey levels there are, 2 or more.

    Source: Salimans et al., PixelCNN++, arXiv 1701.05517, section 2.1.
    """

    components: int = eqx.field(default=5, static=True)
    levels: int = eqx.field(default=256, static=True)

    def __check_init__(self):
        if self.components < 1 or self.levels < 2:
            raise ValueError(
                "`components` must be 1 or more and `levels` 2 or more, got "
                f"{self.components} and {self.levels}."
            )

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape, self.components, 3)

    def log_prob(self, params: Float[Array, "..."], x: Array) -> Float[Array, ""]:
        log_weights, mean, log_std = self._split(params)
        outside = _is_no_level(x, self.levels)
        x = x.astype(params.dtype)[..., None]
        half = 1 / (self.levels - 1)
        centred = 2 * half * x - 1 - mean
        upper, lower = (centred + half) / jnp.exp(log_std), (centred - half) / jnp.exp(log_std)
        # log(sigmoid(b) - sigmoid(a)) is log sigmoid(b) + log sigmoid(-a) + log(1 - e^(a - b)).
        inside = (
            jax.nn.log_sigmoid(upper)
            + jax.nn.log_sigmoid(-lower)
            + jnp.log(-jnp.expm1(lower - upper))
        )
        first, last = x < 0.5, x > self.levels - 1.5
        log_mass = jnp.where(
            first, jax.nn.log_sigmoid(upper), jnp.where(last, jax.nn.log_sigmoid(-lower), inside)
        )
        return _where_any(outside, jnp.sum(logsumexp(log_weights + log_mass, axis=-1)))

    def mean(self, params: Float[Array, "..."]) -> Float[Array, "..."]:
        r"""The mean of x, $\sum_{j \ge 1} P(x \ge j)$, level after level."""
        log_weights, mean, log_std = self._split(params)
        weights, half = jnp.exp(log_weights), 1 / (self.levels - 1)

        def add(total: Array, level: Array) -> tuple[Array, None]:
            edge = (2 * level.astype(params.dtype) - 1) * half - 1
            above = jax.nn.sigmoid((mean - edge) / jnp.exp(log_std))
            return total + jnp.sum(weights * above, axis=-1), None

        start = jnp.zeros(mean.shape[:-1], params.dtype)
        return jax.lax.scan(add, start, jnp.arange(1, self.levels))[0]

    def sample(self, params: Float[Array, "..."], *, key: PRNGKeyArray) -> Array:
        key = checked_key(key)
        log_weights, mean, log_std = self._split(params)
        which, noise = jr.split(key)
        chosen = jr.categorical(which, log_weights)[..., None]
        mean, log_std = (
            jnp.take_along_axis(each, chosen, axis=-1)[..., 0] for each in (mean, log_std)
        )
        u = mean + jnp.exp(log_std) * jr.logistic(noise, mean.shape, mean.dtype)
        return jnp.clip(jnp.round((u + 1) / 2 * (self.levels - 1)), 0, self.levels - 1)

    def check(self, x: np.ndarray) -> None:
        what = "DiscretisedLogisticMixture"
        _check_range(x, 0, self.levels - 1, what, "set `levels`, or shift the data")
        if not np.array_equal(x, np.rint(x)):
            raise ValueError(f"`data` of a {what} must be whole numbers, got {_first_odd(x)}.")

    def _split(self, params: Array) -> tuple[Array, Array, Array]:
        weights, mean, log_std = (params[..., i] for i in range(3))
        return jax.nn.log_softmax(weights, axis=-1), mean, jnp.maximum(log_std, -7)


def bernoulli_log_prob(logits: Float[Array, "..."], x: Float[Array, "..."]) -> Float[Array, ""]:
    r"""$\sum_i x_i l_i - \log(1 + e^{l_i})$: of independent binary entries with logits l."""
    return jnp.sum(x * logits - _softplus(logits))


# `jax.nn.softplus` minds infinities and so takes half as long again, in a loop over all pixels.
@jax.custom_jvp
def _softplus(x: Array) -> Array:
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


_softplus.defjvp(lambda x, moved: (_softplus(*x), jax.nn.sigmoid(x[0]) * moved[0]))


def _where_any(outside: Bool[Array, "..."], value: Float[Array, ""]) -> Float[Array, ""]:
    """Minus infinity where an entry is outside of the support, in a compiled program too."""
    return jnp.where(jnp.any(outside), -jnp.inf, value)


def _is_no_level(x: Array, levels: int) -> Bool[Array, "..."]:
    return (x < 0) | (x > levels - 1) | (x != jnp.round(x)) & ~jnp.isnan(x)


def _check_range(
    x: np.ndarray, least: float | int, most: float | int, what: str, advice: str
) -> None:
    if not np.isfinite(x).all():
        raise ValueError(f"`data` must be finite for a {what}: {_holes(x)}; {advice}.")
    if x.size and (x.min() < least or x.max() > most):
        raise ValueError(
            f"`data` of a {what} must lie in [{least:g}, {most:g}], got values from "
            f"{x.min():g} to {x.max():g}: {advice}."
        )


def _holes(x: np.ndarray) -> str:
    rows = np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(axis=1))
    return f"{len(rows)} examples are not, the first of them number {rows[0]}"


def _first_odd(x: np.ndarray) -> str:
    return f"{x[x != np.rint(x)].flat[0]:g}"

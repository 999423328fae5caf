"""Noisy Adam: a variance for each weight of its own."""

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from pullback._key import checked_key
from pullback.nn import AbstractWeightNoise, Factors
from pullback.optim._by_place import (
    Parts,
    as_layer,
    as_matrix,
    keys_of,
    normals_of,
    parts_of,
    put,
    with_one,
)
from pullback.optim._curvature import AbstractCurvature, Scalar

M = TypeVar("M")


class Scales(eqx.Module):
    """Of each weight the deviation that it is drawn with, and what a gradient is multiplied by."""

    deviation: Array
    inverse: Array

    @classmethod
    def of(cls, fisher: Array, *, intrinsic: Scalar, damping: float, scale: Scalar) -> "Scales":
        """Those of a mean square of per-example gradients."""
        intrinsic, scale = (jnp.asarray(number, fisher.dtype) for number in (intrinsic, scale))
        inner = fisher + intrinsic
        return cls(scale * jax.lax.rsqrt(inner), 1 / (inner + damping))

    def draw(self, mean: Array, *, key: PRNGKeyArray) -> Array:
        """Weights drawn around a mean."""
        return mean + self.deviation * jr.normal(key, mean.shape, mean.dtype)


class Diagonal(AbstractCurvature):
    r"""The diagonal of the Fisher matrix: noisy Adam, a fully factorised posterior.

    $$ f \leftarrow (1 - \beta) f + \beta\, E[g_i^2], \qquad
       w \sim N\big(\mu,\, \tfrac{\lambda}{N} (f + \gamma_\mathrm{in})^{-1}\big), \qquad
       \text{step} = (f + \gamma)^{-1} v $$

    with squares of each example's gradient, and no square root: with one it is no natural gradient.
    It is the cheapest posterior and the one that is most off: weights that are correlated are held
    apart, each with far too small a variance. Also as an Optax transformation: `noisy_adam`.

    Args:
        rate: $\beta$, as for `AbstractCurvature`.

    Example:
        See `fit_posterior`.

    Source: Zhang et al., arXiv 1712.02390, section 3.1, algorithm 1.
    """

    rate: float = 0.01

    def start(self, factors: Factors) -> Parts:
        return jax.tree.map(jnp.ones_like, self.measure(factors))

    def measure(self, factors: Factors) -> Parts:
        parts = parts_of(factors.squares(), factors.layers)
        return Parts({name: as_matrix(layer) for name, layer in parts.layers.items()}, parts.others)

    def prepare(
        self, statistics: Parts, *, intrinsic: Scalar, damping: float, scale: Scalar
    ) -> Parts:
        given = {"intrinsic": intrinsic, "damping": damping, "scale": scale}
        return jax.tree.map(lambda fisher: Scales.of(fisher, **given), statistics)

    def solve(self, prepared: Parts, gradient: M) -> M:
        parts = parts_of(gradient, prepared.layers)
        layers = {
            name: as_layer(prepared.layers[name].inverse * as_matrix(layer), layer)
            for name, layer in parts.layers.items()
        }
        return put(gradient, Parts(layers, solve_others(prepared.others, parts.others)))

    def draw(self, prepared: Parts, model: M, *, key: PRNGKeyArray) -> M:
        key = checked_key(key)
        parts, keys = parts_of(model, prepared.layers), keys_of(prepared.layers, key)
        layers = {
            name: as_layer(prepared.layers[name].draw(as_matrix(layer), key=keys[name]), layer)
            for name, layer in parts.layers.items()
        }
        others = draw_others(prepared.others, parts.others, key)
        return put(model, Parts(layers, others))

    def noise(
        self, prepared: Parts, *, exact: bool, key: PRNGKeyArray
    ) -> dict[str, AbstractWeightNoise]:
        key = checked_key(key)
        shapes = {name: each.deviation.shape for name, each in prepared.layers.items()}
        sizes = {name: out + exact * into for name, (out, into) in shapes.items()}
        dtype = next((each.deviation.dtype for each in prepared.layers.values()), None)
        drawn = normals_of(sizes, dtype, key)
        return {
            name: DiagonalNoise(
                jnp.square(scales.deviation),
                drawn[name][: shapes[name][0]],
                drawn[name][shapes[name][0] :] if exact else None,
            )
            for name, scales in prepared.layers.items()
        }


def solve_others(scales: dict[str, Scales], gradients: dict[str, Array]) -> dict[str, Array]:
    """Each gradient, multiplied."""
    return {name: scales[name].inverse * each for name, each in gradients.items()}


def draw_others(
    scales: dict[str, Scales], means: dict[str, Array], key: PRNGKeyArray
) -> dict[str, Array]:
    """Each parameter, drawn."""
    keys = keys_of(means, jr.fold_in(key, 1))
    return {name: scales[name].draw(each, key=keys[name]) for name, each in means.items()}


class DiagonalNoise(AbstractWeightNoise):
    r"""Noise $\sigma \circ E$ in the weights of one layer, for one example.

    Forwards $(\sigma \circ E) a \sim N(0, \sigma^2 a^2)$. Backwards $(\sigma \circ E)^\top s$ has,
    given that, the mean and the variances that are known in closed form; how its entries vary with
    each other beyond that is left out.
    """

    variance: Float[Array, "o j"]
    out: Float[Array, " o"]
    into: Float[Array, " j"] | None  # None: backwards is the mean

    def forward(self, x: Float[Array, " i"]) -> tuple[Float[Array, " o"], PyTree[Array]]:
        variance = self.variance @ jnp.square(with_one(x, self.variance.shape[1]))
        return jnp.sqrt(variance) * self.out, (x, variance)

    def backward(self, kept: PyTree[Array], signal: Float[Array, " o"]) -> Float[Array, " i"]:
        x, variance = kept
        a, safe = with_one(x, self.variance.shape[1]), jnp.where(variance > 0, variance, 1)
        back = a * ((signal * self.out * jax.lax.rsqrt(safe)) @ self.variance)
        if self.into is not None:
            squares = jnp.square(signal)
            known = jnp.square(a) * ((squares / safe) @ jnp.square(self.variance))
            left = jnp.maximum(squares @ self.variance - known, 0)
            back = back + jnp.sqrt(left) * self.into
        return back[: x.shape[0]]

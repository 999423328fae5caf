"""What makes the vector of a user out of the items that it rated, and the other way round."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key


class AbstractGenerator(eqx.Module):
    """A vector out of pieces of evidence, by sums over them: of any number, in any order.

    A piece is the vector of the other side and a value: the rating less the mean and the bias of
    the other side.
    """

    @abc.abstractmethod
    def terms(self, vectors: Float[Array, "n K"], values: Float[Array, " n"]) -> Array:
        """What is summed of each piece, `[n, S]`."""

    @abc.abstractmethod
    def vector(
        self, sums: Float[Array, " S"], count: Float[Array, ""], bias: Float[Array, ""]
    ) -> Float[Array, " K"]:
        """The vector, from the sums, the number of pieces and one's own bias; no piece: zeros."""

    @abc.abstractmethod
    def pieces(
        self,
        vectors: Float[Array, "n K"],
        values: Float[Array, " n"],
        weights: Float[Array, " n"],
        bias: Float[Array, ""],
    ) -> Float[Array, "n K"]:
        """What each piece brings to the vector: their sum is the vector."""


class MeanGenerator(AbstractGenerator):
    r"""The mean of a network's answers, drawn towards zero where they are few.

    $$u = \frac{1}{n + \tau} \sum_e g(v_e, x_e)$$

    With `bilinear` there is a part $A v_e (x_e - b)$ beside the network, with one's own bias b, and
    the network sees $x_e v_e$ too: for ratings of low rank the ideal generator is bilinear, and a
    network of rectifiers learns products slowly.
    """

    net: eqx.nn.MLP
    bilinear: Float[Array, "K K"] | None
    log_shrinkage: Float[Array, ""]

    def __init__(
        self, latent: int, width: int, *, products: bool, dtype: Any, key: PRNGKeyArray
    ) -> None:
        key = checked_key(key)
        size = 2 * latent + 1 if products else latent + 1
        self.net = eqx.nn.MLP(size, latent, width, 2, jax.nn.relu, dtype=dtype, key=key)
        self.bilinear = jnp.eye(latent, dtype=dtype) if products else None
        self.log_shrinkage = jnp.zeros((), dtype)

    def terms(self, vectors: Float[Array, "n K"], values: Float[Array, " n"]) -> Array:
        x = values[:, None]
        if self.bilinear is None:
            return jax.vmap(self.net)(jnp.concatenate([vectors, x], axis=1))
        made = jax.vmap(self.net)(jnp.concatenate([vectors, x, x * vectors], axis=1))
        turned = vectors @ self.bilinear.T
        return jnp.concatenate([made + x * turned, turned], axis=1)

    def vector(
        self, sums: Float[Array, " S"], count: Float[Array, ""], bias: Float[Array, ""]
    ) -> Float[Array, " K"]:
        return self._less_bias(sums, bias) / (count + jnp.exp(self.log_shrinkage))

    def pieces(
        self,
        vectors: Float[Array, "n K"],
        values: Float[Array, " n"],
        weights: Float[Array, " n"],
        bias: Float[Array, ""],
    ) -> Float[Array, "n K"]:
        made = self._less_bias(self.terms(vectors, values), bias)
        return made * weights[:, None] / (jnp.sum(weights) + jnp.exp(self.log_shrinkage))

    def _less_bias(self, terms: Array, bias: Float[Array, ""]) -> Array:
        if self.bilinear is None:
            return terms
        made, turned = jnp.split(terms, 2, axis=-1)
        return made - bias * turned


class RidgeGenerator(AbstractGenerator):
    r"""A ridge regression of the values on the vectors: no network, exact for low rank.

    $$u = \Big(\sum_e v_e v_e^\top + \lambda I\Big)^{-1} \sum_e v_e (x_e - b)$$

    with one's own bias b and a learned $\lambda$: one half-step of alternating least squares.
    """

    log_penalty: Float[Array, ""]

    def __init__(self, *, dtype: Any) -> None:
        self.log_penalty = jnp.zeros((), dtype)

    def terms(self, vectors: Float[Array, "n K"], values: Float[Array, " n"]) -> Array:
        squares = jax.vmap(jnp.outer)(vectors, vectors).reshape(len(vectors), -1)
        return jnp.concatenate([values[:, None] * vectors, vectors, squares], axis=1)

    def vector(
        self, sums: Float[Array, " S"], count: Float[Array, ""], bias: Float[Array, ""]
    ) -> Float[Array, " K"]:
        del count
        latent = round((1 + sums.shape[0]) ** 0.5) - 1
        target = sums[:latent] - bias * sums[latent : 2 * latent]
        return self._solve(sums[2 * latent :].reshape(latent, latent), target)

    def pieces(
        self,
        vectors: Float[Array, "n K"],
        values: Float[Array, " n"],
        weights: Float[Array, " n"],
        bias: Float[Array, ""],
    ) -> Float[Array, "n K"]:
        weighted = weights[:, None] * vectors
        return self._solve(weighted.T @ vectors, weighted.T * (values - bias)[None]).T

    def _solve(self, squares: Float[Array, "K K"], target: Array) -> Array:
        # Fewer pieces than K leave the squares singular: rounding must not make them less.
        least = 4 * jnp.finfo(squares.dtype).eps * jnp.trace(squares)
        penalty = (jnp.exp(self.log_penalty) + least) * jnp.eye(len(squares), dtype=squares.dtype)
        factor = jax.scipy.linalg.cho_factor(squares + penalty)
        return jax.scipy.linalg.cho_solve(factor, target)


def generator_of(
    name: str, latent: int, width: int, *, dtype: Any, key: PRNGKeyArray
) -> AbstractGenerator:
    """The generator of a name: "mlp", "mlp_product" or "ridge"."""
    if name == "ridge":
        return RidgeGenerator(dtype=dtype)
    if name in ("mlp", "mlp_product"):
        products = name == "mlp_product"
        return MeanGenerator(latent, width, products=products, dtype=dtype, key=key)
    raise ValueError(f'`generator` must be "mlp", "mlp_product" or "ridge", got {name!r}.')

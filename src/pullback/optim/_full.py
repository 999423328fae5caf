"""The whole Fisher matrix, of networks that are small enough."""

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.scipy.linalg as jsl
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback.nn import Factors
from pullback.optim._curvature import AbstractCurvature, Scalar

M = TypeVar("M")

_MOST = 2000


class Root(eqx.Module):
    r"""What the damped matrix $L L^\top$ is used by.

    Attributes:
        deviation: $L^{-1}$, times the scale of the weights' deviation.
        inverse: of the matrix with the damping of a step.
    """

    deviation: Float[Array, "p p"]
    inverse: Float[Array, "p p"]


class Full(AbstractCurvature):
    r"""The Fisher matrix of all weights at once, and a posterior of any covariance.

    $$ F \leftarrow (1 - \beta) F + \beta\, E[g_i g_i^\top], \qquad
       w \sim N\big(\mu,\, \tfrac{\lambda}{N} (F + \gamma_\mathrm{in} I)^{-1}\big) $$

    Time grows with the cube of the weights and memory with their square, so that it is for up to
    2,000 weights: to see what a structure loses.

    Args:
        rate: $\beta$, as for `AbstractCurvature`.

    Raises:
        ValueError: by `fit_posterior`, for a model of more weights.

    Example:
        See `fit_posterior`.

    Source: Zhang et al., arXiv 1712.02390, section 2.3, equation 4.
    """

    rate: float = 0.01

    def start(self, factors: Factors) -> Float[Array, "p p"]:
        sizes = [leaf.size for leaf in jax.tree.leaves(factors.gradient())]
        if sum(sizes) > _MOST:
            raise ValueError(
                f"`curvature` is Full(), which is for up to {_MOST:,} weights, and `model` has "
                f"{sum(sizes):,}: give curvature=Kronecker()."
            )
        return jnp.eye(sum(sizes), dtype=factors.losses.dtype)

    def measure(self, factors: Factors) -> Float[Array, "p p"]:
        rows = jax.vmap(lambda gradient: ravel_pytree(gradient)[0])(factors.gradients())
        return rows.T @ rows / rows.shape[0]

    def prepare(
        self, statistics: Float[Array, "p p"], *, intrinsic: Scalar, damping: float, scale: Scalar
    ) -> Root:
        dtype = statistics.dtype
        intrinsic, scale = (jnp.asarray(number, dtype) for number in (intrinsic, scale))
        root = _inverse_root(statistics, intrinsic)
        stepping = _inverse_root(statistics, intrinsic + damping) if damping else root
        return Root(scale * root, stepping.T @ stepping)

    def solve(self, prepared: Root, gradient: M) -> M:
        flat, back = ravel_pytree(gradient)
        return back(prepared.inverse @ flat)

    def draw(self, prepared: Root, model: M, *, key: PRNGKeyArray) -> M:
        key = checked_key(key)
        params, rest = eqx.partition(model, eqx.is_inexact_array)
        flat, back = ravel_pytree(params)
        noise = prepared.deviation.T @ jr.normal(key, flat.shape, flat.dtype)
        return eqx.combine(back(flat + noise), rest)

    def noise(self, prepared: Root, *, exact: bool, key: PRNGKeyArray) -> None:
        checked_key(key)


def _inverse_root(matrix: Float[Array, "p p"], damping: Array) -> Float[Array, "p p"]:
    size = matrix.shape[0]
    # As much again as rounding may take: a sum of outer products has eigenvalues of 0.
    jitter = 4 * float(jnp.finfo(matrix.dtype).eps) * jnp.trace(matrix)
    eye = jnp.eye(size, dtype=matrix.dtype)
    lower = jnp.linalg.cholesky((matrix + matrix.T) / 2 + (damping + jitter) * eye)
    return jsl.solve_triangular(lower, eye, lower=True)

"""From Ito's integral to Stratonovich's and back."""

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ._methods import slope_along_noise


class ConvertedDrift(eqx.Module):
    """A drift with half the noise's own slope added or taken away, to change the integral."""

    drift: Callable
    diffusion: Callable
    noise: Literal["diagonal", "general"] = eqx.field(static=True)
    interpretation: Literal["ito", "stratonovich"] = eqx.field(static=True)

    def __call__(self, t: Float[Array, "..."], y: PyTree, args: PyTree) -> PyTree:
        """The converted drift at `(t, y)`."""
        diffusion = lambda y: self.diffusion(t, y, args)
        slopes = slope_along_noise if self.noise == "diagonal" else _slope_of_matrix
        sign = 0.5 if self.interpretation == "ito" else -0.5
        leaves, structure = jax.tree.flatten(self.drift(t, y, args))
        pairs = zip(leaves, slopes(diffusion, y), strict=True)
        return structure.unflatten([f if s is None else f + sign * s for f, s in pairs])


def ito_to_stratonovich(
    drift: Callable, diffusion: Callable, *, noise: Literal["diagonal", "general"] = "diagonal"
) -> ConvertedDrift:
    r"""The drift with which a Stratonovich solver has the solution of an Ito equation.

    $$ b_S = b_I - \tfrac12 \sum_j \frac{\partial \sigma_j}{\partial y} \sigma_j $$

    Args:
        drift: the drift `b_I(t, y, args)` of the Ito equation.
        diffusion: the diffusion `sigma(t, y, args)`, which stays as it is.
        noise: "diagonal": entry i of the diffusion reads entry i of the state alone, and the sum is
            $\sigma_i \, \partial \sigma_i / \partial y_i$. "general": a matrix `[..., d, m]` for an
            array `y`, at the cost of m Jacobian-vector products.

    Returns:
        A drift that `solve` refuses to give to an Ito solver.

    Example:
        >>> import jax.numpy as jnp, pullback as pb
        >>> drift = pb.sde.ito_to_stratonovich(lambda t, y, a: y, lambda t, y, a: 0.5 * y)
        >>> float(drift(jnp.array(0.0), jnp.array(2.0), None))
        1.75

    Source: Li et al. (2020), section 2; Kloeden and Platen (1992), section 4.9.
    """
    return ConvertedDrift(drift, diffusion, noise, "stratonovich")


def stratonovich_to_ito(
    drift: Callable, diffusion: Callable, *, noise: Literal["diagonal", "general"] = "diagonal"
) -> ConvertedDrift:
    r"""The drift with which an Ito solver has the solution of a Stratonovich equation.

    $$ b_I = b_S + \tfrac12 \sum_j \frac{\partial \sigma_j}{\partial y} \sigma_j $$

    Args:
        drift: the drift `b_S(t, y, args)` of the Stratonovich equation.
        diffusion: the diffusion `sigma(t, y, args)`, which stays as it is.
        noise: as for `ito_to_stratonovich`.

    Returns:
        A drift that `solve` refuses to give to a Stratonovich solver.

    Example:
        >>> import jax.numpy as jnp, pullback as pb
        >>> drift = pb.sde.stratonovich_to_ito(lambda t, y, a: y, lambda t, y, a: 0.5 * y)
        >>> float(drift(jnp.array(0.0), jnp.array(2.0), None))
        2.25

    Source: as `ito_to_stratonovich`.
    """
    return ConvertedDrift(drift, diffusion, noise, "ito")


def _slope_of_matrix(diffusion: Callable, y: Any) -> list[Array]:
    if not isinstance(y, jax.Array):
        raise ValueError('noise="general" converts equations whose state is one array')
    sigma = diffusion(y)

    def column(j: Array) -> Array:
        along = jax.lax.dynamic_index_in_dim(sigma, j, -1, keepdims=False)
        _, tangent = jax.jvp(diffusion, (y,), (along,))
        return jax.lax.dynamic_index_in_dim(tangent, j, -1, keepdims=False)

    return [jnp.sum(jax.vmap(column)(jnp.arange(sigma.shape[-1])), axis=0)]

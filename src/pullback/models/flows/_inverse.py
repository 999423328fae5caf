"""The inverse of a bijection as one."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._inputs import positive

from ._bijection import (
    AbstractBijection,
    FixedPointSolver,
    InverseInfo,
    closed_form,
    require_bijection,
    require_solver,
    solver_of,
)
from ._residual_flow import all_found


class Inverse(AbstractBijection):
    r"""A bijection the other way round: what led from the data to the base leads to the data.

    $$ y = f^{-1}(x; c), \qquad
       \ln |\det \partial y / \partial x| = -\ln |\det \partial f / \partial y| $$

    The side that is asked in training is then the inverse of f: in closed form it costs f too, for
    the log-determinant, and elsewhere a solve for each point. An inverse that is not found raises;
    so does one that is rounded to where f has no image, and a point of the base that is none of
    f's.

    Args:
        bijection: f.
        solver: this and the next as `ResidualFlow` has them, where f has no inverse in closed form.
        max_steps: the most iterations of one block.

    Raises:
        TypeError: `bijection` is none, or `solver` none of Optimistix.
        ValueError: `max_steps` is below 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from pullback.models.flows import Logit
        >>> y, log_det = Inverse(Logit(0.0)).forward_and_log_det(jnp.zeros(1))
        >>> print(f"{y[0]:.2f} {log_det:.4f}")  # the sigmoid of 0, and ln(1 / 4)
        0.50 -1.3863
    """

    bijection: AbstractBijection
    solver: FixedPointSolver | None
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        bijection: AbstractBijection,
        *,
        solver: FixedPointSolver | None = None,
        max_steps: int = 1000,
    ):
        require_bijection("bijection", bijection)
        require_solver(solver)
        positive(max_steps=max_steps)
        self.bijection, self.solver, self.max_steps = bijection, solver, max_steps

    def forward_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        key: PRNGKeyArray | None = None,
        shared: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        """The inverse of f; `key` and `shared` are for its log-determinant."""
        return inverse_and_log_det(
            self.bijection, x, self.solver, self.max_steps, context, key=key, shared=shared
        )

    def inverse(
        self,
        y: Float[Array, "..."],
        solver: FixedPointSolver | None,
        max_steps: int,
        *,
        context: Float[Array, "..."] | None = None,
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """f itself."""
        # An estimate of a log-determinant asks for a key, on which no image depends.
        x, log_det = self.bijection.forward_and_log_det(
            y, context=context, key=jr.key(0), shared=jr.key(0)
        )
        return x, closed_form(y.dtype, found=log_det != -jnp.inf)

    def initialise(
        self, x: Float[Array, "batch ..."], *, context: Float[Array, "batch ..."] | None = None
    ) -> tuple[AbstractBijection, Float[Array, "batch ..."]]:
        """f as it is: what it would be set by lies on the other side."""
        image = functools.partial(_image, self.bijection, self.solver, self.max_steps)
        return self, jax.vmap(image)(x, context)


def inverse_and_log_det(
    bijection: AbstractBijection,
    x: Array,
    solver: FixedPointSolver | None,
    max_steps: int,
    context: Array | None,
    *,
    key: PRNGKeyArray | None = None,
    shared: PRNGKeyArray | None = None,
) -> tuple[Array, Array]:
    """The inverse of a bijection, once it is found, and the inverse's log-determinant."""
    y = _image(bijection, solver, max_steps, x, context)
    log_det = bijection.forward_and_log_det(y, context=context, key=key, shared=shared)[1]
    # A sigmoid of 20 is 1 in single precision, and 1 has no logit.
    return y, -all_found(log_det, closed_form(x.dtype, found=log_det != -jnp.inf))


def _image(
    bijection: AbstractBijection,
    solver: FixedPointSolver | None,
    max_steps: int,
    x: Array,
    context: Array | None,
) -> Array:
    y, info = bijection.inverse(x, solver_of(solver, x.size), max_steps, context=context)
    return all_found(y, info)

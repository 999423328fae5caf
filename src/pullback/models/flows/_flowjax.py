"""Bijections of FlowJAX as ours, and ours as FlowJAX's."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._inputs import positive
from pullback._promotion import standard_promotion

from ._bijection import (
    AbstractBijection,
    FixedPointSolver,
    InverseInfo,
    closed_form,
    require_bijection,
    require_solver,
)
from ._rows import shape_of_context, sizes_of


class FromFlowJAX(AbstractBijection):
    r"""A bijection of FlowJAX, wherever one of ours can be.

    $$ y = T^{-1}(x; c), \qquad \ln |\det \partial y / \partial x| $$

    FlowJAX's `transform` T leads from the base to the data, and a bijection of ours from the data
    to the base. So the `bijection` of a `Transformed` of FlowJAX is the same density here; and a
    map that is to lead from the data to the base is `FromFlowJAX(Invert(map))`.

    What a `NonTrainable` of paramax holds is kept as a `pullback.nn.Constant`, which no optimiser
    moves. FlowJAX mixes dtypes: where `jax_enable_x64` is on it computes in float64, and images and
    log-determinants have the dtype of the points. Points to which T does not lead, as numbers below
    0 of an `Exp`, have the log-determinant $-\infty$.

    Args:
        bijection: of FlowJAX; with a `cond_shape` it depends on a context of that shape.

    Raises:
        TypeError: it is none of FlowJAX's; or, when called, x is no array of floats.
        ValueError: when called, x has not its shape, or the context is missing or not of its shape.
        NotImplementedError: when called, FlowJAX has no inverse, as of a `Planar` of tanh.

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> from flowjax.bijections import Affine
        >>> base = pb.sampling.StandardNormal(2)
        >>> flow = pb.models.flows.ResidualFlow(FromFlowJAX(Affine(jnp.ones(2), 2.0)), base)
        >>> print(f"{flow.log_prob(jnp.ones(2)):.3f}")  # of N(1, 4 I) at its mean
        -3.224

    Source: Ward, FlowJAX, https://github.com/danielward27/flowjax.
    """

    bijection: Any

    def __init__(self, bijection: Any):
        from ._in_flowjax import frozen, require_theirs

        require_theirs("bijection", bijection)
        self.bijection = frozen(bijection)

    @property
    def context_shape(self) -> tuple[int, ...] | None:
        """Of one context; None where it depends on none."""
        return self.bijection.cond_shape

    def forward_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        key: PRNGKeyArray | None = None,
        shared: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        """FlowJAX's `inverse_and_log_det`; nothing is random."""
        y, log_det = self._ask("inverse_and_log_det", x, context)
        # FlowJAX's inverse is NaN or infinite where T does not lead. NaN that was given stays.
        given = jax.tree.leaves((self.bijection, context))
        sound = [~jnp.any(jnp.isnan(leaf)) for leaf in given if eqx.is_inexact_array(leaf)]
        known = jnp.all(jnp.isfinite(x)) & jnp.all(jnp.asarray(sound, bool))
        outside = known & ~(jnp.all(jnp.isfinite(y)) & (log_det < jnp.inf))
        return jnp.where(outside, 0, y), jnp.where(outside, -jnp.inf, log_det)

    def inverse(
        self,
        y: Float[Array, "..."],
        solver: FixedPointSolver | None,
        max_steps: int,
        *,
        context: Float[Array, "..."] | None = None,
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """FlowJAX's `transform_and_log_det`; the solver is for nothing."""
        x = self._ask("transform_and_log_det", y, context)[0]
        return x, closed_form(y.dtype, found=jnp.any(jnp.isnan(y)) | ~jnp.any(jnp.isnan(x)))

    def initialise(
        self, x: Float[Array, "batch ..."], *, context: Float[Array, "batch ..."] | None = None
    ) -> tuple[AbstractBijection, Float[Array, "batch ..."]]:
        """Nothing of it depends on the data."""
        return self, jax.vmap(lambda x, c: self.forward_and_log_det(x, context=c)[0])(x, context)

    def _ask(self, method: str, x: Array, context: Array | None) -> tuple[Array, Array]:
        shape, context_shape = tuple(self.bijection.shape), self.context_shape
        if not eqx.is_inexact_array(x):
            got = getattr(x, "dtype", type(x).__name__)
            raise TypeError(f"one point must be an array of floats, got {got}.")
        if x.shape != shape:
            raise ValueError(
                f"one point of this bijection of FlowJAX has the shape {shape}, got {x.shape}."
            )
        found = None if context is None else context.shape
        if context_shape is not None and found != tuple(context_shape):
            raise ValueError(
                f"`context` must have the `cond_shape` of this bijection of FlowJAX, "
                f"{tuple(context_shape)}, got {found}: give the flow that `context_shape`, and "
                "each of its methods a `context`."
            )
        with standard_promotion():
            # FlowJAX makes numbers of the default dtype, which its scans cannot mix with narrower.
            dtype = jnp.promote_types(x.dtype, jnp.result_type(float))
            cast = lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf
            given = None if context is None or context_shape is None else context.astype(dtype)
            ask = getattr(jax.tree.map(cast, self.bijection), method)
            y, log_det = ask(x.astype(dtype), given)
            return y.astype(x.dtype), jnp.sum(log_det).astype(x.dtype)


def to_flowjax(
    bijection: AbstractBijection,
    shape: int | tuple[int, ...],
    *,
    context_shape: int | tuple[int, ...] | None = None,
    solver: FixedPointSolver | None = None,
    max_steps: int = 1000,
) -> Any:
    r"""A bijection of ours as one of FlowJAX, for its `Transformed`, `Chain` and training loops.

    $$ T = f^{-1}, \qquad p(x) = p_0(f(x)) \, |\det \partial f / \partial x| $$

    Its `inverse` is our forward map f, from the data to the base, and its `transform` the inverse
    of f. So `Transformed(base, to_flowjax(f, shape))` is the density of a `ResidualFlow` of f.

    Args:
        bijection: f, with log-determinants in closed form or exact, since FlowJAX passes no key.
        shape: of one point, on both sides; a number d is the shape `[d]`.
        context_shape: of one context, FlowJAX's `cond_shape`; None: there is none.
        solver: this and the next as `ResidualFlow` has them, for what has no closed form.
        max_steps: the most iterations of one block.

    Returns:
        A bijection of FlowJAX.

    Raises:
        TypeError: `bijection` is none, `solver` none of Optimistix, or `shape` no sizes.
        ValueError: f gives points of another shape, or a number is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> from flowjax.distributions import StandardNormal, Transformed
        >>> flow = pb.models.flows.residual_flow(2, blocks=1, width=8, key=jax.random.key(0))
        >>> theirs = Transformed(StandardNormal((2,)), to_flowjax(flow.bijection, 2))
        >>> x = jnp.ones((3, 2))
        >>> bool(jnp.allclose(theirs.log_prob(x), flow.log_prob(x), atol=1e-5))
        True
    """
    from ._in_flowjax import InFlowJAX

    require_bijection("bijection", bijection)
    shape = sizes_of("shape", shape)
    require_solver(solver)
    positive(max_steps=max_steps)
    found = InFlowJAX(bijection, shape, shape_of_context(context_shape), solver, max_steps)
    context = None if found.cond_shape is None else jnp.zeros(found.cond_shape)
    image = eqx.filter_eval_shape(found.image, jnp.zeros(shape), context)
    if image.shape != shape:
        raise ValueError(
            f"`bijection` must keep the shape of a point, as FlowJAX asks: of {shape} it makes "
            f"{image.shape}. Leave out what changes it, such as `Flatten` or `OntoLine`."
        )
    return found

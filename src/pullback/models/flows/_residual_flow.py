"""The residual flow, and the i-ResNet: a stack of invertible residual blocks as a density."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._in_batches import over_rows
from pullback._key import checked_key
from pullback._solve_failures import on_failure
from pullback.nn import bounded
from pullback.sampling import SupportMap, fixed

from ._bijection import (
    AbstractBijection,
    FixedPointSolver,
    InverseInfo,
    require_bijection,
    solver_of,
)
from ._interface import AbstractFlow
from ._rows import (
    base_log_prob,
    base_sample,
    checked_context,
    event_of,
    name_what_is_not_finite,
    require_base,
    shape_of_context,
    with_context,
)
from ._support import support_map


class InverseError(RuntimeError):
    """The inverse of some points was not found; the message says of which."""


class ResidualFlow(AbstractFlow):
    r"""A density by a bijection f from the data to a base.

    $$ \log p(x) = \log p_0(f(x)) + \ln |\det \partial f / \partial x| $$

    With `ResidualBlock`s that estimate their log-determinant, `log_prob` needs a `key` and is an
    unbiased estimate (`RouletteLogDet`) or a biased one (`TruncatedLogDet`); `log_prob_estimate`
    says how noisy it is, and `with_log_det(flow, ExactLogDet())` is the same flow measured exactly.
    The whole batch shares the terms at which the series are stopped, one for each block.

    Samples come from the inverse, which is iterated. One that does not converge raises, with the
    points' numbers; `invert` reports instead.

    With a `context_shape` it is a density $p(x | c)$ for each context c: f may depend on it, and so
    may the base. Axes of `context` in front of one context are broadcast with those of the points
    in front of one point.

    Args:
        bijection: f, from the data to the base.
        base: a `Distribution` of points of the shape that f gives. Arrays of a module are
            parameters; one of NumPyro's is fixed (`pullback.sampling.FixedDistribution`). Of a flow
            with contexts, a function from one of them to a distribution too, such as
            `ConditionalNormal`, or a family of `pullback.bounds`.
        shape: of one point of the data, where it is not that of the base.
        context_shape: of one context; a number d is the shape `[d]`. None: there is none.
        solver: of Optimistix, for the inverse. None is `optimistix.Newton` to 1e-5 for points of
            up to 16 entries, and plain iteration to 1e-6 for larger ones; `pb.calculus.Anderson`
            is for large ones whose contraction is slow.
        max_steps: the most iterations of one block.

    Raises:
        TypeError: `base` is no `Distribution`, or `bijection` none.
        ValueError: points do not have the shape `[..., *shape]`, or contexts not theirs, or the one
            is missing that the flow depends on, or is given where it depends on none.
        InverseError: an inverse did not converge.

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> flow = pb.models.flows.residual_flow(2, blocks=1, width=8, key=jax.random.key(0))
        >>> x = jax.random.normal(jax.random.key(1), (5, 2))
        >>> z, log_det = flow.inverse_and_log_det(x)
        >>> bool(jnp.allclose(flow.log_prob(x), flow.base.log_prob(z) + log_det))
        True

    Source: Behrmann et al., Invertible Residual Networks, arXiv 1811.00995; Chen et al., Residual
        Flows for Invertible Generative Modeling, arXiv 1906.02735.
    """

    bijection: AbstractBijection
    base: Any
    shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)
    solver: FixedPointSolver | None
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        bijection: AbstractBijection,
        base: Any,
        *,
        shape: tuple[int, ...] | None = None,
        context_shape: int | tuple[int, ...] | None = None,
        solver: FixedPointSolver | None = None,
        max_steps: int = 1000,
    ):
        require_bijection("bijection", bijection)
        self.context_shape = shape_of_context(context_shape)
        require_base(base, self.context_shape)
        if max_steps < 1:
            raise ValueError(f"`max_steps` must be 1 or more, got {max_steps}.")
        self.bijection, self.base, self.solver = bijection, fixed(base), solver
        self.shape = event_of(base, self.context_shape) if shape is None else tuple(shape)
        self.max_steps = max_steps

    @property
    def support_map(self) -> SupportMap | None:
        """From the support of the data to the line; None for numbers of any size."""
        return support_map(self.bijection)

    @property
    def support(self) -> Any:
        """Of the data; None if none is named."""
        found = self.support_map
        return None if found is None else found.support

    def log_prob(
        self,
        x: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "..."]:
        """The log-density of `x` in nats; `key` is for estimated log-determinants."""
        z, log_det, contexts = self._to_base(x, context, batch_size, key)
        return base_log_prob(self.base, z, contexts, log_det.shape) + log_det

    def log_prob_in_training(
        self,
        x: Float[Array, "batch ..."],
        *,
        context: Float[Array, "batch ..."] | None = None,
        key: PRNGKeyArray,
    ) -> tuple[Float[Array, " batch"], dict[str, Array]]:
        """`log_prob`, which cannot fail; `log_det` is the mean log-determinant."""
        key = checked_key(key)
        z, log_det, contexts = self._to_base(x, context, None, key)
        log_probs = base_log_prob(self.base, z, contexts, log_det.shape) + log_det
        return log_probs, {"log_det": jnp.mean(log_det)}

    def sample(
        self,
        key: PRNGKeyArray,
        shape: tuple[int, ...] = (),
        *,
        context: Float[Array, "..."] | None = None,
        batch_size: int | None = None,
    ) -> Float[Array, "..."]:
        """Draws of shape `[*shape, *self.shape]`, by the inverse of draws of the base.

        Of contexts `[*batch, *self.context_shape]` they are `[*shape, *batch, *self.shape]`.
        """
        key = checked_key(key)
        context = checked_context(context, self.context_shape)
        z = base_sample(self.base, key, shape, context, len(self.context_shape or ()))
        x, info = self.invert(z, context=context, batch_size=batch_size)
        return self._all_found(x, info, z, context)

    def transform_and_log_det(
        self,
        z: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """From the base to the data: `x`, and the log-determinant of `dx/dz`."""
        x, info = self.invert(z, context=context, batch_size=batch_size)
        x = self._all_found(x, info, z, context)
        _, log_det = self.inverse_and_log_det(x, context=context, batch_size=batch_size, key=key)
        return x, -log_det

    def inverse_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """From the data to the base: `z`, and the log-determinant of `dz/dx`."""
        z, log_det, _ = self._to_base(x, context, batch_size, key)
        return z, log_det

    def _all_found(self, x: Array, info: InverseInfo, z: Any, context: Any) -> Array:
        """The points, once all inverses have converged."""
        if not isinstance(info.converged, Tracer) and not np.all(np.asarray(info.converged)):
            event = event_of(self.base, self.context_shape)
            name_what_is_not_finite(z, event, context, self.context_shape)
        return all_found(x, info)

    def _to_base(
        self, x: Any, context: Any, batch_size: int | None, key: Any
    ) -> tuple[Array, Array, Array | None]:
        """As `inverse_and_log_det`, and a row of contexts for each point."""
        rows, contexts, batch = with_context(x, self.shape, context, self.context_shape)
        shared, own = (None, None) if key is None else jr.split(checked_key(key))
        keys = None if own is None else jr.split(own, len(rows))
        z, log_det = forward_rows(self.bijection, rows, contexts, keys, shared, batch_size)
        return z.reshape(*batch, *z.shape[1:]), log_det.reshape(batch), contexts

    def invert(
        self,
        z: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        batch_size: int | None = None,
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """The points of the data that f carries to `z`, and how each was found."""
        event = event_of(self.base, self.context_shape)
        rows, contexts, batch = with_context(z, event, context, self.context_shape)
        solver = solver_of(self.solver, math.prod(rows.shape[1:]))
        found = inverse_rows(self.bijection, rows, contexts, solver, self.max_steps, batch_size)
        x, info = jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), found)
        return x, info


@eqx.filter_jit
def forward_rows(
    bijection: AbstractBijection,
    rows: Array,
    contexts: Array | None,
    keys: Any,
    shared: Any,
    batch_size: int | None,
) -> tuple[Array, Array]:
    """Images and log-determinants of points one row after another."""
    # Of all blocks of a stack side by side, and not one by one within its scan.
    within = bounded(bijection)

    def one(given: tuple[Array, Any, Any]) -> tuple[Array, Array]:
        row, context, key = given
        return within.forward_and_log_det(row, context=context, key=key, shared=shared)

    return over_rows(one, (rows, contexts, keys), batch_size)


@eqx.filter_jit
def inverse_rows(
    bijection: AbstractBijection,
    rows: Array,
    contexts: Array | None,
    solver: Any,
    max_steps: int,
    batch_size: int | None,
) -> tuple[Array, InverseInfo]:
    """The points whose images are these, and how each was found."""
    within = bounded(bijection)

    def one(given: tuple[Array, Any]) -> tuple[Array, InverseInfo]:
        row, context = given
        return within.inverse(row, solver, max_steps, context=context)

    return over_rows(one, (rows, contexts), batch_size)


def all_found(x: Array, info: InverseInfo) -> Array:
    """The points, once all inverses have converged: checked at once, or by a compiled program."""
    if isinstance(info.converged, Tracer):
        if on_failure() == "nan":
            return jnp.where(jnp.all(info.converged), x, jnp.nan)
        return eqx.error_if(
            x, ~jnp.all(info.converged), "The inverse of some points did not converge."
        )
    good = np.asarray(info.converged)
    if np.all(good):
        return x
    bad = np.argwhere(~good) if good.ndim else ()
    shown = ", ".join(str(tuple(row.tolist()) if good.ndim > 1 else row[0]) for row in bad[:5])
    raise InverseError(
        f"the inverse of {np.sum(~good)} of {good.size} points did not converge in "
        f"{int(np.max(np.asarray(info.steps)))} steps{'; the first: ' * bool(shown)}{shown}; "
        f"largest residual: {float(np.max(np.asarray(info.residual)[~good])):.3g}. Raise "
        "`max_steps`, or loosen the solver's tolerance; a block whose net stretches by 1 or more "
        "has no inverse for sure. In 0 steps: the point lies outside of what a map in closed form "
        "leads to, or is rounded to its end."
    )

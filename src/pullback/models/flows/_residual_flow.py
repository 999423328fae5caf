"""The residual flow, and the i-ResNet: a stack of invertible residual blocks as a density."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optimistix as optx
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._checked_data import check_data
from pullback._key import checked_key
from pullback._solve_failures import on_failure
from pullback.nn import bounded
from pullback.sampling import Distribution, fixed

from ._bijection import AbstractBijection, FixedPointSolver, InverseInfo
from ._interface import AbstractFlow, maximum_likelihood_loss, shape_of

_NEWTON = 16  # entries up to which an inverse is by Newton's method


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

    Args:
        bijection: f, from the data to the base.
        base: a `Distribution` of points of the shape that f gives. Arrays of a module are
            parameters; one of NumPyro's is fixed (`pullback.sampling.FixedLaw`).
        shape: of one point of the data, where it is not that of the base.
        solver: of Optimistix, for the inverse. None is `optimistix.Newton` to 1e-5 for points of
            up to 16 entries, and plain iteration to 1e-6 for larger ones; `pb.calculus.Anderson`
            is for large ones whose contraction is slow.
        max_steps: the most iterations of one block.

    Raises:
        TypeError: `base` is no `Distribution`.
        ValueError: points do not have the shape `[..., *shape]`.
        InverseError: an inverse did not converge.

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> flow = pb.models.flows.residual_flow(2, blocks=3, width=8, key=jax.random.key(0))
        >>> x = flow.sample(jax.random.key(1), (5,))
        >>> z, log_det = flow.inverse_and_log_det(x)
        >>> bool(jnp.allclose(flow.log_prob(x), flow.base.log_prob(z) + log_det))
        True

    Source: Behrmann et al., Invertible Residual Networks, arXiv 1811.00995; Chen et al., Residual
        Flows for Invertible Generative Modeling, arXiv 1906.02735.
    """

    bijection: AbstractBijection
    base: Distribution
    shape: tuple[int, ...] = eqx.field(static=True)
    solver: FixedPointSolver | None
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        bijection: AbstractBijection,
        base: Distribution,
        *,
        shape: tuple[int, ...] | None = None,
        solver: FixedPointSolver | None = None,
        max_steps: int = 1000,
    ):
        if not isinstance(base, Distribution):
            raise TypeError(
                "`base` must have `log_prob(x)` and `sample(key, shape)`, as StandardNormal has; "
                f"got {type(base).__name__}."
            )
        if max_steps < 1:
            raise ValueError(f"`max_steps` must be 1 or more, got {max_steps}.")
        self.bijection, self.base, self.solver = bijection, fixed(base), solver
        self.shape, self.max_steps = shape_of(base) if shape is None else shape, max_steps

    def log_prob(
        self,
        x: Float[Array, "..."],
        *,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "..."]:
        """The log-density of `x` in nats; `key` is for estimated log-determinants."""
        z, log_det = self.inverse_and_log_det(x, batch_size=batch_size, key=key)
        return self.base.log_prob(z) + log_det

    def log_prob_in_training(
        self, x: Float[Array, "batch ..."], *, key: PRNGKeyArray
    ) -> tuple[Float[Array, " batch"], dict[str, Array]]:
        """`log_prob`, which cannot fail; `log_det` is the mean log-determinant."""
        z, log_det = self.inverse_and_log_det(x, key=key)
        return self.base.log_prob(z) + log_det, {"log_det": jnp.mean(log_det)}

    def sample(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = (), *, batch_size: int | None = None
    ) -> Float[Array, "..."]:
        """Draws of shape `[*shape, *self.shape]`, by the inverse of draws of the base."""
        key = checked_key(key)
        x, info = self.invert(self.base.sample(key, shape), batch_size=batch_size)
        return _all_found(x, info)

    def transform_and_log_det(
        self,
        z: Float[Array, "..."],
        *,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """From the base to the data: `x`, and the log-determinant of `dx/dz`."""
        x, info = self.invert(z, batch_size=batch_size)
        x = _all_found(x, info)
        _, log_det = self.inverse_and_log_det(x, batch_size=batch_size, key=key)
        return x, -log_det

    def inverse_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """From the data to the base: `z`, and the log-determinant of `dz/dx`."""
        rows, batch = _rows(x, self.shape)
        shared, own = (None, None) if key is None else jr.split(key)
        keys = None if own is None else jr.split(own, len(rows))
        z, log_det = _forward(self.bijection, rows, keys, shared, batch_size)
        return z.reshape(*batch, *z.shape[1:]), log_det.reshape(batch)

    def invert(
        self, z: Float[Array, "..."], *, batch_size: int | None = None
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """The points of the data that f carries to `z`, and how each was found."""
        rows, batch = _rows(z, shape_of(self.base))
        solver = self.solver
        if solver is None:
            # A contraction of 0.94 that stops at steps of 1e-6 is still 1.6e-5 from its end. Where
            # a dense Jacobian is cheap, Newton's method is at rounding in a tenth of the time:
            # after a step of 1e-5 its square is left, and float32 takes no smaller one.
            few = math.prod(rows.shape[1:]) <= _NEWTON
            solver = optx.Newton(1e-5, 1e-5) if few else optx.FixedPointIteration(1e-6, 1e-6)
        found = _inverse(self.bijection, rows, solver, self.max_steps, batch_size)
        x, info = jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), found)
        return x, info


def initialise(flow: ResidualFlow, x: Float[Array, "batch ..."]) -> ResidualFlow:
    """The flow with its act-norms set by a batch of data, as they have to be before training.

    Args:
        flow: a new flow.
        x: some hundred examples or more.

    Raises:
        ValueError: there is no point, one is not finite or has another shape, or they are whole
            numbers.

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> flow = pb.models.flows.residual_flow(2, blocks=3, width=8, key=jax.random.key(0))
        >>> x = 5 + 2 * jax.random.normal(jax.random.key(1), (500, 2))
        >>> z, _ = initialise(flow, x).inverse_and_log_det(x)
        >>> bool(jnp.allclose(z.mean(0), 0, atol=1e-4) & jnp.allclose(z.std(0), 1, atol=1e-4))
        True

    Source: Kingma and Dhariwal, Glow, arXiv 1807.03039, section 3.1.
    """
    rows, _ = _rows(jnp.asarray(x), flow.shape)
    check_data(maximum_likelihood_loss, flow, rows)
    bijection, _ = flow.bijection.initialise(rows)
    return eqx.tree_at(lambda f: f.bijection, flow, bijection)


class LogProbEstimate(NamedTuple):
    """An average of independent estimates of log-densities.

    Attributes:
        mean: in nats.
        standard_error: of the mean; 0 where the log-determinant is exact.
    """

    mean: Float[Array, "..."]
    standard_error: Float[Array, "..."]


def log_prob_estimate(
    flow: AbstractFlow,
    x: Float[Array, "..."],
    *,
    samples: int = 32,
    batch_size: int | None = None,
    key: PRNGKeyArray,
) -> LogProbEstimate:
    r"""Log-densities with the noise of their estimate.

    $$ \bar\ell = \tfrac1n \sum_i \ell_i, \qquad
       \mathrm{se} = \sqrt{\tfrac{1}{n (n - 1)} \sum_i (\ell_i - \bar\ell)^2} $$

    Args:
        flow: with an estimated log-determinant or divergence.
        x: points `[..., *shape]`.
        samples: n, 2 or more.
        batch_size: the most points at once.
        key: for the estimates.

    Raises:
        ValueError: `samples` is below 2.

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> flow = pb.models.flows.residual_flow(2, blocks=3, width=8, key=jax.random.key(0))
        >>> log_prob_estimate(flow, jnp.zeros((4, 2)), key=jax.random.key(1)).mean.shape
        (4,)
    """
    if samples < 2:
        raise ValueError(f"`samples` must be 2 or more, got {samples}.")
    draws = jax.lax.map(
        lambda k: flow.log_prob(x, batch_size=batch_size, key=k), jr.split(key, samples)
    )
    return LogProbEstimate(
        jnp.mean(draws, axis=0), jnp.std(draws, axis=0, ddof=1) / np.sqrt(samples).item()
    )


def _rows(points: Array, shape: tuple[int, ...]) -> tuple[Array, tuple[int, ...]]:
    """The points in one row after another, and the axes that they came in."""
    batch = points.ndim - len(shape)
    if batch < 0 or points.shape[batch:] != shape:
        axes = ", ".join(str(size) for size in shape)
        raise ValueError(f"points must have shape [..., {axes}], got {points.shape}.")
    return points.reshape(-1, *shape), points.shape[:batch]


@eqx.filter_jit
def _forward(
    bijection: AbstractBijection, rows: Array, keys: Any, shared: Any, batch_size: int | None
) -> tuple[Array, Array]:
    # Of all blocks of a stack side by side, and not one by one within its scan.
    within = bounded(bijection)

    def one(row_and_key: tuple[Array, Any]) -> tuple[Array, Array]:
        row, key = row_and_key
        return within.forward_and_log_det(row, key=key, shared=shared)

    return _over_rows(one, (rows, keys), batch_size)


@eqx.filter_jit
def _inverse(
    bijection: AbstractBijection, rows: Array, solver: Any, max_steps: int, batch_size: int | None
) -> tuple[Array, InverseInfo]:
    within = bounded(bijection)
    return _over_rows(lambda row: within.inverse(row, solver, max_steps), rows, batch_size)


def _over_rows(one: Callable[[Any], Any], rows: Any, batch_size: int | None) -> Any:
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, or None for all, got {batch_size}.")
    if batch_size is None or batch_size >= jax.tree.leaves(rows)[0].shape[0]:
        return jax.vmap(one)(rows)
    return jax.lax.map(one, rows, batch_size=batch_size)


def _all_found(x: Array, info: InverseInfo) -> Array:
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
    bad = np.argwhere(~good)
    shown = ", ".join(str(tuple(row.tolist()) if good.ndim > 1 else row[0]) for row in bad[:5])
    largest = float(np.max(np.asarray(info.residual)[~good])) if good.ndim else float(info.residual)
    raise InverseError(
        f"the inverse of {len(bad)} of {good.size} points did not converge in "
        f"{int(np.max(np.asarray(info.steps)))} steps; the first: {shown}; largest residual: "
        f"{largest:.3g}. Raise `max_steps`, or loosen the solver's tolerance; a block whose net "
        "stretches by 1 or more has no inverse for sure."
    )

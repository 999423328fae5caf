"""The continuous normalising flow."""

from collections.abc import Callable
from typing import Any, Literal

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from pullback import ode
from pullback._dependence import depends_on
from pullback._in_batches import check_batch_size
from pullback._key import checked_key
from pullback._times import cast_times, refuse_dates
from pullback.calculus import AbstractDivergence, ExactDivergence, HollowDivergence
from pullback.sampling import fixed

from ._cnf_solve import Rates, finds_its_divergence, solve_rows
from ._interface import AbstractFlow
from ._rows import (
    base_log_prob,
    base_sample,
    checked_context,
    event_of,
    name_what_is_not_finite,
    require_base,
    shape_of_context,
    takes_context,
    with_context,
)


class CNF(AbstractFlow):
    r"""A continuous normalising flow: the density of points that an ODE carries from `t0` to `t1`.

    A point drawn from the base at `t0` moves by $dz/dt = f(t, z)$ and is data at `t1`. The density
    follows from an integral along its path,

    $$ \log p(x) = \log p_0(z(t_0)) - \int_{t_0}^{t_1} \mathrm{tr}\,
       \frac{\partial f}{\partial z}\, dt, \qquad z(t_1) = x. $$

    Every method takes points `[..., dim]`: give a batch at once, rather than under `jax.vmap`, and
    it goes through the field as one matrix product. `batch_size` bounds the number of points that
    are in the solver, and so the memory, at one time. A solve that fails raises `SolveError`; in a
    training loop use `maximum_likelihood_loss`, which reports it instead.

    The noise of an estimated divergence is drawn once for a point and held for its whole solve.
    With an estimate `log_prob` is unbiased in its integral, but noisy: score with an exact one.

    The density at a time between `t0` and `t1` is that of the same flow stopped there,
    `dataclasses.replace(flow, t1=t)`; other settings of the solver, for instance loose ones for
    training and tight ones for scoring, are set in the same way.

    With a `context_shape` it is a density $p(x | c)$ for each context c, by $dz/dt = f(t, z, c)$
    and, if wanted, a base that depends on c. Axes of `context` in front of one context are
    broadcast with those of the points in front of one point.

    Attributes:
        field: the vector field `f(t, y, args)` of one point `[dim]`; `args` is its context, or
            None.
        base: a `Distribution` at `t0`. Arrays of a module are parameters like any other; one of
            NumPyro's is fixed (`pullback.sampling.FixedDistribution`). Of a flow with contexts, a
            function from one of them to a distribution too, such as `ConditionalNormal`, or a
            family of `pullback.bounds`.
        divergence: how the trace is found. None is the exact trace: by `HollowDivergence` where
            the field has its own `with_divergence(t, y)`, or `with_divergence(t, y, args)` where
            there is a context, else by `ExactDivergence`.
        t0: the time of the base.
        t1: the time of the data.
        solver: a Diffrax solver; `diffrax.Dopri5()` when None.
        rtol: relative tolerance of one step, for the point and for the log-determinant.
        atol: absolute tolerance of one step, for both.
        steps: take this many equal steps, with no error control; every point then steps alike.
        stepping: "per_sample": each point has its own steps, so its density does not depend on what
            else is in the batch. "joint": all points in a batch share their steps; cheaper, and
            right for training.
        adjoint: how a gradient goes back through the solve; `pb.ode.Replay()` when None.
        max_steps: the most steps tried.
        context_shape: of one context; a number d is the shape `[d]`. None: there is none.

    Raises:
        TypeError: `base` is no `Distribution`, or `field` cannot be called.
        ValueError: points are not of shape `[..., dim]`, or contexts not of theirs; a context is
            missing, or given where there is none; neither `field` nor `base` depends on it; two
            times become one in the dtype of the points; or `batch_size` is below 1.
        SolveError: a solve failed. Where it is not compiled, a point or a context that is not
            finite is a ValueError instead, with its row.

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> field = pb.nn.ConcatMLP(2, width=8, depth=2, key=jax.random.key(0))
        >>> flow = CNF(field, pb.sampling.StandardNormal(2))
        >>> x = flow.sample(jax.random.key(1), (5,))
        >>> bool(jnp.allclose(flow.log_prob(x), flow.base.log_prob(x)))  # the net starts at zero
        True

    Source:
        Chen et al., "Neural Ordinary Differential Equations", arXiv 1806.07366, section 4;
        Grathwohl et al., "FFJORD", arXiv 1810.01367, algorithm 1; Kelly et al., arXiv 2007.04504,
        for the penalties in training.
    """

    field: Callable[[Any, Any, Any], Any]
    base: Any = eqx.field(converter=fixed)
    divergence: AbstractDivergence | None = None
    t0: float | int = eqx.field(default=0.0, static=True)
    t1: float | int = eqx.field(default=1.0, static=True)
    solver: diffrax.AbstractSolver | None = None
    rtol: float = eqx.field(default=1e-5, static=True)
    atol: float = eqx.field(default=1e-5, static=True)
    steps: int | None = eqx.field(default=None, static=True)
    stepping: Literal["joint", "per_sample"] = eqx.field(default="per_sample", static=True)
    adjoint: ode.AbstractAdjoint | diffrax.AbstractAdjoint | None = None
    max_steps: int = eqx.field(default=4096, static=True)
    context_shape: tuple[int, ...] | None = eqx.field(
        default=None, static=True, converter=shape_of_context
    )

    def __check_init__(self) -> None:
        if not callable(self.field):
            raise TypeError(f"`field` must be a function f(t, y, args), got {self.field!r}")
        require_base(self.base, self.context_shape)
        if len(self.shape) != 1:
            raise ValueError(f"`base` must draw vectors [dim], and it draws {list(self.shape)}.")
        if self.context_shape is not None:
            self._require_use_of_context(self.context_shape)

    def _require_use_of_context(self, shape: tuple[int, ...]) -> None:
        hollow = isinstance(self.divergence, HollowDivergence)
        if hollow and not finds_its_divergence(self.field, context=True):
            raise ValueError(
                "`divergence` must be exact or an estimate where there is a context: the field's "
                "own `with_divergence(t, y)` knows of none. Let it take `args`, as HollowNet's."
            )
        if takes_context(self.base):
            return
        y = jnp.zeros(self.shape)
        with jax.numpy_dtype_promotion("standard"):
            used = depends_on(lambda c: self.field(jnp.zeros(()), y, c), jnp.zeros(shape))
        if not used:
            raise ValueError(
                "`field` does not depend on `args`, in which it gets the context: let it, as "
                "`ContextField` does, or take a `base` that depends on it."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one point, `[dim]`."""
        return event_of(self.base, self.context_shape)

    def log_prob(
        self,
        x: Float[Array, "*batch dim"],
        *,
        context: Float[Array, "..."] | None = None,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "..."]:
        """The log-density of `x` in nats; `key` is for an estimated divergence."""
        z, log_det, contexts = self._ends(x, context, [self.t1, self.t0], batch_size, key)
        return base_log_prob(self.base, z, contexts, log_det.shape) + log_det

    def log_prob_in_training(
        self,
        x: Float[Array, "batch dim"],
        *,
        context: Float[Array, "batch ..."] | None = None,
        penalties: tuple[ode.AbstractPenalty, ...] = (),
        key: PRNGKeyArray,
    ) -> tuple[Float[Array, " batch"], dict[str, Array]]:
        """`log_prob` of a solve that does not raise: the metric `result` is not 0 if it failed.

        With `penalties`, such as `(pb.ode.TaylorEnergy(2),)`, the metrics `penalty_0`, `penalty_1`
        and so on are their integrals along the paths of the points, from `t0` to `t1`, means over
        the batch: add them, weighted, to the loss, and the flow is easy to solve.
        """
        key = checked_key(key)
        rows, contexts, _ = with_context(x, self.shape, context, self.context_shape)
        ts = [self.t1, self.t0]
        solution = self._solve(rows, contexts, ts, None, key, log_det=True, penalties=penalties)
        z, log_det, *integrals = jax.tree.map(lambda y: y[:, -1], solution.ys)
        log_probs = base_log_prob(self.base, z, contexts, log_det.shape) + log_det
        nfe = jnp.mean(solution.stats.nfe.astype(log_probs.dtype))
        # The solve runs against the time, in which a rate is integrated with the other sign.
        penalised = {f"penalty_{k}": -jnp.mean(each) for k, each in enumerate(integrals)}
        return log_probs, {"result": jnp.max(solution.result), "nfe": nfe, **penalised}

    def sample(
        self,
        key: PRNGKeyArray,
        shape: tuple[int, ...] = (),
        *,
        context: Float[Array, "..."] | None = None,
        batch_size: int | None = None,
    ) -> Float[Array, "*batch dim"]:
        """Draws of shape `[*shape, dim]`; of contexts `[*batch, ...]`, `[*shape, *batch, dim]`."""
        key = checked_key(key)
        z, context = self._draw(key, shape, context)
        rows, contexts, _ = with_context(z, self.shape, context, self.context_shape)
        moved = self._solve(rows, contexts, [self.t0, self.t1], batch_size, None, log_det=False)
        return _last(self._raised(moved, z, context).ys[0], z.shape)

    def sample_and_log_prob(
        self,
        key: PRNGKeyArray,
        shape: tuple[int, ...] = (),
        *,
        context: Float[Array, "..."] | None = None,
        batch_size: int | None = None,
    ) -> tuple[Float[Array, "*batch dim"], Float[Array, "..."]]:
        """Draws and their log-densities, in one solve."""
        base_key, key = jr.split(checked_key(key))
        z, context = self._draw(base_key, shape, context)
        ts = [self.t0, self.t1]
        x, log_det, contexts = self._ends(z, context, ts, batch_size, key)
        return x, base_log_prob(self.base, z, contexts, log_det.shape) - log_det

    def _draw(self, key: Any, shape: tuple[int, ...], context: Any) -> tuple[Array, Any]:
        context = checked_context(context, self.context_shape)
        return base_sample(self.base, key, shape, context, len(self.context_shape or ())), context

    def transform_and_log_det(
        self,
        z: Float[Array, "*batch dim"],
        *,
        context: Float[Array, "..."] | None = None,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """From the base to the data: `x`, and the log-determinant of `dx/dz`."""
        end, log_det, _ = self._ends(z, context, [self.t0, self.t1], batch_size, key)
        return end, log_det

    def inverse_and_log_det(
        self,
        x: Float[Array, "*batch dim"],
        *,
        context: Float[Array, "..."] | None = None,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """From the data to the base: `z`, and the log-determinant of `dz/dx`."""
        end, log_det, _ = self._ends(x, context, [self.t1, self.t0], batch_size, key)
        return end, log_det

    def trajectory(
        self,
        z: Float[Array, "*batch dim"],
        ts: Float[Array, " times"],
        *,
        context: Float[Array, "..."] | None = None,
        batch_size: int | None = None,
    ) -> Float[Array, "... times dim"]:
        """Where points that are at `z` at time `ts[0]` are at each of `ts`."""
        rows, contexts, batch = with_context(z, self.shape, context, self.context_shape)
        moved = self._solve(rows, contexts, ts, batch_size, None, log_det=False)
        moved = self._raised(moved, z, context)
        return moved.ys[0].reshape(*batch, len(ts), *self.shape)

    def solve(
        self,
        y: Float[Array, "*batch dim"],
        ts: Float[Array, " times"] | list[float] | list[int],
        *,
        context: Float[Array, "..."] | None = None,
        batch_size: int | None = None,
        throw: bool = True,
        key: PRNGKeyArray | None = None,
    ) -> ode.Solution:
        """The solve beneath the other methods, with what it cost and how it ended.

        Args:
            y: points at time `ts[0]`.
            ts: increasing or decreasing times.
            context: of the points, of a flow that depends on one.
            batch_size: the most points that are solved at once.
            throw: raise if a solve fails.
            key: for an estimated divergence.

        Returns:
            A solution with one row for each of the `n` points: `ys` is `(positions [n, times, dim],
            log-determinants [n, times])`, and `stats`, `result` and `t_reached` have shape `[n]`.
        """
        rows, contexts, _ = with_context(y, self.shape, context, self.context_shape)
        solution = self._solve(rows, contexts, ts, batch_size, key, log_det=True)
        return self._raised(solution, y, context) if throw else solution

    def _ends(
        self, y: Any, context: Any, ts: list[float] | list[int], batch_size: int | None, key: Any
    ) -> tuple[Array, Array, Any]:
        """Where points end, the log-determinants of how they came there, and their contexts."""
        rows, contexts, batch = with_context(y, self.shape, context, self.context_shape)
        solution = self._solve(rows, contexts, ts, batch_size, key, log_det=True)
        ends = self._raised(solution, y, context).ys
        return _last(ends[0], (*batch, *self.shape)), _last(ends[1], batch), contexts

    def _raised(self, solution: ode.Solution, y: Any, context: Any) -> ode.Solution:
        """The solution, once all solves have reached their ends."""
        if not isinstance(solution.result, Tracer) and not np.all(np.asarray(solution.ok)):
            name_what_is_not_finite(y, self.shape, context, self.context_shape)
        return ode.raise_if_failed(solution)

    def _solve(
        self,
        rows: Array,
        contexts: Array | None,
        ts: Any,
        batch_size: int | None,
        key: Any,
        *,
        log_det: bool,
        penalties: tuple[ode.AbstractPenalty, ...] = (),
    ) -> ode.Solution:
        check_batch_size(batch_size)
        divergence = self.divergence
        if divergence is None:
            own = finds_its_divergence(self.field, context=contexts is not None)
            divergence = HollowDivergence() if own else ExactDivergence()
        options = {
            "solver": self.solver,
            "rtol": self.rtol,
            "atol": self.atol,
            "steps": self.steps,
            # Fixed steps are the same for every point in any case.
            "stepping": "joint" if self.steps is not None else self.stepping,
            "adjoint": self.adjoint,
            "max_steps": self.max_steps,
        }
        keys = None if key is None else jr.split(checked_key(key), len(rows))
        return solve_rows(
            Rates(self.field, divergence, penalties),
            rows,
            contexts,
            _in_dtype(ts, rows.dtype),
            keys,
            options,
            batch_size,
            log_det,
        )


def _in_dtype(ts: Any, dtype: Any) -> Array:
    """The times in the dtype of the points, refused where two of them become one."""
    if isinstance(ts, Tracer):
        return ts.astype(dtype)
    ts = np.asarray(ts)
    refuse_dates("the times of a CNF", ts)
    if ts.ndim == 1 and len(ts) > 1 and np.all(np.isfinite(ts)):
        onward = slice(None, None, -1 if ts[0] > ts[-1] else 1)
        ts = cast_times("the times of a CNF", ts[onward], dtype)[onward]
    return jnp.asarray(ts, dtype)


def _last(path: Array, shape: tuple[int, ...]) -> Array:
    return path[:, -1].reshape(shape)

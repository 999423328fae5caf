"""The continuous normalising flow."""

from collections.abc import Callable
from typing import Any, Literal

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from pullback import ode
from pullback._key import checked_key
from pullback.calculus import AbstractDivergence, ExactDivergence, HollowDivergence
from pullback.sampling import Distribution, fixed

from ._interface import AbstractFlow


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

    Attributes:
        field: the vector field `f(t, y, args)` of one point `[dim]`; `args` is None.
        base: a `Distribution` at `t0`. Arrays of a module are parameters like any other; one of
            NumPyro's is fixed (`pullback.sampling.FixedLaw`).
        divergence: how the trace is found. None is the exact trace: by `HollowDivergence` where
            the field has its own `with_divergence(t, y)`, else by `ExactDivergence`.
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

    Raises:
        TypeError: `base` is no `Distribution`, or `field` cannot be called.
        ValueError: points are not of shape `[..., dim]`, or `batch_size` is below 1.
        SolveError: a solve failed.

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> field = pb.nn.ConcatMLP(2, width=8, depth=2, key=jax.random.key(0))
        >>> flow = CNF(field, pb.sampling.StandardNormal(2))
        >>> x = flow.sample(jax.random.key(1), (5,))
        >>> bool(jnp.allclose(flow.log_prob(x), flow.base.log_prob(x)))  # the net starts at zero
        True

    Source:
        Chen et al., "Neural Ordinary Differential Equations", arXiv 1806.07366, section 4;
        Grathwohl et al., "FFJORD", arXiv 1810.01367, algorithm 1.
    """

    field: Callable[[Any, Any, Any], Any]
    base: Distribution = eqx.field(converter=fixed)
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

    def __check_init__(self) -> None:
        if not callable(self.field):
            raise TypeError(f"`field` must be a function f(t, y, args), got {self.field!r}")
        if not isinstance(self.base, Distribution):
            raise TypeError(
                "`base` must have `log_prob(x)` and `sample(key, shape)`, as StandardNormal has; "
                f"got {type(self.base).__name__}"
            )

    def log_prob(
        self,
        x: Float[Array, "*batch dim"],
        *,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "*batch"]:
        """The log-density of `x` in nats; `key` is for an estimated divergence."""
        z, log_det = self.inverse_and_log_det(x, batch_size=batch_size, key=key)
        return self.base.log_prob(z) + log_det

    def log_prob_in_training(
        self, x: Float[Array, "batch dim"], *, key: PRNGKeyArray
    ) -> tuple[Float[Array, " batch"], dict[str, Array]]:
        """`log_prob` of a solve that does not raise: the metric `result` is not 0 if it failed."""
        solution = self.solve(x, [self.t1, self.t0], throw=False, key=key)
        z, log_det = jax.tree.map(lambda y: y[:, -1], solution.ys)
        log_probs = self.base.log_prob(z) + log_det
        nfe = jnp.mean(solution.stats.nfe.astype(log_probs.dtype))
        return log_probs, {"result": jnp.max(solution.result), "nfe": nfe}

    def sample(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = (), *, batch_size: int | None = None
    ) -> Float[Array, "*batch dim"]:
        """Draws of shape `[*shape, dim]`."""
        key = checked_key(key)
        z = self.base.sample(key, shape)
        moved = self._solve(z, [self.t0, self.t1], batch_size, None, log_det=False)
        return _last(ode.raise_if_failed(moved).ys[0], z.shape)

    def sample_and_log_prob(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = (), *, batch_size: int | None = None
    ) -> tuple[Float[Array, "*batch dim"], Float[Array, "*batch"]]:
        """Draws and their log-densities, in one solve."""
        key = checked_key(key)
        base_key, key = jr.split(key)
        z = self.base.sample(base_key, shape)
        x, log_det = self.transform_and_log_det(z, batch_size=batch_size, key=key)
        return x, self.base.log_prob(z) - log_det

    def transform_and_log_det(
        self,
        z: Float[Array, "*batch dim"],
        *,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "*batch dim"], Float[Array, "*batch"]]:
        """From the base to the data: `x`, and the log-determinant of `dx/dz`."""
        ends = self.solve(z, [self.t0, self.t1], batch_size=batch_size, key=key).ys
        return _last(ends[0], z.shape), _last(ends[1], z.shape[:-1])

    def inverse_and_log_det(
        self,
        x: Float[Array, "*batch dim"],
        *,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "*batch dim"], Float[Array, "*batch"]]:
        """From the data to the base: `z`, and the log-determinant of `dz/dx`."""
        ends = self.solve(x, [self.t1, self.t0], batch_size=batch_size, key=key).ys
        return _last(ends[0], x.shape), _last(ends[1], x.shape[:-1])

    def trajectory(
        self,
        z: Float[Array, "*batch dim"],
        ts: Float[Array, " times"],
        *,
        batch_size: int | None = None,
    ) -> Float[Array, "*batch times dim"]:
        """Where points that are at `z` at time `ts[0]` are at each of `ts`."""
        moved = self._solve(z, ts, batch_size, None, log_det=False)
        return ode.raise_if_failed(moved).ys[0].reshape(*z.shape[:-1], len(ts), z.shape[-1])

    def solve(
        self,
        y: Float[Array, "*batch dim"],
        ts: Float[Array, " times"] | list[float] | list[int],
        *,
        batch_size: int | None = None,
        throw: bool = True,
        key: PRNGKeyArray | None = None,
    ) -> ode.Solution:
        """The solve beneath the other methods, with what it cost and how it ended.

        Args:
            y: points at time `ts[0]`.
            ts: increasing or decreasing times.
            batch_size: the most points that are solved at once.
            throw: raise if a solve fails.
            key: for an estimated divergence.

        Returns:
            A solution with one row for each of the `n` points: `ys` is `(positions [n, times, dim],
            log-determinants [n, times])`, and `stats`, `result` and `t_reached` have shape `[n]`.
        """
        solution = self._solve(y, ts, batch_size, key, log_det=True)
        return ode.raise_if_failed(solution) if throw else solution

    def _solve(
        self, y: Array, ts: Any, batch_size: int | None, key: Any, *, log_det: bool
    ) -> ode.Solution:
        if y.ndim == 0:
            raise ValueError("points must have shape [..., dim], got a number")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, or None for all, got {batch_size}")
        rows = y.reshape(-1, y.shape[-1])
        divergence = self.divergence
        if divergence is None:
            own = hasattr(self.field, "with_divergence")
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
        keys = None if key is None else jr.split(key, len(rows))
        return _solve(
            _Rates(self.field, divergence),
            rows,
            jnp.asarray(ts, y.dtype),
            keys,
            options,
            batch_size,
            log_det,
        )


def _at(field: Any, t: Array) -> Callable[[Any], Any]:
    """The field at one time: a function of one point, with what the field knows about itself."""
    if hasattr(field, "with_divergence"):
        return _AtTime(field, t)
    return lambda y: field(t, y, None)


class _AtTime(eqx.Module):
    field: Any
    t: Array

    def __call__(self, y: Array) -> Array:
        return self.field(self.t, y, None)

    def with_divergence(self, y: Array) -> tuple[Array, Array]:
        return self.field.with_divergence(self.t, y)


class _Rates(eqx.Module):
    """The velocity of one point's position and log-determinant.

    Its probe rides along, unchanged: with steps per sample, what differs between the points has to
    be part of the state.
    """

    field: Any
    divergence: AbstractDivergence

    def __call__(self, t: Array, state: tuple, args: None) -> tuple:
        y, (log_det, probe) = state
        if log_det is None:
            return self.field(t, y, None), (None, None)
        velocity, trace = self.divergence(_at(self.field, t), y, probe)
        return velocity, (trace, jax.tree.map(jnp.zeros_like, probe))

    def start(self, y: Array, key: Any, *, log_det: bool) -> tuple:
        if not log_det:
            return y, (None, None)
        return y, (jnp.zeros((), y.dtype), self.divergence.probe(y, key=key))


def _norm(x: tuple) -> Array:
    # The log-determinant is part of the answer. One number beside many, it is looked at alone: a
    # mean over all would hide it. The probe is not looked at.
    y, (log_det, _) = x
    return (
        ode.rms_norm(y) if log_det is None else jnp.maximum(ode.rms_norm(y), ode.rms_norm(log_det))
    )


@eqx.filter_jit
def _solve(
    rates: _Rates,
    rows: Array,
    ts: Array,
    keys: Any,
    options: dict[str, Any],
    batch_size: int | None,
    log_det: bool,
) -> ode.Solution:
    """Solve for all rows, `batch_size` of them at a time. What comes back has a row for each."""
    joint = options["stepping"] == "joint"

    def all_rows(t: Array, state: PyTree, args: None) -> PyTree:
        return jax.vmap(rates, in_axes=(None, 0, None))(t, state, args)

    def batch(rows_and_keys: tuple[Array, Any]) -> ode.Solution:
        rows, keys = rows_and_keys
        start = jax.vmap(lambda y, key: rates.start(y, key, log_det=log_det))(rows, keys)
        field = all_rows if joint else rates
        solution = ode.solve(field, start, ts, norm=_norm, throw=False, **options)
        y, (log_dets, _) = solution.ys
        stats, result, t_reached = solution.stats, solution.result, solution.t_reached
        if joint:
            y, log_dets = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), (y, log_dets))
            stats, result, t_reached = jax.tree.map(
                lambda x: jnp.broadcast_to(x, rows.shape[:1]), (stats, result, t_reached)
            )
        return ode.Solution(ts, (y, log_dets), stats, result, t_reached)

    n = len(rows)
    if n == 0:  # what one row would give, without the row
        like = lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)
        found = jax.eval_shape(batch, jax.tree.map(like, (rows, keys)))
        empty = jax.tree.map(lambda x: jnp.zeros((0, *x.shape[1:]), x.dtype), found)
        return eqx.tree_at(lambda s: s.ts, empty, ts)
    if batch_size is None or batch_size >= n:
        return batch((rows, keys))
    number = -(-n // batch_size)
    even = -(-n // number)
    # The last batch is filled up with the first rows, so that one program serves all.
    index = jnp.arange(number * even).reshape(number, even) % n
    solution = jax.lax.map(lambda i: batch((rows[i], None if keys is None else keys[i])), index)
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:n], solution)
    return eqx.tree_at(lambda s: s.ts, flat, ts)


def _last(path: Array, shape: tuple[int, ...]) -> Array:
    return path[:, -1].reshape(shape)

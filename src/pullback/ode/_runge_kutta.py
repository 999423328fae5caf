"""One step of an explicit Runge-Kutta method, for one time or for a time per lane."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PyTree

from pullback._clock import Clock, wider
from pullback._lanes import State, Time, add, spread

# The right-hand side as a solve has it: of the time, the state and the parameters, for all lanes.
Field = Callable[[Time, State, PyTree], State]


class OnClock(eqx.Module):
    """A field of the time since the first, in which all stepping is done, from one of the time.

    Its arrays have an entry for each lane.
    """

    field: Field
    clock: Clock

    def __call__(self, since: Time, y: State, params: PyTree) -> State:
        """The field."""
        return self.field(self.clock.time(since), y, params)


class Tableau(NamedTuple):
    r"""The coefficients of an explicit Runge-Kutta method, of s stages.

    $$ k_i = f\Big(t + c_i h,\; y + h \sum_{j<i} a_{ij} k_j\Big), \qquad
       y_1 = y + h \sum_i b_i k_i $$

    They are Python floats, so that they take any dtype. `tableau_of` finds those of a solver; to
    solve by coefficients of your own, write a solver of Diffrax's with them (see there).

    Attributes:
        a: the rows of the lower triangle, from the second stage on.
        b: the weights of the stages, s of them.
        b_error: the weights of the error estimate, $h \sum_i \beta_i k_i$; None without.
        c: the times of the stages, as shares of the step, s of them; the first is 0.
        order: of the method.
        fsal: whether the last stage is f at the end of the step, the first stage of the next.
        dense: from the ends of a step, `t0`, `t1`, `y0`, `y1`, and `k`, the stages times h, to
            Diffrax's interpolation between the ends.
    """

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    b_error: tuple[float, ...] | None
    c: tuple[float, ...]
    order: int
    fsal: bool
    dense: Callable

    @property
    def stages(self) -> int:
        """The number of stages, the shared one included."""
        return len(self.b)

    @property
    def evaluations(self) -> int:
        """New evaluations of `f` that an accepted step costs."""
        return self.stages - self.fsal


# A solver that overrides one of these may step in its own way.
_STEP = ("init", "step", "func", "error_order")


def tableau_of(solver: diffrax.AbstractSolver) -> Tableau | None:
    """The tableau of a method that pullback's own loop runs, or None when Diffrax is to run it.

    Run here are `diffrax.Euler`, and every `diffrax.AbstractERK` that says what its `tableau`,
    `interpolation_cls` and `order` are and overrides none of `init`, `step`, `func` and
    `error_order`: Diffrax's own and yours. A solver that wraps another steps in its own way.

    Example:
        Kutta's method of order 3, with the midpoint method as its error estimate:

        >>> import diffrax, jax.numpy as jnp, numpy as np, pullback as pb
        >>> class Kutta3(diffrax.AbstractERK):
        ...     tableau = diffrax.ButcherTableau(
        ...         a_lower=(np.array([1 / 2]), np.array([-1.0, 2.0])),
        ...         b_sol=np.array([1 / 6, 2 / 3, 1 / 6]),
        ...         b_error=np.array([1 / 6, -1 / 3, 1 / 6]),
        ...         c=np.array([1 / 2, 1.0]),
        ...     )
        ...     interpolation_cls = diffrax.ThirdOrderHermitePolynomialInterpolation.from_k
        ...
        ...     def order(self, terms):
        ...         return 3
        >>> pb.ode.tableau_of(Kutta3()).stages, pb.ode.tableau_of(diffrax.Kvaerno3()) is None
        (3, True)
        >>> sol = pb.ode.solve(lambda t, y, args: -y, 1.0, [0.0, 1.0], solver=Kutta3(), steps=20)
        >>> bool(abs(sol.ys[-1] - jnp.exp(-1.0)) < 1e-5)
        True

        Where the weights of the error are all zero there is no estimate, and the solver needs
        `steps`. `from_k` reads the first and the last stage, which it takes for the slopes at the
        ends: outputs within a step are of the order of that.
    """
    term = diffrax.ODETerm(lambda t, y, args: y)
    if type(solver) is diffrax.Euler:
        return Tableau((), (1.0,), None, (0.0,), 1, False, _linear)
    if not _steps_by_its_tableau(solver):
        return None
    t: Any = solver.tableau  # pyrefly: ignore
    a = tuple(tuple(map(float, row)) for row in t.a_lower)
    fsal = bool(t.fsal and t.ssal)
    b_error = tuple(map(float, t.b_error))
    return Tableau(
        a=a,
        # Tsit5's two copies of these weights differ in the thirteenth digit.
        b=(*a[-1], 0.0) if fsal else tuple(map(float, t.b_sol)),
        b_error=b_error if any(b_error) else None,
        c=(0.0, *map(float, t.c)),
        order=int(solver.order(term) or 1),
        fsal=fsal,
        dense=solver.interpolation_cls,
    )


def _steps_by_its_tableau(solver: diffrax.AbstractSolver) -> bool:
    if not isinstance(solver, diffrax.AbstractERK):
        return False
    if not isinstance(solver.tableau, diffrax.ButcherTableau) or solver.tableau.implicit:
        return False
    own = lambda kind, name: next(c for c in kind.__mro__ if name in vars(c))
    kinds = type(solver), diffrax.AbstractERK
    one_term = solver.term_structure is diffrax.AbstractTerm
    return one_term and all(own(kinds[0], name) is own(kinds[1], name) for name in _STEP)


def _linear(
    *, t0: Array, t1: Array, y0: State, y1: State, k: State
) -> diffrax.LocalLinearInterpolation:
    del k
    return diffrax.LocalLinearInterpolation(t0=t0, t1=t1, y0=y0, y1=y1)


def _weighted(coefficients: Sequence[float], ks: Sequence[Array]) -> Array:
    terms = [c * k for c, k in zip(coefficients, ks, strict=True) if c != 0.0]
    return sum(terms[1:], terms[0]) if terms else jnp.zeros_like(ks[0])


def combination(h: Time, coefficients: Sequence[float], ks: Sequence[State]) -> State:
    """`h * sum_j coefficients_j k_j`."""
    return jax.tree.map(
        lambda *k: spread(h, k[0]) * _weighted(coefficients, k), *ks[: len(coefficients)]
    )


def stages(
    tableau: Tableau, field: Field, t: Time, h: Time, y: State, k1: State, params: PyTree
) -> tuple[list[State], State]:
    """All stages of a step, `k_i = f(t + c_i h, y + h sum_j a_ij k_j)`, and its end.

    Args:
        tableau: of the method.
        field: `field(t, y, params)`.
        t: where the step starts.
        h: its size.
        y: the state at its start.
        k1: the first stage, `field(t, y, params)`.
        params: handed to `field`.

    Returns:
        The stages, and the state at the step's end.
    """
    ks, argument = [k1], y
    for row, c in zip(tableau.a, tableau.c[1:], strict=True):
        argument = add(y, combination(h, row, ks))
        ks.append(field(t + c * h, argument, params))
    y1 = argument if tableau.fsal else add(y, combination(h, tableau.b, ks))
    return ks, y1


def advance(tableau: Tableau, field: Field, t: Time, h: Time, y: State, params: PyTree) -> State:
    """The end of a step from `y`, without the stage that only the error estimate needs.

    Args:
        tableau: of the method, as `tableau_of` finds it.
        field: `field(t, y, params)`.
        t: where the step starts; of shape `[lanes]` where each entry of the leading axis of `y` has
            a time of its own.
        h: its size, of the same shape.
        y: the state at its start.
        params: handed to `field`.

    Returns:
        The state at `t + h`.

    Example:
        >>> import diffrax, jax.numpy as jnp, pullback as pb
        >>> heun, growth = pb.ode.tableau_of(diffrax.Heun()), lambda t, y, rate: rate * y
        >>> float(pb.ode.advance(heun, growth, jnp.array(0.0), jnp.array(1.0), jnp.array(1.0), 1.0))
        2.5
    """
    ks = [field(t, y, params)]
    last = len(tableau.a) - tableau.fsal
    for row, c in zip(tableau.a[:last], tableau.c[1 : last + 1], strict=True):
        ks.append(field(t + c * h, add(y, combination(h, row, ks)), params))
    return add(y, combination(h, tableau.b[: len(ks)], ks))


def advance_compactly(
    tableau: Tableau, field: Field, t: Time, h: Time, y: State, params: PyTree
) -> State:
    """`advance` with its stages in a loop: slower to run, but `field` is compiled once."""
    used = tableau.stages - tableau.fsal
    rows = np.zeros((used, used))
    for i, row in enumerate(tableau.a[: used - 1]):
        rows[i + 1, : len(row)] = row

    def shifted(weights: Array, ks: State) -> State:
        total = jax.tree.map(lambda k: jnp.tensordot(weights.astype(k.dtype), k, axes=1), ks)
        return jax.tree.map(lambda y, k: y + spread(h, k) * k, y, total)

    def stage(i: Array, ks: State) -> State:
        c = jnp.asarray(tableau.c[:used], t.dtype)[i]
        k = field(t + c * h, shifted(jnp.asarray(rows)[i], ks), params)
        return jax.tree.map(lambda ks, k: ks.at[i].set(k), ks, k)

    ks = jax.tree.map(lambda y: jnp.zeros((used, *y.shape), y.dtype), y)
    return shifted(jnp.asarray(tableau.b[:used]), lax.fori_loop(0, used, stage, ks))


def interpolation(
    tableau: Tableau, t: Time, h: Time, y: State, y1: State, ks: Sequence[State], at: Time
) -> State:
    """The dense output at time `at` of the step of size `h` that starts at `t`.

    Args:
        tableau: of the method.
        t: where the step starts.
        h: its size.
        y: the state at its start.
        y1: the state at its end.
        ks: its stages, as `stages` finds them.
        at: the time of the output, within the step.

    Returns:
        The state there.
    """
    # Counted from the start of the step, so that the dtype of the state is fine enough for it.
    wide = lambda x: x.astype(wider(x.dtype, jnp.float32))
    k = jax.tree.map(lambda *k: jnp.stack([wide(spread(h, ki) * ki) for ki in k]), *ks)

    def one(h: Array, y0: State, y1: State, k: State, since: Array) -> State:
        dtype = jax.tree.leaves(k)[0].dtype
        ends = {"t0": jnp.zeros((), dtype), "t1": h.astype(dtype)}
        dense = tableau.dense(**ends, y0=jax.tree.map(wide, y0), y1=jax.tree.map(wide, y1), k=k)
        value = dense.evaluate(since.astype(dtype))
        return jax.tree.map(lambda x, y: x.astype(y.dtype), value, y0)

    each = one if t.ndim == 0 else jax.vmap(one, in_axes=(0, 0, 0, 1, 0))
    return each(h, y, y1, k, at - t)

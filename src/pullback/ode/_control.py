"""Step-size control: the error norm, the PID controller and the first step."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from pullback._traced import Program, traced

from ._complex import sizes

Norm = Callable[[PyTree], Float[Array, ""]]


def rms_norm(x: PyTree[Float[Array, "..."]]) -> Float[Array, ""]:
    """The root mean square over every entry of every leaf of `x`.

    Example:
        >>> import jax.numpy as jnp
        >>> float(rms_norm((jnp.array([3.0, 3.0]), jnp.array([3.0]))))
        3.0
    """
    leaves = [leaf for leaf in jax.tree.leaves(x) if leaf.size]
    if not leaves:
        return jnp.zeros(())
    total = sum(jnp.sum(jnp.square(leaf)) for leaf in leaves)
    return jnp.sqrt(total / sum(leaf.size for leaf in leaves))


def state_norm(x: tuple[PyTree, PyTree]) -> Float[Array, ""]:
    """The error norm of a state `(y, extra)` that looks at `y` alone.

    What rides along (a log-density, a penalty) is a pure integral of `y`, so its error need not
    shorten the steps. Pass it as `solve(..., norm=state_norm)`.
    """
    return rms_norm(x[0])


class TracedNorm(eqx.Module):
    """A norm of the user's own, and the arrays that it reads, which may change."""

    consts: list[Array]
    program: Program = eqx.field(static=True)

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        """The norm."""
        return self.program(self.consts, x)


def trace_norm(norm: Norm, y: PyTree) -> Norm:
    """`norm` for states like `y`, of those numbers that it reads now."""
    if norm in (rms_norm, state_norm):
        return norm
    consts, program = traced("norm", norm, y, same_as=norm)
    described = jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", program.out)
    if described not in ("float16[]", "bfloat16[]", "float32[]", "float64[]"):
        raise ValueError(f"norm must return one floating number, got {described}")
    return TracedNorm(lax.stop_gradient(consts), program)


class PIDController(eqx.Module):
    r"""Proportional-integral-derivative control of the step size.

    With `e_n` the error of step `n` over the tolerance (accepted when `e_n <= 1`), and `q` the
    order of the method, the next step is longer by the factor

    $$ s \, e_n^{-(k_P + k_I + k_D)/q} \, e_{n-1}^{(k_P + 2 k_D)/q} \, e_{n-2}^{-k_D/q} $$

    clipped to `[factormin, factormax]`. The default is the plain integral controller. Mildly stiff
    problems do well with `PIDController(pcoeff=0.4, icoeff=0.3)`.

    Attributes:
        pcoeff: $k_P$.
        icoeff: $k_I$.
        dcoeff: $k_D$.
        safety: $s$.
        factormin: by what a step shrinks at most.
        factormax: by what it grows at most.
        dtmin: the shortest step that is tried, in the units of `ts`; where it is refused the solve
            fails, as `STEP_UNDERFLOW`. No step is passed that misses its tolerance, as Diffrax does
            unless told `force_dtmin=False`. One that ends at a jump or at the last time may be
            shorter.
        dtmax: the longest step; one that ends at a jump or at the last time may be 1 % longer.

    Source: Hairer, Norsett and Wanner, Solving ODEs II, section IV.2; Soederlind, ACM Trans. Math.
    Softw. 29 (2003).

    Example:
        >>> import pullback as pb
        >>> pb.ode.PIDController(pcoeff=0.4, icoeff=0.3).safety
        0.9
    """

    pcoeff: float = 0.0
    icoeff: float = 1.0
    dcoeff: float = 0.0
    safety: float = 0.9
    factormin: float = 0.2
    factormax: float = 10.0
    dtmin: float | None = None
    dtmax: float | None = None

    def __check_init__(self) -> None:
        for name in ("dtmin", "dtmax"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and value > 0):
                raise ValueError(
                    f"PIDController({name}=...) must be a positive number or None, got {value!r}"
                )
        if self.dtmin is not None and self.dtmax is not None and self.dtmin > self.dtmax:
            raise ValueError(
                f"PIDController(dtmin={self.dtmin}, dtmax={self.dtmax}): the shortest step must "
                "not be longer than the longest"
            )

    def limited(self, h: Float[Array, "*lanes"]) -> Float[Array, "*lanes"]:
        """The step `h`, of either sign, not longer than `dtmax` nor shorter than `dtmin`."""
        if self.dtmin is None and self.dtmax is None:
            return h
        high = None if self.dtmax is None else jnp.asarray(self.dtmax, h.dtype)
        low = jnp.zeros((), h.dtype) if self.dtmin is None else jnp.asarray(self.dtmin, h.dtype)
        return jnp.sign(h) * jnp.clip(jnp.abs(h), low, high)

    def factor(
        self,
        order: int,
        error: Float[Array, "*lanes"],
        previous: Float[Array, "*lanes"],
        before: Float[Array, "*lanes"],
        accept: Array,
    ) -> Float[Array, "*lanes"]:
        """By how much to change the step, from the errors of the last three steps."""
        # A perfect step would make the memory terms 0 * inf.
        error = jnp.maximum(error, 1e-10)
        factor = self.safety * error ** (-(self.pcoeff + self.icoeff + self.dcoeff) / order)
        if self.pcoeff or self.dcoeff:
            factor = factor * previous ** ((self.pcoeff + 2 * self.dcoeff) / order)
        if self.dcoeff:
            factor = factor * before ** (-self.dcoeff / order)
        # An error that is not finite shrinks the step as far as one rejection may.
        factor = jnp.where(jnp.isfinite(error), factor, self.factormin)
        # A step that was refused must not be tried again at the same size.
        return jnp.clip(factor, self.factormin, jnp.where(accept, self.factormax, self.safety))


def scaled(error: PyTree, y0: PyTree, y1: PyTree, rtol: PyTree, atol: PyTree) -> PyTree:
    """The error of each entry over its tolerance, `error / (atol + rtol max(|y0|, |y1|))`.

    Tolerances are one number, or trees like the state. Of complex entries, which are pairs, the
    modulus counts.
    """

    def one(e: Array, a: Array, b: Array, rtol: Array = rtol, atol: Array = atol) -> Array:
        tolerance = atol.astype(e.dtype) + rtol.astype(e.dtype) * jnp.maximum(
            jnp.abs(a), jnp.abs(b)
        )
        return e / tolerance

    error, y0, y1 = sizes(error), sizes(y0), sizes(y1)
    if isinstance(rtol, Array) and isinstance(atol, Array):
        return jax.tree.map(one, error, y0, y1)
    like = lambda x: jax.tree.map(lambda _: x, error) if isinstance(x, Array) else x
    return jax.tree.map(one, error, y0, y1, like(rtol), like(atol))


def first_step(
    field: Callable,
    lane_norm: Callable[[PyTree], Float[Array, "*lanes"]],
    spread: Callable[[Array, Array], Array],
    order: int,
    t: Float[Array, "*lanes"],
    t1: Float[Array, "*lanes"],
    y: PyTree,
    f0: PyTree,
    params: PyTree,
    rtol: Array,
    atol: Array,
) -> Float[Array, "*lanes"]:
    """A first step by the rule of Hairer, Norsett and Wanner (Solving ODEs I, section II.4)."""
    weigh = lambda x: scaled(x, y, y, rtol, atol)
    d0, d1 = lane_norm(weigh(y)), lane_norm(weigh(f0))
    tiny = (d0 < 1e-5) | (d1 < 1e-5)
    h0 = jnp.where(tiny, 1e-6, 0.01 * d0 / jnp.where(tiny, 1.0, d1)).astype(t.dtype)
    h0 = jnp.minimum(h0, jnp.abs(t1 - t))
    direction = jnp.sign(t1 - t)
    step = direction * h0
    y1 = jax.tree.map(lambda a, b: a + spread(step, a) * b, y, f0)
    f1 = field(t + step, y1, params)
    safe = jnp.where(h0 > 0, h0, 1.0)
    d2 = lane_norm(weigh(jax.tree.map(jnp.subtract, f1, f0))).astype(t.dtype) / safe
    largest = jnp.maximum(d1.astype(t.dtype), d2)
    flat = largest <= 1e-15
    h1 = jnp.where(
        flat,
        jnp.maximum(1e-6, h0 * 1e-3),
        (0.01 / jnp.where(flat, 1.0, largest)) ** (1 / order),
    )
    # A probe that was not finite says nothing: start small and let the controller find out.
    h = jnp.where(jnp.isfinite(d2), jnp.minimum(100 * h0, h1), 1e-3 * h0)
    return direction * jnp.minimum(h, jnp.abs(t1 - t))

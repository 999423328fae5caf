"""What a recurrent state does between two observations."""

import abc
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

# The bare step: a whole solve has a derivative rule of its own, which under a caller's `vmap` holds
# a gradient of the parameters for every series.
from pullback.ode import advance, tableau_of


class AbstractTransition(eqx.Module):
    """How a hidden state moves from one time to another, forwards or backwards."""

    @abc.abstractmethod
    def __call__(
        self, h: Float[Array, " size"], t0: Float[Array, ""], t1: Float[Array, ""]
    ) -> Float[Array, " size"]:
        """The state at `t1` of one that is `h` at `t0`; equal times return `h`."""


class PiecewiseConstant(AbstractTransition):
    r"""A state that stands still: $h(t_1) = h(t_0)$.

    Example:
        >>> import jax.numpy as jnp
        >>> PiecewiseConstant()(jnp.array([2.0]), jnp.array(0.0), jnp.array(3.0)).tolist()
        [2.0]
    """

    def __call__(
        self, h: Float[Array, " size"], t0: Float[Array, ""], t1: Float[Array, ""]
    ) -> Float[Array, " size"]:
        return h


class Decay(AbstractTransition):
    r"""A state that fades: $h(t_1) = h(t_0)\, e^{-\tau |t_1 - t_0|}$ with $\tau > 0$ learned.

    Attributes:
        raw: each rate is `softplus(raw)`, per unit of time.

    Example:
        >>> import jax.numpy as jnp
        >>> decay = Decay(jnp.array([0.5413]))  # softplus(0.5413) = 1
        >>> print(f"{decay(jnp.array([2.0]), jnp.array(0.0), jnp.array(1.0))[0]:.3f}")
        0.736

    Source: RNN-Decay in Rubanova et al., arXiv 1907.03907, section 2.
    """

    raw: Float[Array, " size"]

    def __call__(
        self, h: Float[Array, " size"], t0: Float[Array, ""], t1: Float[Array, ""]
    ) -> Float[Array, " size"]:
        return h * jnp.exp(-jax.nn.softplus(self.raw) * jnp.abs(t1 - t0).astype(h.dtype))


class ODETransition(AbstractTransition):
    r"""A state that follows a learned ODE $dh/dt = f(h)$, in a fixed number of steps for each gap.

    A gap $\Delta$ is crossed in `steps` equal steps of size $\Delta / \mathrm{steps}$, so short
    gaps get short steps. The error of a gap is of order $(\Delta / \mathrm{steps})^{p + 1}$ for a
    method of order $p$ (3 for the default), and by as much may the result differ when an empty time
    is put inside the gap. One Euler step a gap, as in the paper's code, differs visibly.

    Attributes:
        field: the vector field `f(t, h, args)`; `args` is None.
        steps: steps for each gap.
        solver: an explicit Runge-Kutta method of Diffrax's.

    Raises:
        ValueError: `steps` is below 1, or `solver` is not an explicit method.

    Example:
        >>> import jax.numpy as jnp
        >>> transition = ODETransition(lambda t, h, args: -h, steps=4)
        >>> print(f"{transition(jnp.array([1.0]), jnp.array(0.0), jnp.array(1.0))[0]:.3f}")
        0.368

    Source: Rubanova et al., arXiv 1907.03907, section 3.1.
    """

    field: Callable[[Array, PyTree, PyTree], PyTree]
    steps: int = eqx.field(default=2, static=True)
    solver: diffrax.AbstractSolver = eqx.field(default=diffrax.Bosh3(), static=True)

    def __check_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"`steps` must be 1 or more, got {self.steps}.")
        if tableau_of(self.solver) is None:
            raise ValueError(f"`solver` must be an explicit Runge-Kutta method, got {self.solver}.")

    def __call__(
        self, h: Float[Array, " size"], t0: Float[Array, ""], t1: Float[Array, ""]
    ) -> Float[Array, " size"]:
        tableau: Any = tableau_of(self.solver)  # checked on construction
        step = (t1 - t0) / self.steps

        def one(h: Array, number: Array) -> tuple[Array, None]:
            t = t0 + number.astype(t0.dtype) * step
            return advance(tableau, self.field, t, step, h, None), None

        if self.steps == 1:
            return one(h, jnp.zeros((), t0.dtype))[0]
        return jax.lax.scan(one, h, jnp.arange(self.steps))[0]

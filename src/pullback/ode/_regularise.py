"""Penalties that ride along a solve and keep the learned dynamics easy to solve."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from pullback.calculus import total_derivatives


class AbstractPenalty(eqx.Module):
    """A rate that is integrated along the solution."""

    @abc.abstractmethod
    def __call__(
        self, f: Callable, t: Float[Array, ""], y: PyTree, args: PyTree, dy: PyTree
    ) -> Float[Array, ""]:
        """The rate at `(t, y)`, where `dy = f(t, y, args)` is already known."""


class KineticEnergy(AbstractPenalty):
    r"""The mean square of the velocity, $\frac1D \|f(t, y)\|^2$: the K = 1 case of `TaylorEnergy`.

    Source: Finlay et al., How to Train Your Neural ODE (2020), equation 5.
    """

    def __call__(
        self, f: Callable, t: Float[Array, ""], y: PyTree, args: PyTree, dy: PyTree
    ) -> Float[Array, ""]:
        """The rate at `(t, y)`."""
        return _mean_square(dy)


class JacobianNorm(AbstractPenalty):
    r"""An estimate of the mean square of the Jacobian along a probe.

    $$ \tfrac1D \|\epsilon^\top \partial f/\partial y\|^2 $$

    Its expectation over probes of zero mean and unit variance is
    $\frac1D \|\partial f/\partial y\|_F^2$. The probe is held fixed for the whole solve: one drawn
    anew at each evaluation would make the right-hand side rough, and the steps tiny.

    Attributes:
        probe: what the Jacobian is multiplied with, shaped like `y`.

    Source: Finlay et al., How to Train Your Neural ODE (2020), equation 8.
    """

    probe: PyTree

    def __call__(
        self, f: Callable, t: Float[Array, ""], y: PyTree, args: PyTree, dy: PyTree
    ) -> Float[Array, ""]:
        """The rate at `(t, y)`."""
        _, pull = jax.vjp(lambda y: f(t, y, args), y)
        return _mean_square(pull(self.probe)[0])


class TaylorEnergy(AbstractPenalty):
    r"""The mean square of the K-th total derivative of the solution, $\frac1D \|d^K y / dt^K\|^2$.

    An adaptive method of order m takes steps that the (m+1)-th derivative limits, so trajectories
    whose high derivatives are small need few evaluations. The mean is over all entries of the
    state: against a sum, the weight in the loss differs by D.

    Attributes:
        order: K, at least 1.
        method: how the derivative is found, as in `pb.calculus.total_derivatives`.

    Source: Kelly et al., Learning Differential Equations that are Easy to Solve (2020), equation 1.
    """

    order: int = 2
    method: str = "auto"

    def __check_init__(self) -> None:
        if self.order < 1:
            raise ValueError(f"TaylorEnergy(order=...) must be at least 1, got {self.order}")

    def __call__(
        self, f: Callable, t: Float[Array, ""], y: PyTree, args: PyTree, dy: PyTree
    ) -> Float[Array, ""]:
        """The rate at `(t, y)`."""
        rates = total_derivatives(f, t, y, args, self.order, method=self.method)
        return _mean_square(rates[-1])


class Regularised(eqx.Module):
    r"""A vector field with penalties that are integrated along its solution.

    The state is `(y, penalties)`, and each penalty grows at its rate.

    Solve it with `norm=pb.ode.state_norm`, so that the penalties do not shorten the steps, and read
    the integrals from the second part of the state. With joint steps a penalty is the mean over the
    whole batch; with steps per sample, start from `jax.vmap(field.start)(y0)`.

    The integral is one by the weights of the method. Where one of them is below 0, as of Dopri5 and
    of Tsit5, training on long steps finds it out: the dynamics grow rough where that weight is, and
    the integral of a square falls below 0. Take steps so short that the integral is right, or a
    method without such a weight, for instance `Bosh3()`.

    Attributes:
        f: the vector field `f(t, y, args)`.
        penalties: the rates to integrate.

    Example:
        >>> import jax.numpy as jnp, pullback as pb
        >>> f = pb.ode.Regularised(lambda t, y, args: y, (pb.ode.KineticEnergy(),))
        >>> sol = pb.ode.solve(
        ...     f, f.start(jnp.ones(3)), [0.0, 1.0], rtol=1e-6, norm=pb.ode.state_norm
        ... )
        >>> y, (energy,) = sol.ys
        >>> bool(abs(energy[-1] - (jnp.exp(2.0) - 1) / 2) < 1e-4)
        True

    Source: Kelly et al. (2020), section 3; Finlay et al. (2020), section 3.
    """

    f: Callable
    penalties: tuple[AbstractPenalty, ...]

    def start(self, y0: PyTree) -> tuple[PyTree, tuple[Float[Array, ""], ...]]:
        """The state at the start: `y0`, and zero for every penalty."""
        zero = jnp.zeros((), jax.tree.leaves(y0)[0].dtype)
        return y0, (zero,) * len(self.penalties)

    def __call__(self, t: Float[Array, ""], state: tuple, args: PyTree) -> tuple:
        """The velocity of the state and the rate of each penalty."""
        y, _ = state
        dy = self.f(t, y, args)
        return dy, tuple(penalty(self.f, t, y, args, dy) for penalty in self.penalties)


def _mean_square(x: PyTree) -> Float[Array, ""]:
    leaves = jax.tree.leaves(x)
    total = sum(jnp.sum(jnp.square(leaf)) for leaf in leaves)
    return jnp.asarray(total / sum(leaf.size for leaf in leaves))

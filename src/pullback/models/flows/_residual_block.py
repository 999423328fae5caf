"""The invertible residual block."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import optimistix as optx
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._power_method import size_of
from pullback.calculus import AbstractLogDet, ExactLogDet
from pullback.nn import bounded, lipschitz_bound

from ._bijection import AbstractBijection, FixedPointSolver, InverseInfo

_DENSE = 128  # up to which the gradient of an inverse solves with a dense matrix


class ResidualBlock(AbstractBijection):
    r"""A residual block with an inverse: $y = x + g(x)$ with $\mathrm{Lip}(g) < 1$.

    Or $y = x + g(x, c)$ with a context c, on which g may depend in any way: the bound is in x
    alone. The inverse is the one fixed point of $x = y - g(x)$. Plain iteration converges at least
    as $L^n$, and the log-determinant lies within $d \ln(1 - L)$ and $d \ln(1 + L)$. Gradients go
    through the inverse by the implicit function theorem, not through its iterations.

    Args:
        net: g, a map of one example that keeps its shape. Its layers keep the bound, such as
            `pb.nn.LipschitzMLP`. A net whose bound is not known to the library is taken on trust:
            an inverse that does not converge says so.
        log_det: how the log-determinant is found.
        takes_context: g is called as `net(x, context)`, such as `ContextMLP`.

    Raises:
        ValueError: the bound of `net` is known and 1 or more; when called, a context is missing.

    Example:
        >>> import jax, jax.numpy as jnp, optimistix as optx, pullback as pb
        >>> block = ResidualBlock(pb.nn.LipschitzMLP(2, 8, 2, bound=0.9, key=jax.random.key(0)))
        >>> y, log_det = block.forward_and_log_det(jnp.ones(2))
        >>> x, info = block.inverse(y, optx.FixedPointIteration(1e-6, 1e-6), 100)
        >>> bool(jnp.allclose(x, 1, atol=1e-5)), bool(info.converged)
        (True, True)

    Source: Behrmann et al., Invertible Residual Networks, arXiv 1811.00995, section 2; Chen et al.,
        Residual Flows for Invertible Generative Modeling, arXiv 1906.02735.
    """

    net: Callable[..., Any]
    log_det: AbstractLogDet
    takes_context: bool = eqx.field(static=True)

    def __init__(
        self,
        net: Callable[..., Any],
        *,
        log_det: AbstractLogDet | None = None,
        takes_context: bool = False,
    ):
        bound = lipschitz_bound(net)
        if 1 <= bound < math.inf:
            raise ValueError(
                f"`net` has the Lipschitz bound {bound:.3g}, and a residual block has an inverse "
                "for sure only below 1. Give its layers bounds whose product is below 1."
            )
        self.net = net
        self.log_det = ExactLogDet() if log_det is None else log_det
        self.takes_context = takes_context

    def _bounded(self, context: Array | None) -> Callable[[Any], Any]:
        """g of one context, with its bounds applied."""
        net = bounded(self.net)
        if not self.takes_context:
            return net
        if context is None:
            raise ValueError(
                "`context` is missing, on which a residual block depends: give the flow a "
                "`context_shape`, and each of its methods a `context`."
            )
        return _AtContext(net, context)

    def forward_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        key: PRNGKeyArray | None = None,
        shared: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        """$x + g(x)$ and $\\ln\\det(I + \\partial g / \\partial x)$."""
        stop = None if shared is None else self.log_det.draw(key=shared)
        g, log_det = self.log_det(self._bounded(context), x, key=key, stop=stop)
        return x + g, log_det

    def inverse(
        self,
        y: Float[Array, "..."],
        solver: FixedPointSolver,
        max_steps: int,
        *,
        context: Float[Array, "..."] | None = None,
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """The fixed point of $x = y - g(x)$, from $x = y$ on."""
        small = y.size <= _DENSE
        eps = float(jnp.finfo(y.dtype).eps)
        linear = lx.AutoLinearSolver(well_posed=True) if small else lx.GMRES(10 * eps, 10 * eps)
        net = self._bounded(context)
        arrays, static = eqx.partition(net, eqx.is_array)
        # A solver's tolerances are absolute, and far out they would be below what rounding leaves.
        scale = jnp.maximum(size_of(y) / 16, 1)

        def onto(scaled: Array, args: Any) -> Array:
            y, scale, arrays = args
            return (y - eqx.combine(arrays, static)(scale * scaled)) / scale

        # Optimistix mixes dtypes of its own.
        with jax.numpy_dtype_promotion("standard"):
            found = optx.fixed_point(
                onto,
                solver,
                y / scale,
                args=(y, scale, arrays),
                max_steps=max_steps,
                throw=False,
                adjoint=optx.ImplicitAdjoint(linear_solver=linear),
            )
        x = scale * found.value
        residual = jnp.max(jnp.abs(x + net(x) - y))
        converged = (found.result == optx.RESULTS.successful) & jnp.isfinite(residual)
        return x, InverseInfo(converged, residual, jnp.asarray(found.stats["num_steps"]))

    def initialise(
        self, x: Float[Array, "batch ..."], *, context: Float[Array, "batch ..."] | None = None
    ) -> tuple[AbstractBijection, Float[Array, "batch ..."]]:
        """Nothing of it depends on the data."""
        return self, x + jax.vmap(lambda x, c: self._bounded(c)(x))(x, context)


class _AtContext(eqx.Module):
    net: Callable[..., Any]
    context: Array

    def __call__(self, x: Array) -> Array:
        return self.net(x, self.context)


def with_log_det(tree: Any, log_det: AbstractLogDet) -> Any:
    """A copy of a flow, or of any PyTree, whose residual blocks find log-determinants another way.

    Train by an estimate and measure exactly, or with more terms.

    Args:
        tree: where the blocks are.
        log_det: the method for all of them.

    Example:
        >>> import jax, pullback as pb
        >>> from pullback.calculus import ExactLogDet, RouletteLogDet
        >>> net = pb.nn.LipschitzMLP(2, 8, 2, bound=0.9, key=jax.random.key(0))
        >>> block = ResidualBlock(net, log_det=RouletteLogDet())
        >>> with_log_det(block, ExactLogDet()).log_det
        ExactLogDet()
    """

    def change(node: Any) -> Any:
        if isinstance(node, ResidualBlock):
            return eqx.tree_at(lambda block: block.log_det, node, log_det)
        return node

    return jax.tree.map(change, tree, is_leaf=lambda node: isinstance(node, ResidualBlock))

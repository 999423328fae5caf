"""Weights that move in depth: the approximate posterior over them, beside its prior."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree, ScalarLike

from pullback import ode, sde
from pullback._inputs import positive, time_like
from pullback._key import checked_key
from pullback.nn import ConcatSquashLinear

from ._priors import AbstractWeightPrior

PathDistribution = Literal["posterior", "prior"]
KL = Literal["analytic", "monte_carlo", "sticking_the_landing"]


class BottleneckDrift(eqx.Module):
    """A drift of many weights through few units, so that its size is linear in their number.

        layer(h, t) = (W h + b) * sigmoid(a t + c) + d t

    from `dim` to each of `widths` and back to `dim`, with the activation between layers. The last
    layer starts at zero.

    Args:
        dim: how many weights there are.
        widths: sizes of the hidden layers.
        activation: function of an array, between the layers.
        dtype: of the parameters; JAX's default float if None.
        key: for the parameters.

    Raises:
        ValueError: a size is below 1, or `y` is not of shape `[dim]`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> drift = BottleneckDrift(500, (2, 64, 2), key=jax.random.key(0))
        >>> bool((drift(0.5, jnp.ones(500)) == 0).all())
        True

    Source: Xu et al., arXiv 2102.06559, section 5, and the drift `2-64-2` of its code.
    """

    layers: tuple[ConcatSquashLinear, ...]
    activation: Callable[[Any], Any] = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        widths: Sequence[int] = (2, 64, 2),
        *,
        activation: Callable[[Any], Any] = jnp.tanh,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(dim=dim, **{f"widths[{i}]": width for i, width in enumerate(widths)})
        sizes = [dim, *widths, dim]
        last = len(widths)
        self.layers = tuple(
            ConcatSquashLinear(sizes[i], sizes[i + 1], zero=i == last, dtype=dtype, key=layer_key)
            for i, layer_key in enumerate(jr.split(key, last + 1))
        )
        self.activation = activation

    def __call__(
        self, t: ScalarLike, y: Float[Array, " dim"], args: Any = None
    ) -> Float[Array, " dim"]:
        """The drift at the weights `y` and time `t`; `args` is ignored."""
        t = time_like(t, y, (self.layers[0].weight.shape[1],))
        for layer in self.layers[:-1]:
            y = self.activation(layer(t, y))
        return self.layers[-1](t, y)


class WeightPaths(NamedTuple):
    """Paths of the weights.

    Attributes:
        weights: at the times asked for, `[T, paths, weights]`.
        kl: from the prior, gathered up to each time, in nats, `[T, paths]`; zero where none was
            asked for.
        solution: the solve.
    """

    weights: Float[Array, "T paths weights"]
    kl: Float[Array, "T paths"]
    solution: sde.Solution


class WeightProcess(eqx.Module):
    r"""The approximate posterior of a process of weights: its prior with another drift.

    $$ dw = \big(h(t, w) + g_\phi(t, w)\big)\,dt + \sigma\,dB, \qquad w_0 \text{ learned} $$

    Only the difference $g_\phi$ to the prior's drift is learned. Both distributions start at the
    same $w_0$ and have the same $\sigma$, so the KL between them is finite.

    Args:
        start: the first weights, `[weights]`.
        prior: the process before there are data.
        correction: `g(t, w, args)` for weights of shape `[weights]`; `args` is None.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.models.bayes import BottleneckDrift, OUPrior
        >>> process = WeightProcess(
        ...     jnp.ones(3), OUPrior(sigma=0.2), BottleneckDrift(3, key=jax.random.key(0))
        ... )
        >>> paths = process.sample([0.0, 0.5, 1.0], paths=100, key=jax.random.key(1))
        >>> paths.weights.shape, float(paths.kl[-1].max())
        ((3, 100, 3), 0.0)

    Source: Xu et al., arXiv 2102.06559, section 3.
    """

    start: Float[Array, " weights"]
    prior: AbstractWeightPrior
    correction: Callable[[Any, Any, Any], Any]

    def prior_drift(
        self, t: ScalarLike, weights: Float[Array, "*paths weights"], args: PyTree = None
    ) -> Float[Array, "*paths weights"]:
        """The drift of the prior; `args` is ignored."""
        return self.prior.drift(t, weights)

    def drift(
        self, t: ScalarLike, weights: Float[Array, "*paths weights"], args: PyTree = None
    ) -> Float[Array, "*paths weights"]:
        """The drift of the posterior; `args` is ignored."""
        correction = lambda w: self.correction(t, w, None)
        for _ in weights.shape[:-1]:
            correction = jax.vmap(correction)
        return self.prior.drift(t, weights) + correction(weights)

    def diffusion(
        self, t: ScalarLike, weights: Float[Array, "*paths weights"], args: PyTree = None
    ) -> Float[Array, "*paths weights"]:
        """The diffusion of both; `t` and `args` are ignored."""
        return self.prior.diffusion(weights)

    def sample(
        self,
        ts: Float[ArrayLike, "..."] | list | tuple,
        *,
        paths: int,
        start: Float[Array, "paths weights"] | None = None,
        distribution: PathDistribution = "posterior",
        kl: KL | None = "sticking_the_landing",
        solver: diffrax.AbstractSolver | None = None,
        steps: int = 20,
        adjoint: ode.Replay | sde.StochasticAdjoint | None = None,
        throw: bool = True,
        key: PRNGKeyArray,
    ) -> WeightPaths:
        """Paths of the weights, with the KL from the prior along each.

        Args:
            ts: the times at which the weights are wanted, from the first on.
            paths: how many.
            start: a start for each path, in place of the learned one.
            distribution: whose paths.
            kl: the form of the KL, see `pullback.sde.solve`; None for none.
            solver: `diffrax.Euler()` when None.
            steps: equal steps between two successive times.
            adjoint: how a gradient goes back; `pullback.ode.Replay()` when None.
            throw: raise if the solve fails.
            key: for the noise.

        Returns:
            The paths, and their KL.

        Raises:
            ValueError: an argument does not fit.
            SolveError: the solve failed and `throw` is True.
        """
        key = checked_key(key)
        positive(paths=paths)
        if start is None:
            start = jnp.broadcast_to(self.start[None], (paths, *self.start.shape))
        solution = sde.solve(
            self.drift_of(distribution),
            self.diffusion,
            start,
            ts,
            key=key,
            solver=diffrax.Euler() if solver is None else solver,
            noise="additive",
            steps=steps,
            adjoint=adjoint,
            prior=None if kl is None else self.prior_drift,
            kl="analytic" if kl is None else kl,
            throw=throw,
        )
        gathered = solution.kl
        if gathered is None:
            gathered = jnp.zeros(solution.ys.shape[:-1], solution.ys.dtype)
        return WeightPaths(solution.ys, gathered, solution)

    def drift_of(self, distribution: str) -> Callable[..., Array]:
        """The drift of one of the two distributions.

        Raises:
            ValueError: `distribution` is neither.
        """
        if distribution not in ("posterior", "prior"):
            raise ValueError(
                f"`distribution` must be 'posterior' or 'prior', got {distribution!r}."
            )
        return self.drift if distribution == "posterior" else self.prior_drift

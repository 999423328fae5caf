"""A layer whose features follow an ODE, driven by weights that follow an SDE."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from pullback import ode, sde
from pullback._inputs import positive
from pullback._key import checked_key

from ._priors import AbstractWeightPrior
from ._weight_process import KL, BottleneckDrift, PathDistribution, WeightProcess


class BlockOutput(NamedTuple):
    """What a block makes of a batch.

    Attributes:
        features: at the end of the block, `[paths, batch, ...]`.
        kl: of the weights' posterior from their prior along each path, in nats, `[paths]`; zero
            where none was asked for. With weights per example it is the mean over the batch.
        solution: the solve; its `ys` hold `features` and `weights`.
    """

    features: Float[Array, "paths batch ..."]
    kl: Float[Array, " paths"]
    solution: sde.Solution


class SDEBNNBlock(eqx.Module):
    r"""A layer of infinite depth with random weights, from depth 0 to 1.

    $$ dh = f(t, h; w_t)\,dt, \qquad dw = \big(h_p(t, w) + g_\phi(t, w)\big)\,dt + \sigma\,dB $$

    The features have no noise of their own; that of the weights reaches them.

    Args:
        process: the weights' posterior and prior.
        field: the vector field `f(t, y, args)` of one example. Of its arrays the shapes are used
            alone: the process gives their values, all in one vector.
        steps: equal steps from 0 to 1.
        solver: a Diffrax solver for SDEs, of either kind, as the noise is additive;
            `diffrax.Euler()` when None.
        adjoint: how a gradient goes back; `pullback.ode.Replay()` when None, or
            `pullback.sde.StochasticAdjoint()`, whose memory does not grow with the steps.

    Raises:
        ValueError: the process has another number of weights than the field.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.models.bayes import OUPrior, sde_bnn_block
        >>> from pullback.nn import ConcatMLP
        >>> field = ConcatMLP(4, width=8, depth=1, key=jax.random.key(0))
        >>> block = sde_bnn_block(field, OUPrior(sigma=0.1), key=jax.random.key(1))
        >>> out = block(jnp.ones((6, 5, 4)), key=jax.random.key(2))
        >>> out.features.shape, out.kl.shape
        ((6, 5, 4), (6,))

    Source: Xu et al., Infinitely Deep Bayesian Neural Networks with Stochastic Differential
    Equations (arXiv 2102.06559), section 3.
    """

    process: WeightProcess
    skeleton: Any
    steps: int = eqx.field(static=True)
    solver: diffrax.AbstractSolver | None
    adjoint: ode.Replay | sde.StochasticAdjoint | None

    def __init__(
        self,
        process: WeightProcess,
        field: Callable[[Any, Any, Any], Any],
        *,
        steps: int = 20,
        solver: diffrax.AbstractSolver | None = None,
        adjoint: ode.Replay | sde.StochasticAdjoint | None = None,
    ):
        positive(steps=steps)
        self.process = process
        self.skeleton = jax.tree.map(
            lambda leaf: _shape(leaf) if eqx.is_inexact_array(leaf) else leaf, field
        )
        self.steps = steps
        self.solver = solver
        self.adjoint = adjoint
        got, want = process.start.shape[0], sum(map(_size, _shapes(self.skeleton)))
        if got != want:
            raise ValueError(f"`process` must have the field's {want} weights, got {got}.")

    def __call__(
        self,
        features: Float[Array, "paths batch ..."],
        *,
        distribution: PathDistribution = "posterior",
        kl: KL | None = "sticking_the_landing",
        per_example: bool = False,
        solver: diffrax.AbstractSolver | None = None,
        steps: int | None = None,
        rtol: float | None = None,
        atol: float | None = None,
        throw: bool = True,
        key: PRNGKeyArray,
    ) -> BlockOutput:
        """Carry features from depth 0 to 1, with a path of the weights for each leading entry.

        Args:
            features: the input, once for each path.
            distribution: whose weights: "posterior" or "prior".
            kl: the form of the KL, see `pullback.sde.solve`; None for none.
            per_example: a path of the weights for each example, too.
            solver: replaces the block's own; with tolerances, `diffrax.Heun()`.
            steps: replaces the block's own.
            rtol: relative tolerance, for steps that adapt.
            atol: absolute tolerance, likewise.
            throw: raise if the solve fails. If False, look at `solution.result`.
            key: for the noise.

        Raises:
            ValueError: an argument does not fit.
            SolveError: the solve failed, and `throw` is True.
        """
        key = checked_key(key)
        own = self.process
        if steps is None and rtol is None and atol is None:
            steps = self.steps
        if solver is None:
            default = diffrax.Euler() if steps is not None else diffrax.Heun()
            solver = default if steps is None or self.solver is None else self.solver
        drift = own.drift_of(distribution)
        leading = features.shape[: 2 if per_example else 1]
        start = jnp.broadcast_to(
            jnp.expand_dims(own.start, range(len(leading))), (*leading, *own.start.shape)
        )

        def both(t: Array, state: dict[str, Array], args: PyTree) -> dict[str, Array]:
            return {
                "features": self.velocity(t, state["features"], state["weights"]),
                "weights": drift(t, state["weights"]),
            }

        solution = sde.solve(
            both,
            lambda t, state, args: {
                "features": None,
                "weights": own.diffusion(t, state["weights"]),
            },
            {"features": features, "weights": start},
            [0.0, 1.0],
            key=key,
            solver=solver,
            noise="additive",
            steps=steps,
            rtol=rtol,
            atol=atol,
            adjoint=self.adjoint,
            prior=None
            if kl is None
            else lambda t, state, args: {
                "features": None,
                "weights": own.prior_drift(t, state["weights"]),
            },
            kl="analytic" if kl is None else kl,
            throw=throw,
        )
        ends = jnp.zeros(leading, features.dtype) if solution.kl is None else solution.kl[-1]
        return BlockOutput(
            solution.ys["features"][-1],
            jnp.mean(ends, axis=tuple(range(1, ends.ndim))),
            solution,
        )

    def field_at(self, weights: Float[Array, " weights"]) -> Any:
        """The vector field of one example that has these weights."""
        ends = np.cumsum([_size(shape) for shape in _shapes(self.skeleton)])
        parts = iter(jnp.split(weights, ends[:-1]))
        return jax.tree.map(
            lambda leaf: next(parts).reshape(leaf.shape) if _is_shape(leaf) else leaf,
            self.skeleton,
        )

    def velocity(
        self,
        t: Array,
        features: Float[Array, "paths batch ..."],
        weights: Float[Array, "paths *batch weights"],
    ) -> Float[Array, "paths batch ..."]:
        """The velocity of the features where the weights have these values."""

        def of_path(features: Array, weights: Array) -> Array:
            one = lambda h, w: self.field_at(w)(t, h, None)
            return jax.vmap(one, in_axes=(0, None if weights.ndim == 1 else 0))(features, weights)

        return jax.vmap(of_path)(features, weights)


def sde_bnn_block(
    field: Callable[[Any, Any, Any], Any],
    prior: AbstractWeightPrior,
    *,
    bottleneck: Sequence[int] = (2, 64, 2),
    steps: int = 20,
    solver: diffrax.AbstractSolver | None = None,
    adjoint: ode.Replay | sde.StochasticAdjoint | None = None,
    key: PRNGKeyArray,
) -> SDEBNNBlock:
    """A block that starts as the prior, from the weights that `field` has.

    Args:
        field: the vector field `f(t, y, args)` of one example, such as `pullback.nn.ConcatMLP`.
        prior: of its weights.
        bottleneck: hidden sizes of the correction to the prior's drift.
        steps, solver, adjoint: as in `SDEBNNBlock`.
        key: for the correction.

    Raises:
        ValueError: the field has no weights, or a size is below 1.
    """
    key = checked_key(key)
    start = weights_of(field)
    correction = BottleneckDrift(start.shape[0], bottleneck, dtype=start.dtype, key=key)
    process = WeightProcess(start, prior, correction)
    return SDEBNNBlock(process, field, steps=steps, solver=solver, adjoint=adjoint)


def weights_of(field: PyTree) -> Float[Array, " weights"]:
    """All floating arrays of a field, in one vector.

    Raises:
        ValueError: there are none.
    """
    leaves = jax.tree.leaves(eqx.filter(field, eqx.is_inexact_array))
    if not leaves:
        raise ValueError("`field` must hold floating arrays, the weights; it has none.")
    return jnp.concatenate([leaf.ravel() for leaf in leaves])


def _shape(leaf: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def _is_shape(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)


def _shapes(skeleton: PyTree) -> list[jax.ShapeDtypeStruct]:
    return [leaf for leaf in jax.tree.leaves(skeleton) if _is_shape(leaf)]


def _size(shape: jax.ShapeDtypeStruct) -> int:
    return int(np.prod(shape.shape))

"""An equation with noise that is learned from snapshots alone, by Fokker-Planck's equation."""

from dataclasses import dataclass
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback import sde
from pullback.analysis.samples import two_sample_auroc
from pullback.bounds import NormalMixture
from pullback.calculus import fokker_planck_objective
from pullback.nn import HollowNet, TwoSidedConditioner
from pullback.recipes._kit.checks import check_above_zero
from pullback.recipes._kit.stack import made
from pullback.runs import Context
from pullback.train import fit

_SNAPSHOTS = 11  # from time 0 to 1
_DIM = 2


@dataclass(frozen=True)
class Sizes:
    """How much is seen, and how long is learned."""

    paths: int = 2000
    """Paths of which a place is seen at each snapshot; which place is of which path is not."""
    held_out: int = 500
    """Ends of other paths, and as many that are simulated by what was learned."""
    components: int = 6
    """Normals of which the density at a time is a mixture."""
    equation_width: int = 32
    """Size of the hidden layers of the nets of the density and of the equation."""
    equation_steps: int = 2000
    """Training steps of the density, and again of the equation."""
    points: int = 256
    """Points in one of these steps, at times of their own."""

    def __post_init__(self):
        check_above_zero(self)


class MovingMixture(eqx.Module):
    """A mixture of normals whose parameters are a net of the time."""

    net: eqx.nn.MLP
    family: NormalMixture

    def __init__(self, components: int, width: int, *, key: PRNGKeyArray):
        self.family = NormalMixture(components, _DIM)
        self.net = eqx.nn.MLP(1, components * (1 + 2 * _DIM), width, 2, jnp.tanh, key=key)

    def at(self, t: Array) -> Any:
        return self.family(self.net(t[None]).reshape(self.family.shape))

    def log_prob(self, t: Array, x: Array) -> Array:
        return self.at(t).log_prob(x)


class Squared(eqx.Module):
    """The exponential of a hollow net, with the dimension-wise derivatives of it."""

    net: HollowNet

    def __call__(self, t: Any, x: Array, args: Any = None) -> Array:
        return jnp.exp(self.net(t, x))

    def with_diagonal(self, t: Any, x: Array, args: Any = None, *, order: int) -> tuple:
        u, du, d2u = self.net.with_diagonal(t, x, order=2)
        g = jnp.exp(u)
        return (g, g * du, g * (d2u + du**2))[: order + 1]


class Equation(eqx.Module):
    """dx = f dt + g dW, with f and log g^2 hollow nets."""

    drift: HollowNet
    squared: Squared

    def __init__(self, width: int, *, key: PRNGKeyArray):
        def net(key: PRNGKeyArray) -> HollowNet:
            one, two = jr.split(key)
            return HollowNet(TwoSidedConditioner(_DIM, 8, width, key=one), width, key=two)

        first, second = jr.split(key)
        self.drift, self.squared = net(first), Squared(net(second))


class FokkerPlanckPenalty(eqx.Module):
    """What an equation does not explain of how the density moves, at points where that is."""

    density: MovingMixture
    points: int = eqx.field(static=True)

    def __call__(self, equation: Equation, batch: None, *, key: PRNGKeyArray) -> tuple:
        times, places = jr.split(key)
        density = self.density
        ts = jr.uniform(times, (self.points,))
        xs = jax.vmap(lambda t, key: density.at(t).sample(key))(ts, jr.split(places, self.points))
        return fokker_planck_objective(
            density.log_prob, equation.drift, equation.squared, ts, xs
        ), {}


class TrueEquation(eqx.Module):
    """Two wells along the first axis, with noise that grows outwards; the second follows."""

    def drift(self, t: Any, x: Array) -> Array:
        return jnp.stack([3 * (x[0] - x[0] ** 3), 2 * (x[0] ** 2 - x[1])])

    def squared(self, t: Any, x: Array) -> Array:
        return 0.1 + 0.2 * x**2


def start(count: int, key: PRNGKeyArray) -> Float[Array, "n 2"]:
    return 0.3 * jr.normal(key, (count, _DIM))


@eqx.filter_jit
def simulated(equation: Any, start: Array, key: PRNGKeyArray) -> Float[Array, "time n 2"]:
    """Where paths are at each snapshot, by 20 Euler-Maruyama steps between two."""
    return sde.solve(
        lambda t, x, args: jax.vmap(lambda x: equation.drift(t, x))(x),
        lambda t, x, args: jnp.sqrt(jax.vmap(lambda x: equation.squared(t, x))(x)),
        start, np.linspace(0, 1, _SNAPSHOTS), key=key, solver=diffrax.Euler(), steps=20,
        throw=False,
    ).ys  # fmt: skip


def density_loss(density: MovingMixture, batch: tuple, *, key: PRNGKeyArray) -> tuple:
    return -jnp.mean(jax.vmap(density.log_prob)(*batch)), {}


def learn(sizes: Sizes, context: Context, number: int, seed: int) -> Equation:
    """A density of the snapshots, and the equation that moves as it does."""
    paths_key, start_key, density_key, model_key, *keys = jr.split(jr.key(seed), 6)
    xs = simulated(TrueEquation(), start(sizes.paths, start_key), paths_key)
    ts = jnp.repeat(jnp.linspace(0, 1, _SNAPSHOTS), sizes.paths)
    steps = {
        "optimiser": optax.adam(optax.cosine_decay_schedule(3e-3, sizes.equation_steps)),
        "steps": sizes.equation_steps,
    }
    density, info = fit(
        made(MovingMixture, sizes.components, sizes.equation_width, key=density_key), density_loss,
        (ts, xs.reshape(-1, _DIM)), batch_size=min(sizes.points, len(ts)), **steps,
        **context.training(f"density-{number}"), key=keys[0],
    )  # fmt: skip
    context.log(info.lines(), part="density", number=number)
    equation, info = fit(
        made(Equation, sizes.equation_width, key=model_key),
        FokkerPlanckPenalty(density, sizes.points),
        **steps, **context.training(f"equation-{number}"), key=keys[1],
    )  # fmt: skip
    context.log(info.lines(), part="equation", number=number)
    return equation


def compare(sizes: Sizes, equation: Equation, seed: int) -> dict[str, Any]:
    """What the learned equation makes of held-out starts, beside what the true one does.

    The rival is the normal of the ends' mean and covariance, as the best linear equation has it.
    """
    start_key, *keys, forest = jr.split(jr.key(seed + 1), 5)
    starts = start(2 * sizes.held_out, start_key)
    real = np.asarray(simulated(TrueEquation(), starts[: sizes.held_out], keys[0]))
    ours = np.asarray(simulated(equation, starts[sizes.held_out :], keys[1]))
    rng = np.random.default_rng(seed)
    normal = rng.multivariate_normal(real[-1].mean(0), np.cov(real[-1].T), sizes.held_out)
    again = np.asarray(simulated(TrueEquation(), starts[sizes.held_out :], keys[2]))[-1]
    told = lambda rows: float(two_sample_auroc(real[-1], rows, key=forest).auroc)
    x = jnp.asarray(real[-1])
    ratio = jax.vmap(lambda x: equation.squared(1.0, x) / TrueEquation().squared(1.0, x))(x)
    return {
        "real": real,
        "learned": ours,
        "auroc": {"learned": told(ours[-1]), "normal": told(normal), "true": told(again)},
        "noise": float(jnp.exp(jnp.mean(jnp.abs(jnp.log(ratio))))),
    }

"""Two models of walks that differ in the noise along their paths alone, and how they are fitted."""

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from pullback import ode
from pullback.models import timeseries as ts

SDE, ODE = "latent SDE", "latent ODE"
Kind = Literal["latent SDE", "latent ODE"]
FRAMES = 3  # that a model sees of a walk
_LATENT, _CONTEXT, _HIDDEN = 6, 3, 30
_LOSSES: dict[str, Any] = {SDE: ts.LatentSDELoss, ODE: ts.LatentODELoss}
_FRAME = 0.1  # a step of a walk is then some units of time long


class _Steering(eqx.Module):
    """The control: a net of the state and of a context of the first frames; at first zero."""

    context: eqx.nn.Linear
    net: eqx.nn.MLP

    def __init__(self, *, key: PRNGKeyArray):
        context_key, key = jr.split(key)
        self.context = eqx.nn.Linear(_HIDDEN, _CONTEXT, key=context_key)
        net = eqx.nn.MLP(_LATENT + _CONTEXT, _LATENT, _HIDDEN, 1, jax.nn.softplus, key=key)
        last = jax.tree.map(jnp.zeros_like, net.layers[-1])
        self.net = eqx.tree_at(lambda n: n.layers[-1], net, last)

    def __call__(self, t: Array, z: Array, hidden: Array) -> Array:
        return self.net(jnp.concatenate([z, self.context(jax.nn.softplus(hidden))]))


class _Posterior(eqx.Module):
    """The latent ODE's encoder: that of the latent SDE, without a context."""

    frames: ts.FirstFramesContext
    start: Callable[..., Array]

    def __call__(
        self, times: Array, values: Array, mask: Array, *, anchor: str = "first"
    ) -> ts.Posterior:
        mean, raw = jnp.split(self.start(self.frames(times, values, mask).values[0]), 2)
        return ts.Posterior(mean, jax.nn.softplus(raw) + 1e-6)


class _Field(eqx.Module):
    """The latent ODE's vector field: a net of the state."""

    net: eqx.nn.MLP

    def __call__(self, t: Any, z: Array, args: None) -> Array:
        return self.net(z)


def untrained(
    kind: Kind, angles: int, steps: int, *, key: PRNGKeyArray
) -> ts.LatentSDE | ts.LatentODE:
    """A model of the paper's sizes, with one deviation that all angles share."""
    keys = jr.split(key, 5)
    frames = ts.FirstFramesContext(
        angles, frames=FRAMES, context=_HIDDEN, width=_HIDDEN, key=keys[0]
    )
    head = eqx.nn.Linear(_HIDDEN, 2 * _LATENT, key=keys[1])
    start = eqx.nn.Sequential([eqx.nn.Lambda(jax.nn.softplus), head])
    decoder = eqx.nn.MLP(_LATENT, angles, _HIDDEN, 2, jax.nn.softplus, key=keys[2])
    likelihood = ts.Normal(0.3, variables=1)
    if kind == ODE:
        net = eqx.nn.MLP(_LATENT, _LATENT, _HIDDEN, 1, jax.nn.softplus, key=keys[3])
        return ts.LatentODE(
            _Posterior(frames, start), _Field(net), decoder, likelihood,
            solver=ode.Euler(), steps=steps,
        )  # fmt: skip
    prior = ts.NeuralPrior(_LATENT, width=_HIDDEN, key=keys[3])
    return ts.LatentSDE(
        frames, start, _Steering(key=keys[4]), prior, decoder, likelihood, steps=steps
    )


def entered(
    walks: Float[Array, "walk frame angle"], starts: Int[Array, " walk"], stride: int
) -> ts.TrainingSeries:
    """Walks from a frame of each on: the first frames, and every so many of what is left."""

    def part(later: Array) -> ts.Observations:
        places = starts[:, None] + later[None, :]
        inside = jnp.minimum(places, walks.shape[1] - 1)
        values = jnp.take_along_axis(walks, inside[:, :, None], axis=1)
        times = jnp.broadcast_to(_FRAME * later, places.shape)
        mask = jnp.broadcast_to((places < walks.shape[1])[:, :, None], values.shape)
        return ts.Observations(times, values, mask)

    return ts.TrainingSeries(part(jnp.arange(FRAMES)), part(jnp.arange(0, walks.shape[1], stride)))


class EnteredWalks(eqx.Module):
    """The bound of walks, each entered at a frame that is drawn anew in each step.

    Attributes:
        latest: the last frame at which a walk may be entered, one for each of several runs.
        kind: of the model.
        weight: of the KL, which rises to it over the first `anneal` steps.
        anneal: in steps.
        stride: frames from one that is scored to the next.
    """

    latest: Int[Array, "*run"]
    kind: Kind = eqx.field(static=True)
    weight: float = eqx.field(static=True)
    anneal: int = eqx.field(static=True)
    stride: int = eqx.field(static=True)

    def __call__(
        self, model: Any, walks: Array, *, step: Shaped[Array, ""] | int, key: PRNGKeyArray
    ) -> tuple[Array, dict[str, Array]]:
        start_key, key = jr.split(key)
        starts = jr.randint(start_key, walks.shape[:1], 0, self.latest + 1)
        beta = self.weight * jnp.minimum((step + 1) / self.anneal, 1.0)
        loss = eqx.tree_at(lambda loss: loss.beta, _LOSSES[self.kind](), beta)
        return loss(model, entered(walks, starts, self.stride), key=key)


def held_out(
    kind: Kind, walks: Array, latest: int, stride: int, count: int
) -> Callable[..., dict[str, Array]]:
    """What a training watches: the square error of walks, each entered at `count` frames."""
    starts = jnp.round(jnp.linspace(0, latest, count)).astype(int)
    entries = entered(jnp.repeat(walks, count, axis=0), jnp.tile(starts, walks.shape[0]), stride)

    def validation(model: Any, *, key: PRNGKeyArray) -> dict[str, Array]:
        return {"loss": _LOSSES[kind]()(model, entries, key=key)[1]["mse"]}

    return validation


def predicted(
    model: Any, walks: Array, stride: int, samples: int, key: PRNGKeyArray
) -> Float[Array, "sample walk frame angle"]:
    """Every angle in the frames after the first, read off between those that the path is of."""
    length = walks.shape[1]
    seen = entered(walks, jnp.zeros(walks.shape[0], int), stride).observed
    knots = jnp.arange(-(-length // stride) + 1)
    times = jnp.broadcast_to(_FRAME * stride * knots, (walks.shape[0], len(knots)))
    paths = ts.sample_paths(model, seen, times, samples=samples, key=key)
    later = jnp.arange(FRAMES, length)
    before, share = later // stride, (later % stride / stride)[None, None, :, None]
    return paths[:, :, before] * (1 - share) + paths[:, :, before + 1] * share

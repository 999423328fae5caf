"""The training step that both rivals take: a latent ODE, its weights, and a batch of series."""

from dataclasses import dataclass

import diffrax
import equinox as eqx
import jax
import jax.random as jr
import numpy as np

from pullback.models import timeseries as ts

RTOL, ATOL, NOISE, LEARNING_RATE = 1e-3, 1e-4, 0.1, 1e-2


@dataclass(frozen=True)
class Size:
    """How many series of how many times and variables, and how large a model."""

    batch: int
    times: int
    variables: int
    latent: int
    encoder: int
    width: int
    depth: int

    def __str__(self) -> str:
        return f"{self.batch} series, {self.times} times, {self.variables} variables"


# The paper's sizes for its sinusoids and for PhysioNet, with fewer times.
SIZES = (Size(50, 30, 1, 10, 20, 100, 1), Size(50, 49, 37, 20, 40, 50, 3))


def model_of(size: Size) -> ts.LatentODE:
    """A latent ODE whose encoder takes one midpoint step a gap, and whose decoder adapts."""
    model = ts.latent_ode(
        size.variables,
        latent=size.latent,
        encoder_size=size.encoder,
        gate_width=size.width,
        width=size.width,
        depth=size.depth,
        likelihood=ts.Normal(NOISE),
        rtol=RTOL,
        atol=ATOL,
        key=jr.key(0),
    )
    # Fresh fields are so flat that one step would cross the window.
    model = eqx.tree_at(
        lambda m: m.field, model, jax.tree.map(_steeper, model.field, is_leaf=eqx.is_array)
    )
    flow = ts.ODETransition(model.encoder.cell.transition.field, steps=1, solver=diffrax.Midpoint())
    return eqx.tree_at(lambda m: m.encoder.cell.transition, model, flow)


def _steeper(weight):
    return 3 * weight if eqx.is_inexact_array(weight) else weight


def batch_of(size: Size) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Times that all series share (torchdiffeq knows no others), values, masks, and noise for z."""
    random = np.random.default_rng(0)
    times = np.sort(random.uniform(0.0, 5.0, size.times)).astype(np.float32)
    shape = (size.batch, size.times, size.variables)
    values = random.normal(size=shape).astype(np.float32)
    mask = random.random(shape) < (1.0 if size.variables == 1 else 0.2)
    noise = random.normal(size=(size.batch, size.latent)).astype(np.float32)
    return times, values, mask, noise

"""Latent ODEs of two days of intensive care, with and without the regulariser."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array

from pullback import data, ode
from pullback.models import timeseries as ts
from pullback.recipes._kit.checks import check_above_zero, check_falling, check_least, check_rising
from pullback.recipes._kit.double import double
from pullback.recipes.taynode import compare, show
from pullback.runs import Claim, Context
from pullback.train import fit

# The length of two days: dynamics of a few turns in it are learned soonest.
_SPAN = 5.0
_HOURS = 48.0
# Of training. Each of its weights is positive: by one of Dopri5 below 0 long steps find integrals
# of squares below 0, and training makes the dynamics as rough there as it can, and overflows.
_SOLVER = diffrax.Bosh3()


@dataclass(frozen=True)
class Config:
    stays: int = 2000
    """Stays to use; 0 is all 8000. A fifth of them is held out."""
    orders: tuple[int, ...] = (3,)
    """The orders K of the derivative that is kept small; each trains models of its own."""
    weights: tuple[float, ...] = (1e4,)
    """The weight of the regulariser R_K in the loss, in nats a stay, one for each order. R_K is a
    mean over the entries of the state, and a stay lasts 5 units of time."""
    seeds: int = 3
    """How many models are trained with each regulariser, and without one, each with stays of its
    own."""
    latent: int = 20
    """Size of the latent state, as in the paper."""
    width: int = 50
    """Size of the field's hidden layers."""
    depth: int = 3
    """Number of the field's hidden layers; 4 in the paper."""
    iterations: int = 400
    """Training steps."""
    batch_size: int = 50
    """Stays in a training step."""
    learning_rate: float = 1e-2
    """Adamax's at the start; it falls to zero along a cosine."""
    noise: float = 0.05
    """Standard deviation of every feature, of a range of 1."""
    bin_minutes: int = 60
    """To what times are rounded."""
    tolerances: tuple[float, ...] = (1e-6, 1.4e-8)
    """Relative and absolute tolerances at which evaluations are counted, falling."""

    def __post_init__(self):
        check_above_zero(self, but=("stays",))
        check_least(self, stays=0)
        check_rising(self, "orders", least=1)
        check_falling(self, "tolerances", count=2, above=0)
        compare.check_weights(self)


def run(config: Config, context: Context) -> list[Claim]:
    """Train models to reconstruct stays, and count what it costs to solve for held-out ones."""
    stays = data.physionet2012(context.data, bin_minutes=config.bin_minutes)
    seeds = context.seeds(config.seeds)
    parts = [_parts(config, stays, seed) for seed in seeds]

    def train(order: int, weight: float, seed: int) -> tuple[ts.LatentODE, float]:
        net_key, fit_key = jr.split(jr.key(seeds[seed]))
        observed = parts[seed][0]
        model, info = fit(
            _model(config, observed.values.shape[-1], net_key),
            ts.LatentODELoss(
                penalties=(ode.TaylorEnergy(order),) if order else (), penalty_weight=weight
            ),
            ts.TrainingSeries(observed),
            optimiser=optax.adamax(
                optax.cosine_decay_schedule(config.learning_rate, config.iterations)
            ),
            steps=config.iterations,
            batch_size=min(config.batch_size, len(observed.times)),
            clip_norm=100.0,
            log_every=max(1, config.iterations // 20),
            **context.training(f"order-{order}-{seed}"),
            key=fit_key,
        )
        return model, compare.seconds_of(info, config.iterations)

    def measure(model: ts.LatentODE, seed: int) -> dict[str, Any]:
        return measured(model, parts[seed][1], config.orders, config.tolerances)

    found, _ = compare.compare(config, context, train, measure)
    score = "held-out squared error x 1e-3"
    show.draw_cost_and_error(context, found, config.tolerances, "error", score)
    show.table_networks(context, found, config.weights, config.tolerances, "error", score)
    context.note(
        f"Latent ODEs of the paper's parts, a recurrent encoder without an ODE among them, of "
        f"{len(parts[0][0].times)} stays, for {config.iterations} steps of {config.batch_size}. "
        f"An evaluation is one of the field for {len(parts[0][1].times)} held-out stays, from the "
        "means of their posteriors through two days as one system, in float64 with adaptive "
        "Dopri5. Squared errors are of every value observed, of a range of 1 a feature."
    )
    return _claims(config, found)


def _parts(
    config: Config, stays: data.IrregularSeries, seed: int
) -> tuple[ts.Observations, ts.Observations]:
    """Stays to train on, and held-out ones: features between 0 and 1, and times up to `_SPAN`."""
    chosen = np.random.default_rng(seed).permutation(np.flatnonzero(stays.counts > 0))
    chosen = np.sort(chosen[: config.stays or None])
    train, _, test = stays.take(chosen).split(validation=0.0, test=0.2, seed=seed)
    seen = train.mask.any(axis=(0, 1))
    names = [*np.array(train.variables)[seen]]
    both, scaler = data.rescale_series(train.select(names), test.select(names), method="min-max")
    first, last = float(scaler.times.mean), float(scaler.times.scale)
    in_span = lambda times: np.clip((first + last * times) / _HOURS, 0.0, 1.0) * _SPAN
    train, test = (
        ts.observations(each._replace(times=in_span(each.times)), window=(0.0, _SPAN))
        for each in both
    )
    return train, test


@eqx.filter_jit
def _model(config: Config, variables: int, key: jax.Array) -> ts.LatentODE:
    model = ts.latent_ode(
        variables,
        latent=config.latent,
        encoder="rnn",
        encoder_size=40,
        width=config.width,
        depth=config.depth,
        likelihood=ts.Normal(config.noise),
        key=key,
    )
    # R_K is found in the backward pass alone, as in the paper's code.
    return dataclasses.replace(model, solver=_SOLVER, adjoint=ode.DeferredPenalty())


def measured(
    model: ts.LatentODE,
    test: ts.Observations,
    orders: tuple[int, ...],
    tolerances: tuple[float, ...],
) -> dict[str, Any]:
    """Cost, squared error and regularisers of one model."""
    error, penalties, start = _scores(dataclasses.replace(model, adjoint=None), test, orders)
    with jax.enable_x64(True):
        field, start = double(model.field), double(start)
        nfe = [
            int(compare.evaluations(field, start, _SPAN, jnp.asarray(each))) for each in tolerances
        ]
    return {
        "nfe": nfe,
        "error": 1e3 * float(error),
        **{f"R_{order}": float(each) for order, each in zip(orders, penalties, strict=True)},
    }


@eqx.filter_jit
def _scores(
    model: ts.LatentODE, test: ts.Observations, orders: tuple[int, ...]
) -> tuple[Array, list[Array], Array]:
    penalties = tuple(ode.TaylorEnergy(order) for order in orders)
    found = model.elbo_terms(test, penalties=penalties, samples=3, key=jr.key(0))
    squares = jnp.sum(found.squared_error)
    error = squares / jnp.sum(test.mask, dtype=squares.dtype)
    return error, [jnp.mean(each) for each in found.penalties], found.posterior.mean


def _claims(config: Config, found: compare.Found) -> list[Claim]:
    last = config.orders[-1]
    plain = np.mean([row["error"] for row in found[0]])
    return [
        compare.fewer_evaluations(
            "Time series, PhysioNet", found, last, config.tolerances[-1], at_least=1.3
        ),
        Claim.over_seeds(
            "Stays are reconstructed nearly as well: held-out squared error with "
            f"R_{last} over that without",
            compare.over_plain(found, last, lambda row: row["error"]),
            at_most=1.1,
            reference=f"1: the same model trained without, {plain:.2f} x 1e-3",
        ),
        Claim.over_seeds(
            f"R_{last} of held-out stays, over that of the model trained without it",
            compare.over_plain(found, last, lambda row: row[f"R_{last}"]),
            at_most=0.2,
            reference="1: the same model trained without",
        ),
    ]


PRESETS = {
    "smoke": Config(
        stays=60, seeds=1, latent=2, width=8, depth=1, iterations=2, batch_size=20,
        tolerances=(1e-2, 1e-3),
    ),
    "desk": Config(),
    "paper": Config(
        stays=0, weights=(1e-2,), depth=4, iterations=12_800, bin_minutes=6
    ),
}  # fmt: skip

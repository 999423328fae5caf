"""FFJORD (arXiv 1810.01367): continuous normalising flows learn the density of points.

Two toys in the plane, about which everything can be known; or, with `--data my.csv`, a table of the
user's own.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.linalg import expm
from jaxtyping import Float

from pullback import data
from pullback.calculus import HutchinsonDivergence
from pullback.models.flows import CNF
from pullback.recipes._kit.gaussian import fitted_gaussian, gaussian
from pullback.recipes.cnf import show
from pullback.recipes.cnf.models import (
    Config,
    Divergence,
    Trained,
    log_prob,
    mass,
    mass_claim,
    plane,
    round_trip,
    round_trip_claims,
    train_flow,
)
from pullback.runs import Claim, Context
from pullback.sampling import StandardNormal

_HALF_WIDTH = 3.0  # of the pictures, in standard deviations of the data
_TIMES = (0.0, 0.25, 0.5, 0.75, 1.0)


def run(config: Config, context: Context) -> list[Claim]:
    """Train the flows, and measure what is claimed of them."""
    seeds = context.seeds(config.seeds)
    moons = [_moons(config, seed) for seed in seeds]
    eights = [_eight_gaussians(config, seed) for seed in seeds]

    def trained(name: str, toys: list[_Toy], divergence: Divergence) -> list[Trained]:
        return [
            train_flow(config, context, f"{name}-{i}", toy.train, seed, divergence=divergence)
            for i, (seed, toy) in enumerate(zip(seeds, toys, strict=True))
        ]

    exact = trained("moons-exact", moons, "exact")
    noisy = trained("moons-hutchinson", moons, "hutchinson")
    eight = trained("eight-gaussians", eights, config.divergence)

    scores = [
        context.stage(
            f"scores-{i}", _scores, config, seeds[i], moons[i], exact[i].flow, noisy[i].flow,
            eights[i], eight[i].flow,
        )
        for i in range(config.seeds)
    ]  # fmt: skip
    first = [("two moons", moons[0], exact[0].flow), ("eight Gaussians", eights[0], eight[0].flow)]
    context.stage("pictures", _draw, config, context, first)
    show.training_curves(
        context,
        [
            ("exact", [t.history for t in exact], [s["exact"] for s in scores]),
            ("Hutchinson", [t.history for t in noisy], [s["hutchinson"] for s in scores]),
        ],
    )
    _table(context, scores)
    return _claims(config, context.stage("linear", _linear_flow_error), scores)


class _Toy(NamedTuple):
    """Standardised points, and what was divided by."""

    train: Float[np.ndarray, "n 2"]
    test: Float[np.ndarray, "m 2"]
    scaler: data.Scaler


def _moons(config: Config, seed: int) -> _Toy:
    return _toy(
        config, data.two_moons(config.points + config.held_out, noise=config.noise, seed=seed).x
    )


def _eight_gaussians(config: Config, seed: int) -> _Toy:
    return _toy(config, data.eight_gaussians(config.points + config.held_out, seed=seed).x)


def _toy(config: Config, x: Float[np.ndarray, "n 2"]) -> _Toy:
    (train, test), scaler = data.standardise(x[: config.points], x[config.points :])
    return _Toy(train, test, scaler)


def _scores(
    config: Config, seed: int, moons: _Toy, exact: CNF, noisy: CNF, eights: _Toy, eight: CNF
) -> dict[str, float]:
    """What is measured of the three flows of one seed."""
    found = log_prob(exact, moons.test)
    # The same flow and points, scored with one probe a point.
    estimator = dataclasses.replace(exact, divergence=HutchinsonDivergence())
    estimate = log_prob(estimator, moons.test, key=jr.key(seed))
    truth = data.eight_gaussians_log_prob(eights.test * eights.scaler.scale + eights.scaler.mean)
    learned = log_prob(eight, eights.test) - np.sum(np.log(eights.scaler.scale))
    return {
        "exact": -float(found.mean()),
        "hutchinson": -float(log_prob(noisy, moons.test).mean()),
        "gaussian": -float(fitted_gaussian(moons.train, moons.test).mean()),
        "bias": float((estimate - found).mean()),
        "noise": float((estimate - found).std(ddof=1)),
        "mass": mass(exact, config.grid),
        "eight": -float(learned.mean()),
        "eight_gap": float((truth - learned).mean()),
        **round_trip(exact, moons.test),
    }


def _linear_flow_error() -> float:
    """The largest error of the log-density of dz/dt = A z, in float64."""
    x = np.random.default_rng(0).normal(size=(256, 2))
    with jax.enable_x64(True):
        matrix = jnp.array([[-0.3, 0.8], [-0.5, 0.2]])
        flow = CNF(lambda t, z, args: matrix @ z, StandardNormal(2), rtol=1e-9, atol=1e-9)
        found, end = np.asarray(flow.log_prob(jnp.asarray(x))), np.asarray(expm(matrix))
    return float(np.max(np.abs(found - gaussian(x, end @ end.T))))


def _draw(config: Config, context: Context, first: Sequence[tuple[str, _Toy, CNF]]) -> None:
    grid, side = plane(config.grid, _HALF_WIDTH), (config.grid, config.grid)
    in_time, beside = [], []
    for name, toy, flow in first:
        # The flow stopped at a time is a flow.
        stopped = [dataclasses.replace(flow, t1=t) for t in _TIMES]
        densities = np.stack([np.exp(log_prob(f, grid)).reshape(side) for f in stopped])
        start = flow.base.sample(jr.key(0), (2000,))
        paths = np.asarray(flow.trajectory(start, jnp.asarray(_TIMES)))
        in_time.append((name, densities, paths[:250]))
        beside.append((name, toy.test[:2000], densities[-1], paths[:, -1]))
    show.flow_in_time(context, _TIMES, in_time, _HALF_WIDTH)
    show.densities_beside_data(context, beside, _HALF_WIDTH)


def _table(context: Context, scores: Sequence[dict[str, float]]) -> None:
    for number, row in enumerate(scores):
        context.metrics({"number": number, **row})
    context.table(
        "scores",
        ["", *(f"flow {number + 1}" for number in range(len(scores)))],
        [[text, *(row[name] for row in scores)] for name, text in _ROWS.items()],
        "Held-out scores in nats, one column a seed. The two moons are scored in standard "
        "deviations, the eight Gaussians in their own units.",
    )


_ROWS = {
    "exact": "two moons, trained with the exact trace",
    "hutchinson": "two moons, trained with Hutchinson's trace",
    "gaussian": "two moons, fitted Gaussian",
    "eight": "eight Gaussians",
    "eight_gap": "eight Gaussians, above the true density",
    "mass": "two moons, mass of the density",
    "round_trip": "two moons, round trip of points over tolerance",
    "log_det": "two moons, round trip of log-determinants",
}


def _claims(config: Config, linear: float, scores: Sequence[dict[str, Any]]) -> list[Claim]:
    def each(name: str) -> list[float]:
        return [row[name] for row in scores]

    gain = [row["gaussian"] - row["exact"] for row in scores]
    behind = [row["hutchinson"] - row["exact"] for row in scores]
    gaussian = float(np.mean(each("gaussian")))
    # The mean over all seeds and points, over its standard error.
    standard_error = np.sqrt(np.sum(np.square(each("noise"))) / config.held_out)
    bias = float(abs(np.sum(each("bias"))) / standard_error)
    return [
        Claim(
            "The log-density of a linear flow is the Gaussian's (largest error, float64)",
            value=linear,
            at_most=1e-7,
            unit="nats",
            reference="closed form: N(0, E E^T), E = exp(A)",
        ),
        mass_claim(each("mass"), at_most=1e-3),
        Claim.over_seeds(
            "Held-out negative log-likelihood of the two moons",
            each("exact"),
            at_most=1.71,
            unit="nats",
            reference="1.66 by the same experiment in plain Diffrax, plus 0.05",
        ),
        Claim.over_seeds(
            f"A flow beats a fitted Gaussian ({gaussian:.3f} nats) on the two moons by",
            gain,
            at_least=1.0,
            unit="nats",
            reference="a Gaussian with full covariance on the same points",
        ),
        Claim.over_seeds(
            "On eight Gaussians the flow comes near the true density (held-out divergence)",
            each("eight_gap"),
            at_most=0.05,
            unit="nats",
            reference="the density that the points were drawn from; no model gets below 0",
        ),
        *round_trip_claims(scores),
        Claim(
            "Log-densities by Hutchinson's estimate are right on average (mean error over its "
            "standard error)",
            value=bias,
            at_most=4,
            seeds=len(scores),
            reference="exact trace, same flows and points; four standard errors",
        ),
        Claim.over_seeds(
            "Training with Hutchinson's estimate loses little against the exact trace",
            behind,
            at_most=0.03,
            unit="nats",
            reference="the same flows trained with the exact trace, scored exactly",
        ),
    ]


PRESETS = {
    "smoke": Config(
        points=256, held_out=256, width=16, solver_steps=2, iterations=100, seeds=2, grid=41
    ),
    "desk": Config(),
    "paper": Config(
        points=100_000,
        held_out=20_000,
        field="concatsquash",
        activation="softplus",
        depth=3,
        solver_steps=0,
        iterations=10_000,
        batch_size=512,
        learning_rate=1e-3,
    ),
}

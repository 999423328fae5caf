"""FFJORD (arXiv 1810.01367): continuous normalising flows learn the density of points.

Two toys in the plane, about which everything can be known; or, with `--data my.csv`, a table of the
user's own.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Float

from pullback import data
from pullback.calculus import HutchinsonDivergence
from pullback.models.flows import CNF
from pullback.recipes._kit.gaussian import fitted_gaussian
from pullback.recipes.cnf import show
from pullback.recipes.cnf.models import (
    BATCH,
    Config,
    Divergence,
    log_prob,
    trace_costs,
    train_flow,
)
from pullback.runs import Claim, Context, Headline

_HALF_WIDTH = 3.0  # of the pictures, in standard deviations of the data
_TIMES = (0.0, 0.25, 0.5, 0.75, 1.0)


def run(config: Config, context: Context) -> list[Claim]:
    """Train the flows, and measure what is claimed of them."""
    seeds, number = context.seeds(config.seeds), config.points + config.held_out
    moons = [_toy(config, data.two_moons(number, noise=config.noise, seed=s).x) for s in seeds]
    eights = [_toy(config, data.eight_gaussians(number, seed=seed).x) for seed in seeds]

    def trained(name: str, toys: list[_Toy], divergence: Divergence) -> tuple[list[Any], ...]:
        pairs = [
            train_flow(config, context, f"{name}-{i}", toy.train, seed, divergence=divergence)
            for i, (seed, toy) in enumerate(zip(seeds, toys, strict=True))
        ]
        return tuple(map(list, zip(*pairs, strict=True)))

    exact, exact_lines = trained("moons-exact", moons, "exact")
    noisy, noisy_lines = trained("moons-hutchinson", moons, "hutchinson")
    eight, _ = trained("eight-gaussians", eights, config.divergence)
    scores = [
        context.stage(f"scores-{i}", _scores, *parts)
        for i, parts in enumerate(zip(seeds, moons, exact, noisy, eights, eight, strict=True))
    ]
    first = {"two moons": exact[0], "eight Gaussians": eight[0]}
    show.flow_in_time(
        context, _TIMES, context.stage("pictures", _in_time, config, first), _HALF_WIDTH
    )
    show.training_curves(
        context,
        [
            ("exact", exact_lines, [row["exact"] for row in scores]),
            ("Hutchinson", noisy_lines, [row["hutchinson"] for row in scores]),
        ],
    )
    context.table(
        "scores",
        ["", *(f"flow {number + 1}" for number in range(len(scores)))],
        [[text, *(row[name] for row in scores)] for name, text in _ROWS.items()],
        "Held-out scores in nats, one column a seed. The two moons are scored in standard "
        "deviations, the eight Gaussians in their own units.",
    )
    costs = context.stage("costs", trace_costs, config)
    return _claims(config, scores, costs)


class _Toy(NamedTuple):
    """Standardised points, and what was divided by."""

    train: Float[np.ndarray, "n 2"]
    test: Float[np.ndarray, "m 2"]
    scaler: data.Scaler


def _toy(config: Config, x: Float[np.ndarray, "n 2"]) -> _Toy:
    (train, test), scaler = data.standardise(x[: config.points], x[config.points :])
    return _Toy(train, test, scaler)


def _scores(
    seed: int, moons: _Toy, exact: CNF, noisy: CNF, eights: _Toy, eight: CNF
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
        "noise": float((estimate - found).std(ddof=1)),
        "eight": -float(learned.mean()),
        "eight_gap": float((truth - learned).mean()),
    }


_ROWS = {
    "exact": "two moons, trained with the exact trace",
    "hutchinson": "two moons, trained with Hutchinson's trace",
    "gaussian": "two moons, fitted Gaussian",
    "noise": "two moons, standard deviation of a point's score by one probe",
    "eight": "eight Gaussians",
    "eight_gap": "eight Gaussians, above the true density",
}


def _in_time(config: Config, flows: dict[str, CNF]) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Of each flow its density on a grid at each time, and the paths of some points."""
    axis = jnp.linspace(-_HALF_WIDTH, _HALF_WIDTH, config.grid)
    grid = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    found = []
    for name, flow in flows.items():
        densities = [jnp.exp(flow.base.log_prob(grid))]
        for time in _TIMES[1:]:
            # The flow stopped at a time is a flow.
            start, log_det = flow.solve(grid, jnp.asarray([time, 0.0]), batch_size=BATCH).ys
            densities.append(jnp.exp(flow.base.log_prob(start[:, -1]) + log_det[:, -1]))
        paths = flow.trajectory(flow.base.sample(jr.key(0), (250,)), jnp.asarray(_TIMES))
        side = (len(_TIMES), config.grid, config.grid)
        found.append((name, np.asarray(densities).reshape(side), np.asarray(paths)))
    return found


def _claims(
    config: Config, scores: Sequence[dict[str, Any]], costs: dict[str, float]
) -> list[Claim]:
    each = {name: np.asarray([row[name] for row in scores]) for name in scores[0]}
    gain = each["gaussian"] - each["exact"]
    return [
        Claim.over_seeds(
            f"A flow beats a fitted Gaussian ({each['gaussian'].mean():.3f} nats) on the two moons "
            "by",
            gain,
            at_least=1.0,
            unit="nats",
            reference="0: a Gaussian with full covariance on the same points",
            headline=Headline(no_effect=0.0),
        ),
        Claim.over_seeds(
            "Training with Hutchinson's estimate loses little of that against the exact trace "
            "(share)",
            (each["hutchinson"] - each["exact"]) / gain,
            at_most=0.03,
            reference="0: the same flows trained with the exact trace, scored exactly; 1: the "
            "Gaussian",
            headline=Headline(no_effect=1.0),
        ),
        Claim(
            f"In {config.cost_dim} dimensions an evaluation with its estimated trace costs a few "
            "without it (ratio of operations)",
            value=costs["hutchinson"] / costs["alone"],
            at_most=4.0,
            reference=f"with its exact trace: {costs['exact'] / costs['alone']:.3g}",
            headline=Headline(no_effect=config.cost_dim),
        ),
        Claim.over_seeds(
            "On eight Gaussians the flow comes near the true density (held-out divergence)",
            each["eight_gap"],
            at_most=0.05,
            unit="nats",
            reference="the density that the points were drawn from; no model gets below 0",
        ),
        Claim.over_seeds(
            "When not to use it: to score single points, Hutchinson's estimate with one probe is "
            "off by (standard deviation)",
            each["noise"],
            at_least=1.0,
            unit="nats",
            reference="the exact trace of the same flows and points: 0",
        ),
    ]


PRESETS = {
    # As many points on the grid as are held out: one program solves for both.
    "smoke": Config(
        points=64, held_out=64, width=8, depth=1, solver_steps=1, tolerance=1e-2, iterations=50,
        batch_size=16, seeds=1, grid=8,
    ),
    "desk": Config(),
    "paper": Config(
        points=100_000, held_out=20_000, field="concatsquash", activation="softplus", depth=3,
        solver_steps=0, iterations=10_000, batch_size=512, learning_rate=1e-3,
    ),
}  # fmt: skip

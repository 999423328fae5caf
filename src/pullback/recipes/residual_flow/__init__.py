"""Residual flows (arXiv 1906.02735): unbiased likelihoods of networks that are free in form.

A flow that is trained on a truncated series learns to exploit what is cut off. The checkerboard in
the plane shows it, because there the exact log-determinant is known.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback import data
from pullback.recipes.residual_flow import measure, show
from pullback.recipes.residual_flow.models import (
    Config,
    methods,
    new_flows,
    restore,
    scores,
    train_toys,
)
from pullback.runs import Claim, Context

_ENTROPY = float(np.log(32))  # of the checkerboard


def run(config: Config, context: Context) -> list[Claim]:
    """Train flows by each way of finding log-determinants, and hold them against the truth."""
    seeds = context.seeds(config.seeds)
    x = data.checkerboard(config.points + config.held_out, seed=context.seed).x
    x = np.asarray(x, np.float32)
    train, test = x[: config.points], x[config.points :]
    found, histories, densities, samples, masses = {}, {}, {}, {}, []
    new = new_flows(config, train, seeds)
    for name, method in methods(config).items():
        stage = name.replace(" ", "-")
        arrays, history = context.stage(
            f"train-{stage}", train_toys, config, new, method, train, seeds, context.progress
        )
        histories[name] = history["loss"]
        flows = restore(new, method, arrays)
        found[name] = context.stage(f"scores-{stage}", scores, flows, test, seeds)
        densities[name], samples[name], mass = context.stage(
            f"plane-{stage}", measure.plane, flows[0], 241, 6.0, context.seed
        )
        masses.append(mass)
        if name == "roulette":
            rows = test[:8]
            unbiased = context.stage(
                "unbiased", measure.unbiased, flows[0], rows, config.ratio, config.draws,
                context.seed,
            )  # fmt: skip
            inverses = context.stage("inverses", measure.inverses, flows[0], test[:2000])
    spread = context.stage("variance", measure.variance, (0.5, 0.9), 200 * config.draws)
    show.draw_gaps(context, found, _ENTROPY)
    show.draw_training(context, histories, _ENTROPY)
    show.draw_densities(context, test, densities, samples)
    show.draw_variance(context, spread)
    _tables(context, found, inverses)
    return _claims(config, found, masses, unbiased, inverses, spread)


def _tables(
    context: Context, found: Mapping[str, Sequence[dict[str, float]]], inverses: Mapping[str, Any]
) -> None:
    mean = lambda rows, key: float(np.mean([row[key] for row in rows]))
    context.table(
        "scores",
        ["log-determinants in training", "own figure", "exact", "gap"],
        [
            [name, mean(rows, "own"), mean(rows, "exact"), mean(rows, "exact") - mean(rows, "own")]
            for name, rows in found.items()
        ],
        f"Held-out nats a point, means over the seeds. The entropy of the data is {_ENTROPY:.3f}.",
    )
    context.table(
        "inverses",
        ["solver", "largest error", "most steps of a block", "points that failed", "ms"],
        [
            [name, row["error"], row["steps"], row["unconverged"], row["milliseconds"]]
            for name, row in inverses.items()
        ],
        "2,000 points to the base and back through the first flow trained by roulette, float32.",
    )


def _claims(
    config: Config,
    found: Mapping[str, Sequence[dict[str, float]]],
    masses: Sequence[float],
    unbiased: Mapping[str, float],
    inverses: Mapping[str, Any],
    spread: Mapping[str, Any],
) -> list[Claim]:
    def each(name: str, key: str) -> np.ndarray:
        return np.asarray([row[key] for row in found[name]])

    gap = {name: each(name, "exact") - each(name, "own") for name in found}
    half = spread["ratios"]["0.5"]
    calm = half["rho"] ** 4 < 0.5**3  # where the variance of the variance is finite
    off = np.abs(half["measured"][calm] / half["exact"][calm] - 1)
    exact = "the exact 2x2 determinant of the same flows and points"
    return [
        Claim(
            "The roulette's log-likelihood is unbiased (error of the mean over its standard error)",
            value=unbiased["value"],
            at_most=4,
            reference=f"exact; {config.draws} draws, four standard errors",
        ),
        Claim(
            f"So is its gradient (the same, the worst of {unbiased['derivatives']} derivatives)",
            value=unbiased["gradient"],
            at_most=4.5,
            reference="exact; 4.5 standard errors, for the largest of so many",
        ),
        Claim(
            "The variance of the roulette is what the closed form says (largest relative error)",
            value=float(off.max()),
            at_most=0.1,
            reference="closed form; geometric of ratio 0.5 where the fourth moment exists",
        ),
        Claim.over_seeds(
            "Trained by roulette, what a flow says of itself is true (gap to the exact figure)",
            np.abs(gap["roulette"]).tolist(),
            at_most=0.1,
            unit="nats",
            reference=exact,
        ),
        Claim.over_seeds(
            "Trained on 4 terms, its own figure is too high by",
            gap["4 terms"].tolist(),
            at_least=0.4,
            unit="nats",
            reference=exact,
        ),
        Claim.over_seeds(
            "Trained on 2 terms, it reports what no density can reach (below the entropy by)",
            (_ENTROPY - each("2 terms", "own")).tolist(),
            at_least=0.5,
            unit="nats",
            reference="entropy of the checkerboard, ln 32",
        ),
        Claim.over_seeds(
            "The roulette costs little against exact training (exact nats, difference)",
            (each("roulette", "exact") - each("exact", "exact")).tolist(),
            at_most=0.1,
            unit="nats",
            reference="the same flows trained with exact log-determinants",
        ),
        Claim.over_seeds(
            "And is better than 4 terms at the same expected cost (exact nats, gain)",
            (each("4 terms", "exact") - each("roulette", "exact")).tolist(),
            at_least=0.05,
            unit="nats",
            reference="the same flows trained on a series of 4 terms",
        ),
        Claim(
            "Every density integrates to 1 (how far the worst is off)",
            value=float(np.max(np.abs(np.asarray(masses) - 1))),
            at_most=1e-2,
            reference="exact: 1; a Riemann sum over a grid",
        ),
        Claim(
            "From the data to the base and back by Newton's method, points return (largest error "
            "of 2,000, float32)",
            value=inverses["Newton"]["error"],
            at_most=1e-5,
            reference="exact: 0",
        ),
        Claim(
            "Every inverse converges, by every solver (points that did not)",
            value=sum(row["unconverged"] for row in inverses.values()),
            at_most=0,
            reference="exact: 0",
        ),
    ]


PRESETS = {
    "smoke": Config(
        points=300, held_out=200, blocks=2, width=6, iterations=20, batch_size=64, seeds=2,
        draws=100,
    ),
    "desk": Config(),
    "paper": Config(
        blocks=100, width=128, bound=0.9, iterations=50_000, batch_size=500,
        learning_rate=1e-3,
    ),
}  # fmt: skip

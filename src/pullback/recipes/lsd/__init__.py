"""LSD (arXiv 2002.05616): test, rank and train densities that are known up to a factor.

A critic is trained to show where a model's score is not the data's. Training without samples and
without normalisers; a ranking of models; tests of fit beside kernel tests, where the learned one
wins, where it loses, and what all of them are blind to.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import binom, spearmanr

from pullback.recipes.lsd import measure, show
from pullback.recipes.lsd.models import Config, train_ica, train_plane
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train, rank and test, and measure what is claimed."""
    seed = context.seed
    ica = context.stage("ica", train_ica, config, context, seed)
    plane = context.stage("plane", train_plane, config, context, seed)
    ranked = context.stage("ranking", measure.ranking, config, ica["truth"], ica["test"], seed)
    laplace = context.stage("laplace", measure.laplace_power, config, seed)
    machine = context.stage("machine", measure.machine_power, config, seed)
    blind = context.stage("blindness", measure.blindness, config, seed)
    show.draw_ica(context, ica["nats"])
    show.draw_plane(context, plane)
    show.draw_power(context, laplace, machine)
    _tables(config, context, ica["nats"], ranked)
    return [
        *_claims_of_training(ica["nats"], plane, ranked),
        *_claims_of_tests(config, laplace, machine, blind),
    ]


def _rates(p: np.ndarray) -> np.ndarray:
    return (p <= 0.05).mean(axis=-1)


def _tables(
    config: Config, context: Context, nats: Mapping[str, np.ndarray],
    ranked: Mapping[str, np.ndarray],
) -> None:  # fmt: skip
    truth = float(nats["truth"][0])
    context.table(
        "ica",
        ["method", "nats a row", "behind the truth"],
        [[name, float(row.mean()), float(row.mean() - truth)] for name, row in nats.items()],
        f"Linear ICA of {config.sources} sources, means over {config.seeds} seeds, on unseen rows.",
    )
    context.table(
        "ranking",
        ["distance from the truth", "nats behind it", "learned discrepancy"],
        [
            [*map(float, row)]
            for row in zip(
                measure.SHIFTS, *(ranked[name].mean(axis=0) for name in ("nats", "learned")),
                strict=True,
            )
        ],
        "Models of the sources, ranked without their normalisers; means over seeds.",
    )  # fmt: skip


def _claims_of_training(
    nats: Mapping[str, np.ndarray], plane: Mapping[str, Any], ranked: Mapping[str, np.ndarray]
) -> list[Claim]:
    ours, best, start = (nats[name] for name in ("LSD", "maximum likelihood", "start"))
    order = [
        np.asarray(spearmanr(a, b)[0]).item()
        for a, b in zip(ranked["learned"], ranked["nats"], strict=True)
    ]
    return [
        Claim.over_seeds(
            "ICA trained by LSD, without a normaliser or a Hessian, ends behind maximum likelihood "
            "by",
            ours - best,
            at_most=0.1,
            unit="nats",
            reference=f"the start is {np.mean(start - best):.2f} nats behind; in so few steps "
            "neither gets to the truth",
        ),
        Claim.over_seeds(
            "ICA trained by LSD ends behind score matching, which takes the Hessian's trace and "
            "its slope, by",
            ours - nats["score matching"],
            at_most=0.0,
            unit="nats",
            reference="0: level, in as many steps of the model",
        ),
        Claim.over_seeds(
            "A density of two moons by LSD is better than the Gaussian of the data by",
            plane["gaussian"] - plane["nats"],
            at_least=0.6,
            unit="nats",
            reference="likelihood of unseen points, normalised on a grid",
        ),
        Claim.over_seeds(
            "Models are ranked as by the likelihood, without their normalisers (rank correlation)",
            order,
            at_least=0.9,
            reference="1: the same order",
        ),
    ]


def _claims_of_tests(
    config: Config, laplace: np.ndarray, machine: np.ndarray, blind: np.ndarray
) -> list[Claim]:
    power, off, seen = _rates(laplace), _rates(machine), _rates(blind)
    most = float(binom.ppf(0.9999, config.repeats, 0.05) / config.repeats)
    return [
        Claim(
            "The learned test sees more often than the kernel test with the median width that all "
            f"{measure.COLUMNS} columns are Laplace and not normal (share of data sets rejected, "
            "difference)",
            value=float(power[0, -1] - power[1, -1]),
            at_least=0.1,
            seeds=config.repeats,
            reference=f"learned {power[0, -1]:.2f}, kernel {power[1, -1]:.2f}",
        ),
        Claim(
            "A model that is right is rejected no more often than chance allows, by any of the "
            "three tests (largest share)",
            value=float(power[:, 0].max()),
            at_most=most,
            seeds=config.repeats,
            reference="level 0.05; 0.9999 quantile of the binomial",
        ),
        Claim(
            "Where it loses: weights of a Boltzmann machine with little noise, which the kernel "
            "test on all points sees more often (share of data sets rejected, difference)",
            value=float(off[1] - off[0]),
            at_least=0.0,
            seeds=config.machine_repeats,
            reference=f"kernel {off[1]:.2f}, learned {off[0]:.2f}",
        ),
        Claim(
            "When not to: wrong weights of modes 8 deviations apart, half a nat of divergence, are "
            "rejected no more often than a right model (share of data sets)",
            value=float(seen[-1]),
            at_most=most,
            seeds=config.repeats,
            reference="of modes "
            + ", ".join(
                f"{apart:g} apart: {share:.2f}"
                for apart, share in zip(measure.SEPARATIONS[:-1], seen, strict=False)
            ),
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1, sources=3, rows=800, steps=10, batch_size=32, width=16, plane_steps=10, repeats=2,
        points=100, test_steps=20, machine_repeats=2, gibbs=5,
    ),
    "desk": Config(),
    "paper": Config(
        seeds=5, sources=50, rows=100_000, steps=100_000, batch_size=1000, width=300,
        learning_rate=1e-3, plane_steps=10_000, repeats=100, test_steps=1000,
        machine_repeats=100, gibbs=2000,
    ),
}  # fmt: skip

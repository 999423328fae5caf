"""LSD (arXiv 2002.05616): test, rank and train densities that are known up to a factor.

A critic is trained to show where a model's score is not the data's. Tests of fit beside kernel
tests, where the learned one wins and where it loses; a ranking of models without normalisers; and
training without samples. With `--data`, a Gaussian and a mixture are fitted to a table of the
user's own, and tested.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import binom, spearmanr

from pullback.recipes.lsd import measure, show
from pullback.recipes.lsd.models import Config, plane_data, train_ica, train_plane
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Test, rank and train, and measure what is claimed."""
    seed = context.seed
    ica = context.stage("ica", train_ica, config, context, seed)
    plane = context.stage("plane", train_plane, config, context, seed)
    laplace = context.stage("laplace", measure.laplace_power, config, seed)["p"]
    machine = context.stage("machine", measure.machine_power, config, seed)["p"]
    ranked = context.stage("ranking", measure.ranking, config, ica, seed)
    blind = context.stage("blindness", measure.blindness, config, seed)
    show.draw_power(context, config.laplace, config.dim, laplace, machine, config.perturbation)
    show.draw_ica(context, ica)
    show.draw_plane(context, plane, plane_data(config, seed)[1][:2000])
    show.draw_ranking(context, ranked)
    show.draw_blindness(context, blind)
    _tables(config, context, ica, laplace, machine)
    return [
        *_claims_of_tests(config, laplace, machine, blind),
        *_claims_of_training(ica, plane),
        *_claims_of_ranking(ranked),
    ]


def _rates(p: np.ndarray) -> np.ndarray:
    return (p <= 0.05).mean(axis=-1)


def _tables(
    config: Config, context: Context, ica: Mapping[str, np.ndarray], laplace: np.ndarray,
    machine: np.ndarray,
) -> None:  # fmt: skip
    power, off = _rates(laplace), _rates(machine)
    context.table(
        "power",
        ["test", *(f"{count} Laplace" for count in config.laplace), "machine"],
        [
            [name, *map(float, power[place]), float(off[place])]
            for place, name in enumerate(measure.TESTS)
        ],
        f"Share of tests that reject at level 0.05: of {config.repeats} data sets of "
        f"{config.points} points in {config.dim} columns, some of them Laplace; and of "
        f"{config.machine_repeats} of a Boltzmann machine of {config.visible} units.",
    )
    truth = float(ica["truth nll"][0])
    for name in ("start", *show.METHODS):
        for number, value in enumerate(ica[f"nll of {name}"]):
            context.metrics({"method": name, "number": number, "nll": float(value)})
    context.table(
        "ica",
        ["method", "nats a row", "behind the truth"],
        [
            [name, float(ica[f"nll of {name}"].mean()), float(ica[f"nll of {name}"].mean() - truth)]
            for name in ("start", *show.METHODS)
        ],
        f"Linear ICA of {config.sources} sources, means over {config.seeds} seeds, on unseen rows; "
        f"the truth has {truth:.3f} nats.",
    )


def _claims_of_tests(
    config: Config, laplace: np.ndarray, machine: np.ndarray, blind: Mapping[str, np.ndarray]
) -> list[Claim]:
    power, off = _rates(laplace), _rates(machine)
    most = lambda sets: float(binom.ppf(0.9999, sets, 0.05) / sets)
    alarms = power[:, 0]
    return [
        Claim(
            f"The learned test sees that {config.laplace[-1]} of {config.dim} columns are "
            "Laplace and not normal (share of data sets rejected)",
            value=float(power[0, -1]),
            at_least=0.45,
            seeds=config.repeats,
            reference="0.88 in plain JAX; 4 binomial standard errors below 0.85",
        ),
        Claim(
            "and the kernel test with the median width sees it less often (difference of shares)",
            value=float(power[0, -1] - power[1, -1]),
            at_least=0.1,
            seeds=config.repeats,
            reference="0.88 against 0.12 in plain JAX",
        ),
        Claim(
            "A model that is right is rejected no more often than chance allows, by any of the "
            "three tests (largest share)",
            value=float(alarms.max()),
            at_most=most(config.repeats),
            seeds=config.repeats,
            reference="level 0.05; 0.9999 quantile of the binomial",
        ),
        Claim(
            "Where it loses: weights of a Boltzmann machine with little noise, which the kernel "
            "test on all points sees more often (difference of shares)",
            value=float(off[1] - off[0]),
            at_least=0.0,
            seeds=config.machine_repeats,
            reference="12 of 12 against 6 of 12 in plain JAX",
        ),
        Claim(
            "When not to: wrong weights of modes 8 deviations apart, half a nat of divergence, are "
            "rejected no more often than a right model",
            value=float(_rates(blind["p"])[-1]),
            at_most=most(blind["p"].shape[1]),
            seeds=blind["p"].shape[1],
            reference=f"scores differ by {blind['fisher'][-1]:.1g} in half the mean square",
        ),
        Claim(
            "The same weights of modes 2 deviations apart are seen (share of data sets rejected)",
            value=float(_rates(blind["p"])[1]),
            at_least=0.7,
            seeds=blind["p"].shape[1],
            reference=f"scores differ by {blind['fisher'][1]:.2g} in half the mean square",
        ),
    ]


def _claims_of_training(ica: Mapping[str, np.ndarray], plane: Mapping[str, Any]) -> list[Claim]:
    ours, best, start = (ica[f"nll of {name}"] for name in ("LSD", "maximum likelihood", "start"))
    return [
        Claim.over_seeds(
            "ICA trained by LSD, without a normaliser or a Hessian, ends behind maximum likelihood "
            "by",
            (ours - best).tolist(),
            at_most=0.1,
            unit="nats",
            reference="0.05 in plain JAX; in so few steps neither gets to the truth",
        ),
        Claim.over_seeds(
            "of what the start was behind, the share that is closed",
            ((start - ours) / (start - best)).tolist(),
            at_least=0.95,
            reference="0.99 in plain JAX",
        ),
        Claim.over_seeds(
            "and behind score matching, which takes the Hessian's trace and its slope, by",
            (ours - ica["nll of score matching"]).tolist(),
            at_most=0.1,
            unit="nats",
            reference="-0.02 in plain JAX",
        ),
        Claim.over_seeds(
            "A density of two moons by LSD is better than the Gaussian of the data by",
            (plane["gaussian"] - plane["nll"]).tolist(),
            at_least=0.5,
            unit="nats",
            reference="likelihood of unseen points, normalised on a grid",
        ),
    ]


def _claims_of_ranking(ranked: Mapping[str, np.ndarray]) -> list[Claim]:
    order = [
        np.asarray(spearmanr(a, b)[0]).item()
        for a, b in zip(ranked["learned"], ranked["nats"], strict=True)
    ]
    far = ranked["exact"] > 0.1
    ratio = [
        float(np.mean(a[keep] / b[keep]))
        for a, b, keep in zip(ranked["learned"], ranked["exact"], far, strict=True)
    ]
    return [
        Claim.over_seeds(
            "Models are ranked as by the likelihood, without their normalisers (rank correlation)",
            order,
            at_least=0.85,
            reference="1: the same order",
        ),
        Claim.over_seeds(
            "The learned discrepancy is that of the best critic, where that is above 0.1 (mean "
            "ratio)",
            ratio,
            at_least=0.6,
            at_most=1.2,
            reference="1: half the mean squared gap of the known scores",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=2, sources=3, rows=800, steps=30, batch_size=64, width=16, plane_steps=20,
        repeats=2, points=200, dim=3, laplace=(0, 3), test_steps=20, visible=4, hidden=3,
        machine_repeats=2, gibbs=20,
    ),
    "desk": Config(),
    "paper": Config(
        seeds=5, sources=50, rows=100_000, steps=100_000, batch_size=1000, width=300,
        learning_rate=1e-3, plane_steps=10_000, repeats=100, test_steps=1000,
        machine_repeats=100, gibbs=2000,
    ),
}  # fmt: skip

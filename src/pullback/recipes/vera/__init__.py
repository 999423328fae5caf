"""VERA (arXiv 2010.04230): energies trained without Markov chains, by a generator with entropy.

Tables and digits of which few rows have labels, beside the labels alone and beside chains; a
mixture whose normaliser is known, beside maximum likelihood; eight Gaussians with the entropy and
without; how far the entropy's gradient is off, and what mends it.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from pullback import data
from pullback.recipes.vera import measure, show
from pullback.recipes.vera.models import (
    BATCH,
    METHODS,
    RING_ENTROPY,
    RINGS,
    Config,
    LabelConfig,
    few_rows,
    flat,
    ring,
    tables,
    train_classifiers,
    train_known,
    train_ring,
)
from pullback.runs import Claim, Context, Headline


def run(config: Config, context: Context) -> list[Claim]:
    """Train on tables and digits; train on the ring, and measure the entropy's gradient."""
    sets = {"digits": flat(data.digits()), **tables()}
    labels = few_labels(config, context, sets)
    seeds = context.seeds(config.seeds)
    known = context.stage("known", train_known, config, context, seeds)
    losses = context.stage("losses", measure.of_known, known, seeds[0])
    models = {
        name: context.stage(f"ring-{place}", train_ring, config, context, name, seeds)
        for place, name in enumerate(RINGS)
    }
    found = {
        name: context.stage(f"judge-{place}", measure.on_ring, models[name], seeds[0])
        for place, name in enumerate(RINGS)
    }
    generators = models["with entropy"][1]
    biases = {
        "linear generator": context.stage("linear", measure.linear_gradients, config, seeds),
        "trained generator": context.stage(
            "trained", measure.ring_gradients, config, generators, seeds[0]
        ),
    }
    show.draw_ring(context, ring(10_000, seeds[0]), found)
    context.table(
        "bias",
        ["generator", "proposal", *(f"{size} latents" for size in config.sizes),
         "effective, of most", "error of score"],
        [
            [title, name, *(f"{100 * b:+.0f} %" for b in row["bias"][:, place].mean(axis=0)),
             float(row["ess"][:, place, -1].mean()), float(row["error"][:, place, -1].mean())]
            for title, row in biases.items()
            for place, name in enumerate(measure.PROPOSALS)
        ],
        "How far the gradient of the entropy to the scale of the output is off, relative to the "
        f"exact one; means over {config.seeds} seeds, {config.draws} samples each. Widths around "
        "z0 are the posterior's own standard deviations.",
    )  # fmt: skip
    gains, *others = labels
    return [
        gains,
        _claim_of_known(losses),
        *others,
        *_claims_of_ring(found),
        _claim_of_bias(config, biases["linear generator"]),
    ]


def few_labels(
    config: LabelConfig, context: Context, sets: Mapping[str, data.Split]
) -> list[Claim]:
    """Few labels, with the other rows and without; of the first set by chains, too."""
    seeds = context.seeds(config.seeds)
    first, found, scores = next(iter(sets)), {}, {}
    for name, split in sets.items():
        pairs = [few_rows(config, split, seed) for seed in seeds]
        for place, method in enumerate(METHODS if name == first else METHODS[:2]):
            row = context.stage(
                f"labels-{len(scores)}-{place}", train_classifiers, config, method,
                [task for task, _ in pairs], seeds, context.progress,
            )  # fmt: skip
            found[name, method] = row
            scores[name, method] = [
                measure.score(p, y) for p, (_, y) in zip(row["probs"], pairs, strict=True)
            ]
    show.draw_digits(
        context, {method: scores[first, method] for method in METHODS},
        found[first, METHODS[1]]["made"][0], config.labels_per_class,
    )  # fmt: skip
    context.table(
        "labels",
        ["rows", "trained by", "accuracy", "NLL (nats)", "Brier score", "calibration error",
         "milliseconds a step", "rollbacks"],
        [
            [*name, *(float(np.mean([row[key] for row in rows])) for key in rows[0]),
             1e3 * found[name]["seconds"], int(np.sum(found[name]["rollbacks"]))]
            for name, rows in scores.items()
        ],
        f"{config.labels_per_class} labels of each class, means over {config.seeds} seeds, each "
        "with labels of its own. Times are of this run, on whatever else the machine was doing: "
        f"a step by chains takes 20 gradients of the energy at {BATCH} points, one by "
        f"VERA {config.samples} passes through the generator and its tangent.",
    )  # fmt: skip
    values = {
        name: {key: np.array([row[key] for row in rows]) for key in ("accuracy", "ece")}
        for name, rows in scores.items()
    }
    return _claims_of_labels(config, values, list(sets))


def _claims_of_labels(
    config: LabelConfig, values: Mapping[tuple[str, str], Mapping[str, np.ndarray]],
    sets: Sequence[str],
) -> list[Claim]:  # fmt: skip
    first, (alone, ours, chains) = sets[0], METHODS
    gain = {s: 100 * (values[s, ours]["accuracy"] - values[s, alone]["accuracy"]) for s in sets}
    apart = lambda key: values[first, ours][key] - values[first, chains][key]
    start = f"{config.labels_per_class} labels of each class"
    return [
        Claim.over_seeds(
            f"{start}: with the rows that have none, a JEM that VERA trains classifies better than "
            f"the labels alone (gain in accuracy, mean over {', '.join(sets)})",
            np.mean(list(gain.values()), axis=0),
            at_least=0.5,
            unit="points",
            reference="of each: "
            + ", ".join(
                f"{name} {row.mean():+.1f} over {values[name, alone]['accuracy'].mean():.1%}"
                for name, row in gain.items()
            )
            + "; the paper reports gains on HEPMASS, CROP and HUMAN",
            headline=Headline(no_effect=0.0) if len(sets) > 1 else None,
        ),
        Claim.over_seeds(
            f"{first}, {start}: a JEM that VERA trains, without a Markov chain, classifies as well "
            "as one by chains (points of accuracy, VERA less chains)",
            100 * apart("accuracy"),
            at_least=-2.0,
            unit="points",
            reference=f"by chains: {values[first, chains]['accuracy'].mean():.1%}; the paper, too, "
            "finds the two level, on CIFAR-10",
        ),
        Claim.over_seeds(
            f"{first}, {start}: the one that VERA trains is better calibrated than the one by "
            "chains (calibration error, difference)",
            apart("ece"),
            at_most=-0.02,
            reference=f"by chains, which are cooled: {values[first, chains]['ece'].mean():.3f}",
        ),
    ]


def _claim_of_known(losses: Mapping[str, np.ndarray]) -> Claim:
    start, best, ours = (losses[name] for name in ("start", "maximum likelihood", "VERA"))
    return Claim.over_seeds(
        "A mixture that VERA trains as if nobody knew its normaliser ends near maximum likelihood "
        "(what is left of its way from the start)",
        100 * (ours - best) / (start - best),
        at_most=25.0,
        unit="%",
        reference=f"{np.mean(ours - best):.2f} of {np.mean(start - best):.2f} nats on unseen "
        "points, by the mixture's own normaliser; the paper does so with mixtures and with NICE",
        headline=Headline(no_effect=100.0),
    )


def _claims_of_ring(found: Mapping[str, Mapping[str, np.ndarray]]) -> list[Claim]:
    ours, none = found["with entropy"], found["no entropy"]
    return [
        Claim.over_seeds(
            "Eight Gaussians: with the entropy the energy's loss on held-out points is",
            ours["loss"],
            at_most=2.8,
            unit="nats",
            reference=f"the distribution's own: {RING_ENTROPY:.3f}; of the eight the generator "
            f"finds {ours['modes'].mean():.3g}",
        ),
        Claim.over_seeds(
            "Eight Gaussians: without the entropy the energy's loss on held-out points is higher "
            "by",
            none["loss"] - ours["loss"],
            at_least=0.5,
            unit="nats",
            reference=f"of its density {none['near'].mean():.1%} are near a Gaussian, with the "
            f"entropy {ours['near'].mean():.1%}, of the distribution's own 98.9 %",
        ),
    ]


def _claim_of_bias(config: Config, linear: Mapping[str, np.ndarray]) -> Claim:
    names, size = [*measure.PROPOSALS], len(config.sizes) // 2
    bias = lambda name: 100 * linear["bias"][:, names.index(name), size]
    return Claim.over_seeds(
        f"By {config.sizes[size]} latents, when not to: as published, even with the posterior's "
        "own widths, the entropy's gradient of a linear generator is off by",
        bias("around z0"),
        at_most=-10,
        unit="%",
        reference=f"closed form; by the tangent, with z0: {bias('tangent, with z0').mean():.1f} %",
    )


PRESETS = {
    "smoke": Config(
        seeds=1, steps=20, width=8, batch_size=20, samples=2, draws=40, sizes=(3,),
        labels_per_class=2, digit_steps=10, digit_width=8, digit_latent=2, images=200,
    ),
    "desk": Config(),
    "long": Config(
        seeds=5, steps=20_000, width=100, batch_size=200, samples=20, draws=5000,
        digit_steps=10_000, digit_width=256,
    ),
    "paper": Config(
        seeds=5, steps=100_000, width=100, batch_size=200, samples=20, draws=20_000,
        sizes=(5, 20, 100), digit_steps=100_000, digit_width=500, digit_latent=32, images=60_000,
    ),
}  # fmt: skip

"""Synaptic intelligence (arXiv 1703.04200): tasks one after another, without the data of old ones.

One network learns handwritten digits whose pixels are permuted, another permutation each task. Each
weight remembers how much it lowered the loss along its path, and later tasks pay for moving it;
beside plain training, elastic weight consolidation, and training on all tasks at once. Where each
task brings new classes instead, it fails.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.analysis import ContinualMetrics, continual_metrics
from pullback.data import Split, digits
from pullback.recipes.synaptic_intelligence import models, show
from pullback.recipes.synaptic_intelligence.models import WAYS, Config
from pullback.runs import Claim, Context, Headline

Rows = Sequence[Mapping[str, Any]]
PAPER = (
    "Ten permutations of MNIST in the authors' stored result file: 0.969 with c = 0.1, 0.574 "
    "without"
)


def run(config: Config, context: Context) -> list[Claim]:
    """Learn the 8 x 8 digits that come with scikit-learn."""
    return on_images(config, context, digits(test_fraction=597 / 1797, seed=context.seed))


def on_images(config: Config, context: Context, data: Split) -> list[Claim]:
    """Permutations by every way, then classes one after another, and what they say."""
    seeds = context.seeds(config.seeds)
    permuted = {seed: models.permuted(config, data, seed) for seed in seeds}
    divided, told = (
        {seed: models.divided(config, data, seed, known) for seed in seeds}
        for known in (False, True)
    )
    stage = lambda name, function, *given: context.stage(name, function, config, context, *given)
    found = stage("permutations", models.one_after_another, "permutations", WAYS, permuted)
    joint = stage("together", models.together, "together", permuted)
    classes = stage("classes", models.one_after_another, "classes", WAYS[:2], divided)
    of_told = stage("classes-told", models.one_after_another, "told", WAYS[:2], told)
    all_classes = stage("all-classes", models.together, "all-classes", divided)
    ratios = stage("paths", models.falls, permuted)

    show.draw_tasks(context, found, joint)
    show.draw_mean(context, found, classes)
    metrics = {way: _metrics(rows) for way, rows in found.items()}
    of_classes = {way: _metrics(rows) for way, rows in classes.items()}
    when_told = {way: _metrics(rows) for way, rows in of_told.items()}
    _table(
        context,
        {"permutations": metrics, "new classes": of_classes, "new classes, task told": when_told},
        {"permutations": joint, "new classes": all_classes},
    )
    return [
        *_claims_of_permutations(config, metrics, joint),
        _claim_of_paths(config, ratios),
        _claim_of_classes(of_classes, when_told, all_classes),
    ]


def _metrics(rows: Rows) -> list[ContinualMetrics]:
    return [continual_metrics(row["accuracy"], before=row["before"]) for row in rows]


def _of(metrics: Sequence[ContinualMetrics], name: str) -> np.ndarray:
    return np.asarray([float(getattr(each, name)) for each in metrics])


def _claims_of_permutations(
    config: Config,
    metrics: Mapping[str, Sequence[ContinualMetrics]],
    joint: Sequence[np.ndarray],
) -> list[Claim]:
    plain, ours, elastic = (metrics[way] for way in WAYS)
    return [
        Claim.over_seeds(
            "After the last permutation the mean accuracy over all tasks is far above plain "
            "training's (difference)",
            _of(ours, "average") - _of(plain, "average"),
            at_least=0.2,
            reference=f"0: training without memory. {PAPER}",
            headline=Headline(no_effect=0.0, paper=0.395),
        ),
        Claim.over_seeds(
            "Less than half is forgotten (ratio of the falls from each earlier task's best)",
            _of(ours, "forgetting") / _of(plain, "forgetting"),
            at_most=0.5,
            reference="1: training without memory",
            headline=Headline(no_effect=1.0),
        ),
        Claim.over_seeds(
            "New tasks are still learned: accuracy just after each, less than plain training's by",
            _of(plain, "learned") - _of(ours, "learned"),
            at_most=0.05,
            reference="0: training without memory",
        ),
        Claim.over_seeds(
            "It comes near elastic weights, which look at the data of each task once more (mean "
            "accuracy less than theirs by)",
            _of(elastic, "average") - _of(ours, "average"),
            at_most=0.1,
            reference=f"0: elastic weights, half of whose lambda is {config.elastic:g}",
        ),
        Claim.over_seeds(
            "When not to: where old data may be kept, training on all tasks at once is better "
            "(mean accuracy above synaptic intelligence's by)",
            [np.mean(row) for row in joint] - _of(ours, "average"),
            at_least=0.05,
            reference="0: synaptic intelligence",
        ),
    ]


def _claim_of_paths(config: Config, ratios: np.ndarray) -> Claim:
    errors = np.abs(ratios - 1) / np.asarray(config.path_rates)
    rates = " and ".join(f"{rate:g}" for rate in config.path_rates)
    return Claim.over_seeds(
        "Omega sums to the fall of the loss along the path, up to the size of the steps (error of "
        f"the ratio over the learning rate, the larger of those at {rates})",
        errors.max(axis=1),
        at_most=0.6,
        reference="0: gradient flow, for which the sum is exact",
    )


def _claim_of_classes(
    metrics: Mapping[str, Sequence[ContinualMetrics]],
    told: Mapping[str, Sequence[ContinualMetrics]],
    joint: Sequence[np.ndarray],
) -> Claim:
    plain, ours = (float(np.mean(_of(told[way], "average"))) for way in WAYS[:2])
    return Claim.over_seeds(
        "When not to: where each task brings new classes and nobody says which task an image is "
        "of, most is lost (mean accuracy)",
        _of(metrics[WAYS[1]], "average"),
        at_most=0.5,
        reference=f"{np.mean(joint):.2f}: all classes at once. Told which task, little is lost to "
        f"begin with: {plain:.3f} without memory, {ours:.3f} with it",
    )


def _table(
    context: Context,
    metrics: Mapping[str, Mapping[str, Sequence[ContinualMetrics]]],
    joint: Mapping[str, Sequence[np.ndarray]],
) -> None:
    names = ("average", "learned", "forgetting", "backward_transfer", "forward_transfer")
    means = lambda rows: [float(np.mean(_of(rows, name))) for name in names]
    alone = lambda rows: [float(np.mean(rows)), *[None] * (len(names) - 1)]
    context.table(
        "ways",
        ["tasks", "training", "mean accuracy", "just learned", "forgetting", "backward", "forward"],
        [
            [tasks, way, *cells]
            for tasks, of_ways in metrics.items()
            for way, cells in [
                *((way, means(rows)) for way, rows in of_ways.items()),
                *([("all at once", alone(joint[tasks]))] if tasks in joint else []),
            ]
        ],
        "Means over seeds. Backward: gained on earlier tasks since they were learned. Forward: "
        "accuracy on a task before it is learned, above that of the first weights.",
    )


PRESETS = {
    "smoke": Config(
        seeds=1, tasks=2, classes=5, train=60, test=20, width=4, epochs=1, batch_size=15,
        looked_at=20, path_images=20, path_steps=2, path_rates=(0.1,),
    ),
    "desk": Config(),
}  # fmt: skip

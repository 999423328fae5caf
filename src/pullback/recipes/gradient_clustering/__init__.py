"""A study of gradient variance (arXiv 2007.04532): how noisy a batch's gradient is.

A small network is trained by plain SGD, and at some of its steps the variance of a batch's gradient
is told exactly, by the gradients of all images: of batches drawn uniformly, of one image from each
cluster of like gradients, made then or a snapshot ago, of SVRG, and of classes as strata. One
trajectory, many estimators; on images as they come, on a set that is half duplicates, on one with
wrong labels, and at a smaller rate.
"""

from collections.abc import Mapping

import numpy as np

from pullback import data
from pullback.data import Labelled
from pullback.recipes.gradient_clustering import models, show
from pullback.recipes.gradient_clustering.models import Config
from pullback.runs import Claim, Context, Headline

Found = Mapping[str, Mapping[str, np.ndarray]]


def run(config: Config, context: Context) -> list[Claim]:
    """Train on the 8 x 8 digits that come with scikit-learn."""
    return on_images(config, context, data.digits(seed=context.seed).train, "digits")


def on_images(config: Config, context: Context, source: Labelled, name: str) -> list[Claim]:
    """Train on each kind of set, and measure."""
    seeds, kinds = context.seeds(config.seeds), models.kinds(config)
    found = {
        short: context.stage(short, models.followed, config, context, source, short, kind, seeds)
        for short, kind in kinds.items()
    }
    show.draw_variances(context, found, kinds, name)
    show.draw_course(context, found, kinds, name)
    _table(context, config, found, kinds)
    stratified, *clusters = _claims_of_clusters(config, found, name)
    rises, slower, *training = _claims_of_training(config, found, name)
    return [stratified, rises, slower, *clusters, *training]


def _over(row: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """A variance by that of uniform batches, `[seed, snapshot]`, from the first one after 0."""
    return (row[name] / row["uniform"])[:, 1:]


def _claims_of_clusters(config: Config, found: Found, name: str) -> list[Claim]:
    plain, duplicates = found["plain"], found["duplicates"]
    late = " and ".join(map(str, config.snapshots[1:]))
    return [
        Claim.over_seeds(
            f"Half duplicates, {name}: one image of each fresh cluster has little of the variance "
            f"of a batch of SGD (the greatest ratio at steps {late})",
            _over(duplicates, "fresh")[:, 1:].max(axis=1),
            at_most=0.3,
            reference="0.5: SGD with batches twice as large; paper: clearly below that",
            headline=Headline(no_effect=1.0),
        ),
        Claim.over_seeds(
            "Without duplicates too, as the images come and with wrong labels (the greater ratio "
            "at the last step)",
            np.maximum(*(_over(found[kind], "fresh")[:, -1] for kind in ("plain", "wrong"))),
            at_most=0.5,
            reference="0.5: SGD with batches twice as large; paper: little to nothing on ImageNet",
        ),
        Claim.over_seeds(
            "When not to: clusters of the snapshot before are worth much less than fresh ones (the "
            f"least ratio of variances at steps {config.snapshots[0]} and {config.snapshots[1]})",
            (plain["stale"] / plain["fresh"])[:, 1:3].min(axis=1),
            at_least=3.0,
            reference="1: fresh clusters; and by SGD's variance, at these steps "
            + " and ".join(f"{value:.2f}" for value in _over(plain, "stale").mean(axis=0)[:2]),
        ),
        Claim.over_seeds(
            "When not to: classes are no substitute for clusters (ratio to SGD with as many "
            f"images, at step {config.snapshots[-1]})",
            plain["classes"][:, -1],
            at_least=0.9,
            reference="1: SGD; one image of each class",
        ),
    ]


def _claims_of_training(config: Config, found: Found, name: str) -> list[Claim]:
    plain, wrong, slow = found["plain"], found["wrong"], found["slow"]
    first, last = config.snapshots[0], config.snapshots[-1]
    rise = lambda row, key, since: row[key][:, -1] / row[key][:, since]
    raw = np.mean(rise(plain, "uniform", 1))
    return [
        Claim.over_seeds(
            f"The variance of a batch's gradient rises in training, {name} as they come (step "
            f"{last} to the start, ratio)",
            rise(plain, "uniform", 0),
            at_least=1.0,
            reference="1: it stays; paper: it rises on common benchmarks; where "
            f"{config.wrong:.0%} of labels are drawn at random "
            f"{np.mean(rise(wrong, 'uniform', 0)):.2f}",
            headline=Headline(no_effect=1.0),
        ),
        Claim.over_seeds(
            f"A smaller learning rate, {config.small_rate:g} for {config.rate:g}, has the greater "
            f"variance at step {last} (ratio)",
            slow["uniform"][:, -1] / plain["uniform"][:, -1],
            at_least=5.0,
            reference="1: no difference; paper: smaller rates, higher variance; the losses are "
            f"{slow['loss'][:, -1].mean():.3f} and {plain['loss'][:, -1].mean():.3f}",
            headline=Headline(no_effect=1.0),
        ),
        Claim.over_seeds(
            f"Noise over signal follows convergence: it rises from step {first} to {last}, "
            f"{name} (ratio)",
            rise(plain, "normalised", 1),
            at_least=2.0,
            reference=f"1: it stays; the variance itself, which falls here: {raw:.2f}",
        ),
        Claim.over_seeds(
            "When not to: SVRG with the snapshot before is noisier than SGD (geometric mean of the "
            "ratios at all snapshots)",
            np.exp(np.log(_over(plain, "svrg")).mean(axis=1)),
            at_least=1.3,
            reference="1: SGD; paper: of help on linear regression and MNIST alone; with wrong "
            f"labels at the last step {_over(wrong, 'svrg')[:, -1].mean():.2f}",
        ),
    ]


def _table(
    context: Context, config: Config, found: Found, kinds: Mapping[str, models.Kind]
) -> None:
    names = ("double", "fresh", "stale", "svrg")
    rows = []
    for short, row in found.items():
        for place, step in enumerate((0, *config.snapshots)):
            mean = lambda key, row=row, place=place: float(np.mean(row[key][:, place]))
            ratios = [
                float(np.mean(row[key][:, place] / row["uniform"][:, place])) for key in names
            ]
            rows.append([
                kinds[short].title, step, mean("loss"), mean("uniform"),
                *(None if np.isnan(ratio) else ratio for ratio in ratios),
                mean("classes"), mean("normalised"), mean("bounded"),
            ])  # fmt: skip
    context.table(
        "variances",
        ["images", "step", "loss", "variance, SGD", "SGD, 2 B", "clusters", "clusters before",
         "SVRG", "classes", "noise over signal", "by coordinate"],
        rows,
        f"Batches of {config.batch_size}: the variance of the gradient, summed over weights, and "
        "by it those of other estimators at the same weights (classes: by that of as many images); "
        f"means over {config.seeds} seeds. Nothing is drawn: all are exact.",
    )  # fmt: skip


PRESETS = {
    "smoke": Config(
        seeds=1, images=60, repeated=3, width=6, batch_size=6, snapshots=(5, 10, 15)
    ),
    "desk": Config(),
}  # fmt: skip

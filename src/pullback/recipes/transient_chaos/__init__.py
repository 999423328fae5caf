"""Transient chaos in deep random networks (arXiv 1606.05340): which scale signals live at.

A circle is sent through random networks, and what becomes of it in each layer is laid
beside mean-field theory: how fast it moves, how much it turns, and how gradients grow on their way
back. Then deep networks are trained from the critical scale, and from others.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pullback.recipes.transient_chaos import measure, models, show
from pullback.recipes.transient_chaos.models import Config
from pullback.runs import Claim, Context, Headline

Rows = Mapping[str, np.ndarray]


def run(config: Config, context: Context) -> list[Claim]:
    """Measure random networks, and train some."""
    seeds = context.seeds(config.seeds)
    starts = models.starts(config)
    found = context.stage("networks", measure.measured, config, seeds)
    theory = measure.foretold(config)
    critical, ordered, _, default = starts
    runs: dict[str, dict[str, Any]] = {}
    for kind, names, depth, rate in (
        (f"{config.deep} layers", [*starts], config.deep, config.rate),
        (f"{config.deep} layers, rate {config.small_rate:g}", [critical, ordered], config.deep,
         config.small_rate),
        (f"{config.shallow} layers", [critical, default], config.shallow, config.rate),
    ):  # fmt: skip
        place = f"{depth}-{rate:g}"
        rows = context.stage(
            place, models.trained, config, context, seeds, place,
            [starts[name] for name in names], depth, rate,
        )  # fmt: skip
        runs[kind] = {**rows, "names": names}
    show.draw_phases(context, config)
    show.draw_layers(context, config, found, theory)
    show.draw_trainings(context, config, runs)
    _tables(context, config, found, theory, runs)
    return [*_claims_of_networks(config, found, theory), *_claims_of_trainings(config, runs)]


def _claims_of_networks(config: Config, found: Rows, theory: Rows) -> list[Claim]:
    scales, wide = config.weight_scales, f"Random networks of {config.width} units"
    slopes, logs = measure.slopes(found["metric"]), np.log(theory["chi"])
    turned = [scales.index(scale) for scale in config.turned]
    layer = config.turned_layer - 1
    ratios = found["turning"][turned, :, layer] / theory["turning"][turned, None, layer]
    wants = ", ".join(f"{turn / (2 * np.pi):.3g}" for turn in theory["turning"][turned, layer])
    # Speeds before the last layer, by those after it: its weights are random.
    lengths = 2 * np.pi * np.sqrt(config.width * found["metric"][-1, :, -1]) / scales[-1]
    return [
        Claim.over_seeds(
            f"{wide}: a circle's squared speed grows a layer by chi_1 (slope of its logarithm less "
            f"log chi_1, the worst of {len(scales)} weight scales)",
            np.max(np.abs(slopes - logs[:, None]), axis=0),
            at_most=0.05,
            reference="theory: 0; the slopes themselves run from "
            f"{logs[0]:.2f} to {logs[-1]:.2f}, and are 0 at the critical scale, "
            f"{next(iter(models.starts(config).values())):.4f}",
            headline=Headline(no_effect=float(np.max(np.abs(logs)))),
        ),
        Claim(
            f"In layer {config.turned_layer} its direction turns as often as theory says, at "
            f"weight scales {', '.join(f'{scale:g}' for scale in config.turned)} (ratio less 1, "
            "the worst)",
            value=float(np.max(np.abs(ratios.mean(axis=1) - 1))),
            at_most=0.10,
            seeds=config.seeds,
            reference=f"theory: {wants} turns, where the circle itself has 1",
            headline=Headline(no_effect=1.0),
        ),
        Claim.over_seeds(
            f"Behind {config.depth - 1} layers at a weight scale of {scales[-1]:g} the image of a "
            "circle is longer than behind any one layer of as many weights (its length, over 4 for "
            "each unit)",
            lengths / (4 * config.width * (config.depth - 1)),
            at_least=1.0,
            reference="1: a unit of tanh rises and falls once along a circle, by 2 at most; paper: "
            "exponential in the depth",
            headline=Headline(no_effect=1.0),
        ),
        Claim(
            "On their way back gradients grow by the same chi_1 (mean square a layer over "
            "chi_1, less 1, the worst weight scale)",
            value=float(np.max(np.abs(_backward(found) / theory["chi"] - 1))),
            at_most=0.05,
            seeds=config.seeds,
            reference=f"theory: 0; chi_1 runs from {theory['chi'][0]:.2f} to "
            f"{theory['chi'][-1]:.2f}",
        ),
    ]  # fmt: skip


def _backward(found: Rows) -> np.ndarray:
    """By how much a gradient's mean square grows a layer, by scale."""
    squares = found["gradient"].mean(axis=1)
    return (squares[:, 0] / squares[:, -1]) ** (1 / (squares.shape[1] - 1))


def _claims_of_trainings(config: Config, runs: Mapping[str, Any]) -> list[Claim]:
    deep, small, shallow = (rows["accuracy"] for rows in runs.values())
    best = int(np.argmax(deep[1:].mean(axis=1))) + 1
    return [
        Claim.over_seeds(
            f"A network of {config.deep} layers trains from the critical scale (test accuracy on "
            f"digits after {config.steps} steps)",
            deep[0],
            at_least=0.85,
            reference="0.1 by chance",
        ),
        Claim.over_seeds(
            f"It does not from {config.chaotic:g} or from Equinox's default, and from "
            f"{config.ordered:g} by luck alone (the best of them, mean over networks)",
            deep[best],
            at_most=0.75,
            reference=f"from the critical scale: {deep[0].mean():.2f}; the best of them is "
            f"{next(iter(runs.values()))['names'][best]}",
        ),
        Claim.over_seeds(
            f"When not to: at a rate of {config.small_rate:g} Adam, which divides gradients by "
            f"their size, trains it from {config.ordered:g} as well",
            small[1],
            at_least=0.85,
            reference=f"from the critical scale: {small[0].mean():.2f}",
        ),
        Claim.over_seeds(
            f"When not to: with {config.shallow} layers Equinox's default is as good (accuracy "
            "less that from the critical scale)",
            shallow[1] - shallow[0],
            at_least=-0.02,
            reference="0: the critical scale",
        ),
    ]


def _tables(
    context: Context, config: Config, found: Rows, theory: Rows, runs: Mapping[str, Any]
) -> None:
    slopes, layer = measure.slopes(found["metric"]), config.turned_layer - 1
    turns = lambda rows: rows["turning"][..., layer] / (2 * np.pi)
    context.table(
        "scales",
        ["weight scale", "chi_1", "log chi_1", "slope", "turns", "turns, theory", "backward"],
        [
            [f"{scale:g}", *map(float, row)]
            for scale, *row in zip(
                config.weight_scales, theory["chi"], np.log(theory["chi"]), slopes.mean(axis=1),
                turns(found).mean(axis=1), turns(theory), _backward(found), strict=True,
            )
        ],
        f"Random networks at a bias scale of {config.bias_scale:g}, means over {config.seeds}: the "
        f"slope of the squared speed's logarithm over {config.depth} layers, turns of the circle's "
        f"direction in layer {config.turned_layer}, and a gradient's growth a layer.",
    )  # fmt: skip
    cells = [
        [kind, name, *(float(f(accuracy)) for f in (np.mean, np.min, np.max))]
        for kind, rows in runs.items()
        for name, accuracy in zip(rows["names"], rows["accuracy"], strict=True)
    ]
    context.table(
        "trainings",
        ["network", "start", "test accuracy", "the least", "the greatest"],
        cells,
        f"After {config.steps} steps of Adam, means over {config.seeds} trainings.",
    )


PRESETS = {
    "smoke": Config(
        seeds=1, weight_scales=(1.3, 1.6, 2.5, 4.0), width=12, depth=3, points=4, turned_layer=3,
        deep=3, shallow=2, hidden=8, steps=4, batch_size=10,
    ),
    "desk": Config(),
}  # fmt: skip

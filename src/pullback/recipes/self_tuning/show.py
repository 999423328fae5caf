"""The pictures of the recipe `self-tuning`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure, line_with_spread, schedule_figure
from pullback.recipes.self_tuning.models import Config
from pullback.runs import Context

Runs = Sequence[Mapping[str, Any]]


def draw_schedules(context: Context, tuned: Mapping[float, Runs], whole: Runs) -> None:
    """The rates over the training, from each start, and a run with a whole number."""
    fig, axes = figure(1, 3, width=9.6, height=3.2, sharey=True)
    layers = ("pixels", "first hidden layer", "second hidden layer")
    for place, (ax, layer) in enumerate(zip(axes, layers, strict=True)):
        for colour, (rate, rows) in zip(PALETTE, tuned.items(), strict=False):
            for number, row in enumerate(rows):
                label = f"from {rate:g}" if number == 0 else None
                rates = np.asarray(row["schedule"].hyper["rates"].value)[:, place]
                steps = np.asarray(row["schedule"].steps)
                ax.plot(steps, rates, color=colour, linewidth=1.2, label=label)
        ax.set(title=layer, xlabel="training steps", ylim=(0, 1))
    axes[0].set(ylabel="dropout rate")
    axes[0].legend(fontsize=9)
    context.figure(
        "schedules",
        fig,
        "The dropout rate of each layer while the network trains, from two starts, a line a seed. "
        "Runs end at different rates with nearly the same loss: the loss is what they agree on.",
    )
    context.figure(
        "every-hyperparameter",
        schedule_figure(whole[0]["schedule"], columns=2),
        "A run that tunes the side of the square cut out of each image too, a whole number of "
        "pixels, which no gradient comes through.",
    )


def draw_losses(
    context: Context, config: Config, tuned: Runs, constants: Mapping[float, Runs]
) -> None:
    """Held-out losses along the way: the tuned runs, and the constants."""
    fig, axes = figure(1, 2, width=9.0, height=3.8)
    steps = tuned[0]["steps"]
    shown = {
        f"tuned, from {config.start:g}": tuned,
        **{f"constant, {rate:g}": rows for rate, rows in constants.items()},
    }
    for colour, (name, rows) in zip(PALETTE * 2, shown.items(), strict=False):
        curves = np.stack([row["curve"] for row in rows])
        style = {"label": name, "colour": colour, "marker": None}
        line_with_spread(axes[0], steps, curves, **style)
    axes[0].set(yscale="log", xlabel="training steps", ylabel="held-out loss")
    axes[0].legend(fontsize=7)
    best = {rate: [row["held_out"] for row in rows] for rate, rows in constants.items()}
    line_with_spread(axes[1], [*best], np.asarray([*best.values()]).T, label="constant")
    level = np.mean([row["held_out"] for row in tuned])
    axes[1].axhline(level, color=PALETTE[1], linestyle="--", label="tuned in one run")
    axes[1].set(xlabel="dropout rate of all layers", ylabel="lowest held-out loss", ylim=(0, None))
    axes[1].legend(fontsize=8)
    context.figure(
        "losses",
        fig,
        "Left: held-out loss while the networks train, mean and standard deviation over seeds. "
        "Right: the lowest of each run.",
    )

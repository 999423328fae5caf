"""The pictures of the recipe `relax`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure, line_with_spread
from pullback.runs import Context

NAMES = {
    "reinforce": "REINFORCE",
    "leave_one_out": "REINFORCE, leave one out",
    "rebar": "REBAR",
    "relax": "RELAX",
    "gumbel": "Gumbel-softmax (biased)",
    "a2c": "actor-critic",
}
_COLOURS = dict(zip(NAMES, (PALETTE[i] for i in (1, 4, 2, 0, 3, 1)), strict=True))


def draw_toy(context: Context, coins: Mapping[str, Any], target: float) -> None:
    """The coin and the variance, run by run."""
    fig, axes = figure(1, 2, width=8.8, height=3.6)
    for name, row in coins.items():
        for ax, kind in zip(axes, ("theta", "variance"), strict=True):
            ax.plot(row["step"], row[kind].T, color=_COLOURS[name], alpha=0.25, linewidth=0.8)
            middle = np.median(row[kind], axis=0)
            ax.plot(row["step"], middle, color=_COLOURS[name], label=NAMES[name])
    axes[0].set(ylabel="probability of a one, theta", ylim=(0, 1))
    axes[1].set(yscale="log", ylabel="variance of one gradient")
    for ax in axes:
        ax.set(xlabel="training steps")
    axes[1].legend(loc="lower left")
    context.figure(
        "toy",
        fig,
        f"A coin b that shall make (b - {target:g})^2 small: theta should go to zero, for a gain "
        "that is next to nothing. Thin lines are runs, thick ones their medians. Where the noise "
        "is a thousand times the signal theta wanders; the control variate of RELAX learns to take "
        "the noise away.",
    )


def draw_autoencoders(context: Context, model: str, trained: Mapping[str, Any]) -> None:
    """Scores along the way, and the noise at the end."""
    fig, axes = figure(1, 2, width=9.6, height=3.8)
    for name, row in trained.items():
        line_with_spread(
            axes[0], row["step"], row["train"], label=NAMES[name], colour=_COLOURS[name],
            marker=None,
        )  # fmt: skip
    ends = [row["train"][:, -1].mean() for row in trained.values()]
    axes[0].set_ylim(min(ends) - 0.5, max(ends) + 3)
    axes[0].set(xlabel="training steps", ylabel="training images, minus the ELBO (nats)")
    axes[0].legend(fontsize=9)
    for place, (name, row) in enumerate(trained.items()):
        noise = np.asarray(row["noise"])
        axes[1].scatter(noise, [place] * len(noise), color=_COLOURS[name], s=28)
    axes[1].set_yticks(range(len(trained)), [NAMES[name] for name in trained])
    axes[1].invert_yaxis()
    axes[1].set(xscale="log", xlabel="variance of the encoder's gradient, at the end")
    context.figure(
        f"autoencoders-{model}",
        fig,
        f"Autoencoders of images, {model}, with binary latents, scored with binary samples (left; "
        "mean and standard deviation over seeds, lower is better; the start is cut off), and how "
        "noisy their gradients are (right; a dot a seed). Each way sees the decoder three times "
        "for a gradient.",
    )


def table_of_autoencoders(context: Context, model: str, trained: Mapping[str, Any]) -> None:
    """Final scores and noise, means over seeds."""
    context.table(
        f"autoencoders-{model}",
        ["nats an image", "training images", "spread", "held out", "spread", "log10 variance"],
        [
            [
                NAMES[name],
                *(
                    float(figure)
                    for of in ("train", "test")
                    for figure in (row[of][:, -1].mean(), row[of][:, -1].std())
                ),
                float(np.log10(row["noise"]).mean()),
            ]
            for name, row in trained.items()
        ],
        f"Minus the evidence lower bound of {model} autoencoders, with binary samples, at the end "
        "of training, mean over seeds; and the variance of a batch's gradient with respect to the "
        "encoder. Each way sees the decoder three times for a gradient of one image.",
    )


def draw_poles(context: Context, poles: Mapping[str, Mapping[str, Any]]) -> None:
    """How long the poles stand."""
    fig, ax = figure(width=6.4, height=3.6)
    for name, row in poles.items():
        share = (np.arange(row["length"].shape[1]) + 1) / row["length"].shape[1]
        line_with_spread(
            ax, share, row["length"], label=NAMES[name], colour=_COLOURS[name], marker=None
        )
    ax.set(xlabel="share of the episodes, one an update", ylabel="steps that the pole stands")
    ax.legend(loc="lower right")
    context.figure(
        "poles",
        fig,
        "A pole on a cart, balanced by a policy of two choices: length of the episodes of training "
        "(mean of neighbours; mean and standard deviation over seeds). Both ways have the same "
        "value network, and each the learning rate that is better for it; RELAX's control variate "
        "also knows the action.",
    )
    context.table(
        "poles",
        ["policy gradient", "learning rate", "mean steps of an episode", "of the last tenth"],
        [
            [
                NAMES[name],
                float(row["rate"]),
                float(row["length"].mean()),
                float(row["length"][:, -max(1, row["length"].shape[1] // 10) :].mean()),
            ]
            for name, row in poles.items()
        ],
        "Means over policies and episodes of training.",
    )

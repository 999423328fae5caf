"""The pictures of the recipe `latent-ode`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure, line_with_spread
from pullback.runs import Context


def draw_predictors(
    context: Context, grid: np.ndarray, found: Mapping[str, Sequence[Mapping]], names: Mapping
) -> None:
    """One held-out sinusoid as each autoregressive model sees it coming, and all their errors."""
    fig, axes = figure(1, 2, width=10.5, height=3.6)
    ax, bars = axes
    first = next(iter(found.values()))[0]
    ax.plot(grid, first["truth"][0], color="black", linewidth=1, label="truth")
    for colour, kind in zip(PALETTE, found, strict=False):
        ax.plot(grid, found[kind][0]["said"][0], color=colour, label=names[kind], linewidth=1.4)
    seen = first["mask"][0]
    ax.plot(grid[seen], first["truth"][0][seen], "o", color="black", label="observed")
    ax.set(xlabel="time", ylabel="value", ylim=(-2.0, 1.4), title="Predictions from the past alone")
    ax.legend(fontsize="x-small", ncols=3, loc="lower left")
    for place, kind in enumerate(found):
        errors = [each["error"] for each in found[kind]]
        bars.bar(place, np.mean(errors), color=PALETTE[place], width=0.6)
        bars.plot([place] * len(errors), errors, "o", color="black", markersize=3)
    bars.set_xticks(range(len(found)), [names[kind] for kind in found], fontsize="small")
    bars.set(yscale="log", ylabel="mean squared error", title="Where nothing was observed")
    context.figure(
        "predictors",
        fig,
        "Left: a held-out sinusoid, of which the dots were observed. At every time each model "
        "predicts from the dots before it; a GRU stands still between them, RNN-Decay fades, and "
        "the ODE-RNN goes on along the curve. Right: error on held-out series at the times of the "
        "second half that were not observed (dots: seeds).",
    )


def draw_latent_odes(context: Context, found: Mapping[str, Sequence[Mapping]], end: float) -> None:
    """Held-out sinusoids as both latent ODEs reconstruct and continue them."""
    titles = {"ode": "ODE encoder", "rnn": "RNN encoder"}
    found = {kind: found[kind] for kind in titles}
    fig, axes = figure(2, 3, width=10.5, height=4.6, sharex=True, sharey=True)
    for row, (kind, each) in zip(axes, found.items(), strict=True):
        one = each[0]
        for number, ax in enumerate(row):
            mean, lower, upper = one["bands"][:, number]
            truth, times = one["truth"][number], one["times"]
            ax.axvspan(end, times[-1], color="#e4e7eb", alpha=0.5, linewidth=0)
            ax.plot(times, truth, color="black", linewidth=1, label="truth")
            (line,) = ax.plot(times, mean, label="posterior mean")
            ax.fill_between(
                times, lower, upper, color=line.get_color(), alpha=0.25, linewidth=0,
                label="90 % band",
            )  # fmt: skip
            seen = one["mask"][number].astype(bool)
            ax.plot(times[seen], truth[seen], "o", color="black", markersize=3.5, label="seen")
        row[0].set(ylabel="value", ylim=(-2.2, 2.2), title=titles[kind])
    for ax in axes[-1]:
        ax.set_xlabel("time")
    axes[0, 2].legend(fontsize="x-small", ncols=2)
    context.figure(
        "latent-odes",
        fig,
        "Three held-out sinusoids with 30 % of their points seen, reconstructed by latent ODEs "
        "with two encoders, and continued beyond the window of training (grey).",
    )


def draw_losses(context: Context, found: Mapping[str, Sequence[Mapping]]) -> None:
    """The training loss of the latent ODEs with either encoder."""
    fig, ax = figure(width=6.4, height=3.4)
    for kind, label in (("ode", "ODE encoder"), ("rnn", "RNN encoder")):
        losses = np.array([each["loss"] for each in found[kind]])
        share = (1 + np.arange(losses.shape[1])) / losses.shape[1]
        line_with_spread(ax, 100 * share, losses, label=label, marker=None)
    ax.set(xlabel="training, in % of its steps", ylabel="negative ELBO, nats a series")
    ax.legend()
    context.figure(
        "training", fig, "The true evidence bound in training; mean and deviation over seeds."
    )


def draw_shares(
    context: Context,
    found: Mapping[str, Sequence[Mapping]],
    names: Mapping[str, str],
    shares: Sequence[float],
) -> None:
    """Errors of the latent ODEs by the share of the points that they see."""
    fig, axes = figure(1, 2, width=10.5, height=3.6, sharey=True)
    for column, (ax, title) in enumerate(
        zip(axes, ("Inside the window of training", "Beyond it"), strict=True)
    ):
        for kind, name in names.items():
            errors = np.array([each["by_share"] for each in found[kind]])[:, :, column]
            line_with_spread(ax, 100 * np.asarray(shares), errors, label=name)
        ax.set(xlabel="points seen, %", title=title, yscale="log")
    axes[0].set(ylabel="mean squared error")
    axes[0].legend(fontsize="x-small")
    context.figure(
        "shares",
        fig,
        "Error on held-out sinusoids, without noise, by the share of their points that the model "
        "sees; it was trained on series with 30 % of them. A sinusoid's variance is 0.5.",
    )


def draw_poisson(context: Context, found: Sequence[Mapping[str, Any]], truth: np.ndarray) -> None:
    """The intensity that was learned from events, beside the truth."""
    first = found[0]
    times = np.asarray(first["times"])
    fig, axes = figure(1, 2, width=10.5, height=3.4)
    axes[0].plot(times, truth, color="black", linewidth=1, label="truth")
    for number, each in enumerate(found):
        label = "learned, one line a seed" if number == 0 else None
        axes[0].plot(times, each["learned"], color=PALETTE[0], linewidth=1.2, label=label)
    for height, events in enumerate(first["events"][:12]):
        at = -0.5 - 0.25 * height
        axes[0].plot(events, np.full(len(events), at), "|", color=PALETTE[1], markersize=4)
    axes[0].plot([], [], "|", color=PALETTE[1], label="events of 12 series")
    axes[0].set(xlabel="time", ylabel="events per unit of time", title="Intensity")
    axes[0].legend(fontsize="small")
    axes[1].plot(times, first["exact"], color="black", linewidth=1, label="truth")
    for each in found:
        axes[1].plot(times, each["integral"], color=PALETTE[0], linewidth=1.2)
    axes[1].set(xlabel="time", ylabel="expected events", title="Its integral")
    context.figure(
        "poisson",
        fig,
        "The Poisson head learns the intensity from the times of events alone. The integral is one "
        "more state of the same ODE.",
    )

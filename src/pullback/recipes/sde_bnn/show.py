"""What the recipe `sde-bnn` shows of its classifiers."""

from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure, line_with_spread
from pullback.runs import Context

DRAWN = ("random weights", "mean field", "dropout", "ensemble")


def draw(context: Context, found: list[dict[str, Any]], members: int) -> None:
    """NLL and calibration error against draws, which are what a prediction costs."""
    fig, axes = figure(1, 2, width=9.0, height=3.8)
    most = max(len(own[kind]) for own in found for kind in DRAWN)
    ticks = [number for number in (1, 2, 5, 10, 20, 30) if number <= most]
    panels = (("nll", "Test NLL", "nats an image"), ("ece", "Expected calibration error", "%"))
    for ax, (name, title, unit) in zip(axes, panels, strict=True):
        for kind, colour in zip(DRAWN, PALETTE, strict=False):
            values = np.array([[score[name] for score in own[kind]] for own in found])
            numbers = np.arange(1, values.shape[1] + 1)
            line_with_spread(ax, numbers, values, label=kind, colour=colour, marker=None)
        for kind, style in (("point", "--"), ("tempered", ":")):
            mean = np.mean([own[kind][name] for own in found])
            label = "point weights" + (", tempered" if kind == "tempered" else "")
            ax.axhline(mean, color="grey", linestyle=style, label=label)
        ax.set(title=title, xlabel="networks that are averaged over", ylabel=unit, xscale="log")
        ax.set(ylim=(0, 1.3 * ax.get_ylim()[1]))
        ax.set_xticks(ticks, [str(number) for number in ticks])
        ax.minorticks_off()
    axes[0].legend(fontsize="small", ncols=2, loc="upper right")
    context.figure(
        "cost",
        fig,
        "What a prediction costs: each network that is averaged over takes as many evaluations of "
        f"the field. An ensemble of {members} is trained {members} times, the others once. Mean "
        "over seeds, band of one standard deviation.",
        alt="Two panels: test NLL and calibration error against networks averaged over, by kind.",
    )


def table(context: Context, found: list[dict[str, Any]], seeds: int, members: int) -> None:
    """The scores of every kind, with deviations."""
    rows = []
    for kind in ("point", "tempered", "ensemble", "dropout", "mean field", "random weights"):
        last = [own[kind][-1] if isinstance(own[kind], list) else own[kind] for own in found]
        scores = {name: np.array([score[name] for score in last]) for name in last[0]}
        chosen = [own["strength"].get(kind) for own in found]
        kl = [own["kl"][kind] for own in found if kind in own["kl"]]
        rows.append(
            [
                kind,
                "" if chosen[0] is None else ", ".join(f"{each:g}" for each in chosen),
                *(f"{v.mean():.3g} ± {v.std(ddof=min(1, seeds - 1)):.2g}" for v in scores.values()),
                float(np.mean(kl)) if kl else None,
            ]
        )
    context.table(
        "classifiers",
        ["kind", "strength", "test error, %", "NLL, nats", "ECE, %", "KL to the prior, nats"],
        rows,
        f"Mean and deviation over {seeds} seeds, each with training images of its own. The "
        "strength (the diffusion, the prior's deviation, the rate of dropout) is chosen by each "
        "seed's held-out images, by which a point network's temperature is set as well. ECE has 15 "
        f"bins. A point network's scores are the mean over the {members} of an ensemble.",
    )
    for number, own in enumerate(found):
        for kind, values in own["held_out"].items():
            for place, value in enumerate(values):
                context.metrics({"number": number, "kind": kind, "place": place, "held_out": value})

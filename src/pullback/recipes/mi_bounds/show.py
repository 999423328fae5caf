"""How the recipe `mi-bounds` shows what it measured."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from pullback.plots import PALETTE, figure
from pullback.runs import Context

NAMES = {
    "InfoNCE": "InfoNCE",
    "NWJ": "NWJ",
    "I_0.01": "I, α = 0.01",
    "JS": "NWJ, critic trained by JS",
    "I_0.1": "I, α = 0.1",
    "I_0.5": "I, α = 0.5",
    "DV": "DV (MINE)",
    "TNCE": "TNCE (below)",
    "L1Out": "leave-one-out (above)",
}
COLOURS = dict(zip(NAMES, (*PALETTE, "#7b8794", PALETTE[1]), strict=True))
_MARKERS = dict(zip(NAMES, "osD^vP*XX", strict=True))

Values = Mapping[str, Float[np.ndarray, "info seeds batch"]]


def draw_estimates(
    context: Context, informations: Any, trained: Values, optimal: Values, ceiling: float
) -> None:
    """Every bound against the truth, a panel each."""
    panels = [(NAMES[name], {name: values}) for name, values in trained.items()]
    panels.append((r"with $p(y|x)$ known", {name: optimal[name] for name in ("TNCE", "L1Out")}))
    fig, axes = figure(
        1, len(panels), width=2.9 * len(panels), height=3.4, sharex=True, sharey=True
    )
    truth = np.asarray(informations)
    top = 2 * truth[-1]
    for ax, (title, drawn) in zip(axes.flat, panels, strict=True):
        ax.plot(truth, truth, color="black", linewidth=1, label="truth")
        ax.axhline(ceiling, color="#7b8794", linestyle="--", linewidth=1, label="log B")
        for name, values in drawn.items():
            mean, _ = _mean_and_sd(values)
            label = NAMES[name] if len(drawn) > 1 else "mean, and 9 of 10 batches"
            ax.plot(truth, mean, color=COLOURS[name], marker=_MARKERS[name], label=label)
            # Quantiles: where one batch in a thousand is far out, a deviation shows that one only.
            low, high = np.quantile(values, (0.05, 0.95), axis=(1, 2))
            ax.fill_between(truth, low, high, color=COLOURS[name], alpha=0.25, linewidth=0)
        ax.set_title(title, fontsize=10)
        ax.set(ylim=(-0.1 * top, top), xticks=truth)
        ax.legend(fontsize=7.5, loc="upper left")
        ax.set(xlabel="true mutual information (nats)")
    axes[0].set(ylabel="estimate (nats)")
    context.figure(
        "estimates",
        fig,
        "Each bound on new pairs, by a critic trained with it: the mean over batches and seeds, "
        "and a band that holds 9 of 10 batches. InfoNCE cannot pass log B (dashed) and hardly "
        "varies there; I with α = 0.01 gets furthest with a band that is still narrow. With a "
        "critic trained by Jensen-Shannon most values of NWJ look right, but rare batches are so "
        "low that the mean may leave the picture. Right: no critic is trained, and the "
        "truth lies between the two.",
    )


def draw_trade_off(context: Context, informations: Any, panels: Mapping[str, Values]) -> None:
    """Bias against standard deviation, with the optimal critic and with trained ones."""
    fig, axes = figure(1, len(panels), width=3.6 * len(panels) + 2, height=4.2, sharey=True)
    truth = np.asarray(informations)
    biases = [
        (_mean_and_sd(values)[0] - truth).min()
        for each in panels.values()
        for values in each.values()
    ]
    lowest = 4 * min(biases)
    for ax, (title, every) in zip(axes, panels.items(), strict=True):
        found = {name: values for name, values in every.items() if name not in ("TNCE", "L1Out")}
        for name, values in found.items():
            mean, sd = _mean_and_sd(values)
            ax.plot(sd, mean - truth, color=COLOURS[name], marker=_MARKERS[name], label=NAMES[name])
            ax.annotate(
                f"{truth[-1]:g}", (sd[-1], mean[-1] - truth[-1]), textcoords="offset points",
                xytext=(6, -3), fontsize=7.5, color=COLOURS[name],
            )  # fmt: skip
        ax.axhline(0, color="black", linewidth=1)
        ax.set(
            xscale="log",
            title=title if "critic" in title else f"{title} task, trained",
            xlabel="standard deviation of a batch (nats)",
        )
        # Linear around 0: the mean of NWJ with a critic trained by JS may lie a hundred nats down.
        ax.set_yscale("symlog", linthresh=3, linscale=1.5)
        ticks = [tick for tick in (-1000, -100, -30, -10, -3, -2, -1, 0, 1, 2, 3) if tick >= lowest]
        ax.set_yticks(ticks, [str(tick) for tick in ticks])
        ax.minorticks_off()
    # One legend for both, beside them: the lines leave no corner free.
    marks = {
        label: mark
        for ax in axes
        for mark, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    fig.legend(marks.values(), marks.keys(), loc="outside right center", fontsize=8)
    axes[0].set(ylabel="mean estimate - truth (nats)")
    joined = ", ".join(f"{value:g}" for value in truth)
    context.figure(
        "trade-off",
        fig,
        f"Bias against spread; a line joins the true values {joined} nats, and its end is marked "
        "by the largest. At the optimal critic (left) no bound has both little bias and little "
        "spread, alpha moves between them, and DV, which is no bound, lies above the truth. At "
        "trained critics what the critic has not learned adds to the bias, and most on the cubes. "
        "The vertical scale is logarithmic beyond 3 nats.",
    )


def _mean_and_sd(
    values: Float[np.ndarray, "info seeds batch"],
) -> tuple[np.ndarray, np.ndarray]:
    """The mean, and the standard deviation from batch to batch within a seed."""
    return values.mean(axis=(1, 2)), np.sqrt(values.var(axis=2, ddof=1).mean(axis=1))

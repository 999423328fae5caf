"""The pictures of the recipe `sticking-the-landing`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure
from pullback.recipes.sticking_the_landing import measure
from pullback.runs import Context

NAMES = {"total": "total derivative", "path": "path derivative"}
FLOOR = 1e-7  # what float32 leaves of a divergence


def draw_descents(context: Context, runs: Mapping[str, Mapping[str, Any]]) -> None:
    """The divergence by the steps, one panel a descent."""
    titles = {
        "full": "full covariance, SGD",
        "mixture": "mixture of three, SGD",
        "adam": "full covariance, Adam",
    }
    fig, axes = figure(1, len(runs), width=3.1 * len(runs), height=3.5)
    for ax, (name, run) in zip(axes, runs.items(), strict=True):
        for (way, text), colour in zip(NAMES.items(), PALETTE, strict=False):
            lines = ax.plot(run["steps"], np.maximum(run[way], FLOOR).T, color=colour, lw=1.2)
            lines[0].set_label(text)
        ax.set(yscale="log", xlabel="steps", title=titles[name], ylim=(FLOOR / 2, None))
    axes[0].set_ylabel("KL(q || target), nats")
    axes[0].legend(loc="lower left")
    context.figure(
        "descents",
        fig,
        "The exact divergence of q from a target in its own family, following gradients of one "
        "sample at a constant rate: a line a seed, cut off at what float32 leaves. "
        "The total derivative keeps its noise and hovers; the path derivative's "
        "noise vanishes as q arrives. Adam rescales small gradients to large steps, and most of "
        "the gain is gone.",
    )


def draw_variances(context: Context, curve: Mapping[str, np.ndarray]) -> None:
    """Variance by the spread of q: where the path derivative is the worse one."""
    fig, axes = figure(1, 2, width=8.4, height=3.6)
    fine = np.geomspace(measure.SPREADS[0], measure.SPREADS[-1], 200)
    exact = measure.closed_forms(fine)
    for entry, (ax, of) in enumerate(zip(axes, ("mean", "log-spread"), strict=True)):
        for (way, text), colour in zip(NAMES.items(), PALETTE, strict=False):
            ax.plot(fine, exact[way][:, entry], color=colour)
            ax.plot(measure.SPREADS, curve[way][:, entry], "o", color=colour, label=text)
        ax.axvline(np.sqrt(0.5), color="#7b8794", linestyle="--", linewidth=1)
        ax.set(xscale="log", yscale="log", title=f"derivative for the {of}")
        ax.set(xlabel="standard deviation of q (target: 1)")
        ax.set_xticks([0.1, 0.3, 1, 3], ["0.1", "0.3", "1", "3"])
        ax.minorticks_off()
    axes[0].set(ylabel="variance of one draw", ylim=(1e-4, None))
    axes[0].legend(loc="lower right")
    context.figure(
        "variances",
        fig,
        f"Variance of a gradient of the ELBO for q = N({measure.MEAN:g}, s^2) and the target "
        "N(0, 1): measured (dots) on the closed forms (lines). "
        "At s = 1 the path derivative for the mean has none. Left of the dashed line, s^2 = 1/2, "
        "the path derivative for the mean is the noisier one, without limit.",
    )


def draw_weighted(
    context: Context, samples: Sequence[int], found: Mapping[str, Mapping[str, np.ndarray]]
) -> None:
    """Mean and signal to noise of the gradient of weighted bounds."""
    fig, axes = figure(1, 2, width=8.4, height=3.6)
    for way, text in {**NAMES, "doubly": "doubly reparameterised"}.items():
        for ax, what in zip(axes, ("mean", "snr"), strict=True):
            ax.plot(samples, found[way][what], marker="o", label=text)
    for ax in axes:
        ax.set(xscale="log", xlabel="importance samples, k")
        ax.set_xticks(samples, [str(k) for k in samples])
        ax.minorticks_off()
    axes[0].set(ylabel="mean", title="derivative for the mean of q")
    axes[1].set(ylabel="|mean| / standard deviation", title="signal to noise")
    axes[0].legend()
    context.figure(
        "weighted",
        fig,
        "The gradient of an importance-weighted bound, for q = N(1, 0.8^2) and the target N(0, 1). "
        "For k > 1 the path derivative points elsewhere: its mean is another number. The doubly "
        "reparameterised gradient has the right mean and the larger signal.",
    )

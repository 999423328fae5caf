"""The pictures of the recipe `sticking-the-landing`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, density_image, figure
from pullback.recipes.sticking_the_landing import measure
from pullback.runs import Context

NAMES = {"total": "total derivative", "path": "path derivative"}
FLOOR = 1e-7  # what float32 leaves of a divergence


def draw_descents(context: Context, runs: dict[str, dict[str, Any]]) -> None:
    """The divergence by the steps, one panel a family."""
    titles = {
        "full": "full covariance, SGD",
        "diagonal": "diagonal, SGD",
        "mixture": "mixture of three, SGD",
        "adam": "full covariance, Adam",
    }
    fig, axes = figure(1, len(runs), width=3.1 * len(runs), height=3.5)
    for ax, (name, run) in zip(axes, runs.items(), strict=True):
        for (way, text), colour in zip(NAMES.items(), PALETTE, strict=False):
            for number, values in enumerate(run[way]):
                label = text if number == 0 else None
                cut = np.maximum(values, FLOOR)
                ax.plot(run["steps"], cut, color=colour, label=label, linewidth=1.2)
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


def draw_variances(context: Context, spreads: Sequence[float], curve: dict[str, Any]) -> None:
    """Variance by the spread of q: where the path derivative is the worse one."""
    fig, axes = figure(1, 2, width=8.4, height=3.6)
    fine = np.geomspace(min(spreads), max(spreads), 200)
    exact = measure.closed_forms(fine)
    for entry, (ax, title) in enumerate(
        zip(axes, ("derivative for the mean", "derivative for the log-spread"), strict=True)
    ):
        for (way, text), colour in zip(NAMES.items(), PALETTE, strict=False):
            ax.plot(fine, exact[way][:, entry], color=colour)
            ax.plot(spreads, curve[way][:, entry], "o", color=colour, label=text)
        ax.axvline(np.sqrt(0.5), color="#7b8794", linestyle="--", linewidth=1)
        ax.set(
            xscale="log", yscale="log", xlabel="standard deviation of q (target: 1)", title=title
        )
        ax.set_xticks([0.1, 0.3, 1, 3], ["0.1", "0.3", "1", "3"])
        ax.minorticks_off()
    axes[0].set(ylabel="variance of one draw", ylim=(1e-4, None))
    axes[0].legend(loc="lower right")
    context.figure(
        "variances",
        fig,
        f"Variance of a gradient of the ELBO for q = N({measure.MEAN:g}, s^2) and the target "
        "N(0, 1): measured (dots) on the closed forms (lines). "
        "At s = 1 the path derivative for the mean has none. Left of the dashed line, where q "
        "is much narrower than the target, the path derivative is the noisier one, without limit.",
    )


def draw_weighted(context: Context, rows: Sequence[dict[str, Any]]) -> None:
    """Mean and signal to noise of the gradient of weighted bounds."""
    fig, axes = figure(1, 2, width=8.4, height=3.6)
    texts = {**NAMES, "doubly": "doubly reparameterised"}
    ks = [row["k"] for row in rows]
    for way, text in texts.items():
        style = {"marker": "o", "label": text}
        axes[0].plot(ks, [row[way]["mean"] for row in rows], **style)
        axes[1].plot(ks, [row[way]["snr"] for row in rows], **style)
    for ax in axes:
        ax.set(xscale="log", xlabel="importance samples, k")
        ax.set_xticks(ks, [str(k) for k in ks])
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


def draw_mixture(context: Context, run: dict[str, Any]) -> None:
    """The target and both fits, first seed."""
    axis = np.linspace(-5, 5, 161)
    fig, axes = figure(1, 3, width=8.4, height=3.2)
    panels = {"target": "target", "total_params": NAMES["total"], "path_params": NAMES["path"]}
    for ax, (name, title) in zip(axes, panels.items(), strict=True):
        params = [np.asarray(leaf[0]) for leaf in run[name]]
        density_image(ax, measure.density(params, axis), (-5, 5, -5, 5))
        ax.set(title=title)
    context.figure(
        "mixture",
        fig,
        "A mixture of three normals, and the mixtures at the end of the descents to it, first "
        "seed. Both estimators take a sample of every component, so that the weights have a "
        "gradient too.",
    )

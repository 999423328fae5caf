"""The picture and the table of the recipe `noisy-natural-gradient`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure
from pullback.recipes.noisy_natural_gradient.measure import NUTS_NAME
from pullback.runs import Context


def draw(context: Context, found: Mapping[str, Mapping[str, Any]]) -> None:
    """The variance of each prediction, beside that of NUTS."""
    others = [name for name in found if name != NUTS_NAME]
    fig, axes = figure(1, len(others), width=9.6, height=3.8, sharey=True)
    reference = np.asarray(found[NUTS_NAME]["variances"])
    for colour, ax, name in zip(PALETTE, np.ravel(axes), others, strict=False):
        ax.scatter(reference, found[name]["variances"], s=8, color=colour, alpha=0.6)
        top = float(reference.max())
        ax.plot([0, top], [0, top], color="0.6", linewidth=0.8)
        title = f"{name}\ncorrelation {found[name]['correlation']:.2f}"
        ax.set(title=title, xlabel="variance by NUTS", xlim=(0, None), ylim=(0, None))
    np.ravel(axes)[0].set(ylabel="variance")
    context.figure(
        "variances",
        fig,
        "The variance of the prediction for each patient held out, without noise, of the first "
        "seed. On the line it is that of HMC; below it, it is understated.",
    )


def table(context: Context, runs: Sequence[Mapping[str, Mapping[str, Any]]]) -> None:
    """Means over the seeds."""
    names = ("correlation", "log_likelihood", "rmse", "variance")
    mean = lambda method, name: float(np.mean([row[method][name] for row in runs]))
    context.table(
        "posteriors",
        ["posterior", "correlation with NUTS", "test log-likelihood", "test RMSE", "mean variance"],
        [[method, *(mean(method, name) for name in names)] for method in runs[0]],
        "Means over seeds, on patients held out; the correlation is that of the variances of their "
        "predictions. Log-likelihood and RMSE are in the units of the data.",
    )

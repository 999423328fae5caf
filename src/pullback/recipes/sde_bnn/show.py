"""How the recipe `sde-bnn` shows what it measured."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.data import Labelled
from pullback.plots import PALETTE, figure, line_with_spread
from pullback.recipes.sde_bnn import gap
from pullback.runs import Context

_NAMES = {
    "analytic": "analytic (Li et al., 2020)",
    "monte_carlo": "Monte Carlo",
    "sticking_the_landing": "sticking the landing (the paper)",
}


def draw_bimodal(context: Context, truth: dict[str, Any], modes: dict[str, Any]) -> None:
    fig, ax = figure(width=7.2, height=3.9)
    edges = modes["edges"]
    centres = (edges[:-1] + edges[1:]) / 2
    ax.fill_between(
        truth["z"],
        truth["posterior"],
        color="grey",
        alpha=0.35,
        linewidth=0,
        label="posterior, by quadrature",
    )
    ax.plot(truth["z"], truth["gaussian"], color=PALETTE[1], linestyle="--", label="best Gaussian")
    drawn = np.array(modes["histogram"])
    line_with_spread(ax, centres, drawn, label="SDE posterior", colour=PALETTE[0], marker=None)
    ax.set(title="A posterior with two modes", xlabel="z, the weight at t = 3", ylabel="density")
    ax.set(xlim=(-9, 9), ylim=(0, None))
    ax.legend()
    context.figure(
        "two-modes",
        fig,
        "The weight's posterior given two observations, -5 and 5. A process with a learned drift "
        f"bends one Gaussian into both modes (a histogram of the ends of its paths, drawn with "
        f"{modes['steps'][-1]} steps: mean over seeds, band of one standard deviation). The best "
        "Gaussian covers both and is highest where the posterior is lowest.",
        alt="A grey density with peaks at -5 and 5; the process follows both, the Gaussian none.",
    )


def table_bimodal(context: Context, truth: dict[str, Any], modes: dict[str, Any]) -> None:
    gaps = np.array(modes["gap"])
    rows = [
        ["exact", "", 0.0, None, 0.0, 0.5],
        [
            "best Gaussian",
            "",
            truth["gaussian_gap"],
            None,
            truth["gaussian_tv"],
            truth["gaussian_right"],
        ],
        ["least gap from the prior's start", "", truth["least_gap"], None, None, None],
    ]
    for i, n in enumerate(modes["steps"]):
        last = i == len(modes["steps"]) - 1
        rows.append(
            [
                "SDE posterior",
                f"{n}",
                float(gaps[:, i].mean()),
                float(np.mean([e[i] for e in modes["error"]])),
                float(np.mean(modes["tv"])) if last else None,
                float(np.mean(modes["right"])) if last else None,
            ]
        )
    context.table(
        "two-modes",
        ["q", "Euler steps", "evidence gap, nats", "its standard error", "total variation",
         "P(z > 0)"],
        rows,
        f"The exact log evidence is {truth['evidence']:.4f} nats. A process that starts from the "
        "prior, as here, cannot close the gap: the true posterior would start elsewhere, and the "
        "third row is what that costs. Total variation is over 80 bins from -10 to 10; with a "
        "finite sample it is not zero even for the exact posterior.",
    )  # fmt: skip
    noise = np.array(modes["noise"]).mean(axis=0)
    stl, analytic, monte_carlo = map(float, noise)
    context.note(
        f"Noise of the gradient at the trained process (root mean square over parameters of the "
        f"standard deviation, {modes['steps'][0]} steps, 16 paths): sticking the landing "
        f"{stl:.4f}, analytic {analytic:.4f}, Monte Carlo {monte_carlo:.4f}."
    )


def draw_calibration(
    context: Context, found: dict[str, Any], sigmas: Sequence[float], main: int
) -> None:
    fig, axes = figure(1, 3, width=11.0, height=3.8)
    name = f"sigma {sigmas[main]:g}"
    shown = {"deterministic": "deterministic", "ensemble": "ensemble"}
    shown[name] = f"random weights, σ = {sigmas[main]:g}"
    colours = dict(zip(shown, (PALETTE[1], PALETTE[2], PALETTE[0]), strict=True))
    axes[0].plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle=":", label="calibrated")
    for model, label in shown.items():
        x, y = _pooled(found["curves"][model])
        axes[0].plot(x, y, marker="o", color=colours[model], label=label)
    axes[0].set(title="Reliability", xlabel="confidence", ylabel="accuracy")
    axes[0].set(xlim=(0.2, 1), ylim=(0.2, 1))
    axes[0].legend(loc="lower right", fontsize=8.5)
    panels = (("nll", "Test NLL", "nats an image"), ("ece", "Expected calibration error", "%"))
    for ax, (measure, title, unit) in zip(axes[1:], panels, strict=True):
        values = lambda model, m=measure: np.array([row[m] for row in found["scores"][model]])
        line_with_spread(ax, sigmas, np.stack([values(f"sigma {s:g}") for s in sigmas], axis=1),
                         colour=PALETTE[0], label="random weights")  # fmt: skip
        for model in ("deterministic", "ensemble"):
            ax.axhline(values(model).mean(), color=colours[model], linestyle="--", label=model)
        ax.set(title=title, xlabel="diffusion σ of the weights", ylabel=unit, ylim=(0, None))
    axes[1].legend()
    context.figure(
        "calibration",
        fig,
        "Left: how often an answer is right, by how sure the network is (all seeds together, bins "
        "with 20 answers or more); below the dotted line it is too sure of itself. Middle and "
        "right: mean over seeds, band of one standard deviation, against the noise of the weights. "
        "Some noise helps and too much ruins.",
    )


def _pooled(curves: Sequence[dict[str, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    counts = np.stack([c["count"] for c in curves])
    kept = counts.sum(axis=0) >= 20

    def mean(name: str) -> np.ndarray:
        values = np.nan_to_num(np.stack([c[name] for c in curves]))
        return (values * counts).sum(axis=0)[kept] / counts.sum(axis=0)[kept]

    return mean("confidence"), mean("accuracy")


def table_classifiers(
    context: Context,
    found: dict[str, Any],
    sigmas: Sequence[float],
    speeds: dict[str, float],
    members: int,
) -> None:
    rows = []
    for model, scores in found["scores"].items():
        stat = lambda name, f, s=scores: float(f([row[name] for row in s]))
        random = model.startswith("sigma")
        rows.append(
            [
                f"random weights, σ = {model.split()[1]}" if random else
                f"ensemble of {members}" if model == "ensemble" else model,
                stat("error", np.mean), stat("nll", np.mean),
                stat("nll", np.std) if len(scores) > 1 else None,
                stat("ece", np.mean), stat("brier", np.mean),
                float(found["kl"][:, [f"sigma {s:g}" for s in sigmas].index(model)].mean())
                if random else None,
                1000 * (speeds["random"] if random else
                        speeds["fixed"] * (members if model == "ensemble" else 1)),
            ]
        )  # fmt: skip
    context.table(
        "classifiers",
        ["model", "test error, %", "NLL, nats", "its std over seeds", "ECE, %", "Brier score",
         "KL to the prior, nats", "ms a training step"],
        rows,
        f"Means over {len(found['kl'])} seeds, each with training images of its own. ECE has 15 "
        "bins. The deterministic network is the same ODE network with weights that do not move; "
        "its scores are the mean over the members of the ensemble. The ensemble averages "
        "probabilities.",
    )  # fmt: skip
    context.note(
        "The KL to the prior is small for hundreds of weights (see the table): little of the "
        "weights' process is learned from the data. Most of what the random weights gain is what "
        "noise in the weights gains while training, and the average over paths at test time."
    )


def draw_precision(
    context: Context,
    found: dict[str, Any],
    steps: Sequence[int],
    trained: int,
    scores: Sequence[dict[str, float]],
) -> None:
    fig, axes = figure(1, 2, width=9.0, height=3.6)
    panels = (("error", "Test error", "change, points"), ("nll", "Test NLL", "change, nats"))
    for ax, (name, title, unit) in zip(axes, panels, strict=True):
        usual = np.array([row[name] for row in scores])[:, None]
        ax.axhline(0, color="grey", linewidth=1)
        for solver, rows in found.items():
            line_with_spread(ax, steps, rows[name] - usual, label=solver)
        ax.axvline(trained, color="grey", linewidth=1, linestyle=":")
        ax.set(title=title, xlabel="steps at test time", ylabel=unit, xscale="log")
        ax.set_xticks(steps, [f"{n}" for n in steps])
        ax.minorticks_off()
    axes[1].legend()
    mean = lambda name: np.mean([row[name] for row in scores])
    context.figure(
        "precision",
        fig,
        "The precision of a trained network is chosen when it is used: how its scores change, "
        "mean over seeds with a band of one standard deviation. It was trained with "
        f"{trained} Euler-Maruyama steps (dotted), with which its test error is "
        f"{mean('error'):.1f} % and its NLL {mean('nll'):.3f} nats.",
    )


def draw_estimators(context: Context, noise: dict[str, np.ndarray], steps: Sequence[int]) -> None:
    fig, ax = figure(width=6.0, height=4.0)
    size = 1 / np.array(steps)
    total = np.sqrt(np.square(noise["std"]).sum(axis=-1))
    colours = (PALETTE[1], PALETTE[4], PALETTE[0])
    for which, (label, colour) in enumerate(zip(_NAMES.values(), colours, strict=True)):
        line_with_spread(ax, size, total[:, which], label=label, colour=colour)
    ax.plot(size, total[:, 2].mean(axis=0)[0] * size / size[0], color="grey", linestyle=":",
            label="in proportion to the step")  # fmt: skip
    ax.set(title="Noise of the gradient at the true posterior", xlabel="step size (depth 1 in all)")
    ax.set(ylabel="standard deviation, one path", xscale="log", yscale="log")
    ax.set_xticks(size, [f"1/{n}" for n in steps])
    ax.minorticks_off()
    ax.invert_xaxis()
    ax.legend()
    context.figure(
        "estimators",
        fig,
        "Standard deviation (norm over the two parameters) of three unbiased gradients of the same "
        "bound, where the process is the true posterior. That of the paper vanishes with the step; "
        "the others do not.",
    )


def table_estimators(context: Context, noise: dict[str, np.ndarray], steps: Sequence[int]) -> None:
    rows = []
    for which, form in enumerate(_NAMES):
        at = lambda name, i, w=which: noise[name][:, w, i].mean(axis=0)
        mean, std = (noise[f"{n}_elsewhere"][:, which].mean(axis=0) for n in ("mean", "std"))
        rows.append(
            [
                _NAMES[form],
                *(" , ".join(f"{v:.3g}" for v in at("std", i)) for i in (0, len(steps) - 1)),
                "{:.4f} ± {:.4f}".format(
                    *(noise[n][:, which].mean() for n in ("bound", "bound_std"))
                ),
                f"{mean[0]:.3f}",
                f"{std[0]:.2f}",
            ]
        )
    context.table(
        "estimators",
        ["form of the KL", *(f"std, {n} steps" for n in (steps[0], steps[-1])),
         "bound, one path", "mean elsewhere", "std elsewhere"],
        rows,
        "Standard deviations of the gradient in phi_1 and phi_2 at the true posterior; the bound "
        f"with its standard deviation at {steps[-1]} steps; mean and standard deviation of the "
        f"gradient in phi_1 away from it, at phi = (0.5, 0.3) and {steps[0]} steps.",
    )  # fmt: skip


def draw_gap(context: Context, spread: dict[str, Any], points: Labelled) -> None:
    fig, axes = figure(1, len(gap.SIGMAS), width=10.0, height=3.6, sharey=True)
    line, ratios = spread["line"], spread["ratio"]
    for j, (ax, sigma) in enumerate(zip(axes, gap.SIGMAS, strict=True)):
        mean, std = spread["mean"][0, j], spread["std"][0, j]
        ax.axvspan(-gap.GAP, gap.GAP, color="grey", alpha=0.15, linewidth=0)
        band = mean - 2 * std, mean + 2 * std
        ax.fill_between(line, *band, color=PALETTE[0], alpha=0.25, linewidth=0)
        ax.plot(line, mean, color=PALETTE[0])
        ax.scatter(points.x[:, 0], points.y[:, 0], s=9, color="black", zorder=3)
        ax.set(title=f"σ = {sigma:g}: gap / data {ratios[:, j].mean():.2f}", xlabel="x")
        ax.set(xlim=(-2, 2), ylim=(-1.6, 1.6))
    axes[0].set(ylabel="y")
    listed = ", ".join(
        f"{ratios[:, j].mean():.2f} ± {ratios[:, j].std():.2f} (σ = {sigma:g})"
        for j, sigma in enumerate(gap.SIGMAS)
    )
    context.figure(
        "gap",
        fig,
        "What did not work: a regression without data in the grey gap. Two standard deviations of "
        "the predictions about their mean, one seed; above, the mean width in the gap over that at "
        "the data, all seeds. A posterior that knows what it has not seen would be wider in the "
        "gap.",
    )
    context.note(
        "Negative result: in one dimension, with one small block and a learned first weight, the "
        "error bars do not grow where there are no data between data. Their mean width in the gap "
        f"over that at the data, over {len(ratios)} seeds: {listed}. Do not read the spread of "
        "such a network as a warning that an input is far from the data."
    )

"""The pictures of the recipe `delta-vae`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure
from pullback.recipes.delta_vae.models import Config
from pullback.runs import Context

_GREY = "#7b8794"
# What is probed: its place in a pair of bars, its colour and its name.
PROBES = (
    ("probe", -0.18, PALETTE[0], "from a draw of z"),
    ("probe_of_means", 0.18, PALETTE[4], "from the posterior's mean: misleading"),
)


def names(config: Config, target: float) -> dict[str, str]:
    """What the ways are called in a table or a legend."""
    return {
        "decoder": "decoder alone",
        "vae": "VAE",
        **{f"delta{alpha:g}": f"delta-VAE, alpha {alpha:g}" for alpha in config.alphas},
        "causal": f"alpha {config.alphas[-1]:g}, causal encoder",
        "target": f"target rate {target:.1f}",
    }


def colours(ways: Sequence[str]) -> dict[str, str]:
    order = (PALETTE[6], PALETTE[1], PALETTE[5], PALETTE[0], PALETTE[2], PALETTE[3], PALETTE[4])
    return {way: order[number % len(order)] for number, way in enumerate(ways)}


def draw_rates(
    context: Context,
    trained: Mapping[str, Mapping[str, np.ndarray]],
    labels: Mapping[str, str],
    deltas: Mapping[str, float],
) -> None:
    """The rate along the training, and that of the lowest sequence of a batch."""
    fig, axes = figure(1, 2, width=9.2, height=4.0, sharey=True)
    shades = colours([*trained])
    for way, found in trained.items():
        if way in ("decoder", "causal"):
            continue
        for ax, kind in zip(axes, ("rate", "lowest"), strict=True):
            if kind == "lowest" and way not in deltas:
                continue
            for number, row in enumerate(found[kind]):
                label = labels[way] if number == 0 else None
                ax.plot(found["steps"], row, color=shades[way], linewidth=1.3, label=label)
    for ax in axes:
        for way, delta in deltas.items():
            if way != "causal":
                ax.axhline(delta, color=shades[way], linestyle="--", linewidth=1.1)
        ax.set(xlabel="training steps")
    late = [found["rate"][:, len(found["steps"]) // 4 :] for found in trained.values()]
    top = max(float(rates.max()) for rates in late)
    axes[0].set(ylabel="rate (nats)", title="mean over the batch", ylim=(-0.4, 1.35 * top))
    axes[1].set(title="lowest sequence of a batch")
    axes[0].legend(fontsize=8, loc="upper right")
    context.figure(
        "rates",
        fig,
        "The divergence of the posterior from the prior during training; a line for each seed, and "
        "dashed the committed rate, below which no posterior can be. The VAE with the same decoder "
        "collapses at once. At first a delta-VAE pays its committed rate for nothing; then it "
        "finds that it may as well use it. Right: the lowest rate of a sequence in each batch.",
    )


def draw_plane(
    context: Context,
    rows: Mapping[str, Mapping[str, Sequence[float]]],
    labels: Mapping[str, str],
    entropy: float,
) -> None:
    """Distortion against rate, with the lines on which their sum is the same."""
    fig, ax = figure(width=7.2, height=5.0)
    shades = colours([*rows])
    right = 1.15 * max(max(row["rate"]) for row in rows.values())
    lowest = min(min(row["distortion"]) for row in rows.values()) - 1.5
    highest = max(max(row["distortion"]) for row in rows.values()) + 1.5
    across = np.linspace(-0.8, right, 2)
    for extra in range(0, 10, 2):
        bold = extra == 0
        ax.plot(across, entropy + extra - across, color="black" if bold else _GREY,
                linewidth=1.4 if bold else 0.7, linestyle="-" if bold else ":")  # fmt: skip
        at = entropy + extra - lowest - 0.25
        if extra and at < right - 0.3:
            ax.annotate(f"+{extra}", (at, lowest + 0.25), fontsize=8, color=_GREY)
    ax.annotate(
        "thick line: distortion + rate is the entropy\nof the data, exact; no model lies below",
        (0.05 * right, lowest + 0.4), fontsize=8,
    )  # fmt: skip
    for way, row in rows.items():
        rate, distortion = np.asarray(row["rate"]), np.asarray(row["distortion"])
        if way == "decoder":
            ax.plot(0 * rate, distortion, "x", color=shades[way], label=labels[way], markersize=7)
            continue
        ax.plot(rate, distortion, "o", color=shades[way], label=labels[way])
        if way != "vae":
            shown = np.asarray(row["auxiliary"])
            ax.plot(shown, distortion, "o", color=shades[way], markerfacecolor="white")
            ax.plot([shown, rate], [distortion] * 2, color=shades[way], linewidth=0.8, alpha=0.6)
    ax.set(xlim=(-0.8, right), ylim=(lowest, highest), xlabel="rate (nats)")
    ax.set(ylabel="distortion (nats)")
    ax.legend(fontsize=8, loc="upper right", frameon=True, edgecolor="white")
    context.figure(
        "plane",
        fig,
        "Every model in the plane of rate and distortion: a dot a seed, hollow with the rate under "
        "a normal prior that was fitted to the encoder's output after training. On a dotted line "
        "the sum, minus the ELBO, is the entropy of the data and so many nats: the price of using "
        "the latents, most of which the fitted prior takes back.",
    )


def draw_probes(
    context: Context,
    rows: Mapping[str, Mapping[str, Sequence[float]]],
    labels: Mapping[str, str],
    best: float,
) -> None:
    """What a linear classifier reads off the latents, and off their means."""
    shown = [way for way in rows if way != "decoder"]
    fig, ax = figure(width=7.6, height=1.4 + 0.5 * len(shown))
    for place, way in enumerate(shown):
        for kind, shift, colour, label in PROBES:
            values = np.asarray(rows[way][kind])
            ax.barh(place + shift, values.mean() - 0.5, 0.34, left=0.5, color=colour, alpha=0.8,
                    label=label if place == 0 else None)  # fmt: skip
            ax.plot(values, [place + shift] * len(values), ".", color="black", markersize=4)
    ax.axvline(best, color=_GREY, linestyle="--", linewidth=1.2, label="exact inference from x")
    ax.set_yticks(range(len(shown)), [labels[way] for way in shown])
    ax.invert_yaxis()
    ax.set(xlim=(0.49, 1.0), xlabel="hidden state read correctly (0.5 is chance)")
    ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.38, 1.13), ncols=3)
    context.figure(
        "probes",
        fig,
        "How often a linear classifier tells the hidden state of a step from its latent; a dot a "
        "seed. A draw of a collapsed VAE's latent tells nothing. Its mean moves by a few "
        "hundredths with the state, under noise of size one, and a classifier of means scales that "
        "up: probe draws.",
    )


def draw_paths(
    context: Context,
    trained: Mapping[str, Mapping[str, np.ndarray]],
    ways: Sequence[str],
    labels: Mapping[str, str],
) -> None:
    """The latents of one sequence beside the hidden state."""
    first = trained[ways[0]]
    switches = np.abs(np.diff(first["states"][0].astype(int), axis=1)).sum(1)
    index = int(np.argmax(switches == min(3, switches.max())))
    fig, axes = figure(len(ways), 1, width=7.2, height=1.6 * len(ways) + 0.5, sharex=True)
    shades = colours([*trained])
    for ax, way in zip(np.atleast_1d(axes), ways, strict=True):
        found = trained[way]
        state = found["states"][0, index]
        steps = np.arange(1, len(state) + 1)
        mean, scale, z = (found[name][0, index, :, 0] for name in ("mean", "scale", "z"))
        reach = 1.1 * float(max(np.max(np.abs(mean) + 2 * scale), np.abs(z).max()))
        ax.bar(steps[state == 1], 2 * reach, 1.0, -reach, color="#e4e7eb",
               label="hidden state is 1")  # fmt: skip
        ax.plot(steps, mean, color=shades[way], label="posterior mean")
        ax.fill_between(steps, mean - 2 * scale, mean + 2 * scale, color=shades[way], alpha=0.2,
                        linewidth=0, label="two standard deviations")  # fmt: skip
        ax.plot(steps, z, ".", color="black", markersize=4, label="a draw")
        ax.set(ylim=(-reach, reach), ylabel="z", title=labels[way])
        ax.grid(False)
    bottom: Any = np.atleast_1d(axes)[-1]
    bottom.set(xlabel="step")
    bottom.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.32), ncols=4)
    context.figure(
        "paths",
        fig,
        "The latents of one new sequence under models of the first seed. The delta-VAE's follow "
        "the hidden state slowly: its prior makes fast changes dear. A VAE that is held at a rate "
        "by its objective follows single bits as well, and its draws are noisier for it.",
    )

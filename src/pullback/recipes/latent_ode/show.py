"""The pictures of the recipe `latent-ode`."""

from collections.abc import Mapping, Sequence

from pullback.plots import PALETTE, figure
from pullback.runs import Context


def draw_predictors(
    context: Context, found: Mapping[str, Sequence[Mapping]], names: Mapping[str, str]
) -> None:
    """One held-out sinusoid as each autoregressive model sees it coming."""
    fig, ax = figure(width=7.5, height=3.6)
    grid, truth, seen = (next(iter(found.values()))[0][name] for name in ("grid", "truth", "mask"))
    ax.plot(grid, truth, color="black", linewidth=1, label="truth")
    for colour, kind in zip(PALETTE, found, strict=False):
        ax.plot(grid, found[kind][0]["said"], color=colour, label=names[kind], linewidth=1.4)
    ax.plot(grid[seen], truth[seen], "o", color="black", label="observed")
    ax.set(xlabel="time", ylabel="value", ylim=(-2.0, 1.4), title="Predictions from the past alone")
    ax.legend(fontsize="x-small", ncols=3, loc="lower left")
    context.figure(
        "predictors",
        fig,
        "A held-out sinusoid, of which the dots were observed. At every time each model predicts "
        "from the dots before it; RNN-Decay fades between them, and the ODE-RNN goes on along "
        "the curve.",
    )


def draw_latent_odes(context: Context, found: Mapping[str, Sequence[Mapping]], end: float) -> None:
    """Held-out sinusoids as both latent ODEs reconstruct and continue them."""
    fig, axes = figure(2, 3, width=10.5, height=4.6, sharex=True, sharey=True)
    for row, kind in zip(axes, ("ode", "rnn"), strict=True):
        one = found[kind][0]
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
            ax.plot(*one["seen"][number], "o", color="black", markersize=3.5, label="seen")
        row[0].set(ylabel="value", ylim=(-2.2, 2.2), title=f"{kind.upper()} encoder")
    for ax in axes[-1]:
        ax.set_xlabel("time")
    axes[0, 2].legend(fontsize="x-small", ncols=2)
    context.figure(
        "latent-odes",
        fig,
        "Three held-out sinusoids with 30 % of their points seen, reconstructed by latent ODEs "
        "with two encoders, and continued beyond the window of training (grey).",
    )


def draw_forecasts(
    context: Context,
    found: Mapping[str, Sequence[Mapping]],
    names: Mapping[str, str],
    end: float,
) -> None:
    """Three held-out sinusoids, and how each model goes on from their first halves."""
    fig, axes = figure(1, 3, width=10.5, height=2.8, sharex=True, sharey=True)
    one = found["ode"][0]
    for number, ax in enumerate(axes):
        times, truth = one["whole"]
        ax.axvspan(end, times[-1], color="#e4e7eb", alpha=0.5, linewidth=0)
        ax.plot(times, truth[number], color="black", linewidth=1, label="truth")
        for colour, (kind, name) in zip(PALETTE, names.items(), strict=False):
            ax.plot(one["times"], found[kind][0]["said"][number], color=colour, label=name)
        ax.plot(*one["seen"][number], "o", color="black", markersize=3.5, label="seen")
        ax.set(xlabel="time", ylim=(-1.6, 1.6))
    axes[0].set_ylabel("value")
    axes[2].legend(fontsize="x-small", ncols=2)
    context.figure(
        "forecasts",
        fig,
        "Three held-out sinusoids, of whose first halves the dots were seen, and how a latent ODE "
        "and an RNN-VAE write their second halves (grey); both were trained to.",
    )

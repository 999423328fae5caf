"""The pictures and tables of the recipe `hypernet-hpo`."""

import numpy as np
from jaxtyping import Float

from pullback.plots import PALETTE, figure
from pullback.recipes.hypernet_hpo.claims import Found, losses
from pullback.runs import Context

# The ways to choose decays, by the stage that measured them: name, hyperparameters.
_WAYS = {
    ("weights", "start"): ("all decays as at the start", "-"),
    ("classes", "one decay"): ("one decay, the best of 81", "1"),
    ("rivals", "Bayesian optimisation"): ("Bayesian optimisation", "10"),
    ("classes", "tuned"): ("tuned through a fitted response", "10"),
    ("classes", "optimum"): ("the optimum by class", "10"),
    ("rivals", "random search"): ("random search", "all"),
    ("weights", "factored"): ("in one run, factored response", "all"),
    ("weights", "diagonal"): ("in one run, diagonal response", "all"),
    ("weights", "optimum"): ("the optimum of every weight", "all"),
}


def draw_losses(context: Context, found: Found) -> None:
    """Validation and test losses of every way."""
    fig, ax = figure(width=8.0, height=4.2)
    for place, (part, way) in enumerate(_WAYS):
        for which, colour, shift in (("validation", PALETTE[0], -0.12), ("test", PALETTE[1], 0.12)):
            values = losses(found, part, way, which)
            label = which if place == 0 else None
            at = np.full(len(values), place + shift)
            ax.plot(values, at, "o", color=colour, alpha=0.75, label=label)
    ax.set_yticks(range(len(_WAYS)), [name for name, _ in _WAYS.values()])
    ax.invert_yaxis()
    ax.set(xlabel="held-out loss, half the squared error")
    ax.legend(fontsize=9)
    context.figure(
        "losses",
        fig,
        "What training comes to in the end at the decays that each way chose; a dot a split of the "
        "digits. A decay for every weight, tuned in one run, comes below every choice by class.",
    )


def draw_predictions(context: Context, found: Found) -> None:
    """Predicted losses, a regularisation path, and the runs that tune every decay."""
    fig, (left, middle, right) = figure(1, 3, width=11.0, height=3.8)
    first = found[0]["classes"]
    for way, name, colour in (
        ("process", "Gaussian process", PALETTE[1]),
        ("response", "response", PALETTE[0]),
    ):
        left.plot(first["true"], first[way], ".", color=colour, alpha=0.4, label=name)
    ends = [float(np.min(first["true"])), float(np.max(first["true"]))]
    left.plot(ends, ends, color="#7b8794", linewidth=1)
    left.set(xlabel="true validation loss", ylabel="predicted")
    left.legend(fontsize=9)
    middle.plot(first["path"], first["path_true"], color="#7b8794", label="trained to the end")
    middle.plot(first["path"], first["path_response"], "--", color=PALETTE[0], label="response")
    middle.set(xlabel="log-decay, the same for all classes", ylabel="validation loss")
    middle.legend(fontsize=9)
    for number, way in enumerate(("diagonal", "factored")):
        run = found[0]["weights"][way]
        right.plot(run["step"], run["curve"], color=PALETTE[number], label=way, linewidth=1.2)
    right.set(xlabel="training steps", ylabel="validation loss", yscale="log")
    right.legend(fontsize=9)
    context.figure(
        "predictions",
        fig,
        "On the first split. Left: what one response to the decays of ten classes predicts at "
        "decays drawn at random, beside a Gaussian process on some trainings. Middle: the same "
        "response along one decay for all, a path that took no training of its own. Right: "
        "the loss along the runs that tune a decay for every weight, which move once the warm-up "
        "is over.",
    )


def draw_decays(context: Context, hyper: Float[np.ndarray, "dim classes"]) -> None:
    """The tuned decay of every pixel's weight."""
    side = int((len(hyper) - 1) ** 0.5)
    fig, axes = figure(2, 5, width=8.0, height=3.6)
    for digit, ax in enumerate(np.ravel(axes)):
        image = np.asarray(hyper)[: side * side, digit].reshape(side, side)
        ax.imshow(image, vmin=-8, vmax=4, cmap="cividis")
        ax.set(xticks=[], yticks=[], title=str(digit))
        ax.grid(visible=False)
    fig.colorbar(np.ravel(axes)[0].images[0], ax=axes, label="log-decay", shrink=0.8)
    context.figure(
        "decays",
        fig,
        "The log-decays of the weights of every pixel, by class, as one run tuned them on the "
        "first split: bright pixels are kept out of a class.",
    )


def tables(context: Context, found: Found) -> None:
    """The numbers of the pictures."""
    mean = lambda *which: float(np.mean(losses(found, *which)))
    context.table(
        "losses",
        ["way to choose the decays", "how many", "validation", "test"],
        [
            [name, count, mean(part, way, "validation"), mean(part, way, "test")]
            for (part, way), (name, count) in _WAYS.items()
        ],
        "Half the squared error on one-hot classes of what training comes to in the end; means "
        "over the splits.",
    )
    rows = []
    for way, name in (("response", "response"), ("process", "Gaussian process")):
        parts = [each["classes"] for each in found]
        errors = [np.asarray(part[way] - part["true"]) for part in parts]
        correlation = [np.corrcoef(part[way], part["true"])[0, 1] for part in parts]
        rows.append(
            [
                name,
                float(np.mean(errors)),
                float(np.mean(np.abs(errors))),
                float(np.mean(correlation)),
            ]
        )
    context.table(
        "predictions",
        ["surrogate of the validation loss", "bias", "mean absolute error", "correlation"],
        rows,
        "At decays of the ten classes drawn at random; means over the splits.",
    )

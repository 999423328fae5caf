"""Few labels on a table of the user's own, in the recipe `vera`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from pullback import data
from pullback._files import atomic_write_csv
from pullback.plots import PALETTE, figure
from pullback.recipes import vera as recipe
from pullback.recipes._own import own_file
from pullback.recipes.vera.measure import score
from pullback.recipes.vera.models import Task, train_classifiers
from pullback.runs import Claim, Context

_FEWEST = 4  # labelled rows of a class: half of them are held out
_METHODS = ("labels alone", "JEM by VERA")


@dataclass(frozen=True)
class Config(recipe.Config):
    columns: tuple[str, ...] = ()
    """The columns of numbers to take; all when none is named."""
    label: str = ""
    """The column of the labels, empty where they are not known; the last
    column when none is named."""


def run(config: Config, context: Context) -> list[Claim]:
    """Train on a table with and without its unlabelled rows, and predict every row."""
    file = own_file(context)
    table = data.read_labelled(file, config.label or None, list(config.columns) or None)
    if not np.ptp(table.values, axis=0).any():
        raise data.DataError(file, "every column of numbers is the same in all rows: nothing tells "
                             "the classes apart. Take other columns.")  # fmt: skip
    held_out = _held_out(file, table, context.seed)
    seen = (table.y >= 0) & ~held_out
    (x, rows), _ = data.standardise(table.values[~held_out], table.values)
    task = Task(x, data.Labelled(rows[seen], table.y[seen]), rows, len(table.classes))
    seeds = context.seeds(config.seeds)
    found = {
        name: context.stage(
            f"table-{place}", train_classifiers, config, name, [task] * config.seeds, seeds,
            context.progress,
        )
        for place, name in enumerate(_METHODS)
    }  # fmt: skip
    scores = {
        name: [_score(probs[held_out], table.y[held_out]) for probs in row["probs"]]
        for name, row in found.items()
    }
    _write(context.root, table, held_out, found["JEM by VERA"])
    _draw(context, scores, int(held_out.sum()))
    measures = list(scores["labels alone"][0])
    context.table(
        "scores",
        ["held-out rows", *measures],
        [
            [name, *(float(np.mean([row[key] for row in rows])) for key in measures)]
            for name, rows in scores.items()
        ],
        f"Means over {config.seeds} seeds, of {held_out.sum()} labelled rows that were held out. "
        "Accuracy and AUROC: higher is better; the others: lower.",
    )
    context.note(
        f"{file.name}: {len(rows)} rows of {len(table.columns)} columns; {seen.sum()} labels "
        f"trained the classifiers, {held_out.sum()} were held out to judge them, and "
        f"{(table.y < 0).sum()} rows had none and taught the density alone. Classes: "
        f"{', '.join(table.classes)}. The prediction for every row is in predictions.csv, by "
        "its line in a CSV file, else by its number."
    )
    plain, ours = (found[name]["probs"][:, held_out] for name in _METHODS)
    return _claims(scores, plain, ours, table.y[held_out])


def _held_out(file: Path, table: data.LabelledTable, seed: int) -> np.ndarray:
    """Which rows to judge by: half of the labels of each class."""
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(table.y), bool)
    for number, name in enumerate(table.classes):
        rows = np.flatnonzero(table.y == number)
        if len(rows) < _FEWEST:
            raise data.DataError(
                file, f"expected {_FEWEST} rows or more of each label in column {table.label!r}, "
                f"for half of them are held out; {name!r} has {len(rows)}."
            )  # fmt: skip
        chosen[generator.permutation(rows)[: len(rows) // 2]] = True
    return chosen


def _score(probs: Float[np.ndarray, "m k"], y: Int[np.ndarray, " m"]) -> dict[str, float]:
    from sklearn.metrics import roc_auc_score

    one_hot = np.eye(probs.shape[1])[y]
    return {**score(probs, y), "auroc": float(roc_auc_score(one_hot, probs, average="macro"))}


def _write(
    root: Path, table: data.LabelledTable, held_out: np.ndarray, found: dict[str, Any]
) -> None:
    """Probabilities and log-densities, means over the seeds."""
    probs, density = found["probs"].mean(axis=0), found["log_density"].mean(axis=0)
    part = np.where(table.y < 0, "unlabelled", np.where(held_out, "held out", "trained on"))
    names = [*table.classes, ""]  # the last one is of -1
    header = ["row", "label", "part", "predicted", *(f"p({name})" for name in table.classes)]
    lines = [
        [table.rows[row], names[table.y[row]], part[row], names[probs[row].argmax()],
         *(f"{p:.6g}" for p in probs[row]), f"{density[row]:.6g}"]
        for row in range(len(probs))
    ]  # fmt: skip
    atomic_write_csv(root / "predictions.csv", [[*header, "log_density"], *lines])


def _draw(context: Context, scores: dict[str, list[dict[str, float]]], rows: int) -> None:
    shown = {"accuracy": "accuracy", "auroc": "AUROC", "brier": "Brier score"}
    fig, axes = figure(1, len(shown), width=9.6, height=3.2)
    for ax, (measure, title) in zip(axes, shown.items(), strict=True):
        for place, found in enumerate(scores.values()):
            values = [row[measure] for row in found]
            ax.bar(place, np.mean(values), color=PALETTE[place], alpha=0.6, width=0.6)
            ax.plot(np.full(len(values), place), values, "o", color="black", markersize=3)
        ax.set_xticks(range(len(scores)), [name.replace(" by ", "\nby ") for name in scores])
        ax.set(title=title)
        ax.grid(axis="x", visible=False)
    context.figure(
        "scores",
        fig,
        f"On {rows} labelled rows that were held out: a classifier of the labels alone, and one "
        "that learned the density of all rows beside them. Dots are seeds. Accuracy and AUROC: "
        "higher is better. Brier score: lower is better.",
    )


def _claims(
    scores: dict[str, list[dict[str, float]]],
    plain_probs: Float[np.ndarray, "seeds m k"],
    our_probs: Float[np.ndarray, "seeds m k"],
    y: Int[np.ndarray, " m"],
) -> list[Claim]:
    plain, ours = scores["labels alone"], scores["JEM by VERA"]
    apart = lambda key: [b[key] - a[key] for a, b in zip(plain, ours, strict=True)]
    right = lambda probs: (probs.argmax(axis=2) == y).mean(axis=0)
    brier = lambda probs: ((probs - np.eye(probs.shape[2])[y]) ** 2).sum(axis=2).mean(axis=0)
    # Two standard errors of a mean over rows of what the two differ by, or one row.
    allowed = [
        max(2 * float(np.std(of(our_probs) - of(plain_probs))) / len(y) ** 0.5, 1 / len(y))
        for of in (right, brier)
    ]
    return [
        Claim.over_seeds(
            "A classifier that learns the density too is no worse on held-out rows than one of the "
            f"labels alone (accuracy of {np.mean([row['accuracy'] for row in ours]):.3f} against "
            f"{np.mean([row['accuracy'] for row in plain]):.3f}; difference)",
            apart("accuracy"),
            at_least=-allowed[0],
            reference=f"two standard errors of the difference, over {len(y)} rows",
        ),
        Claim.over_seeds(
            "nor is its Brier score (difference)",
            apart("brier"),
            at_most=allowed[1],
            reference=f"two standard errors of the difference, over {len(y)} rows",
        ),
    ]


PRESETS = {name: Config(**vars(config)) for name, config in recipe.PRESETS.items()}

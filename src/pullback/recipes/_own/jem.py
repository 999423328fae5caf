"""The JEM of a table of the user's own, with a column of classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from pullback import data
from pullback._files import atomic_write_csv
from pullback.analysis import auroc
from pullback.models.energy import JEM
from pullback.recipes import jem as recipe
from pullback.recipes._kit.stack import one_by_one
from pullback.recipes._own import own_file
from pullback.recipes.jem import measure, show
from pullback.recipes.jem.models import Problem, moon_kinds, train_kinds
from pullback.runs import Claim, Context

_FEWEST_ROWS, _MOST_CLASSES = 40, 50


@dataclass(frozen=True)
class Config(recipe.Config):
    columns: tuple[str, ...] = ()
    """The columns of numbers to take; all when none is named."""
    label: str = ""
    """The column of the classes, empty where they are not known; the last
    column when none is named."""


def run(config: Config, context: Context) -> list[Claim]:
    """Train on three quarters of the rows, with and without a density, and score every row."""
    file = own_file(context)
    seeds = context.seeds(config.seeds)
    table = data.read_labelled(file, config.label or None, list(config.columns) or None)
    _check(file, table)
    problem, held = split(table, seeds, context.seed)
    scaled, y = problem.x, problem.y
    kinds = moon_kinds(config)
    trained = train_kinds(context, config, "table", kinds, problem, seeds)
    found, per_row = {}, {}
    for place, name in enumerate(kinds):
        models = trained[name]["models"]
        found[name] = context.stage(f"table-{place}", measure.classify, problem, models)
        per_row[name] = context.stage(f"rows-{place}", _rows, problem.x, models)
    show.draw_reliability(context, file.name, problem.test.y, found)
    _write(context.root, table, held, per_row["JEM"])
    context.table(
        "table",
        ["trained by", "accuracy", "ECE", "NLL of labels (nats)", "rollbacks"],
        [
            [name, *(float(row[k].mean()) for k in ("accuracy", "ece", "nll")),
             int(np.sum(trained[name]["rollbacks"]))]
            for name, row in found.items()
        ],
        f"{file.name}, rows that were held out; means over {len(seeds)} seeds.",
    )  # fmt: skip
    context.note(
        f"{file.name}: {len(y)} rows of {len(table.columns)} columns and {len(table.classes)} "
        f"classes ({table.label}), of which {problem.labelled.shape[1]} rows trained the models "
        f"and {len(held)} are what the claims are about; {np.sum(y < 0)} have no class and taught "
        "the density "
        "alone. scores.csv has, of the first seed, each row's log-density, the share of training "
        "rows that have a lower one (near 0: look at that row), and the probability of each class; "
        "a row is named by its line in a CSV file, else by its number."
    )
    return _claims(trained, per_row, y, held, context.seed, scaled)


def split(
    table: data.LabelledTable, seeds: Sequence[int], seed: int
) -> tuple[Problem, Int[np.ndarray, " h"]]:
    """What every seed learns from, and the rows that are held out: a quarter of those labelled."""
    known, unknown = np.flatnonzero(table.y >= 0), np.flatnonzero(table.y < 0)
    order = np.random.default_rng(seed).permutation(known)
    held, seen = np.split(order, [len(known) // 4])
    dense = np.concatenate([seen, unknown])
    (_, scaled), _ = data.standardise(table.values[dense], table.values)
    labelled, density = (np.tile(rows, (len(seeds), 1)) for rows in (seen, dense))
    y = table.y.astype(np.int32)
    test = data.Labelled(scaled[held], y[held])
    problem = Problem(x=scaled, y=y, labelled=labelled, density=density, test=test, box=(-3.0, 3.0))
    return problem, held


def _check(file: Path, table: data.LabelledTable) -> None:
    known, classes = int((table.y >= 0).sum()), len(table.classes)
    if known < _FEWEST_ROWS:
        raise data.DataError(
            file, f"expected {_FEWEST_ROWS} rows or more with a class in column {table.label!r}; "
            f"got {known}."
        )  # fmt: skip
    if classes > _MOST_CLASSES:
        raise data.DataError(
            file, f"expected at most {_MOST_CLASSES} classes in column {table.label!r}; it has "
            f"{classes} different values."
        )  # fmt: skip


def _rows(x: np.ndarray, models: JEM) -> dict[str, np.ndarray]:
    """Of every row of the table the log-probabilities of the classes, and the log-density."""
    logits = np.asarray(one_by_one(_logits, models, jnp.asarray(x, float)))
    total = np.logaddexp.reduce(logits, axis=2)
    return {"log_prob": logits - total[:, :, None], "log_density": total}


def _logits(model: JEM, x: Array) -> Array:
    return jax.vmap(model.logits)(x)


def _write(
    root: Path, table: data.LabelledTable, held: np.ndarray, found: Mapping[str, Any]
) -> None:
    density, prob = found["log_density"][0], np.exp(found["log_prob"][0])
    part = np.where(table.y < 0, "unlabelled", "train").astype(object)
    part[held] = "test"
    order = np.sort(density[part != "test"])
    below = np.searchsorted(order, density) / len(order)
    names = [*table.classes, ""]  # the last one is of -1
    header = ["row", "part", "class", "log_density", "share_below"]
    header += [f"p_{name}" for name in table.classes]
    lines = [
        [row, part[i], names[table.y[i]], density[i], below[i], *prob[i].tolist()]
        for i, row in enumerate(table.rows.tolist())
    ]
    atomic_write_csv(root / "scores.csv", [header, *lines])


def _claims(
    trained: Mapping[str, Any], per_row: Mapping[str, Any], y: np.ndarray, held: np.ndarray,
    seed: int, scaled: np.ndarray,
) -> list[Claim]:  # fmt: skip
    nll = {
        name: -np.take_along_axis(row["log_prob"][:, held], y[held][None, :, None], axis=2)[..., 0]
        for name, row in per_row.items()
    }
    more = (nll["JEM"] - nll["cross-entropy"]).mean(axis=0)
    error = float(np.std(more, ddof=1) / np.sqrt(len(more)))
    generator = np.random.default_rng(seed)
    mixed = np.stack([generator.permutation(column) for column in scaled[held].T], axis=1)
    ood = _rows(mixed, trained["JEM"]["models"])["log_density"]
    areas = [auroc(a[held], b) for a, b in zip(per_row["JEM"]["log_density"], ood, strict=True)]
    seeds = len(areas)
    return [
        Claim(
            "On rows that it has not seen JEM gives labels no less likelihood than cross-entropy "
            "alone (mean difference)",
            value=float(more.mean()),
            at_most=2 * error,
            unit="nats",
            seeds=seeds,
            reference=f"two standard errors of the difference over {len(held)} rows",
        ),
        Claim.over_seeds(
            "JEM's density takes rows that it has not seen for more likely than rows whose columns "
            "were shuffled one by one (AUROC)",
            areas,
            at_least=0.5,
            reference="0.5 is chance, and what columns that do not depend on each other give",
        ),
        Claim(
            "Training stayed well (largest size of the gap over its last tenth)",
            value=float(np.abs(trained["JEM"]["gap"][:, -5:]).max()),
            at_most=2.0,
            unit="nats",
            seeds=seeds,
            reference="about 0; it leaves 0 in an explosion",
        ),
    ]


PRESETS = {name: Config(**vars(config)) for name, config in recipe.PRESETS.items()}

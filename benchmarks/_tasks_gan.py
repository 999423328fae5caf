"""New rows of real tables by a GAN, a Gaussian copula and a flow, beside rows held out."""

import time
from pathlib import Path

import jax.random as jr
import numpy as np
from sklearn.preprocessing import QuantileTransformer

from _tasks_tables import bundled, regression
from pullback.analysis.samples import density_and_coverage, two_sample_auroc
from pullback.tasks import FlowDensity, TableGAN

REAL = "real rows"
UCI = ("concrete",)


def sampled_tables(folder: Path | None) -> dict[str, np.ndarray]:
    """Tables of numbers, without what is predicted of them."""
    found = {name: bundled(name).x for name in ("wine", "breast-cancer", "diabetes")}
    own = regression(folder)
    return found | {name: np.column_stack(own[name]) for name in UCI if name in own}


def samples(table: np.ndarray, seed: int) -> dict[str, dict[str, float]]:
    """Of each rival how its draws lie beside a quarter of the rows, and its seconds.

    Each is fitted to the other rows, at its default settings.
    """
    order = np.random.default_rng(seed).permutation(len(table))
    test, train = np.split(table[order], [len(table) // 4])
    settings = {"random_state": seed, "progress": False}
    rivals = {
        "TableGAN": TableGAN(**settings),
        "Gaussian copula": TableGAN(max_steps=0, **settings),
        "FlowDensity": FlowDensity(**settings),
    }
    scores = QuantileTransformer(
        n_quantiles=min(1000, len(train)), output_distribution="normal"
    ).fit(train)
    found, drawn, seconds = {}, {REAL: train[: len(test)]}, {REAL: 0.0}
    for name, model in rivals.items():
        start = time.perf_counter()
        model.fit(train)
        seconds[name] = time.perf_counter() - start
        rows = np.tile(train.mean(axis=0), (len(test), 1))  # columns without a density
        places = [int(column[1:]) - 1 for column in model.columns_]
        rows[:, places] = model.sample(len(test), random_state=seed)
        drawn[name] = rows
    for name in (*rivals, REAL):
        both = scores.transform(test), scores.transform(drawn[name])
        told = two_sample_auroc(*both, key=jr.key(seed))
        lies = density_and_coverage(*both)
        found[name] = {**told._asdict(), **lies._asdict(), "fit": seconds[name]}
    return found

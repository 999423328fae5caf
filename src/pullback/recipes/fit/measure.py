"""Cells found, by every way to explain a series, against what is known to have moved the label."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float
from sklearn.metrics import average_precision_score, roc_auc_score

from pullback import data
from pullback.analysis.explain import (
    ffc_importance,
    fit_importance,
    occlusion_importance,
    step_predictor,
    window_importance,
)
from pullback.recipes.fit import models

FIT, OFFICIAL, NO_SHIFT = "FIT", "FIT as in the authors' code", "FIT without the shift"
FFC, UNIFORM, BOOTSTRAP = "FFC", "occlusion, uniform", "occlusion, bootstrap"
WINDOW = "windows"
WAYS = (FIT, OFFICIAL, NO_SHIFT, FFC, UNIFORM, BOOTSTRAP)
LEARNED = (FIT, NO_SHIFT, UNIFORM, BOOTSTRAP)  # of the network: what the claims are of
SPIKES, LATE_SPIKES = "spikes", "late spikes"
_WINDOW = 5  # predictions that a cell may have changed
_AT_ONCE = 20  # series, which bounds the memory


def found(config: Any, seed: int) -> dict[str, Any]:
    """Areas under the curves of one seed, and one series as each explains it."""
    series = data.switching_state(config.train + config.series, points=config.points, seed=seed)
    train, held = _part(series, slice(None, config.train)), _part(series, slice(config.train, None))
    assert series.law is not None
    keys = jr.split(jr.key(seed), config.series)
    rows = jnp.asarray(held.x, float), jnp.asarray(train.x, float), keys
    exact = models.exact(series.law)
    learned = models.learned(config, train, seed)
    scores = {
        "exact": jax.tree.map(np.asarray, explain(*exact, *rows, config.samples, WAYS)),
        "learned": jax.tree.map(np.asarray, explain(*learned, *rows, config.samples, LEARNED)),
    }
    loss, batch = eqx.filter_jit(models.label_loss), (rows[0], jnp.asarray(held.y))
    return {
        "areas": {name: _areas(held, of) for name, of in scores.items()} | _spikes(config, seed),
        "base": np.array([held.at_switches[:, 1:].mean(), held.at_every_step[:, 1:].mean()]),
        "loss": np.array([loss(both[0], batch, key=jr.key(0))[0] for both in (exact, learned)]),
        "shown": {
            **{way: scores["exact"][way][0] for way in (FIT, UNIFORM)},
            **{name: getattr(held, name)[0] for name in ("x", "state", "at_switches")},
            "learned": scores["learned"][FIT][0],
        },
    }


def _spikes(config: Any, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Areas where the label turns with a spike, at once and late."""
    found, law = {}, {"points": config.points, "height": models.HEIGHT, "seed": seed}
    for name, delay in ((SPIKES, 0), (LATE_SPIKES, models.LATE)):
        held = data.threshold_spikes(config.spiked, delay=delay, **law)
        x, keys = jnp.asarray(held.x, float), jr.split(jr.key(seed), config.spiked)
        both = models.spiked(held.x, delay)
        scores = explain(*both, x, x, keys, config.samples, (FIT, WINDOW))
        found[name] = _areas(held, jax.tree.map(np.asarray, scores))
    return found


@eqx.filter_jit
def explain(
    predictor: Any, generator: Any, x: Float[Array, "series time features"],
    background: Float[Array, "train time features"], keys: Array, samples: int,
    ways: tuple[str, ...],
) -> dict[str, Float[Array, "series time features"]]:  # fmt: skip
    """Scores of every cell of every series, by each of the ways."""
    asked = step_predictor(predictor.start, predictor.step)

    def one(each: tuple[Array, Array]) -> dict[str, Array]:
        series, key = each
        given = {"samples": samples, "key": key}
        both = (asked, generator, series)
        fit = fit_importance(*both, **given)
        assert fit.unexplained is not None
        official: dict[str, Any] = {"estimator": "mean_of_kl", "baseline": "previous"}
        found = {
            FIT: lambda: fit,
            OFFICIAL: lambda: fit_importance(*both, **official, **given),
            NO_SHIFT: lambda: fit._replace(score=-fit.unexplained),
            FFC: lambda: ffc_importance(*both, **given),
            UNIFORM: lambda: occlusion_importance(asked, series, **given),
            BOOTSTRAP: lambda: occlusion_importance(asked, series, background=background, **given),
            WINDOW: lambda: window_importance(*both, window=_WINDOW, **given),
        }
        return {way: found[way]().score for way in ways}

    return jax.lax.map(one, (x, keys), batch_size=min(_AT_ONCE, len(x)))


def _areas(held: data.ExplainedSeries, scores: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Under precision and recall, and under the ROC, `[truth, 2]`, by each of the ways.

    Nothing changed before the first step, and no method is asked about it.
    """
    truths = [truth[:, 1:].ravel() for truth in (held.at_switches, held.at_every_step)]
    areas = (average_precision_score, roc_auc_score)
    return {
        way: np.array([[area(truth, score[:, 1:].ravel()) for area in areas] for truth in truths])
        for way, score in scores.items()
    }


def _part(series: data.ExplainedSeries, rows: slice) -> data.ExplainedSeries:
    arrays = {name: leaf[rows] for name, leaf in series._asdict().items() if name != "law"}
    return series._replace(**arrays)

"""What the maps of each way come to, beside the truth."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from scipy.stats import spearmanr

from pullback.analysis.explain import AbstractInfill, classifier, deletion_curve, fido
from pullback.data import Scenes, digit_scenes
from pullback.recipes.fido import models
from pullback.recipes.fido.models import Config, Net, Way
from pullback.runs import Context

POINTS = 24  # of a deletion curve


def explained(config: Config, context: Context, seed: int) -> dict[str, Any]:
    """The scenes of a seed, and their maps in each way."""
    train, test = digit_scenes(copies=config.copies, seed=seed)
    test = Scenes(*(part[:: config.copies] for part in test))  # one scene of each digit
    net = models.trained(config, context, train.labelled, seed)
    right = models.as_black_box(net)(test.x[:, None]).argmax(axis=1) == test.y
    shown = Scenes(*(part[right][: config.pictures] for part in test))
    fills = models.infills(config, train.x)
    maps = {
        name: found_by(way, config, net, shown.x, fills[way.infill], key=jr.key(seed))
        for name, way in models.WAYS.items()
    }
    return {
        "accuracy": float(right.mean()),
        "scenes": shown._asdict(),
        "ways": {
            name: {**found, **against(found["map"], shown.strokes)} for name, found in maps.items()
        },
        "curves": {name: deleted(net, shown, maps[name]["map"]) for name in fills},
        "counterfactuals": {
            name: filled(fill, shown.x, maps[name]["map"], key=jr.key(seed))
            for name, fill in fills.items()
        },
    }


def found_by(
    way: Way, config: models.Search, net: Net, images: Float[np.ndarray, "n side side"],
    infill: AbstractInfill, *, key: PRNGKeyArray,
) -> dict[str, Any]:  # fmt: skip
    """The maps of one way, and what the classifier says of the regions under fresh infills."""
    model = classifier(models.as_black_box(net)) if way.black_box else net
    found = fido(
        model, images[:, None], infill, objective=way.objective,
        grid=(config.grid, config.grid) if way.coarse else None, size_weight=config.size_weight,
        steps=config.steps, samples=config.samples, progress=False, key=key,
    )  # fmt: skip
    return {
        "map": np.asarray(found.map),
        "without": np.asarray(found.without),
        "only": np.asarray(found.only),
        "evaluations": found.evaluations,
    }


def against(
    maps: Float[np.ndarray, "n h w"], strokes: Bool[np.ndarray, "n h w"]
) -> dict[str, float]:
    """How many pixels a map marks, and how many of those are of strokes, of all pictures."""
    marked = maps > 0.5
    return {
        "area": float(marked.sum(axis=(1, 2)).mean()),
        "precision": float((marked & strokes).sum() / max(marked.sum(), 1)),
        "covered": float((marked & strokes).sum() / strokes.sum()),
    }


def deleted(net: Net, scenes: Scenes, maps: Float[np.ndarray, "n h w"]) -> dict[str, Any]:
    """Log-odds as pixels go in the order of the maps and what was behind the digit comes."""
    curves = [
        deletion_curve(
            net, x[None], each, models.Behind(jnp.asarray(background)[None]), points=POINTS,
            key=jr.key(0),
        )
        for x, each, background in zip(scenes.x, maps, scenes.background, strict=True)
    ]  # fmt: skip
    return {
        "log_odds": np.mean([curve.log_odds for curve in curves], axis=0),
        "area": np.mean([curve.area for curve in curves], axis=0),
    }


def filled(
    infill: AbstractInfill, images: Float[np.ndarray, "n h w"],
    maps: Float[np.ndarray, "n h w"], *, key: PRNGKeyArray,
) -> Float[np.ndarray, "n h w"]:  # fmt: skip
    """The images with the marked region filled in once."""

    def one(x: Array, keep: Array, key: PRNGKeyArray) -> Array:
        return jnp.where(keep > 0, x, infill(x, keep, key=key))

    keep = jnp.asarray(maps <= 0.5, jnp.float32)[:, None]
    found = jax.jit(jax.vmap(one))(jnp.asarray(images)[:, None], keep, jr.split(key, len(keep)))
    return np.asarray(found)[:, 0]


def agreement(one: Float[np.ndarray, "n h w"], other: Float[np.ndarray, "n h w"]) -> float:
    """The rank correlation of two maps, the mean over pictures."""
    pairs = zip(one, other, strict=True)
    return float(np.mean([spearmanr(a.ravel(), b.ravel()).statistic for a, b in pairs]))

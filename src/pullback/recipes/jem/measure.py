"""What the recipe `jem` measures on trained models."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.spatial.distance import cdist

from pullback.analysis import (
    accuracy_under_attack,
    auroc,
    expected_calibration_error,
    grid_mass,
    negative_log_likelihood,
)
from pullback.models.energy import JEM, SGLD, BoxStart, refined_logits, sample_jem
from pullback.recipes._kit.stack import one_by_one, unstacked
from pullback.recipes.jem.models import Problem

Row = dict[str, Any]

RADII = (0.5, 1.0, 1.5)  # of attacks
REFINED_RADIUS = 0.5
EDGE = 6.0  # of the box that densities of moons are summed over
_SAMPLES = 8  # of each class


def classify(problem: Problem, models: JEM) -> Row:
    """Accuracy and calibration of each model on the test set."""
    return one_by_one(_classified, models, *_tested(problem))


def _tested(problem: Problem, count: int | None = None) -> tuple[Array, Array]:
    return jnp.asarray(problem.test.x[:count], float), jnp.asarray(problem.test.y[:count])


def _classified(model: JEM, x: Float[Array, "n dim"], y: Int[Array, " n"]) -> Row:
    prob = jax.nn.softmax(jax.vmap(model.logits)(x))
    return {
        "prob": prob,
        "accuracy": jnp.mean(jnp.argmax(prob, axis=1) == y, dtype=prob.dtype),
        "ece": expected_calibration_error(prob, y),
        "nll": negative_log_likelihood(prob, y),
    }


def on_moons(problem: Problem, models: JEM) -> Row:
    """As `classify`, and densities of the plane, normalised by brute force."""
    return one_by_one(_on_moons, models, *_tested(problem))


def _on_moons(model: JEM, x: Float[Array, "n 2"], y: Int[Array, " n"]) -> Row:
    found = grid_mass(model.log_density, [-EDGE] * 2, [EDGE] * 2, points=240)
    return {
        **_classified(model, x, y),
        "density_nll": found.log_normaliser - jnp.mean(jax.vmap(model.log_density)(x)),
        # Pictures have the second coordinate along their rows.
        "log_density": found.log_density.T,
    }


def ood_sets(problem: Problem, seed: int) -> dict[str, Float[np.ndarray, "n dim"]]:
    """Inputs that are unlike the training images, some of them by little."""
    x = problem.test.x
    generator = np.random.default_rng(seed)
    order = generator.permutation(x.shape[1])
    return {
        "contrast x 1.5": 1.5 * x,
        "shuffled pixels": x[:, order],
        "uniform noise": generator.uniform(*problem.box, x.shape).astype(x.dtype),
        "mean of two": (x + x[::-1]) / 2,
    }


def on_images(problem: Problem, models: JEM, seed: int) -> Row:
    """As `classify`, accuracies under attack, `[seeds, radii]`, and AUROCs, `[seeds, sets]`."""
    others = np.stack([*ood_sets(problem, seed).values()])
    found = one_by_one(
        _on_images, models, *_tested(problem), jnp.asarray(others, float), jr.key(seed)
    )
    pairs = zip(np.asarray(found["of_test"]), np.asarray(found["of_others"]), strict=True)
    return {**found, "auroc": np.array([[auroc(a, b) for b in rows] for a, rows in pairs])}


def _on_images(model: JEM, x: Array, y: Array, others: Array, key: Array) -> Row:
    return {
        **_classified(model, x, y),
        "of_test": jax.vmap(model.log_density)(x),
        "of_others": jax.vmap(jax.vmap(model.log_density))(others),
        "attacked": accuracy_under_attack(model.logits, x, y, radii=RADII, key=key),
    }


def attack_refined(problem: Problem, models: JEM, count: int, seed: int) -> Row:
    """Accuracies under attack of logits after ten steps of the sampler, and of those before.

    The attack goes through the sampler's steps (`seen`), or is blind to them as in the published
    evaluation.
    """
    return one_by_one(_refined, models, *_tested(problem, count), jr.key(seed))


def _refined(model: JEM, x: Array, y: Array, key: Array) -> Row:
    def refined(x: Array, blind: bool) -> Array:
        return refined_logits(
            model, x, sampler=SGLD(10), chains=2, straight_through=blind, key=key
        )  # fmt: skip

    ways = {
        "plain": model.logits,
        "seen": lambda x: refined(x, False),
        "blind": lambda x: refined(x, True),
    }
    return {
        name: accuracy_under_attack(f, x, y, radii=[REFINED_RADIUS], steps=10, key=key)[0]
        for name, f in ways.items()
    }


def draw(problem: Problem, models: JEM, seed: int) -> Row:
    """Samples of each class from the first model, and the share that look like their class."""
    low, high = problem.box
    start = BoxStart(problem.x.shape[1:], low=low, high=high)
    labels = jnp.repeat(jnp.arange(problem.classes), _SAMPLES)
    x = sample_jem(
        unstacked(models)[0], start, len(labels), labels=labels, sampler=SGLD(200), key=jr.key(seed)
    )  # fmt: skip
    x = np.clip(np.asarray(x), low, high)
    nearest = cdist(x, problem.x[:5000]).argmin(axis=1)
    agree = np.mean(problem.y[nearest] == np.asarray(labels))
    return {"samples": (x - low) / (high - low), "agree": float(agree)}

"""What the recipe `jem` measures on trained models."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.special import log_softmax

from pullback.analysis import (
    accuracy_under_attack,
    auroc,
    expected_calibration_error,
    grid_mass,
    negative_log_likelihood,
    ood_scores,
)
from pullback.models.energy import JEM, SGLD, BoxStart, refined_logits, sample_jem
from pullback.recipes._kit.stack import one_by_one, unstacked
from pullback.recipes.jem.models import ImageConfig, Problem, logits_of

Row = dict[str, Any]

REFINED_RADIUS = 0.5
EDGE = 6.0  # of the box that densities of moons are summed over
_SAMPLES = 8  # of each class
_TEMPERATURES = np.geomspace(0.25, 8.0, 101)


def classify(problem: Problem, models: JEM) -> Row:
    """Accuracy and calibration of each model on the test set."""
    return one_by_one(_classified, models, *_tested(problem))


def _tested(problem: Problem, count: int | None = None) -> tuple[Array, Array]:
    return jnp.asarray(problem.test.x[:count], float), jnp.asarray(problem.test.y[:count])


def _classified(model: JEM, x: Float[Array, "n ..."], y: Int[Array, " n"]) -> Row:
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


def ood_sets(problem: Problem, seed: int) -> dict[str, Float[np.ndarray, "n ..."]]:
    """Inputs that are unlike the training images, some of them by little."""
    x = problem.test.x
    generator = np.random.default_rng(seed)
    order = generator.permutation(int(np.prod(x.shape[1:])))
    return {
        "contrast x 1.5": 1.5 * x,
        "shuffled pixels": x.reshape(len(x), -1)[:, order].reshape(x.shape),
        "uniform noise": generator.uniform(*problem.box, x.shape).astype(x.dtype),
        "mean of two": (x + x[::-1]) / 2,
    }


def on_images(problem: Problem, models: JEM, config: ImageConfig, seed: int) -> Row:
    """As `classify`, accuracies under attack, `[seeds, radii]`, and AUROCs by two scores."""
    others = np.stack([*ood_sets(problem, seed).values()])
    found = one_by_one(_on_images, models, *_tested(problem), jnp.asarray(others, float))
    found["attacked"] = one_by_one(
        _attacked, models, *_tested(problem, config.attacked),
        jnp.asarray(config.radii, float), jr.key(seed),
    )  # fmt: skip
    for score in ("log_density", "max_prob"):
        pairs = zip(np.asarray(found[f"{score}_test"]), np.asarray(found[score]), strict=True)
        found[f"auroc_{score}"] = np.array([[auroc(a, b) for b in rows] for a, rows in pairs])
    return {**found, "ece_tempered": tempered(problem, models, found["prob"])}


def _on_images(model: JEM, x: Array, y: Array, others: Array) -> Row:
    of_test = ood_scores(model.logits, x)
    of_others = jax.vmap(lambda x: ood_scores(model.logits, x))(others)
    return {
        **_classified(model, x, y),
        "log_density": of_others.log_density, "log_density_test": of_test.log_density,
        "max_prob": of_others.max_prob, "max_prob_test": of_test.max_prob,
    }  # fmt: skip


def _attacked(model: JEM, x: Array, y: Array, radii: Array, key: Array) -> Array:
    return accuracy_under_attack(model.logits, x, y, radii=radii, key=key)


def tempered(problem: Problem, models: JEM, prob: Array) -> list[float]:
    """ECE on test images at the temperature that is the most likely on the images held out."""
    found = []
    for model, rows, of_test in zip(unstacked(models), problem.held, prob, strict=True):
        logits, y = logits_of(model, problem.x[rows]), problem.y[rows]
        at = lambda t, logits=logits: log_softmax(logits / t, axis=1)
        best = max(_TEMPERATURES, key=lambda t: at(t)[np.arange(len(y)), y].mean())
        cooled = np.exp(at(best, np.log(np.maximum(of_test, 1e-30))))
        cooled = jnp.asarray(cooled, of_test.dtype)
        found.append(float(expected_calibration_error(cooled, jnp.asarray(problem.test.y))))
    return found


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


def draw(problem: Problem, models: JEM, judges: JEM, seed: int) -> Row:
    """Samples of each class, and how often a judge, trained apart, says that they are of it."""
    low, high = problem.box
    start = BoxStart(problem.x.shape[1:], low=low, high=high)
    labels = jnp.repeat(jnp.arange(problem.classes), _SAMPLES)
    found = one_by_one(_drawn, (models, judges), start, labels, jr.key(seed))
    return {**found, "samples": (np.asarray(found["samples"])[0] - low) / (high - low)}


def _drawn(pair: tuple[JEM, JEM], start: BoxStart, labels: Array, key: Array) -> Row:
    model, judge = pair
    x = sample_jem(model, start, len(labels), labels=labels, sampler=SGLD(200), key=key)
    x = jnp.clip(x, start.low, start.high)
    said = jnp.argmax(jax.vmap(judge.logits)(x), axis=1)
    return {"samples": x, "agree": jnp.mean(said == labels, dtype=x.dtype)}

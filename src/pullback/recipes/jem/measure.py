"""What the recipe `jem` measures on trained models."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Float

from pullback.analysis import (
    accuracy_under_attack,
    auroc,
    expected_calibration_error,
    grid_mass,
    negative_log_likelihood,
    ood_scores,
    reliability_curve,
)
from pullback.models.energy import JEM, SGLD, BoxStart, refined_logits, sample_jem
from pullback.recipes.jem.models import Config, Kind, Problem, model_of

Row = dict[str, Any]

RADII = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
REFINED_RADII = (0.0, 0.5, 1.0)
SCORES = ("log_density", "max_prob", "slope")
_BINS = 10
_FEWEST = 20  # examples in a bin that is drawn
_SAMPLES = 8  # of each class
_EDGE = 6.0  # of the box that densities of moons are summed over


def over_seeds(
    measure: Callable[[JEM], Row], kind: Kind, problem: Problem, params: Float[Any, "seeds p"]
) -> Row:
    """`measure` of each model, stacked; one program serves all of them."""
    compiled = jax.jit(lambda row: measure(model_of(kind.width, problem, row)))
    found = [jax.device_get(compiled(jnp.asarray(row))) for row in params]
    return {name: np.stack([one[name] for one in found]) for name in found[0]}


def classify(kind: Kind, problem: Problem, params: Float[Any, "seeds p"]) -> Row:
    """Accuracy and calibration on the test set."""
    x, y = jnp.asarray(problem.test.x, jnp.result_type(float)), jnp.asarray(problem.test.y)

    def measure(model: JEM) -> Row:
        prob = jax.nn.softmax(jax.vmap(model.logits)(x))
        curve = reliability_curve(prob, y, bins=_BINS)
        right = jnp.argmax(prob, axis=1) == y
        return {
            "accuracy": jnp.mean(right, dtype=prob.dtype),
            "ece": expected_calibration_error(prob, y),
            "nll": negative_log_likelihood(prob, y),
            "confidence": jnp.mean(jnp.max(prob, axis=1)),
            "curve_confidence": curve.confidence,
            "curve_accuracy": curve.accuracy,
            "curve_count": curve.count,
        }

    return over_seeds(measure, kind, problem, params)


def plane(kind: Kind, problem: Problem, params: Float[Any, "seeds p"], points: int) -> Row:
    """Densities of the plane, normalised by brute force, and what they say of the test set."""
    x = jnp.asarray(problem.test.x, jnp.result_type(float))

    def measure(model: JEM) -> Row:
        found = grid_mass(model.log_density, [-_EDGE] * 2, [_EDGE] * 2, points=points)
        of_test = jnp.mean(jax.vmap(model.log_density)(x)) - found.log_normaliser
        share = jax.vmap(jax.vmap(lambda a, b: jax.nn.softmax(model.logits(jnp.stack([a, b])))[1]))
        axis = found.axes[0]
        grid = jnp.meshgrid(axis, axis, indexing="ij")
        return {
            "nll": -of_test,
            "at_edge": found.at_edge,
            # Pictures have the second coordinate along their rows.
            "log_density": found.log_density.T,
            "share": share(*grid).T,
        }

    return {**over_seeds(measure, kind, problem, params), "edge": _EDGE}


def ood_sets(problem: Problem, seed: int) -> dict[str, Float[np.ndarray, "n dim"]]:
    """Inputs that are unlike the training images, some of them by little."""
    x = problem.test.x
    generator = np.random.default_rng(seed)
    order = generator.permutation(x.shape[1])
    low, high = problem.box
    return {
        "contrast x 1.5": 1.5 * x,
        "shuffled pixels": x[:, order],
        "uniform noise": generator.uniform(low, high, x.shape).astype(x.dtype),
        "mean of two": (x + x[::-1]) / 2,
    }


def score(kind: Kind, problem: Problem, params: Float[Any, "seeds p"], seed: int) -> Row:
    """Three scores of the test set and of OOD sets, and how well they tell one from the other."""
    sets = {"test": problem.test.x, **ood_sets(problem, seed)}
    x = jnp.asarray(np.stack(list(sets.values())), jnp.result_type(float))

    def measure(model: JEM) -> Row:
        return jax.vmap(lambda x: ood_scores(model.logits, x))(x)._asdict()

    found = over_seeds(measure, kind, problem, params)
    areas = {
        name: np.array(
            [[auroc(row[0], other) for other in row[1:]] for row in found[name].astype(float)]
        )
        for name in SCORES
    }
    return {"areas": areas, "log_density": found["log_density"], "sets": list(sets)}


def attack(kind: Kind, problem: Problem, params: Float[Any, "seeds p"], seed: int) -> Row:
    """Accuracy by the radius of Euclidean attacks."""
    x, y = jnp.asarray(problem.test.x, jnp.result_type(float)), jnp.asarray(problem.test.y)

    def measure(model: JEM) -> Row:
        found = accuracy_under_attack(model.logits, x, y, radii=RADII, key=jr.key(seed))
        return {"accuracy": found}

    return over_seeds(measure, kind, problem, params)


def attack_refined(
    config: Config, kind: Kind, problem: Problem, params: Float[Any, "seeds p"], seed: int
) -> Row:
    """Attacks on logits after ten steps of the sampler: on all of it, and blind to the sampler."""
    count = min(config.attacked, len(problem.test.x))
    x = jnp.asarray(problem.test.x[:count], jnp.result_type(float))
    y = jnp.asarray(problem.test.y[:count])

    def measure(model: JEM) -> Row:
        def logits(blind: bool) -> Callable[[Any], Any]:
            return lambda x: refined_logits(
                model, x, sampler=SGLD(10), chains=2, straight_through=blind, key=jr.key(seed)
            )

        attacks = {"plain": model.logits, "seen": logits(False), "blind": logits(True)}
        return {
            name: accuracy_under_attack(f, x, y, radii=REFINED_RADII, steps=10, key=jr.key(seed))
            for name, f in attacks.items()
        }

    return over_seeds(measure, kind, problem, params)


def draw(kind: Kind, problem: Problem, row: Float[Any, " params"], seed: int) -> Row:
    """Samples of each class from one model, with the images that they most resemble."""
    model = model_of(kind.width, problem, row)
    low, high = problem.box
    start = BoxStart(problem.x.shape[1:], low=low, high=high)
    labels = jnp.repeat(jnp.arange(problem.classes), _SAMPLES)
    x = sample_jem(
        model, start, len(labels), labels=labels, sampler=SGLD(200), key=jr.key(seed)
    )  # fmt: skip
    clamped = np.clip(np.asarray(x), low, high)
    shown = (clamped - low) / (high - low)
    distance = np.linalg.norm(clamped[:, None] - problem.x[:5000], axis=2)
    agree = problem.y[:5000][distance.argmin(axis=1)] == np.asarray(labels)
    return {"samples": shown, "agree": float(agree.mean())}


def first_of_each_class(problem: Problem) -> Float[np.ndarray, "classes k dim"]:
    """Images of the data, scaled to [0, 1]."""
    low, high = problem.box
    rows = [np.flatnonzero(problem.y == label)[:_SAMPLES] for label in range(problem.classes)]
    return np.stack([(problem.x[r] - low) / (high - low) for r in rows])


def pooled_curve(row: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and accuracy of each bin, over all seeds together; bins of few are left out."""
    count = row["curve_count"]
    total = count.sum(axis=0)
    shown = total >= _FEWEST
    mean = lambda values: np.nansum(values * count, axis=0)[shown] / total[shown]
    return mean(row["curve_confidence"]), mean(row["curve_accuracy"])

"""What the recipe `hypernet-hpo` measures."""

import warnings
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel

from pullback.bilevel import (
    AbstractResponse,
    DiagonalResponse,
    LinearResponse,
    MLPResponse,
    fit_response,
    search,
    tune_through,
    tune_with_response,
)
from pullback.recipes._kit.stack import made
from pullback.recipes.hypernet_hpo.models import (
    CLASSES,
    ExactResponse,
    Problem,
    end_losses,
    inner,
    outer,
    outer_losses,
    regression,
)

# Log-decays: the range of everything but the per-weight runs, and where those start.
LOW, HIGH = -8.0, 0.0
START = -1.0


def falling(rate: float, steps: int) -> optax.GradientTransformation:
    """Adam with a step size that falls to zero along a cosine."""
    return optax.adam(optax.cosine_decay_schedule(rate, steps))


def surrogates(problem: Problem, config: Any, seed: int) -> dict[str, Any]:
    """The held-out loss by a decay of every class: what a response and a Gaussian process say."""
    keys = jr.split(jr.key(seed))
    middle = _full((CLASSES,), (LOW + HIGH) / 2)
    draw = lambda key: jr.uniform(key, (CLASSES,), minval=LOW, maxval=HIGH)
    response = made(
        MLPResponse, _full((problem.dim, CLASSES), 0), middle, config.width,
        scale=(HIGH - LOW) / 2, key=keys[0],
    )  # fmt: skip
    response, _ = fit_response(
        response, inner, draw, problem.train, optimiser=falling(3e-3, config.fit_steps),
        steps=config.fit_steps, samples=config.draws, progress=False, key=keys[1],
    )  # fmt: skip
    exact = ExactResponse(middle, problem.train)
    path = np.linspace(LOW, HIGH, 81)
    rng = np.random.default_rng(seed)
    drawn = rng.uniform(LOW, HIGH, (config.runs + config.held_out, CLASSES))
    hypers = np.concatenate([drawn, np.broadcast_to(path[:, None], (81, CLASSES))])
    true, told = (
        np.split(
            np.asarray(outer_losses(by, jnp.asarray(hypers, float), problem.validation)),
            [config.runs, len(drawn)],
        )
        for by in (exact, response)
    )
    process = _process(drawn[: config.runs], true[0])
    tuned, optimum = (
        _losses(_tuned(by, middle, problem, config.through_steps), problem)
        for by in (response, exact)
    )
    return {
        "true": true[1],
        "response": told[1],
        "process": process.predict(drawn[config.runs :]),
        "tuned": tuned,
        "optimum": optimum,
        "path": path,
        "path_true": true[2],
        "path_response": told[2],
        "one decay": _losses(path[np.argmin(true[2])], problem),
    }


def one_decay(problem: Problem) -> dict[str, Array]:
    """One decay for all weights, the best of a grid."""
    found = [_losses(log_decay, problem) for log_decay in np.linspace(LOW, HIGH, 81)]
    return min(found, key=lambda each: float(each["validation"]))


def decay_of_every_weight(
    problem: Problem, config: Any, seed: int, batch_size: int | None = None
) -> dict[str, Any]:
    """Hyperparameters as many as weights, tuned in one run each, and the optimum."""
    shape, key = (problem.dim, CLASSES), jr.key(seed)
    zeros, start = _full(shape, 0), _full(shape, START)
    diagonal = made(DiagonalResponse, zeros, start)
    factored = made(LinearResponse, zeros, start, config.rank, key=jr.fold_in(key, 1))
    exact = ExactResponse(start, problem.train)
    found: dict[str, Any] = {"start": _losses(start, problem)}
    for name, response in (("diagonal", diagonal), ("factored", factored)):
        response, info = tune_with_response(
            response, inner, outer, problem.train, problem.validation,
            optimiser=falling(1e-2, config.warmup + config.steps),
            hyper_optimiser=falling(1e-2, config.steps), scale=config.scale, samples=config.draws,
            warmup=config.warmup, outer_steps=config.steps, batch_size=batch_size,
            progress=False, key=key,
        )  # fmt: skip
        found[name] = _losses(response.centre, problem) | {
            "hyper": response.centre,
            "curve": info.history["outer"],
            "step": info.history["step"],
        }
    optimum = _tuned(exact, start, problem, config.through_steps)
    return found | {"optimum": _losses(optimum, problem)}


def drift(config: Any, seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """One decay of a small regression, tuned with noise and without: the loss over the optimum's.

    Which way it goes without noise is chance, so there are many of them.
    """
    found: dict[str, list[float]] = {"with noise": [], "without": []}
    grid = jnp.asarray(np.linspace(LOW, -LOW, 161), float)
    for seed in seeds:
        problem = regression(seed)
        exact = ExactResponse(_full((), 0), problem.train)
        best = float(jnp.min(outer_losses(exact, grid, problem.validation)))
        for name, scale in (("with noise", config.scale), ("without", config.no_scale)):
            response, _ = tune_with_response(
                made(LinearResponse, _full((problem.dim, 1), 0), _full((), START)), inner, outer,
                problem.train, problem.validation, optimiser=optax.adam(1e-2),
                hyper_optimiser=optax.adam(1e-2), scale=scale, samples=4,
                warmup=config.warmup, outer_steps=config.drift_steps, progress=False,
                key=jr.key(seed),
            )  # fmt: skip
            found[name].append(float(_end(exact, response.centre, problem)) / best)
    return {name: np.array(values) for name, values in found.items()}


def _end(exact: ExactResponse, hyper: Any, problem: Problem) -> Array:
    return outer_losses(exact, jnp.asarray(hyper, float)[None], problem.validation)[0]


def rivals(problem: Problem, config: Any, seed: int) -> dict[str, Any]:
    """What chance and a Gaussian process find at equal cost.

    A trial of the search takes `trial_steps` gradients. The process is given what such a trial
    comes to in the end, and a space of a decay for each class, which is small enough for it.
    """
    shape = (problem.dim, CLASSES)
    chance = search(
        _full(shape, 0), _full(shape, LOW), _full(shape, HIGH), inner, outer, problem.train,
        problem.validation, trials=config.trials, method="random",
        optimiser=falling(1e-2, config.trial_steps), steps=config.trial_steps, progress=False,
        key=jr.key(seed),
    )  # fmt: skip
    by_class = lambda hyper: _losses(hyper, problem)
    bayes = bayesian_optimisation(
        lambda hyper: float(by_class(hyper)["validation"]),
        CLASSES,
        config.trials,
        np.random.default_rng(seed),
    )
    return {
        "random search": _losses(chance.hyper, problem),
        "Bayesian optimisation": by_class(bayes),
    }


def bayesian_optimisation(
    evaluate: Any, dim: int, trials: int, rng: np.random.Generator
) -> Float[np.ndarray, " dim"]:
    """The best of so many log-decays, drawn where a Gaussian process expects improvement most."""
    from scipy.stats import norm

    x = rng.uniform(LOW, HIGH, (min(10, trials), dim))
    y = np.array([evaluate(each) for each in x])
    while len(y) < trials:
        near = x[np.argmin(y)] + rng.normal(size=(500, dim))
        candidates = np.concatenate([rng.uniform(LOW, HIGH, (2000, dim)), near.clip(LOW, HIGH)])
        mean, std = _process(x, y).predict(candidates, return_std=True)
        gain = (y.min() - mean) / std
        best = candidates[np.argmax(std * (gain * norm.cdf(gain) + norm.pdf(gain)))]
        x, y = np.concatenate([x, best[None]]), np.append(y, evaluate(best))
    return x[np.argmin(y)]


def _process(x: np.ndarray, y: np.ndarray) -> GaussianProcessRegressor:
    process = GaussianProcessRegressor(RBF(4.0) + WhiteKernel(1e-3), normalize_y=True)
    with warnings.catch_warnings():
        # Where a length runs to its bound, which says that the loss does not depend on it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return process.fit(np.float64(x), np.float64(y))


def _tuned(response: AbstractResponse, start: Array, problem: Problem, steps: int) -> Array:
    hyper, _ = tune_through(
        response, outer, start, problem.validation, optimiser=falling(0.1, steps), steps=steps,
        progress=False, key=jr.key(0),
    )  # fmt: skip
    return hyper


def _losses(hyper: Any, problem: Problem) -> dict[str, Array]:
    """What training at these log-decays, of whatever there is one for, comes to in the end."""
    return end_losses(jnp.asarray(np.broadcast_to(hyper, (problem.dim, CLASSES)), float), problem)


def _full(shape: tuple[int, ...], value: float) -> Array:
    return jnp.asarray(np.full(shape, value), float)

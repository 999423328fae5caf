"""What the recipe `lsd` tests, and what is known of it."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float
from scipy.integrate import quad

from pullback.analysis import (
    compare_models,
    finite_set_stein_test,
    goodness_of_fit,
    kernel_stein_test,
)
from pullback.models.energy import GaussianBernoulliRBM, LinearICA
from pullback.recipes.lsd.models import Config

TESTS = ("learned (LSD)", "kernel (KSD)", "finite set (FSSD)")
SEPARATIONS = (1.0, 2.0, 4.0, 8.0)  # between modes, in standard deviations
WEIGHTS = (0.5, 0.9)  # of the left mode: in the data, and in the model
SHIFTS = (0.0, 0.03, 0.1, 0.3, 1.0)  # how far models to be ranked are from the truth
_L2 = 1.0


def _tests(config: Config, batch_size: int, width: int) -> dict[str, Callable]:
    return {
        TESTS[0]: lambda x, score, key: goodness_of_fit(
            x, score=score, width=width, steps=config.test_steps, batch_size=batch_size,
            evaluate_every=max(1, config.test_steps // 10), key=key,
        ),
        TESTS[1]: lambda x, score, key: kernel_stein_test(x, score=score, key=key),
        TESTS[2]: lambda x, score, key: finite_set_stein_test(x, score=score, key=key),
    }  # fmt: skip


def _repeated(
    test: Callable, score: Callable, params: Any, x: Float[Array, "sets n dim"], key: Array
) -> Float[np.ndarray, " sets"]:
    """The p-value of every data set, whose model has the score `score(params, x)`.

    One after the other: stacked products are slow on a CPU.
    """

    @eqx.filter_jit
    def all_of(params: Any, x: Array, keys: Array) -> Array:
        def one(data: tuple[Any, Array, Array]) -> Array:
            params, x, key = data
            return test(x, eqx.Partial(score, params), key).p_value

        return jax.lax.map(one, (params, x, keys))

    return np.asarray(all_of(params, x, jr.split(key, len(x))))


def _normal_score(_: None, x: Float[Array, " dim"]) -> Float[Array, " dim"]:
    return -x


def _score(model: Any, x: Float[Array, " dim"]) -> Float[Array, " dim"]:
    return model.score(x)


def laplace_power(config: Config, seed: int) -> dict[str, np.ndarray]:
    """p-values of a standard Gaussian, `[tests, columns that are Laplace, data set]`.

    The Laplace columns have mean 0 and variance 1, as the model.
    """
    normal_key, laplace_key, key = jr.split(jr.key(seed), 3)
    shape = (len(config.laplace), config.repeats, config.points, config.dim)
    normal, laplace = jr.normal(normal_key, shape), jr.laplace(laplace_key, shape) / np.sqrt(2)
    counts = jnp.asarray(config.laplace)[:, None, None, None]
    x = jnp.where(jnp.arange(config.dim) < counts, laplace, normal)
    x = x.reshape(-1, *shape[2:])
    tests = _tests(config, 4 * config.points // 5, config.width)
    found = [_repeated(test, _normal_score, None, x, key) for test in tests.values()]
    return {"p": np.stack(found).reshape(len(found), *shape[:2])}


def machine_power(config: Config, seed: int) -> dict[str, np.ndarray]:
    """p-values of a Boltzmann machine whose weights are not quite those of the data's."""
    keys = jr.split(jr.key(seed), 6)
    signs = jr.rademacher(keys[0], (config.visible, config.hidden), float)
    bias = jr.normal(keys[1], (config.visible,))
    hidden_bias = jr.normal(keys[2], (config.hidden,))
    model = GaussianBernoulliRBM(signs, bias, hidden_bias)
    noise = config.perturbation * jr.normal(keys[3], signs.shape)
    truth = GaussianBernoulliRBM(signs + noise, bias, hidden_bias)
    shape = (config.machine_repeats, config.points)
    x = jax.jit(lambda key: truth.sample(key, shape, steps=config.gibbs))(keys[4])
    tests = _tests(config, config.points // 5, max(config.width, 2 * config.visible))
    # The chains' models are one; each data set is given its own copy.
    models = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(x)), model)
    found = [_repeated(test, _score, models, x, keys[5]) for test in tests.values()]
    return {"p": np.stack(found)}


def ranking(config: Config, ica: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Models ever farther from the truth: learned discrepancy, the exact one, and excess nats.

    All are `[seeds, models]`; each seed has directions and a split of its own.
    """
    truth, test = (jnp.asarray(ica[name], float) for name in ("truth", "test"))
    deviation = jnp.std(test, axis=0)
    own = jax.vmap(LinearICA(truth).score)(test)
    nll = lambda model: -jnp.mean(jax.vmap(model.log_prob)(test))
    rows = []
    for key in jr.split(jr.key(seed), config.seeds):
        noise_key, key = jr.split(key)
        noise = jr.normal(noise_key, truth.shape)
        models = {f"{shift:g}": LinearICA(truth + shift * noise) for shift in SHIFTS}
        found = compare_models(
            {name: eqx.Partial(_score, model) for name, model in models.items()}, test, l2=_L2,
            width=config.width, steps=config.test_steps, batch_size=256, split=(0.6, 0.1, 0.3),
            evaluate_every=max(1, config.test_steps // 10), key=key,
        )  # fmt: skip
        gaps = [deviation * (jax.vmap(model.score)(test) - own) for model in models.values()]
        rows.append(
            {
                "learned": [float(found[name].discrepancy) for name in models],
                "error": [float(found[name].standard_error) for name in models],
                "exact": [float(jnp.mean(jnp.sum(g**2, axis=1)) / (2 * _L2)) for g in gaps],
                "nats": [float(nll(model) - nll(LinearICA(truth))) for model in models.values()],
            }
        )
    return {name: np.asarray([row[name] for row in rows]) for name in rows[0]}


def blindness(config: Config, seed: int) -> dict[str, np.ndarray]:
    """Two modes with wrong weights, ever farther apart: p-values, divergence and distance.

    `p` is `[separations, data sets]`; `nats` the divergence of the data from the model, and
    `fisher` half the mean squared gap of scores, by quadrature, `[separations]`.
    """
    side_key, noise_key, key = jr.split(jr.key(seed), 3)
    shape = (len(SEPARATIONS), config.repeats, config.points, 1)
    centres = jnp.asarray(SEPARATIONS)[:, None, None, None] / 2
    side = jnp.where(jr.bernoulli(side_key, WEIGHTS[0], shape), -centres, centres)
    x = (side + jr.normal(noise_key, shape)).reshape(-1, *shape[2:])
    test = _tests(config, 4 * config.points // 5, 32)[TESTS[0]]
    each = jnp.repeat(jnp.asarray(SEPARATIONS) / 2, config.repeats)
    p = _repeated(test, _two_modes_score, each, x, key)
    exact = np.array([_two_modes_exactly(apart / 2, *WEIGHTS) for apart in SEPARATIONS])
    return {"p": p.reshape(shape[:2]), "nats": exact[:, 0], "fisher": exact[:, 1]}


def _two_modes_score(centre: Array, x: Float[Array, " one"]) -> Float[Array, " one"]:
    """Of the model: (1 - w) exp(centre x) and w exp(-centre x) times a Gaussian."""
    log_odds = np.log((1 - WEIGHTS[1]) / WEIGHTS[1])
    return centre * jnp.tanh(centre * x + log_odds / 2) - x


def _two_modes_exactly(centre: float, data: float, model: float) -> tuple[float, float]:
    def density(x: float, weight: float) -> float:
        left, right = np.exp(-((x + centre) ** 2) / 2), np.exp(-((x - centre) ** 2) / 2)
        return (weight * left + (1 - weight) * right) / np.sqrt(2 * np.pi)

    def score(x: float, weight: float) -> float:
        return centre * np.tanh(centre * x + np.log((1 - weight) / weight) / 2) - x

    kl = lambda x: density(x, data) * np.log(density(x, data) / density(x, model))
    gap = lambda x: density(x, data) * (score(x, data) - score(x, model)) ** 2 / 2
    return tuple(
        float(quad(g, -centre - 9, centre + 9, points=[-centre, 0, centre], limit=200)[0])
        for g in (kl, gap)
    )  # pyright: ignore[reportReturnType]

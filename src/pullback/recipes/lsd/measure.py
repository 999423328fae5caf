"""What the recipe `lsd` tests, and what is known of it."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from pullback.analysis import (
    compare_models,
    finite_set_stein_test,
    goodness_of_fit,
    kernel_stein_test,
)
from pullback.models.energy import GaussianBernoulliRBM, LinearICA
from pullback.recipes._kit.stack import one_by_one
from pullback.recipes.lsd.models import Config

TESTS = ("learned (LSD)", "kernel (KSD)", "finite set (FSSD)")
COLUMNS, LAPLACE = 10, (0, 5, 10)  # of the data sets; how many of them are Laplace
VISIBLE, HIDDEN, NOISE = 50, 40, 0.02  # of the Boltzmann machine; on its weights
SEPARATIONS = (1.0, 2.0, 4.0, 8.0)  # between modes, in standard deviations
WEIGHTS = (0.5, 0.9)  # of the left mode: in the data, and in the model
SHIFTS = (0.0, 0.03, 0.1, 0.3, 1.0)  # how far models to be ranked are from the truth


def _tests(config: Config, batch_size: int, width: int) -> dict[str, Callable]:
    return {
        TESTS[0]: lambda x, score, key: goodness_of_fit(
            x, score=score, width=width, steps=config.test_steps, batch_size=batch_size,
            evaluate_every=max(1, config.test_steps // 10), key=key,
        ),
        TESTS[1]: lambda x, score, key: kernel_stein_test(x, score=score, key=key),
        TESTS[2]: lambda x, score, key: finite_set_stein_test(x, score=score, key=key),
    }  # fmt: skip


def _p_values(
    test: Callable, score: Callable, params: Any, x: Float[Array, "sets n dim"], key: Array
) -> Float[Array, " sets"]:
    """Of every data set, whose model has the score `score(params, x)`."""

    def one(data: tuple[Any, Array, Array]) -> Array:
        params, x, key = data
        return test(x, eqx.Partial(score, params), key).p_value

    return one_by_one(one, (params, x, jr.split(key, len(x))))


def _normal_score(_: None, x: Float[Array, " dim"]) -> Float[Array, " dim"]:
    return -x


def _score(model: Any, x: Float[Array, " dim"]) -> Float[Array, " dim"]:
    return model.score(x)


def laplace_power(config: Config, seed: int) -> Float[Array, "tests counts sets"]:
    """p-values of a standard Gaussian, of data of which `LAPLACE` of the columns are Laplace.

    They have mean 0 and variance 1, as the model.
    """
    normal_key, laplace_key, key = jr.split(jr.key(seed), 3)
    shape = (len(LAPLACE), config.repeats, config.points, COLUMNS)
    normal, laplace = jr.normal(normal_key, shape), jr.laplace(laplace_key, shape) / np.sqrt(2)
    counts = jnp.asarray(LAPLACE)[:, None, None, None]
    x = jnp.where(jnp.arange(COLUMNS) < counts, laplace, normal).reshape(-1, *shape[2:])
    tests = _tests(config, 4 * config.points // 5, config.width)
    found = [_p_values(test, _normal_score, None, x, key) for test in tests.values()]
    return jnp.stack(found).reshape(len(found), *shape[:2])


def machine_power(config: Config, seed: int) -> Float[Array, "tests sets"]:
    """p-values of a Boltzmann machine whose weights are not quite those of the data's."""
    keys = jr.split(jr.key(seed), 6)
    signs = jr.rademacher(keys[0], (VISIBLE, HIDDEN), float)
    bias, hidden_bias = jr.normal(keys[1], (VISIBLE,)), jr.normal(keys[2], (HIDDEN,))
    model = GaussianBernoulliRBM(signs, bias, hidden_bias)
    noise = NOISE * jr.normal(keys[3], signs.shape)
    truth = GaussianBernoulliRBM(signs + noise, bias, hidden_bias)
    shape = (config.machine_repeats, config.points)
    x = jax.jit(lambda key: truth.sample(key, shape, steps=config.gibbs))(keys[4])
    tests = _tests(config, config.points // 5, max(config.width, 2 * VISIBLE))
    # The chains' models are one; each data set is given its own copy.
    models = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(x)), model)
    return jnp.stack([_p_values(test, _score, models, x, keys[5]) for test in tests.values()])


def ranking(config: Config, truth: LinearICA, test: Any, seed: int) -> dict[str, np.ndarray]:
    """Models ever farther from the truth: learned discrepancy and excess nats, `[seeds, models]`.

    Each seed has directions and a split of its own.
    """
    x, rows = jnp.asarray(test), []
    nats = lambda model: -jnp.mean(jax.vmap(model.log_prob)(x))
    for key in jr.split(jr.key(seed), config.seeds):
        noise_key, key = jr.split(key)
        noise = jr.normal(noise_key, truth.unmixing.shape)
        models = {f"{shift:g}": LinearICA(truth.unmixing + shift * noise) for shift in SHIFTS}
        found = compare_models(
            {name: eqx.Partial(_score, model) for name, model in models.items()}, x, l2=1.0,
            width=config.width, steps=config.test_steps, batch_size=256, split=(0.6, 0.1, 0.3),
            evaluate_every=max(1, config.test_steps // 10), key=key,
        )  # fmt: skip
        rows.append([(found[n].discrepancy, nats(m) - nats(truth)) for n, m in models.items()])
    learned, behind = np.moveaxis(np.asarray(rows, float), 2, 0)
    return {"learned": learned, "nats": behind}


def blindness(config: Config, seed: int) -> Float[Array, "separations sets"]:
    """p-values of two modes with wrong weights, ever farther apart."""
    side_key, noise_key, key = jr.split(jr.key(seed), 3)
    shape = (len(SEPARATIONS), config.repeats, config.points, 1)
    centres = jnp.asarray(SEPARATIONS)[:, None, None, None] / 2
    side = jnp.where(jr.bernoulli(side_key, WEIGHTS[0], shape), -centres, centres)
    x = (side + jr.normal(noise_key, shape)).reshape(-1, *shape[2:])
    test = _tests(config, 4 * config.points // 5, 32)[TESTS[0]]
    each = jnp.repeat(jnp.asarray(SEPARATIONS) / 2, config.repeats)
    return _p_values(test, _two_modes_score, each, x, key).reshape(shape[:2])


def _two_modes_score(centre: Array, x: Float[Array, " one"]) -> Float[Array, " one"]:
    """Of the model: (1 - w) exp(centre x) and w exp(-centre x) times a Gaussian."""
    log_odds = np.log((1 - WEIGHTS[1]) / WEIGHTS[1])
    return centre * jnp.tanh(centre * x + log_odds / 2) - x

"""What the recipe `lsd` tests, and how often the tests see it."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from pullback.analysis import finite_set_stein_test, goodness_of_fit, kernel_stein_test
from pullback.models.energy import GaussianBernoulliRBM
from pullback.recipes._kit.stack import one_by_one
from pullback.recipes.lsd.models import Config

TESTS = ("learned (LSD)", "kernel (KSD)", "finite set (FSSD)")
COLUMNS = 10  # that are Laplace, or normal
HIDDEN = 40  # units of the Boltzmann machines
NOISE = 0.02  # on their weights
SEPARATIONS = (1.0, 2.0, 4.0, 8.0)  # between modes, in standard deviations
WEIGHTS = (0.5, 0.9)  # of the left mode: in the data, and in the model


def _tests(config: Config, width: int) -> dict[str, Callable]:
    return {
        TESTS[0]: lambda x, score, key: goodness_of_fit(
            x, score=score, width=width, steps=config.test_steps, batch_size=config.test_batch,
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


def laplace_power(config: Config, seed: int) -> dict[str, Float[Array, "tests sets"]]:
    """p-values of a standard Gaussian: of data from it, and of Laplace columns.

    Those have mean 0 and variance 1, as the model.
    """
    normal_key, laplace_key, key = jr.split(jr.key(seed), 3)
    shape = (config.points, COLUMNS)
    data = {
        "right": jr.normal(normal_key, (config.level_repeats, *shape)),
        "wrong": jr.laplace(laplace_key, (config.repeats, *shape)) / np.sqrt(2),
    }
    x = jnp.concatenate(list(data.values()))
    tests = _tests(config, config.test_width)
    found = jnp.stack([_p_values(test, _normal_score, None, x, key) for test in tests.values()])
    return {"right": found[:, : config.level_repeats], "wrong": found[:, config.level_repeats :]}


def machine_power(
    config: Config, visible: int, repeats: int, seed: int
) -> Float[Array, "tests sets"]:
    """p-values of a Boltzmann machine whose weights are not quite those of the data's."""
    keys = jr.split(jr.key(seed), 6)
    signs = jr.rademacher(keys[0], (visible, HIDDEN), float)
    bias, hidden_bias = jr.normal(keys[1], (visible,)), jr.normal(keys[2], (HIDDEN,))
    model = GaussianBernoulliRBM(signs, bias, hidden_bias)
    noise = NOISE * jr.normal(keys[3], signs.shape)
    truth = GaussianBernoulliRBM(signs + noise, bias, hidden_bias)
    shape = (repeats, config.points)
    x = jax.jit(lambda key: truth.sample(key, shape, steps=config.gibbs))(keys[4])
    tests = _tests(config, max(config.test_width, 2 * HIDDEN))
    # The chains' models are one; each data set is given its own copy.
    models = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(x)), model)
    return jnp.stack([_p_values(test, _score, models, x, keys[5]) for test in tests.values()])


def blindness(config: Config, seed: int) -> Float[Array, "separations sets"]:
    """p-values of two modes with wrong weights, ever farther apart."""
    side_key, noise_key, key = jr.split(jr.key(seed), 3)
    shape = (len(SEPARATIONS), config.repeats, config.points, 1)
    centres = jnp.asarray(SEPARATIONS)[:, None, None, None] / 2
    side = jnp.where(jr.bernoulli(side_key, WEIGHTS[0], shape), -centres, centres)
    x = (side + jr.normal(noise_key, shape)).reshape(-1, *shape[2:])
    test = _tests(config, 32)[TESTS[0]]
    each = jnp.repeat(jnp.asarray(SEPARATIONS) / 2, config.repeats)
    return _p_values(test, _two_modes_score, each, x, key).reshape(shape[:2])


def _two_modes_score(centre: Array, x: Float[Array, " one"]) -> Float[Array, " one"]:
    """Of the model: (1 - w) exp(centre x) and w exp(-centre x) times a Gaussian."""
    log_odds = np.log((1 - WEIGHTS[1]) / WEIGHTS[1])
    return centre * jnp.tanh(centre * x + log_odds / 2) - x

"""`fit_gan`: several runs as one program, resumed to the same bits, and what it refuses."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pandas as pd
import pytest

from pullback.games import GANGame, GANStep, fit_gan
from pullback.train import TrainingError

ADAM = optax.adam(1e-2, b1=0.5, eps_root=1e-14)
STEP = GANStep(ADAM, ADAM, GANGame(2), unroll=2)
DATA = np.random.default_rng(0).normal(1.0, 0.5, (60, 1))
SETTINGS = {"steps": 6, "batch_size": 8, "log_every": 3, "progress": False}


def players(key):
    keys = jr.split(key)
    return (
        eqx.nn.MLP(2, 1, 4, 1, key=keys[0]),
        eqx.nn.MLP(1, "scalar", 4, 1, jnp.tanh, key=keys[1]),
    )


def close(a, b, **tolerance):
    for x, y in zip(*(jax.tree.leaves(eqx.filter(t, eqx.is_array)) for t in (a, b)), strict=True):
        np.testing.assert_allclose(x, y, **tolerance)


def test_a_stack_is_its_runs_and_a_run_is_resumed(key, tmp_path):
    keys = jr.split(key, 2)
    generators, nets = eqx.filter_vmap(players)(keys)
    stack = fit_gan(generators, nets, DATA, STEP, **SETTINGS, key=keys)
    assert stack[2].history["unrolled_loss"].shape == (2, 2)
    for n in range(2):
        alone = fit_gan(*players(keys[n]), DATA, STEP, **SETTINGS, key=keys[n])
        mine = jax.tree.map(lambda leaf, n=n: leaf[n] if eqx.is_array(leaf) else leaf, stack[:2])
        close(mine, alone[:2], rtol=1e-8)
    fit_gan(*players(keys[1]), DATA, STEP, **(SETTINGS | {"steps": 3}), folder=tmp_path,
            key=keys[1])  # fmt: skip
    again = fit_gan(*players(keys[1]), DATA, STEP, **SETTINGS, folder=tmp_path, resume=True,
                    key=keys[1])  # fmt: skip
    close(again[:2], alone[:2], rtol=0)


def test_batches_come_by_a_function_and_several_for_the_discriminator(key):
    step = GANStep(ADAM, ADAM, GANGame(2), discriminator_steps=2)
    plain = fit_gan(*players(key), DATA, step, **SETTINGS, key=key)
    assert plain[2].step == 6
    draw = lambda key: jr.normal(key, (8, 1))
    validation = lambda state, *, key: {"bias": jnp.mean(state.generator.layers[-1].bias)}
    found = fit_gan(*players(key), draw, STEP, steps=3, log_every=3, validation=validation,
                    progress=False, key=key)  # fmt: skip
    np.testing.assert_allclose(
        found[2].history["validation_bias"][-1], found[0].layers[-1].bias[0], rtol=1e-12
    )


def test_bad_data_are_refused(key):
    holes = DATA.copy()
    holes[7, 0] = np.nan
    with pytest.raises(ValueError, match="`data` must be finite; row 7 is not"):
        fit_gan(*players(key), holes, STEP, **SETTINGS, key=key)
    with pytest.raises(TrainingError, match="batch that was drawn is not finite"):
        fit_gan(*players(key), lambda key: jnp.full((4, 1), jnp.nan), STEP, steps=2, log_every=1,
                progress=False, key=key)  # fmt: skip
    with pytest.raises(ValueError, match="`batch` must be floating"):
        fit_gan(*players(key), np.arange(60)[:, None], STEP, **SETTINGS, key=key)
    with pytest.raises(ValueError, match="must make samples like a row of the data"):
        fit_gan(*players(key), np.zeros((60, 2)), STEP, **SETTINGS, key=key)
    with pytest.raises(ValueError, match="`batch_size` must be from 1 to 60"):
        fit_gan(*players(key), DATA, STEP, **(SETTINGS | {"batch_size": 61}), key=key)
    with pytest.raises(ValueError, match=r"`data` must be rows.*shape \(0, 1\)"):
        fit_gan(*players(key), DATA[:0], STEP, **SETTINGS, key=key)
    with pytest.raises(TypeError, match=r"got a DataFrame: use data.to_numpy"):
        fit_gan(*players(key), pd.DataFrame({"a": DATA[:, 0]}), STEP, **SETTINGS, key=key)
    with pytest.raises(TypeError, match=r"`step` must be a `GANStep`.*got GANGame"):
        inspect.unwrap(fit_gan)(*players(key), DATA, GANGame(2), **SETTINGS, key=key)

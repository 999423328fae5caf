"""What several experiments share."""

from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.data import Labelled, Split
from pullback.recipes._kit.checks import check_falling, check_rising
from pullback.recipes._kit.images import in_blocks
from pullback.recipes._kit.stack import made, stacked, unstacked


@pytest.mark.parametrize(
    ("check", "values", "limits", "message"),
    [
        (check_rising, (1, 5, 5), {"least": 1}, "1 or more numbers that rise, at least 1, got"),
        (check_rising, (0, 5), {"above": 0}, "numbers that rise, above 0, got"),
        (check_rising, (), {}, "1 or more numbers that rise, got"),
        (check_rising, (1.0, float("nan")), {}, "numbers that rise, got"),
        (check_falling, (1e-5, 1e-1), {}, r"1 or more numbers that fall, got \(1e-05, 0.1\)"),
        (check_falling, (1.0,), {"count": 2}, "2 or more numbers that fall, got"),
        (check_falling, (1.0, 0.0), {"above": 0}, "numbers that fall, above 0, got"),
        (check_falling, (1.0, 0.5), {"below": 1}, "numbers that fall, below 1, got"),
    ],
)
def test_settings_out_of_order_or_limits_are_named(check, values, limits, message):
    with pytest.raises(ValueError, match=f"sizes must be .*{message}"):
        check(SimpleNamespace(sizes=values), "sizes", **limits)


def test_settings_in_order_pass():
    settings = SimpleNamespace(up=(2, 4, 8), down=(8.0, 4.0))
    check_rising(settings, "up", count=3, least=2, above=1, below=9)
    check_falling(settings, "down", count=2, above=0, below=9)


def test_images_are_averaged_in_blocks():
    x = np.random.default_rng(0).random((3, 28, 28))
    train, test = in_blocks(Split(Labelled(x, np.arange(3)), Labelled(x[:1], np.zeros(1))), 4)
    assert (train.x.shape, test.x.shape) == ((3, 7, 7), (1, 7, 7))
    np.testing.assert_allclose(train.x[1, 2, 5], x[1, 8:12, 20:24].mean(), rtol=1e-12)
    np.testing.assert_array_equal(train.y, np.arange(3))


def test_a_model_made_by_one_program_is_the_one_made_step_by_step():
    make = lambda seed: made(eqx.nn.MLP, 2, "scalar", 3, 1, jnp.tanh, key=jr.key(seed))
    models = [make(seed) for seed in range(2)]
    step_by_step = [eqx.nn.MLP(2, "scalar", 3, 1, jnp.tanh, key=jr.key(seed)) for seed in range(2)]
    assert eqx.tree_equal(models, step_by_step)
    assert eqx.tree_equal(unstacked(stacked(models)), models)
    assert jax.tree.leaves(stacked(models))[0].shape == (2, 3, 2)

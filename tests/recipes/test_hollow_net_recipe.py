"""The images of the recipe `hollow-net`, and what it measures."""

import numpy as np
import pytest

from pullback.data import digits
from pullback.recipes import hollow_net
from pullback.recipes.hollow_net import measure


def test_images_get_noise_within_a_grey_level_and_are_standardised():
    train, test = hollow_net._images(3)
    np.testing.assert_array_equal(train, hollow_net._images(3)[0])
    assert len(train) + len(test) == 1797
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-12)
    # What the scale was, by the pixels themselves: a deviation s is divided by s + 0.1.
    scale = 0.1 / (1 - train.std(axis=0))
    plain = digits(seed=3).train.x.reshape(len(train), -1)
    noise = 16 * (train * scale - plain)
    noise -= noise.min(axis=0)
    assert noise.max() <= 1 + 1e-9
    assert abs(noise.mean() - 0.5) < 4 / np.sqrt(12 * noise.size) + 2 / len(train)


def test_an_implicit_step_is_solved_as_fast_as_each_way_can():
    """Newton's error is squared, Jacobi-Newton's shrinks, and functional iteration's grows."""
    roots = measure.root_finding(6, 5, [0, 1])
    assert {name: path.shape for name, path in roots.items()} == {
        name: (2, 6) for name in ("functional", "jacobi_newton", "newton")
    }
    for path in roots.values():
        np.testing.assert_array_equal(path[:, 0], roots["newton"][:, 0])
    # The step times the fastest rate is 50: so much grows what functional iteration leaves over.
    growth = roots["functional"][:, 1:] / roots["functional"][:, :-1]
    np.testing.assert_allclose(growth[:, -1], 50, rtol=0.1)
    assert roots["jacobi_newton"][:, 5].max() < 1e-12
    assert roots["newton"][:, 3].max() < 1e-13


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="seeds must be at least 1, got 0"):
        hollow_net.Config(seeds=0)
    with pytest.raises(ValueError, match="dims must be 2 or more numbers that rise"):
        hollow_net.Config(dims=(8, 4))

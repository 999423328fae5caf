"""Scenes of digits: what was drawn where, and the law of what lies behind it."""

import inspect

import numpy as np
import pytest

from pullback.data import digit_scenes, digits


def placed(digit, corner, side):
    """The ink of a digit in a scene, by hand."""
    ink = np.zeros((side, side), np.float32)
    ink[corner[0] : corner[0] + 8, corner[1] : corner[1] + 8] = digit
    return ink


def test_each_digit_is_drawn_whole_over_its_background_and_the_strokes_are_its_ink():
    """On grey, ink = 2 x - 1; and each digit of the file is found at one of the places."""
    side = 11
    for scenes, part in zip(digit_scenes(side=side, level=0.5, deviation=0.0, copies=2, seed=3),
                            digits(seed=3), strict=True):  # fmt: skip
        assert scenes.x.dtype == scenes.background.dtype == np.float32
        assert (scenes.strokes.dtype, scenes.y.dtype) == (np.bool_, np.int32)
        np.testing.assert_array_equal(scenes.background, np.float32(0.5))
        np.testing.assert_array_equal(scenes.y, np.repeat(part.y, 2))
        corners = [(i, j) for i in range(side - 7) for j in range(side - 7)]
        found = set()
        for row in range(0, 200):
            ink = 2 * scenes.x[row] - 1
            np.testing.assert_array_equal(scenes.strokes[row], ink >= 0.25)
            digit = part.x[row // 2]
            errors = [np.abs(ink - placed(digit, at, side)).max() for at in corners]
            assert min(errors) == 0
            found.add(corners[int(np.argmin(errors))])
        assert found == set(corners)


def test_an_image_is_its_background_where_there_is_no_ink_and_white_at_full_ink():
    wide = {"level": 0.5, "deviation": 0.25}
    _, test = digit_scenes(seed=1, **wide)
    _, same = digit_scenes(seed=1, level=0.5, deviation=0.0)  # the same places
    ink = 2 * same.x - 1
    np.testing.assert_allclose(
        test.x, test.background * (1 - ink) + ink, rtol=0, atol=1e-6
    )  # fmt: skip
    np.testing.assert_array_equal(test.strokes, same.strokes)
    np.testing.assert_array_equal(test.x[ink == 0], test.background[ink == 0])
    assert np.all(test.x[ink == 1] == 1)
    assert test.x.min() >= 0
    assert test.x.max() <= 1
    assert test.background.min() == 0  # cut off, at two deviations
    assert test.background.max() == 1


@pytest.mark.parametrize("length", [1.5, 3.0])
def test_the_background_is_a_gaussian_process_of_the_length(length):
    """Means and covariances of all pairs of pixels, within 5 standard errors of the largest."""
    side, deviation = 8, 0.05  # eight deviations from the ends: nothing is cut off
    train, test = digit_scenes(
        side=side, length=length, level=0.4, deviation=deviation, copies=20, seed=2
    )
    g = np.concatenate([train.background, test.background]).reshape(-1, side**2).astype(float)
    places = np.stack(np.unravel_index(np.arange(side**2), (side, side)), axis=1)
    distance = np.sum((places[:, None] - places[None]) ** 2, axis=2)
    want = deviation**2 * np.exp(-distance / (2 * length**2))
    np.testing.assert_allclose(g.mean(0), 0.4, rtol=0, atol=5 * deviation / len(g) ** 0.5)
    error = np.sqrt((want**2 + deviation**4) / len(g))  # of a covariance, by Isserlis
    assert np.max(np.abs(np.cov(g.T) - want) / error) < 5


def test_places_and_backgrounds_are_drawn_anew_for_each_copy_part_and_seed():
    train, test = digit_scenes(copies=2, seed=0)
    again = digit_scenes(copies=2, seed=0)
    for one, other in zip((*train, *test), (*again.train, *again.test), strict=True):
        np.testing.assert_array_equal(one, other)
    other = digit_scenes(copies=2, seed=1).train
    pairs = [(train.background[0], train.background[1]), (train.background[0], test.background[0]),
             (train.background[0], other.background[0])]  # fmt: skip
    assert min(np.abs(one - two).max() for one, two in pairs) > 0.1
    np.testing.assert_array_equal(train.labelled.x, train.x)
    np.testing.assert_array_equal(train.labelled.y, train.y)


def test_backgrounds_of_any_length_are_finite_and_counts_are_whole():
    for length, apart in ((1e-200, True), (1e200, False)):
        background = digit_scenes(length=length)[1].background
        assert np.isfinite(background).all()
        assert (np.ptp(background[0]) > 0.01) == apart
    for wrong in ({"side": 8.5}, {"copies": 1.5}, {"seed": None}):
        with pytest.raises(TypeError, match=f"`{next(iter(wrong))}` must be a whole number"):
            inspect.unwrap(digit_scenes)(**wrong)
    with pytest.raises(ValueError, match="`seed` must be 0 or more, got -1"):
        digit_scenes(seed=-1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"side": 7}, "`side` must be at least 8.*got 7"),
        ({"length": 0.0}, "`length` must be above 0 and finite, got 0.0"),
        ({"length": float("nan")}, "`length` must be above 0"),
        ({"level": 1.2}, "`level` must lie between 0 and 1, got 1.2"),
        ({"deviation": -1.0}, "`deviation` must be at least 0 and finite, got -1.0"),
        ({"deviation": float("inf")}, "`deviation` must be at least 0"),
        ({"copies": 0}, "`copies` must be at least 1, got 0"),
        ({"test_fraction": 1.0}, "`test_fraction` must lie between 0.01 and 0.99, got 1.0"),
    ],
)
def test_scenes_that_cannot_be_drawn_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        digit_scenes(**wrong)

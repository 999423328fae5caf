"""Shapes with known factors: what is drawn lies where its factors say, and dSprites' own file."""

import itertools
import math

import numpy as np
import pytest

from pullback.data import DataError, drawn_shapes, dsprites, soft_squares

FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"


def centre(x):
    """The centre of mass, [n, (across, down)], as a share of the image."""
    side = (np.arange(x.shape[1]) + 0.5) / x.shape[1]
    mass = x.sum(axis=(1, 2))
    return np.stack([x.sum(axis=1) @ side, x.sum(axis=2) @ side], axis=1) / mass[:, None]


@pytest.mark.parametrize(
    ("found", "places"),
    [
        (soft_squares(places=4, sizes=3), 4),
        (drawn_shapes(scales=2, orientations=4, places=4, resolution=24), 4),
    ],
)
def test_what_is_drawn_lies_where_its_factors_say(found, places):
    sizes = found.factors.max(axis=0) + 1
    combinations = [*itertools.product(*map(range, sizes))]
    assert sorted(map(tuple, found.factors.tolist())) == combinations
    assert (found.x.dtype, found.factors.dtype) == (np.float32, np.int32)
    assert found.x.min() >= 0
    assert found.x.max() <= 1
    across, down = (found.factors[:, found.names.index(name)] for name in "xy")
    middle = centre(found.x)
    for column, place in ((0, across), (1, down)):
        means = [middle[place == value, column] for value in range(places)]
        steps = np.diff([each.mean() for each in means])
        np.testing.assert_allclose(steps, steps[0], rtol=0.05)
        # Nothing else moves it.
        assert max(np.ptp(each) for each in means) < 0.02
    # What is drawn stays inside, but for its blur.
    border = np.concatenate([found.x[:, 0], found.x[:, -1], found.x[:, :, 0], found.x[:, :, -1]])
    assert border.mean() < 0.1


def test_the_shapes_have_the_areas_of_their_scales():
    found = drawn_shapes(scales=2, orientations=3, places=2, resolution=32)
    area = found.x.mean(axis=(1, 2))
    kind, scale = found.factors[:, 0], found.factors[:, 1]
    for value, radius in ((0, 0.1), (1, 0.2)):
        for shape in (0, 1):  # square and ellipse are as large as the circle
            np.testing.assert_allclose(
                area[(kind == shape) & (scale == value)], math.pi * radius**2, rtol=0.06
            )
        heart = area[(kind == 2) & (scale == value)] / (math.pi * radius**2)
        assert 0.7 < heart.min() <= heart.max() < 1.3


def test_an_orientation_turns_the_shape():
    """A quarter of a turn, from across to down: what a rotation of the array does."""
    found = drawn_shapes(("ellipse", "heart"), scales=1, orientations=4, places=1)
    assert found.names == ("shape", "orientation")
    for images in (found.x[:4], found.x[4:]):
        for quarter in range(4):
            np.testing.assert_allclose(images[quarter], np.rot90(images[0], -quarter), atol=1e-6)
    assert not np.allclose(found.x[4], found.x[6])  # a heart is not the same after half a turn


@pytest.mark.parametrize(("kind", "turn", "reach"), [("ellipse", 0, 1.35), ("square", 1, 1.2533)])
def test_a_shape_is_drawn_to_its_ends(kind, turn, reach):
    """The tip of an ellipse, and the corners of a square that stands on one."""
    image = drawn_shapes((kind,), scales=1, orientations=8, places=1, resolution=256).x[turn]
    across = np.flatnonzero(image.sum(axis=0))
    # Radii of half a fifth of the image at the only, smallest scale; the points stand in a grid.
    assert abs(np.ptp(across) + 1 - 2 * reach * 0.1 * 256) < 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: soft_squares(places=1), "`places` must be at least 2, got 1"),
        (lambda: soft_squares(resolution=5), "`resolution` must be at least 8, got 5"),
        (
            lambda: drawn_shapes(("disc",)),
            r"`kinds` must be one or more of square.*got \('disc',\)",
        ),
        (lambda: drawn_shapes(scales=0), "`scales` must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def write(folder, **changes):
    """A small file of dSprites' format: 3 shapes, 2 scales, 4 places across."""
    classes = np.array([(0, s, c, 0, x, 0) for s in range(3) for c in range(2) for x in range(4)])
    images = np.zeros((24, 64, 64), np.uint8)
    for row, (_, shape, scale, _, x, _) in enumerate(classes):
        images[row, shape, 8 * x : 8 * x + 4 + 4 * scale] = 1
    arrays = {
        "imgs": images,
        "latents_classes": classes,
        "latents_values": classes / 2.0,
        # The published file has a pickled object in it, which is not to be touched.
        "metadata": np.array({"title": "dSprites"}, dtype=object),
    }
    arrays = {name: value for name, value in {**arrays, **changes}.items() if value is not None}
    np.savez_compressed(folder / FILE, **arrays)
    return images, classes


def test_the_published_file_is_read_whole(tmp_path):
    images, classes = write(tmp_path)
    found = dsprites(tmp_path)
    np.testing.assert_array_equal(found.x, images.astype(np.float32))
    assert found.names == ("shape", "scale", "x")
    np.testing.assert_array_equal(found.factors, classes[:, [1, 2, 4]])
    assert (found.x.dtype, found.factors.dtype) == (np.float32, np.int32)


def test_a_part_of_it_in_blocks(tmp_path):
    (tmp_path / "dsprites").mkdir()
    images, classes = write(tmp_path / "dsprites")
    found = dsprites(tmp_path, shrink=8, keep={"shape": [1], "x": [3, 0]})
    rows = [row for row, (_, shape, _, _, x, _) in enumerate(classes) if shape == 1 and x in (0, 3)]
    expected = [
        [[block.mean() for block in np.split(band, 8, axis=1)] for band in np.split(image, 8)]
        for image in images[rows].astype(float)
    ]
    np.testing.assert_allclose(found.x, expected)
    assert found.names == ("scale", "x")
    # x 3 was named first, and is 0 now.
    np.testing.assert_array_equal(found.factors, [[0, 1], [0, 0], [1, 1], [1, 0]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"imgs": np.zeros((24, 32, 32), np.uint8)}, "expected imgs of shape n x 64 x 64"),
        ({"imgs": np.zeros((24, 64, 64))}, r"expected bytes \(uint8\) in imgs, got float64"),
        ({"imgs": np.full((24, 64, 64), 255, np.uint8)}, "of bytes 0 and 1, got 255"),
        ({"imgs": np.zeros((5, 64, 64), np.uint8)}, "has 5 imgs and 24 rows"),
        ({"latents_classes": np.full((24, 6), 2**31)}, r"\(colour\) from 0 to 0; got 2147483648"),
        ({"latents_classes": np.eye(24, 6, 1, int) * 3}, r"\(shape\) from 0 to 2; got 3 at 0"),
        ({"latents_classes": None}, "has no array latents_classes"),
        (
            {"latents_classes": np.zeros((24, 6))},
            "expected whole numbers in latents_classes, got float64",
        ),
        (
            {"latents_classes": np.array([{}] * 6, dtype=object)},
            "latents_classes holds Python objects",
        ),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path, changes, message):
    write(tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        dsprites(tmp_path)


def test_what_there_is_not_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"dsprites_ndarray.*not found in"):
        dsprites(tmp_path)
    write(tmp_path)
    with pytest.raises(ValueError, match="`shrink` must divide 64, got 3"):
        dsprites(tmp_path, shrink=3)
    with pytest.raises(ValueError, match="`keep` names 'posX'; the factors are shape, scale"):
        dsprites(tmp_path, keep={"posX": [0]})
    with pytest.raises(ValueError, match="`keep` asks for scale 2; the file has 0 to 1"):
        dsprites(tmp_path, keep={"scale": [1, 2]})
    with pytest.raises(ValueError, match=r"different values of scale, got \[\]"):
        dsprites(tmp_path, keep={"scale": []})

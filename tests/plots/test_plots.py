"""Figures: what is drawn is what was measured, and everybody can tell the lines apart."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from pullback.plots import (
    PALETTE,
    density_image,
    figure,
    house_style,
    image_sheet,
    line_with_spread,
    rate_distortion_axes,
)
from pullback.runs import measured, number

# Machado, Oliveira and Fernandes (2009), table 1, severity 1.0, in linear RGB.
SIGHT = {
    "full": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}  # fmt: skip


def _lab(linear):
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    ratio = to_xyz @ linear / np.array([0.9505, 1.0, 1.089])
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_stay_apart_for_colour_blind_readers(sight):
    from matplotlib.colors import to_rgb

    rgb = np.array([to_rgb(colour) for colour in PALETTE])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = [_lab(np.clip(np.asarray(SIGHT[sight]) @ colour, 0, 1)) for colour in linear]
    gaps = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
    assert min(gaps) > 10  # CIE76; about 2.3 is the least difference that is noticed


def test_the_band_is_one_standard_deviation_around_the_mean():
    values = np.random.default_rng(0).normal(size=(4, 5))
    x = np.arange(5.0)
    _, ax = figure()
    line_with_spread(ax, x, values, label="a")
    [line], [band] = ax.lines, ax.collections
    mean, spread = values.sum(0) / 4, np.sqrt(((values - values.mean(0)) ** 2).sum(0) / 3)
    np.testing.assert_allclose(line.get_ydata(), mean)
    corners = {(round(a, 9), round(b, 9)) for a, b in band.get_paths()[0].vertices}
    wanted = [*zip(x, mean - spread, strict=True), *zip(x, mean + spread, strict=True)]
    assert {(round(a, 9), round(b, 9)) for a, b in wanted} <= corners


def test_one_seed_has_no_band_and_wrong_shapes_are_refused():
    _, ax = figure()
    line_with_spread(ax, [1, 2], [[3, 4]])
    assert len(ax.collections) == 0
    with pytest.raises(ValueError, match=r"x has shape \(2,\) and values \(3, 4\)"):
        line_with_spread(ax, [1, 2], np.zeros((3, 4)))


def test_row_zero_of_a_density_lies_at_the_bottom():
    density = np.zeros((4, 4))
    density[0, 3] = 1  # low y, high x
    fig, ax = figure(width=2, height=2)
    density_image(ax, density, (-1, 1, -1, 1), points=np.zeros((1, 2)))
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())
    height = pixels.shape[0]

    def seen(x, y):
        column, row = ax.transData.transform((x, y))
        return pixels[height - 1 - round(row), round(column), :3].astype(float)

    yellow, blue = np.array([253, 231, 55]), np.array([0, 34, 78])  # the ends of cividis
    assert np.abs(seen(0.9, -0.9) - yellow).max() < 60
    assert np.abs(seen(0.9, 0.9) - blue).max() < 20
    assert np.abs(seen(-0.9, -0.9) - blue).max() < 20


def test_the_style_ends_with_its_block():
    before = dict(matplotlib.rcParams)
    with house_style():
        assert matplotlib.rcParams["axes.prop_cycle"].by_key()["color"] == list(PALETTE)
        assert dict(matplotlib.rcParams) != before
    assert dict(matplotlib.rcParams) == before


def test_importing_the_room_loads_no_plotting_library_and_drawing_opens_no_window():
    script = (
        "import sys, pullback.plots as r, pullback.runs, pullback.recipes\n"
        "heavy = {'matplotlib', 'jinja2', 'jax', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "r.figure()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("value", "spread", "text"),
    [
        (1.66, 0.05, "1.660 ± 0.050"),
        (3.7, 0.1, "3.70 ± 0.10"),
        (99.6, 12.3, "100 ± 12"),
        (4321.6, 1234.5, "4,322 ± 1,234"),
        (12345.6, 7.25, "12,345.6 ± 7.2"),
        (1.0, 0.0, "1 ± 0"),
        (1.0, 1e-9, "1 ± 1e-09"),
        ("nan", "nan", "nan ± nan"),
        ("inf", None, "inf"),
        (-2.5, None, "-2.5"),
        (0.0, 0.004, "0.0000 ± 0.0040"),
    ],
)
def test_measured(value, spread, text):
    assert measured(value, spread) == text
    assert measured(value, spread, "nats") == text + " nats"


def test_numbers_keep_four_digits():
    for value in (1.0, 123.4, 9999.0, 12345.0, 1e6, 1e-3, 1.23456e-9, 4.2e30, -0.5):
        assert float(number(value).replace(",", "")) == pytest.approx(value, rel=5e-4)
    assert [number(True), number(0), number(-1234567)] == ["yes", "0", "-1,234,567"]


def test_a_sheet_has_every_image_in_its_place():
    images = np.random.default_rng(0).uniform(size=(2, 3, 4, 5))
    with house_style():
        _, ax = figure()
        image_sheet(ax, images, rows=["one", "two"])
    (drawn,) = ax.get_images()
    sheet = np.asarray(drawn.get_array())
    assert sheet.shape == (2 * 4 + 1, 3 * 5 + 2)  # a line between neighbours
    for i in range(2):
        for j in range(3):
            tile = sheet[5 * i : 5 * i + 4, 6 * j : 6 * j + 5]
            np.testing.assert_array_equal(tile, images[i, j])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["one", "two"]
    assert drawn.get_cmap().name == "gray_r"
    with pytest.raises(ValueError, match="a label for each row"):
        image_sheet(ax, images, rows=["one"])


def test_lines_of_equal_elbo():
    with house_style():
        _, ax = figure()
        ax.plot([0.0, 4.0], [20.0, 14.0], "o")
        rate_distortion_axes(ax, lines=3)
        _, empty = figure()
        with pytest.raises(ValueError, match="nothing was drawn"):
            rate_distortion_axes(empty)
    lines = [np.sum(line.get_data(), axis=0) for line in ax.get_lines()[1:]]
    levels = [each[0] for each in lines]
    assert all((each == level).all() for each, level in zip(lines, levels, strict=True))
    assert levels[0] == 18.0  # the better model's
    np.testing.assert_allclose(levels[2] - levels[1], levels[1] - levels[0])
    # All points are inside of what is shown.
    assert ax.get_xlim()[1] >= 4
    assert ax.get_ylim()[1] >= 20


def test_a_sheet_of_colours_keeps_each_pixel():
    images = np.random.default_rng(0).random((2, 3, 4, 5, 3))
    with house_style():
        _, ax = figure(width=3, height=2)
        image_sheet(ax, images)
    drawn = np.asarray(ax.images[0].get_array())
    assert drawn.shape == (2 * 5 - 1, 3 * 6 - 1, 3)
    np.testing.assert_array_equal(drawn[5:9, 6:11], images[1, 1])

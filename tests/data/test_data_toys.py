import numpy as np
import pytest

from pullback import data

GRID = np.arange(-6, 6, 0.02) + 0.01
CELL = 0.02**2


def grid():
    return np.stack(np.meshgrid(GRID, GRID), axis=-1).reshape(-1, 2)


def test_the_density_of_eight_gaussians_is_that_of_its_sample():
    log_prob = data.eight_gaussians_log_prob(grid())
    density = np.exp(log_prob)
    np.testing.assert_allclose(density.sum() * CELL, 1.0, rtol=1e-10)
    entropy = -(density * log_prob).sum() * CELL
    # The figure in the docstring.
    np.testing.assert_allclose(entropy, 2.8316, atol=5e-5)
    nats = -data.eight_gaussians_log_prob(data.eight_gaussians(20_000, seed=1).x)
    # 4 standard errors of the mean.
    assert abs(nats.mean() - entropy) < 4 * nats.std() / np.sqrt(len(nats))


def test_eight_gaussians_are_those_of_the_definition():
    x, y = data.eight_gaussians(40_000, seed=0)
    for k in range(8):
        part = x[y == k]
        centre = 4 / np.sqrt(2) * np.array([np.cos(k * np.pi / 4), np.sin(k * np.pi / 4)])
        # 4 standard errors of a mean and of a variance over about 5,000 points.
        assert np.all(np.abs(part.mean(0) - centre) < 4 * np.sqrt(0.125 / len(part)))
        assert np.all(np.abs(part.var(0) - 0.125) < 4 * 0.125 * np.sqrt(2 / len(part)))


def test_checkerboard_is_uniform_on_the_squares_of_one_colour():
    x, y = data.checkerboard(16_000, seed=2)
    column, row = np.floor(x / 2).astype(int).T
    assert np.all((column + row) % 2 == 0)
    assert x.min() >= -4
    assert x.max() < 4
    # Each of eight squares, and each quarter of a square, by 4 standard errors of its count.
    for count, share in [(np.bincount(y), 1 / 8), (_quarters(x), 1 / 4)]:
        error = np.sqrt(len(x) * share * (1 - share))
        assert np.all(np.abs(count - len(x) * share) < 4 * error)
    squares = {tuple(corner) for corner in np.stack([column, row], axis=1)[np.argsort(y)]}
    assert len(squares) == 8


def _quarters(x):
    right, upper = (x % 2 > 1).T
    return np.bincount(2 * right + upper, minlength=4)


def test_spirals_lie_on_the_curve_and_on_its_half_turn():
    x, y = data.spirals(300, noise=0.0, seed=0)
    x = np.where((y == 0)[:, None], x, -x)
    angle = 3 * np.linalg.norm(x, axis=1)
    np.testing.assert_allclose(x[:, 0], -np.cos(angle) * angle / 3, atol=1e-12)
    np.testing.assert_allclose(x[:, 1], np.sin(angle) * angle / 3, atol=1e-12)
    assert angle.max() <= 3 * np.pi


def test_pinwheel_unbends_to_the_stretched_gaussians():
    x, y = data.pinwheel(20_000, seed=0)
    arm = x[y == 0] / 2
    # A point (a, b) is turned by -exp(a) / 4. The turn keeps the radius, so that a is the root of
    # a one-dimensional equation; here it is found by iteration from the radius.
    radius, direction = np.linalg.norm(arm, axis=1), np.arctan2(arm[:, 1], arm[:, 0])
    across = np.zeros(len(arm))
    for _ in range(60):
        along = np.sqrt(np.maximum(radius**2 - across**2, 0))
        across = radius * np.sin(direction + 0.25 * np.exp(along))
    good = np.abs(across) < 0.5
    assert good.mean() > 0.99
    n = good.sum()
    assert abs(along[good].mean() - 1) < 4 * 0.3 / np.sqrt(n) + 0.01
    assert abs(across[good].std() - 0.1) < 0.01


def test_moons_and_circles_without_noise():
    x, y = data.two_moons(50, noise=0.0)
    centre = np.where(y == 0, 0.0, 1.0), np.where(y == 0, 0.0, 0.5)
    np.testing.assert_allclose((x[:, 0] - centre[0]) ** 2 + (x[:, 1] - centre[1]) ** 2, 1.0)
    x, y = data.two_circles(50, noise=0.0, factor=0.3)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), np.where(y == 0, 1.0, 0.3))


def test_series_without_noise_are_pieces_of_the_two_spirals():
    series = data.spiral_series(40, length=30, noise=0.0, seed=3)
    np.testing.assert_array_equal(series.observed, series.clean[:, :30])
    assert 0 < series.clockwise.sum() < 40
    stop = 6 * np.pi
    np.testing.assert_allclose(np.diff(series.ts), stop / 499, rtol=1e-12)
    for clockwise, path in zip(series.clockwise, series.clean, strict=True):
        x = path[:, 0] + (5 if clockwise else -5)
        radius = np.hypot(x, path[:, 1])
        angle = (0.3 * 50 / radius) if clockwise else radius / 0.3
        np.testing.assert_allclose(x, radius * np.cos(angle), atol=1e-9)
        np.testing.assert_allclose(path[:, 1], radius * np.sin(angle), atol=1e-9)
        turned = np.abs(angle - angle[0])
        np.testing.assert_allclose(turned, series.ts, atol=1e-9)
        assert np.all(np.diff(radius) > 0)
        first = (stop + 1 - angle[0] if clockwise else angle[0]) / (stop / 499)
        np.testing.assert_allclose(first, np.clip(np.round(first), 0, 440), atol=1e-7)


def test_the_noise_of_the_series_has_the_size_asked_for():
    series = data.spiral_series(50, length=100, noise=0.3, seed=0)
    error = series.observed - series.clean[:, :100]
    # 4 standard errors of a standard deviation over 10,000 numbers.
    assert abs(error.std() - 0.3) < 4 * 0.3 / np.sqrt(2 * error.size)


@pytest.mark.parametrize(
    "make",
    [
        data.two_moons,
        data.two_circles,
        data.eight_gaussians,
        data.pinwheel,
        data.checkerboard,
        data.spirals,
        data.spiral_series,
    ],
)
def test_a_seed_gives_one_draw_and_no_points_are_refused(make):
    first, again, other = make(20, seed=1), make(20, seed=1), make(20, seed=2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[1], other[1])
    with pytest.raises(ValueError, match="at least 1"):
        make(0)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="`noise` must not be negative"):
        data.two_moons(10, noise=-1.0)
    with pytest.raises(ValueError, match="`arms`"):
        data.pinwheel(10, arms=0)
    with pytest.raises(ValueError, match="at least 2 \\* length = 60, got 50"):
        data.spiral_series(2, length=30, grid=50)

"""Mean-field theory against closed forms, published constants and plain sums."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf
from scipy.stats import norm

from pullback.analysis.signals import MeanField, critical_weight_scale, phase

TANH, RELU = MeanField(jnp.tanh), MeanField(jax.nn.relu)
ERF, LINE = MeanField(jax.scipy.special.erf), MeanField(lambda x: x)
SCALES = np.array([1.3, 2.5, 4.0])
# Of tanh at a bias scale of 0.3.
Q = np.array([0.6070468, 4.0791239, 12.6041495])
CHI = np.array([0.9398074, 1.5852248, 2.3672610])
CHI_2 = np.array([0.5434720, 1.1960413, 1.8571760])


def gaussian_mean(f, q):
    """A plain sum on a grid of a million points."""
    z, step = np.linspace(-10, 10, 1_000_001, retstep=True)
    return np.sum(f(np.sqrt(q) * z) * np.exp(-(z**2) / 2)) * step / np.sqrt(2 * np.pi)


def arc_cosine(c):
    return (np.sqrt(1 - c**2) + c * (np.pi - np.arccos(c))) / np.pi


def test_constants_of_tanh():
    np.testing.assert_allclose(TANH.fixed_point(SCALES, 0.3), Q, atol=1e-6)
    np.testing.assert_allclose(TANH.chi(SCALES, 0.3), CHI, atol=1e-6)
    np.testing.assert_allclose(TANH.chi(SCALES, 0.3, order=2), CHI_2, atol=1e-6)
    np.testing.assert_allclose(TANH.growth(SCALES, 0.3), CHI**0.5, atol=1e-6)
    found = TANH.correlation_fixed_point(SCALES, 0.3)
    assert found[0] == 1
    np.testing.assert_allclose(found[1:], [0.122, 0.030], atol=5e-4)
    again = TANH.correlation_map(found, SCALES, 0.3)
    np.testing.assert_allclose(again, found, atol=1e-9)


def test_one_scale_and_a_grid_of_them_eagerly_and_compiled():
    grid = TANH.chi(SCALES[:, None], jnp.array([0.0, 0.3]))
    assert grid.shape == (3, 2)
    alone = TANH.chi(4, 0.3)
    assert alone.shape == ()
    np.testing.assert_allclose(alone, grid[2, 1], rtol=1e-12)
    compiled = eqx.filter_jit(lambda theory, scale: theory.chi(scale, 0.3))
    np.testing.assert_allclose(compiled(TANH, jnp.asarray(SCALES)), grid[:, 1], rtol=1e-9)


@pytest.mark.parametrize(
    ("bias", "scale"),
    [(0, 1), (0.05, 1.12254), (0.1, 1.19340), (0.05**0.5, 1.76095**0.5), (0.3, 1.39558),
     (1, 1.85552)],
)  # fmt: skip
def test_the_critical_line_of_tanh(bias, scale):
    found = critical_weight_scale(TANH, bias)
    np.testing.assert_allclose(found, scale, atol=1e-4)
    # By the other way round, through the fixed point of that scale.
    np.testing.assert_allclose(TANH.chi(found, bias), 1, atol=1e-9)


def test_the_phases():
    assert phase(TANH, 1.0, 0.3) == "ordered"
    found = phase(TANH, [[1.3], [1.39558], [1.6]], [0.3, 0.3])
    assert found[:, 0].tolist() == ["ordered", "critical", "chaotic"]
    assert found.shape == (3, 2)
    assert phase(RELU, 2**0.5) == "critical"
    assert phase(TANH, 1.0, 0.3, tolerance=0.5) == "critical"


def test_a_relu_by_its_closed_forms():
    assert RELU.kinks == (0.0,)
    scales, biases = np.array([1.0, 1.3]), np.array([[0.1], [0.5]])
    want = biases**2 / (1 - scales**2 / 2)
    np.testing.assert_allclose(RELU.fixed_point(scales, biases), want, rtol=1e-9)
    np.testing.assert_allclose(RELU.variance_map(3.0, 1.3, 0.5), 1.69 * 1.5 + 0.25, rtol=1e-9)
    np.testing.assert_allclose(RELU.chi([1.0, 2.0], 0.5), [0.5, 2.0], rtol=1e-9)
    c = np.linspace(-1, 1, 9)
    np.testing.assert_allclose(RELU.correlation_map(c, 1.0), arc_cosine(c), atol=1e-9)
    np.testing.assert_allclose(RELU.correlation_map(c, 2.0, q=7.0), arc_cosine(c), atol=1e-9)
    np.testing.assert_allclose(critical_weight_scale(RELU, [0.0, 0.3]), 2**0.5, rtol=1e-9)


def test_variances_without_a_fixed_point_of_their_own():
    edge = 2**0.5
    found = RELU.fixed_point([1.0, edge, 1.5, edge, 1.5], [0.0, 0.0, 0.0, 0.3, 0.3])
    assert found.tolist() == [0, 1, np.inf, np.inf, np.inf]
    # The slopes of a network whose variance grows are those at infinity.
    np.testing.assert_allclose(RELU.chi(2.0, 0.3), 2, rtol=1e-9)
    assert RELU.correlation_fixed_point(2.0, 0.3) == 1
    assert np.isinf(RELU.chi(1.0, order=2))
    np.testing.assert_allclose(MeanField(jax.nn.gelu).chi(2.0), 2, rtol=1e-5)
    # Near criticality without a bias, where iterating would take a million layers.
    found = TANH.fixed_point([0.5, 1.0, 1 + 1e-6, 1.01])
    assert found[:2].tolist() == [0, 0]
    np.testing.assert_allclose(found[2], 1e-6, rtol=1e-4)
    again = TANH.variance_map(found[3], 1.01)
    np.testing.assert_allclose(again, found[3], rtol=1e-9)


def test_a_line():
    np.testing.assert_allclose(LINE.chi([0.5, 1.0, 2.0], 0.2), [0.25, 1, 4], rtol=1e-9)
    np.testing.assert_allclose(LINE.fixed_point(0.5, 0.3), 0.09 / 0.75, rtol=1e-9)
    np.testing.assert_allclose(LINE.correlation_map(0.3, 1.0, q=2.0), 0.3, rtol=1e-9)
    np.testing.assert_allclose(critical_weight_scale(LINE), 1, rtol=1e-9)
    assert LINE.chi(1.0, order=2) < 1e-20


def test_erf_by_its_closed_forms():
    def product(q, c):
        return 2 / np.pi * np.arcsin(2 * q * c / (1 + 2 * q))

    q, c = np.array([[0.1], [2.0], [50.0]]), np.array([-1.0, -0.4, 0.0, 0.7, 0.999, 1.0])
    np.testing.assert_allclose(
        ERF.variance_map(q, 1.7, 0.2), 1.7**2 * product(q, 1) + 0.04, atol=1e-9
    )
    want = (1.7**2 * product(q, c) + 0.04) / (1.7**2 * product(q, 1) + 0.04)
    np.testing.assert_allclose(ERF.correlation_map(c, 1.7, 0.2, q=q), want, atol=1e-9)
    slope = 1.7**2 * 4 / np.pi / np.sqrt(1 + 4 * q)
    np.testing.assert_allclose(ERF.chi(1.7, 0.2, q=q), slope, atol=1e-9)


def test_kinks_that_are_found_given_and_missing():
    clip = lambda u: np.clip(u, -1, 1)
    found = MeanField(jax.nn.hard_tanh)
    assert found.kinks == (-1, 1)
    assert found.is_kinked
    for q in (0.1, 4.0, 900.0):
        want = gaussian_mean(lambda u: clip(u) ** 2, q)
        np.testing.assert_allclose(found.variance_map(q, 1.0), want, rtol=1e-8)
        inside = erf(1 / np.sqrt(2 * q))
        np.testing.assert_allclose(found.chi(1.0, q=q), inside, rtol=1e-9)
    given = MeanField(lambda x: jnp.abs(x - 40), kinks=[40.0])
    assert given.is_kinked
    np.testing.assert_allclose(given.chi(1.0, q=900.0), 1, rtol=1e-9)
    # A bend of the slope alone is no kink: chi_2 is finite.
    smooth = MeanField(jax.nn.elu)
    assert (smooth.kinks, smooth.is_kinked) == ((0.0,), False)
    second = gaussian_mean(lambda u: np.where(u < 0, np.exp(2 * np.minimum(u, 0)), 0), 2.0)
    np.testing.assert_allclose(smooth.chi(1.0, order=2, q=2.0), second, atol=1e-5)
    assert MeanField(jnp.tanh, kinks=()).kinks == ()
    np.testing.assert_allclose(MeanField(lambda x: jnp.abs(x - 0.3217)).kinks, 0.3217, atol=1e-9)


def test_the_correlation_of_a_hard_tanh_whose_kinks_cross():
    # The mean over the second given the first is known; the first is summed over.
    found = MeanField(jax.nn.hard_tanh)
    z, step = np.linspace(-9, 9, 200_001, retstep=True)
    weights = np.exp(-(z**2) / 2) * step / np.sqrt(2 * np.pi)
    for q, c in ((1.0, 0.5), (12.0, 0.9), (12.0, -0.7), (5.0, 0.999)):
        mean, spread = np.sqrt(q) * c * z, np.sqrt(q * (1 - c**2))
        low, high = (-1 - mean) / spread, (1 - mean) / spread
        inside = mean * (norm.cdf(high) - norm.cdf(low))
        inside += spread * (norm.pdf(low) - norm.pdf(high)) + norm.sf(high) - norm.cdf(low)
        first = np.clip(np.sqrt(q) * z, -1, 1)
        want = np.sum(weights * first * inside) / np.sum(weights * first**2)
        np.testing.assert_allclose(found.correlation_map(c, 1.0, q=q), want, atol=1e-9)


def test_a_steep_activation_at_a_large_weight_scale():
    # Its slope is a spike that Gauss-Hermite nodes do not see.
    steep = MeanField(lambda x: jnp.tanh(10 * x))
    want = gaussian_mean(lambda u: 100 / np.cosh(np.clip(10 * u, -150, 150)) ** 4, 9.0)
    np.testing.assert_allclose(steep.chi(1.0, q=9.0), want, rtol=1e-8)


def test_slopes_by_autodiff_are_chi_and_steins():
    at = lambda f, x: jax.grad(lambda x: f(x))(x)
    for scale, q, chi in zip(SCALES, Q, CHI, strict=True):
        slope = at(lambda c, scale=scale: TANH.correlation_map(c, scale, 0.3), 1.0)
        np.testing.assert_allclose(slope, chi, atol=1e-6)
        values = [float(TANH.correlation_map(1 - gap, scale, 0.3)) for gap in (1e-6, 2e-6)]
        np.testing.assert_allclose((values[0] - values[1]) / 1e-6, chi, atol=1e-3)
        bends = gaussian_mean(lambda u: -2 * np.tanh(u) ** 2 / np.cosh(u) ** 2, q)
        slope = at(lambda q, scale=scale: TANH.variance_map(q, scale, 0.3), float(q))
        np.testing.assert_allclose(slope, chi + scale**2 * bends, atol=1e-6)


@pytest.mark.parametrize("method", ["fixed_point", "correlation_fixed_point", "chi"])
def test_derivatives_by_the_scale_are_those_of_differences(method):
    f = lambda scale: getattr(TANH, method)(scale, 0.3)
    gap = 1e-5
    want = (f(2.5 + gap) - f(2.5 - gap)) / (2 * gap)
    np.testing.assert_allclose(jax.grad(f)(2.5), want, rtol=1e-6)


def test_the_derivative_of_the_critical_line():
    f = lambda bias: critical_weight_scale(TANH, bias)
    np.testing.assert_allclose(jax.grad(f)(0.3), (f(0.30001) - f(0.29999)) / 2e-5, rtol=1e-6)


def test_a_path_is_the_maps_over_and_over():
    found = TANH.trajectory(0.5, SCALES, 0.3, depth=20, q=2.0)
    assert found.q.shape == found.c.shape == (3, 20)
    np.testing.assert_allclose(found.q[:, 0], 2.0)
    np.testing.assert_allclose(found.q[:, 1], TANH.variance_map(2.0, SCALES, 0.3), rtol=1e-9)
    want = TANH.correlation_map(0.5, SCALES, 0.3, q=2.0)
    np.testing.assert_allclose(found.c[:, 1], want, rtol=1e-9)
    np.testing.assert_allclose(found.q[1:, -1], Q[1:], atol=1e-5)
    np.testing.assert_allclose(found.c[1:, -1], [0.136, 0.033], atol=1e-2)
    still = TANH.trajectory(1.0, SCALES, 0.3, depth=20)
    assert np.all(still.c == 1)  # also where 1 is unstable
    np.testing.assert_allclose(still.q, np.tile(Q[:, None], 20), atol=1e-6)
    assert RELU.trajectory(0.0, 4.0, depth=60, q=1.0).q[-1] == np.inf


def test_a_circle():
    found = TANH.curvature(SCALES, 0.3, depth=12)
    want = [[1, 1.993, 3.108], [1, 6.933, 49.91], [1, 16.34, 532.8]]
    np.testing.assert_allclose(found.turning[:, [0, 3, 11]] / (2 * np.pi), want, rtol=3e-4)
    np.testing.assert_allclose(found.metric[:, 0], Q, atol=1e-6)
    np.testing.assert_allclose(found.squared_curvature[:, 0], 1 / Q, rtol=1e-5)
    # The recursion as it is written down.
    metric, bend = Q, 1 / Q
    for layer in range(1, 12):
        metric, bend = CHI * metric, 3 * CHI_2 / CHI**2 + bend / CHI
        np.testing.assert_allclose(found.metric[:, layer], metric, rtol=1e-5)
        np.testing.assert_allclose(found.squared_curvature[:, layer], bend, rtol=1e-5)
    far = TANH.curvature(SCALES[1:], 0.3, depth=60).squared_curvature[:, -1]
    np.testing.assert_allclose(far, [3.86771, 1.72138], atol=1e-5)
    assert np.isinf(MeanField(jax.nn.hard_tanh).curvature(2.0, depth=3).turning[1:]).all()


def test_how_deep_signals_live():
    found = TANH.depth_scales(SCALES, 0.3)
    np.testing.assert_allclose(found.gradient, 1 / np.abs(np.log(CHI)), rtol=1e-5)
    np.testing.assert_allclose(found.correlation[0], -1 / np.log(CHI[0]), rtol=1e-5)
    # What is left of a distance to the fixed point, after one layer more.
    path = TANH.trajectory(0.2, SCALES, 0.3, depth=8)
    last = TANH.correlation_fixed_point(SCALES, 0.3)
    rate = (path.c[:, -1] - last) / (path.c[:, -2] - last)
    np.testing.assert_allclose(np.exp(-1 / found.correlation[1:]), rate[1:], rtol=2e-3)
    near = TANH.variance_map(Q * (1 + 1e-4), SCALES, 0.3)
    np.testing.assert_allclose(np.exp(-1 / found.variance), (near - Q) / (Q * 1e-4), rtol=3e-3)
    assert np.isinf(TANH.depth_scales(1.0)).all()
    assert np.isinf(RELU.depth_scales(2**0.5, 0.1).gradient)


def test_float32_is_what_a_user_has(x32):
    theory = MeanField(jnp.tanh)
    assert theory.chi(4.0, 0.3).dtype == jnp.float32
    np.testing.assert_allclose(theory.fixed_point(SCALES, 0.3), Q, rtol=1e-5)
    np.testing.assert_allclose(theory.chi(SCALES, 0.3, order=2), CHI_2, rtol=1e-5)
    np.testing.assert_allclose(theory.correlation_fixed_point(2.5, 0.3), 0.12210375, atol=1e-5)
    np.testing.assert_allclose(critical_weight_scale(theory, 0.3), 1.39558, atol=1e-4)
    np.testing.assert_allclose(RELU.fixed_point(1.0, 0.5), 0.5, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 1e-10, 1e-25])
def test_correlations_at_scales_whose_squares_are_no_numbers(scale, x32):
    """At a variance of 0 tanh is a line, which keeps correlations, and half a ReLU has its own."""
    assert TANH.fixed_point(np.float32(scale)) == 0
    np.testing.assert_allclose(TANH.correlation_map(0.5, np.float32(scale)), 0.5, rtol=1e-5)
    np.testing.assert_allclose(
        RELU.correlation_map(0.5, np.float32(scale)), arc_cosine(0.5), rtol=1e-5
    )
    assert TANH.correlation_fixed_point(np.float32(scale)) == 1
    np.testing.assert_allclose(TANH.correlation_map(0.5, np.float32(scale), 0.3), 1, rtol=1e-5)
    scales = TANH.depth_scales(np.float32(scale))
    assert not np.isnan(np.asarray(scales)).any()


def test_the_second_call_compiles_nothing():
    traces = []

    def counted(x):
        traces.append(x)
        return jnp.tanh(x)

    theory = MeanField(counted)
    theory.chi(SCALES, 0.3)
    count = len(traces)
    theory.chi(SCALES + 0.1, 0.4)
    assert len(traces) == count


@pytest.mark.parametrize(
    ("activation", "error", "message"),
    [
        (jax.nn.softmax, TypeError, "from a number to a number"),
        (3.0, TypeError, "from a number to a number"),
        (lambda x: jnp.stack([x, x]), TypeError, "which gives"),
        (jnp.sign, ValueError, "`activation` jumps at 0, or rises there like a root: its slope"),
        (jnp.cbrt, ValueError, "`activation` jumps at 0, or rises there like a root: its slope"),
        (jnp.log, ValueError, "must be finite between -32 and 32"),
    ],
)
def test_activations_that_are_none(activation, error, message):
    with pytest.raises(error, match=message):
        MeanField(activation)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: TANH.chi(0.0), ValueError, "`weight_scale` must be above 0, and finite; got 0.0"),
        (lambda: TANH.chi(np.nan), ValueError, "`weight_scale` must be above 0"),
        (lambda: TANH.chi(1.0, [0.1, -0.1]), ValueError, "`bias_scale` must be 0 or more, and"),
        (lambda: TANH.chi("1"), TypeError, "`weight_scale` must be a number"),
        (lambda: TANH.chi(1.0, order=3), ValueError, "`order` must be 1 or 2, got 3"),
        (lambda: TANH.chi(1.0, q=-1.0), ValueError, "`q` must be 0 or more"),
        (lambda: TANH.correlation_map(1.1, 1.0), ValueError, "`c` must be from -1 to 1"),
        (lambda: TANH.trajectory(0.5, 1.0, depth=0), ValueError, "`depth` must be 1 or more"),
        (lambda: TANH.curvature(0.5, depth=3), ValueError, "finite fixed point above 0.* got 0.0"),
        (lambda: RELU.curvature(2.0, depth=3), ValueError, "finite fixed point .* got inf"),
        (
            lambda: inspect.unwrap(critical_weight_scale)(jnp.tanh),
            TypeError,
            "`theory` must be a `MeanField`",
        ),
        (lambda: phase(TANH, 1.0, tolerance=-1.0), ValueError, "`tolerance` must be 0 or more"),
        (lambda: jax.jit(lambda s: phase(TANH, s))(1.0), TypeError, "compare `chi` with 1"),
        (
            lambda: TANH.chi(np.ones(3), np.ones(2)),
            ValueError,
            r"go together, got `weight_scale` \(3,\) and `bias_scale` \(2,\)",
        ),
        (
            lambda: TANH.correlation_map(np.zeros(3), np.ones(2)),
            ValueError,
            r"got `c` \(3,\) and `q` \(2,\) and `weight_scale` \(2,\) and `bias_scale` \(\)",
        ),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_wave_by_its_closed_forms_up_to_its_reach():
    wave = MeanField(jnp.sin)
    assert 20 < wave.reach.pair < wave.reach.value < 100
    q = np.array([0.5, 8.0, wave.reach.pair])
    np.testing.assert_allclose(wave.variance_map(q, 1.0), (1 - np.exp(-2 * q)) / 2, rtol=1e-5)
    np.testing.assert_allclose(wave.chi(1.0, q=q), (1 + np.exp(-2 * q)) / 2, rtol=1e-5)
    want = np.exp(-q) * np.sinh(q / 2) / ((1 - np.exp(-2 * q)) / 2)
    np.testing.assert_allclose(wave.correlation_map(0.5, 1.0, q=q), want, atol=1e-5)
    refusals = (
        lambda: wave.fixed_point(30.0), lambda: wave.fixed_point(100.0),
        lambda: wave.chi(1.0, q=1e3), lambda: wave.variance_map([1.0, 300.0], 1.0),
        lambda: wave.correlation_map(0.5, 1.0, q=1.01 * wave.reach.pair),
    )  # fmt: skip
    for call in refusals:
        with pytest.raises(ValueError, match="waves or bends too quickly for a variance of"):
            call()
    # Compiled, there is no variance yet that could be refused.
    assert jnp.isfinite(eqx.filter_jit(wave.chi)(1.0, q=1e3))


@pytest.mark.slow
def test_every_method_refuses_variances_beyond_the_reach():
    wave = MeanField(jnp.sin)
    refusals = (
        lambda: wave.correlation_fixed_point(30.0), lambda: wave.depth_scales(30.0),
        lambda: wave.trajectory(0.5, 30.0, depth=3, q=1.0), lambda: wave.curvature(30.0, depth=2),
        lambda: critical_weight_scale(wave, 30.0),
        lambda: wave.growth(30.0), lambda: wave.chi(30.0, order=2),
    )  # fmt: skip
    for call in refusals:
        with pytest.raises(ValueError, match="waves or bends too quickly for a variance of"):
            call()


def test_activations_that_hold_everywhere_and_those_that_do_not():
    for activation in (jnp.tanh, jax.nn.relu, jax.nn.gelu, jax.nn.softplus, lambda x: x**2):
        assert set(MeanField(activation).reach) == {np.inf}
    assert MeanField(lambda x: jnp.tanh(x - 20)).reach.value < 1e3
    assert 1e5 <= MeanField(jax.nn.soft_sign).reach.value < 1e7
    siren = lambda x: jnp.sin(30 * x)
    with pytest.raises(ValueError, match=r"hold up to 0\.1"):
        MeanField(siren).variance_map(1.0, 1.0)
    pieces = MeanField(siren, kinks=np.linspace(-8, 8, 161))
    assert not pieces.is_kinked
    np.testing.assert_allclose(pieces.variance_map(1.0, 1.0), 0.5, rtol=1e-9)


class Leak(eqx.Module):
    slope: jax.Array

    def __call__(self, x):
        return jnp.where(x > 0, x, self.slope * x)


def test_a_learned_activation_is_differentiated_in_a_theory_made_before():
    for transform in (jax.grad, jax.jit):
        with pytest.raises(TypeError, match="make the `MeanField` outside, and differentiate"):
            transform(lambda slope: MeanField(Leak(slope)).chi(1.0, q=1.0))(0.2)
    found = eqx.filter_grad(lambda theory: theory.chi(1.0, q=1.0))(MeanField(Leak(jnp.array(0.2))))
    np.testing.assert_allclose(found.activation.slope, 0.2, rtol=1e-9)

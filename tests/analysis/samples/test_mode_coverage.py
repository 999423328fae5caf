"""Modes counted by hand."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from pullback.analysis.samples import mode_coverage

CENTRES = np.asarray([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])


def test_modes_are_those_that_are_counted_by_hand():
    samples = np.asarray([[0.1, 0.0]] * 6 + [[3.0, 0.4]] * 3 + [[1.5, 0.1]] * 90 + [[0.0, 2.9]])
    for run in (lambda f: f, jax.jit):
        found = run(lambda x: mode_coverage(x, CENTRES, radius=0.5, least_share=0.03))(samples)
        assert found.counts.tolist() == [6, 3, 1]
        assert found.covered == 2
        p = np.asarray([0.6, 0.3, 0.1])
        np.testing.assert_allclose(found.kl, np.sum(p * np.log(3 * p)), rtol=1e-12)
        np.testing.assert_allclose(found.share, 0.1)


def test_all_at_one_mode_and_none_at_any():
    one = mode_coverage(np.zeros((7, 2)), CENTRES, radius=1)
    np.testing.assert_allclose(one.kl, np.log(3))
    assert one.covered == 1
    none = mode_coverage(np.full((7, 2), 50.0), CENTRES, radius=1)
    np.testing.assert_allclose([none.kl, none.share], [np.log(3), 0])
    assert none.covered == 0
    np.testing.assert_allclose(mode_coverage(CENTRES, CENTRES, radius=1).kl, 0, atol=1e-15)


def test_float32_stays(x32):
    found = mode_coverage(jnp.zeros((7, 2)), jnp.asarray(CENTRES, jnp.float32), radius=1)
    assert found.kl.dtype == found.share.dtype == jnp.float32


@pytest.mark.parametrize("dtype", [int, np.uint8, np.int16])
def test_whole_numbers_do_not_wrap_around(dtype, x32):
    most = min(np.iinfo(dtype).max, 60000)
    samples = np.asarray([[most], [0], [0]], dtype)
    centres = np.asarray([[0], [1]], dtype)
    for run in (lambda f: f, jax.jit):
        found = run(lambda x: mode_coverage(x, centres, radius=0.5))(samples)
        assert found.counts.tolist() == [2, 0]
        assert found.share.dtype == jnp.float32
    wide = mode_coverage(np.asarray([[16]], np.uint8), np.asarray([[0]], np.uint8), radius=1)
    assert wide.counts.tolist() == [0]


@pytest.mark.parametrize("scale", [1e-200, 1e-25, 1.0, 1e30, 1e290])
@pytest.mark.parametrize("origin", [0.0, 1e9])
def test_neither_scale_nor_origin_counts_in_double_precision(scale, origin, x32):
    rows = lambda *numbers: scale * (origin + np.asarray(numbers, float)[:, None])
    found = mode_coverage(rows(0, 10, 20, 60, 10.25), rows(0, 10), radius=0.75 * scale)
    assert found.counts.tolist() == [1, 2]


@pytest.mark.parametrize("scale", [1e-25, 1e-19, 1e30])
def test_within_a_program_scale_does_not_count_either(scale, x32):
    count = lambda x: mode_coverage(x, np.asarray([[0.0], [scale]]), radius=0.25 * scale).counts
    samples = jnp.asarray([[0.1], [1.2], [0.9], [0.5]], jnp.float32) * jnp.float32(scale)
    assert jax.jit(count)(samples).tolist() == [1, 2]
    with pytest.raises(ValueError, match=r"`radius` must be 1.17549.* or more in float32"):
        jax.jit(lambda x: mode_coverage(x, x, radius=1e-50))(samples)


def test_a_least_share_is_met_by_just_so_many():
    for count in range(1, 101):
        samples = np.repeat([[0.0], [9.0]], [count, 100 - count], axis=0)
        found = mode_coverage(samples, np.zeros((1, 1)), radius=1, least_share=count / 100)
        assert found.covered == 1
        if count < 100:
            more = mode_coverage(samples, np.zeros((1, 1)), radius=1, least_share=(count + 1) / 100)
            assert more.covered == 0


def test_half_precision_counts_in_single(x32):
    samples = jnp.where(jnp.arange(5000)[:, None] < 2049, 0, 9).astype(jnp.float16)
    found = jax.jit(lambda x: mode_coverage(x, np.zeros((1, 1), np.float16), radius=1))(samples)
    assert found.counts.tolist() == [2049]
    np.testing.assert_allclose(found.share, 2049 / 5000, rtol=1e-6)


def test_what_is_no_number_is_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(TypeError, match="`samples` must be real numbers, got <U1"):
        mode_coverage(np.asarray([["a", "b"]]), CENTRES, radius=1)
    with pytest.raises(TypeError, match="`centres` must be real numbers, got complex128"):
        mode_coverage(CENTRES, CENTRES + 0j, radius=1)


@pytest.mark.parametrize(
    ("samples", "settings", "message"),
    [
        (np.zeros((7, 3)), {}, "rows of the same columns"),
        (np.zeros((0, 2)), {}, "at least one of each"),
        (np.zeros((7, 2)), {"radius": 0}, "`radius` must be above 0"),
        (np.zeros((7, 2)), {"least_share": 0}, "`least_share` above 0 and at most 1"),
        (np.asarray([[0, 0], [np.nan, 1]]), {}, "`samples` must be finite, and row 1"),
    ],
)
def test_what_does_not_fit_is_refused(samples, settings, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        mode_coverage(samples, CENTRES, **({"radius": 1} | settings))


@pytest.mark.parametrize("settings", [{"radius": "a"}, {"radius": 1, "least_share": None}])
def test_settings_of_another_kind_are_refused(settings, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(TypeError, match=f"`{[*settings][-1]}` must be a number above 0"):
        mode_coverage(CENTRES, CENTRES, **settings)

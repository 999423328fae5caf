"""Modes counted by hand."""

import jax
import jax.numpy as jnp
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
def test_what_does_not_fit_is_refused(samples, settings, message):
    with pytest.raises(ValueError, match=message):
        mode_coverage(samples, CENTRES, **({"radius": 1} | settings))

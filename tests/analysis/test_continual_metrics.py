"""What a matrix of accuracies says, by hand."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.analysis import continual_metrics

R = np.asarray([[0.9, 0.2, 0.1], [0.7, 0.8, 0.3], [0.6, 0.85, 0.7]])
BEFORE = np.asarray([0.1, 0.15, 0.05])


@pytest.mark.parametrize("call", [continual_metrics, jax.jit(continual_metrics)])
def test_by_hand(call):
    found = call(R, before=BEFORE)
    wanted = {
        "average": (0.6 + 0.85 + 0.7) / 3,
        "learned": (0.9 + 0.8 + 0.7) / 3,
        "forgetting": (0.3 - 0.05) / 2,
        "backward_transfer": (-0.3 + 0.05) / 2,
        "forward_transfer": (0.05 + 0.25) / 2,
    }
    for name, value in wanted.items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-12)
    assert call(R).forward_transfer is None


def test_forgetting_is_from_the_best_since_a_task_was_learned():
    r = np.asarray([[0.5, 0.99, 0.0], [0.9, 0.6, 0.0], [0.4, 0.5, 0.8]])
    np.testing.assert_allclose(continual_metrics(r).forgetting, ((0.9 - 0.4) + (0.6 - 0.5)) / 2)


def test_with_one_task_nothing_is_forgotten():
    found = continual_metrics(np.asarray([[0.8]]), before=np.asarray([0.5]))
    assert [float(value) for value in found] == [0.8, 0.8, 0, 0, 0]


def test_what_is_gained_backwards_is_since_a_task_was_learned():
    r = np.asarray([[0.5, 0.1, 0.0], [0.9, 0.6, 0.0], [0.8, 0.7, 0.8]])
    found = continual_metrics(r)
    np.testing.assert_allclose(found.backward_transfer, ((0.8 - 0.5) + (0.7 - 0.6)) / 2)
    np.testing.assert_allclose(found.forgetting, ((0.9 - 0.8) + (0.6 - 0.7)) / 2, atol=1e-12)


def test_several_runs_at_once():
    many = jnp.stack([R, R / 2])
    found = jax.vmap(continual_metrics)(many)
    np.testing.assert_allclose(found.average[1], found.average[0] / 2)
    last = jax.vmap(continual_metrics, in_axes=-1)(np.stack([R, R / 2], axis=-1))
    np.testing.assert_array_equal(last.average, found.average)
    with pytest.raises(ValueError, match=r"several runs.*in_axes=-1"):
        inspect.unwrap(continual_metrics)(many)
    assert continual_metrics(R.astype(np.float16)).average.dtype == np.float32


@pytest.mark.parametrize(
    ("accuracy", "before", "message"),
    [
        (R[:2], None, r"be square; got shape \(2, 3\)"),
        (R[:0, :0], None, "be square"),
        (np.where(R == 0.9, np.nan, R), None, "`accuracy` must be finite"),
        (R, BEFORE[:2], "one number for each of 3 tasks"),
    ],
)
def test_what_is_refused(accuracy, before, message):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(continual_metrics)(accuracy, before=before)

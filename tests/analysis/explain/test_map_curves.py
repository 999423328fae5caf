"""Curves and scores of maps beside sums counted by hand, and BBMP beside the best mask."""

import inspect

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.analysis.explain import (
    ConstantInfill,
    EmpiricalInfill,
    bbmp,
    deletion_curve,
    insertion_curve,
    localisation,
    saliency_metric,
)

RNG = np.random.default_rng(0)
W = RNG.normal(size=(3, 4))
X = RNG.normal(size=(1, 3, 4))
MAP = RNG.random((3, 4))
ZERO = ConstantInfill(0.0)


def linear(x):
    s = jnp.sum(jnp.asarray(W, x.dtype) * x[0])
    return jnp.stack([jnp.zeros_like(s), s])


def linear_batch(images):
    s = np.sum(W * images[:, 0], (1, 2))
    return np.stack([0 * s, s], axis=1)


@pytest.mark.parametrize("model", [linear, linear_batch], ids=["jax", "numpy"])
def test_curves_are_sums_in_the_order_of_the_map(model):
    worth = (W * X[0]).ravel()[np.argsort(-MAP.ravel())]
    wanted = np.concatenate([[0], np.cumsum(worth)])
    comes = insertion_curve(model, X, MAP, ZERO, target=1, points=12, key=jr.key(0))
    goes = deletion_curve(model, X, MAP, ZERO, target=1, points=12, key=jr.key(0))
    np.testing.assert_allclose(comes.log_odds, wanted, atol=1e-6)
    np.testing.assert_allclose(goes.log_odds, wanted[-1] - wanted, atol=1e-6)
    np.testing.assert_allclose(comes.area, np.trapezoid(wanted, np.linspace(0, 1, 13)), atol=1e-6)
    np.testing.assert_allclose(comes.share, np.linspace(0, 1, 13))
    assert (comes.standard_error == 0).all()
    assert comes.evaluations == 13 + (1 if model is linear else 3)
    other = deletion_curve(model, X, MAP, ZERO, target=0, points=4, key=jr.key(0))
    np.testing.assert_allclose(other.log_odds, -(wanted[-1] - wanted)[::3], atol=1e-6)
    predicted = deletion_curve(model, X, MAP, ZERO, points=4, key=jr.key(0))
    np.testing.assert_allclose(predicted.log_odds[0], abs(wanted[-1]), atol=1e-6)


def test_ties_go_in_random_order_and_errors_are_of_draws():
    flat = np.zeros((3, 4))
    ends = [
        float(deletion_curve(linear_batch, X, flat, ZERO, target=1, points=2, key=key).log_odds[1])
        for key in jr.split(jr.key(0), 4)
    ]
    assert len(set(ends)) == 4
    images = RNG.normal(size=(30, 1, 3, 4))
    curve = deletion_curve(linear, X, MAP, EmpiricalInfill(images), target=1, points=1, fresh=300,
                           key=jr.key(0))  # fmt: skip
    scores = np.sum(W * images[:, 0], (1, 2))
    assert curve.standard_error[0] < 1e-12
    np.testing.assert_allclose(curve.standard_error[1], scores.std() / np.sqrt(300), rtol=0.2)
    assert abs(curve.log_odds[1] - scores.mean()) < 4 * scores.std() / np.sqrt(300)


def test_boxes_are_tight_and_their_overlap_is_counted():
    map = np.zeros((5, 6))
    map[1, 2] = map[3, 4] = 0.9
    map[0, 0] = 0.4  # below the threshold
    assert localisation(map, (1, 2, 4, 5)) == 1
    np.testing.assert_allclose(localisation(map, (0, 2, 4, 5)), 9 / 12)
    np.testing.assert_allclose(localisation(map, (0, 2, 4, 5), threshold=0.3), 12 / 20)
    pixels = np.zeros((5, 6), bool)
    pixels[4, 5] = pixels[3, 5] = True
    assert localisation(map, pixels) == 0
    assert localisation(np.zeros((5, 6)), pixels) == 0
    assert localisation(map.astype(np.float32), pixels).dtype == jnp.float32
    for truth, message in (
        ((1, 2, 1, 5), "`truth` must be a box"), ((0, 0, 6, 6), "inside of"),
        (np.zeros((5, 6), bool), "no pixel"), (np.ones((4, 6), bool), "as booleans"),
        (np.ones((5, 6)), "as booleans"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            inspect.unwrap(localisation)(map, truth)


def test_the_metric_of_a_box_is_counted_by_hand():
    map = np.zeros((3, 4))
    map[0, 1] = map[1, 2] = 1
    s = np.sum((W * X[0])[:2, 1:3])
    wanted = np.log(4 / 12) + np.log1p(np.exp(-s))
    found = saliency_metric(linear, X, map, ZERO, target=1, key=jr.key(0))
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    nothing = saliency_metric(linear, X, 0 * map, ZERO, target=1, key=jr.key(0))
    np.testing.assert_allclose(nothing, np.log(0.05) + np.log(2), atol=1e-6)


def test_a_map_that_does_not_fit_is_refused():
    ask = lambda **changed: inspect.unwrap(deletion_curve)(
        **{"model": linear, "x": X, "map": MAP, "infill": ZERO, "key": jr.key(0), **changed}
    )
    for error, message, changed in (
        (ValueError, "rows and columns of `x`", {"map": MAP.T}),
        (ValueError, "of one image", {"map": MAP[None]}),
        (ValueError, "`map` must be finite", {"map": MAP * np.nan}),
        (ValueError, r"an image \[C, H, W\]; got", {"x": X[None]}),
        (ValueError, "`points` must be 1", {"points": 0}),
        (ValueError, "`fresh` must be 1", {"fresh": 0}),
        (ValueError, "`target` must lie", {"target": 7}),
        (TypeError, "`infill` must be one", {"infill": 0.0}),
    ):
        with pytest.raises(error, match=message):
            ask(**changed)


@pytest.mark.parametrize("objective", ["ssr", "sdr"])
def test_one_mask_of_shares_finds_what_is_worth_its_weight(objective):
    worth = W * X[0]
    wanted = worth > 0.3
    found = bbmp(linear, X, ZERO, target=1, objective=objective, size_weight=0.3, key=jr.key(0))
    np.testing.assert_allclose(found.map, wanted, atol=1e-6)
    np.testing.assert_allclose(found.only, worth[wanted].sum(), atol=1e-5)
    assert found.evaluations == 1 + 300 + 2
    with pytest.raises(ValueError, match="needs gradients"):
        bbmp(linear_batch, X, ZERO, key=jr.key(0))


@pytest.mark.parametrize("truth", [(0, 0, 1), (0.0, 0.0, 1.5, 1.0), ("a", 0, 1, 1)])
def test_a_box_is_four_whole_numbers(truth):
    with pytest.raises(ValueError, match="box of four whole numbers"):
        inspect.unwrap(localisation)(jnp.eye(3), truth)
    with pytest.raises(ValueError, match="`threshold` must be a number"):
        localisation(jnp.eye(3), (0, 0, 1, 1), threshold=np.nan)

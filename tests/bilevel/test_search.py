"""A search: every trial is the training that it says, and the best of them is kept."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from pullback.bilevel import Bounded, Integer, Positive, search, values
from pullback.train import TrainingError

X, NOISE = jr.normal(jr.key(0), (60, 4)), jr.normal(jr.key(1), (60,))
Y = X @ jnp.asarray([1.0, -1.0, 0.0, 0.0]) + NOISE
TRAIN, HELD = (X[:20], Y[:20]), (X[20:], Y[20:])
LOW = {"decay": jnp.asarray([-4.0, -6.0]), "rate": Positive(1e-3), "name": "mine"}
HIGH = {"decay": jnp.asarray([1.0, 0.0]), "rate": Positive(1e-1), "name": "mine"}


def outer(model, hyper, batch, *, key):
    x, y = batch
    error = jnp.mean((x @ model["w"] - y) ** 2)
    return error, {"root": jnp.sqrt(error)}


def inner(model, hyper, batch, *, key):
    decays = jnp.repeat(jnp.exp(hyper["decay"]), 2)
    return outer(model, hyper, batch, key=key)[0] + jnp.sum(decays * model["w"] ** 2), {}


def _search(low=LOW, high=HIGH, inner=inner, outer=outer, train=TRAIN, held=HELD, **settings):
    return search(
        {"w": jnp.zeros(4), "act": jax.nn.relu}, low, high, inner, outer, train, held,
        **dict(
            trials=6, optimiser=lambda hyper: optax.sgd(hyper["rate"].value, momentum=0.9),
            steps=30, log_every=30, progress=False, key=jr.key(2),
        ) | settings,
    )  # fmt: skip


@pytest.mark.parametrize("method", ["sobol", "random"])
def test_every_trial_is_the_training_that_it_says_and_the_best_is_kept(method):
    found = _search(method=method)
    decays, rates = found.hypers["decay"], found.hypers["rate"].value
    assert decays.shape == (6, 2)
    assert jnp.all((decays > LOW["decay"][None]) & (decays < HIGH["decay"][None]))
    assert jnp.all((rates > 1e-3) & (rates < 1e-1))
    assert len(np.unique(decays)) == 12

    @jax.vmap
    def by_hand(decay, rate):
        w, speed = jnp.zeros(4), jnp.zeros(4)
        gradient = jax.grad(lambda w: inner({"w": w}, {"decay": decay}, TRAIN, key=None)[0])
        for _ in range(30):
            speed = 0.9 * speed + gradient(w)
            w = w - rate * speed
        return outer({"w": w}, None, HELD, key=None)[0], w

    losses, ws = jax.jit(by_hand)(decays, rates)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-8)
    np.testing.assert_allclose(found.metrics["root"], np.sqrt(losses), rtol=1e-8)
    best = int(np.argmin(losses))
    assert found.loss == found.losses[best]
    np.testing.assert_allclose(found.model["w"], ws[best], rtol=1e-8)
    assert found.model["act"] is jax.nn.relu
    np.testing.assert_array_equal(found.hyper["decay"], decays[best])
    rows = found.rows()
    assert [row["loss"] for row in rows] == sorted(found.losses)
    assert list(rows[0]) == ["trial", "loss", "root", "decay[0]", "decay[1]", "rate"]
    assert rows[0]["trial"] == best
    assert rows[0]["rate"] == pytest.approx(float(rates[best]))


def test_sobol_fills_the_space_and_whole_numbers_are_whole():
    low = {"n": Integer(0, 0, 3), "p": Bounded(0.01, 0.0, 1.0)}
    high = {"n": Integer(3, 0, 3), "p": Bounded(0.99, 0.0, 1.0)}
    inner = lambda w, hyper, batch, *, key: (
        (w - hyper["n"].value.astype(float)) ** 2,
        {},
    )
    outer = lambda w, hyper, batch, *, key: (jnp.abs(w - 2) + hyper["p"].value, {})
    found = search(
        jnp.asarray(0.0), low, high, inner, outer, None, None, trials=16,
        optimiser=optax.sgd(0.25), steps=40, progress=False, key=jr.key(3),
    )  # fmt: skip
    read = values(found.hypers)
    assert read["n"].dtype == jnp.int64
    assert set(read["n"].tolist()) == {0, 1, 2, 3}
    assert found.hyper["n"].value == 2
    # One draw in each of 16 slices of equal width: of chance there would be some ten of them.
    for name in ("n", "p"):
        at = lambda hyper, name=name: hyper[name].coordinate
        share = (at(found.hypers) - at(low)) / (at(high) - at(low))
        assert sorted((share * 16).astype(int).tolist()) == list(range(16))


def test_arrays_of_numpy_do_and_what_is_no_array_stays():
    model = {"w": np.zeros(4), "act": jax.nn.relu, "rate": 0.5, "on": True}
    low, high = ({"decay": np.asarray([end, end])} for end in (-4.0, 0.0))
    found = search(
        model, low, high, inner, outer, jax.tree.map(np.asarray, TRAIN), HELD, trials=1, steps=2,
        optimiser=optax.sgd(0.1), progress=False, key=jr.key(0),
    )  # fmt: skip
    assert (found.model["rate"], found.model["on"]) == (0.5, True)
    assert jnp.all(found.model["w"] != 0)


def test_trials_that_fail_come_last():
    high = eqx.tree_at(lambda h: h["rate"], HIGH, Positive(20.0))
    low = eqx.tree_at(lambda h: h["rate"], LOW, Positive(1e-4))
    found = _search(low, high, trials=8, steps=300, method="random")
    failed = np.isnan(found.losses)
    assert 0 < failed.sum() < 8
    np.testing.assert_array_equal(failed, ~found.info.good)
    assert np.isfinite(found.loss)
    assert [np.isnan(row["loss"]) for row in found.rows()] == sorted(failed)
    with pytest.raises(TrainingError):
        _search(high, high, trials=2, steps=300)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"inner": outer}, "`inner` and `outer` are one loss"),
        ({"held": TRAIN}, "must be held out"),
        ({"trials": 0}, "`trials` must be 1"),
        ({"steps": 0}, "`steps` must be 1"),
        ({"method": "grid"}, "`method` must be 'sobol' or 'random'|parameter 'method'"),
        ({"low": {"decay": 1}}, "Python number 1"),
        ({"high": {"decay": jnp.zeros(2, int)}}, "high.*real floating"),
        ({"high": {**HIGH, "decay": jnp.zeros(3)}}, "alike but for their numbers"),
        ({"high": {**HIGH, "name": "other"}}, "alike but for their numbers"),
        ({"high": {**HIGH, "rate": Bounded(0.1, 0, 1)}}, "alike but for their numbers"),
    ],
)
def test_what_does_not_fit_is_refused(settings, match):
    with pytest.raises((ValueError, TypeError), match=match):
        _search(**settings)


def test_columns_are_not_overwritten_by_names_and_no_number_is_refused():
    outer = lambda w, hyper, batch, *, key: ((w - 1) ** 2, {"trial": w, "loss": 2 * w})
    inner = lambda w, hyper, batch, *, key: ((w - hyper["loss"]) ** 2, {})
    low, high = ({"loss": jnp.asarray(value)} for value in (0.0, 1.0))
    start = jnp.asarray(0.0)
    settings = {
        "trials": 2, "steps": 3, "optimiser": optax.sgd(0.5), "progress": False,
        "key": jax.random.key(0),
    }  # fmt: skip
    found = search(start, low, high, inner, outer, None, None, **settings)
    best = found.rows()[0]
    assert best.keys() == {"trial", "loss", "outer_trial", "outer_loss", "hyper.loss"}
    assert best["loss"] == found.loss == found.losses.min()
    nothing = lambda w, hyper, batch, *, key: (jnp.nan * w, {})
    with pytest.raises(ValueError, match="not a number in any trial"):
        search(start, low, high, inner, nothing, None, None, **settings)

"""Self-tuning: responses against exact slopes, what a held-out step may touch, where it ends."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from pullback import nn
from pullback.bilevel import Bounded, Integer, Positive, Schedule, fit_self_tuning, values

A = jnp.asarray([[2.0, 0.5], [0.5, 1.0]])
B = jnp.asarray([[1.0, -2.0, 0.5], [0.3, 0.8, -1.0]])
STILL = optax.sgd(0.0)


class Bias(eqx.Module):
    """What a test steers: two numbers, as a dense layer gives them of nothing."""

    layer: eqx.nn.Linear

    def __init__(self):
        layer = eqx.nn.Linear(1, 2, key=jr.key(7))
        self.layer = eqx.tree_at(lambda at: at.weight, layer, jnp.ones((2, 1)))

    def __call__(self):
        return self.layer(jnp.zeros(1))


def rows(n, start=0):
    return jnp.arange(start, start + n, dtype=float)[:, None]


def quadratic(model, hyper, batch, *, key):
    """Of the weights and the hyperparameters together, with the best response `B hyper`."""
    off = model() - B @ hyper
    return off @ A @ off / 2, {}


def held_out(model, hyper, batch, *, key):
    return jnp.sum((model() - jnp.asarray([1.0, -1.0])) ** 2) + 0 * jnp.mean(batch), {}


def fit(model, hyper, inner=quadratic, outer=held_out, **given):
    given = {
        "optimiser": optax.sgd(0.3),
        "hyper_optimiser": STILL,
        "steps": 20,
        "batch_size": 8,
        "log_every": 10,
        "key": jr.key(3),
        **given,
    }
    return fit_self_tuning(model, hyper, inner, outer, rows(16), rows(8, 100), **given)


HYPER = jnp.asarray([0.2, -0.4, 1.0])


def responding(count, centred=True):
    return nn.self_tuning(Bias(), count, centred=centred, key=jr.key(1))


@pytest.mark.parametrize(("centred", "linearised"), [(True, True), (True, False), (False, False)])
def test_an_affine_response_has_the_slope_of_the_best_response(centred, linearised):
    model, _, _ = fit(
        responding(3, centred),
        HYPER,
        linearised=linearised,
        scale=1.3,
        steps=3000,
        log_every=3000,
        optimiser=optax.adam(optax.exponential_decay(0.05, 300, 0.5)),
    )
    at = lambda gate: nn.freeze_response(model, gate)()
    gate = jnp.zeros(3) if centred else HYPER
    found, slope = eqx.filter_jit(lambda g: (at(g), jax.jacfwd(at)(g)))(gate)
    np.testing.assert_allclose(found, B @ HYPER, atol=1e-6)
    np.testing.assert_allclose(slope, B, atol=1e-6)


def test_perturbations_do_not_blur_the_weights_of_a_centred_network():
    inner = lambda model, hyper, batch, *, key: (jnp.sum((model() - hyper**2) ** 2), {})
    hyper = jnp.asarray([0.5])
    given = {"scale": 0.8, "steps": 400, "log_every": 400, "optimiser": optax.sgd(0.02)}
    model, _, _ = fit(responding(1), hyper, inner, **given)
    np.testing.assert_allclose(nn.freeze_response(model)(), [0.25, 0.25], atol=1e-6)
    other, _, _ = fit(responding(1, centred=False), hyper, inner, linearised=False, **given)
    # By how much is known: sigma^2 = 0.64, up to what steps of noise leave.
    np.testing.assert_allclose(other(), 0.25 + 0.64, atol=0.25)


@pytest.mark.parametrize("entropy", [None, 1e-3])
def test_a_held_out_step_leaves_weights_to_the_bit_and_needs_a_response(entropy):
    one = {"steps": 1, "inner_steps": 1, "log_every": 1, "entropy": entropy}
    before, _, _ = fit(responding(3), HYPER, **one)
    after, moved, _ = fit(responding(3), HYPER, hyper_optimiser=optax.sgd(1.0), **one)
    assert eqx.tree_equal(before, after)
    assert not np.array_equal(moved, HYPER)
    # Gates that are 0 and stay so: no way for a gradient.
    _, still, _ = fit(responding(3), HYPER, optimiser=STILL, hyper_optimiser=optax.sgd(1.0), **one)
    np.testing.assert_array_equal(still, HYPER)


def test_the_slope_of_the_entropy():
    tau, rate, scale = 0.3, 0.1, 0.7
    _, _, info = fit(
        responding(3), HYPER, optimiser=STILL, hyper_optimiser=optax.sgd(rate), steps=1,
        inner_steps=1, log_every=1, entropy=tau, scale=scale,
    )  # fmt: skip
    width = np.log(np.expm1(scale))
    width += rate * tau / (1 + np.exp(-width)) / scale
    np.testing.assert_allclose(info.scale, np.full(3, np.log1p(np.exp(width))), rtol=1e-12)
    np.testing.assert_allclose(info.training.history["validation_scale_[2]"], info.scale[2])


def test_warm_up_and_the_steps_between_two_of_the_hyperparameters():
    _, _, info = fit(
        responding(3), HYPER, hyper_optimiser=optax.sgd(0.1), steps=9, inner_steps=3, warmup=4,
        log_every=1, entropy=None,
    )  # fmt: skip
    changed = np.any(np.diff(info.schedule.hyper, axis=0) != 0, axis=1)
    np.testing.assert_array_equal(np.flatnonzero(changed) + 1, [6, 9])
    np.testing.assert_array_equal(info.schedule.steps, np.arange(10))
    np.testing.assert_allclose(info.schedule.hyper[0], HYPER)


def test_hyperparameters_come_to_where_the_held_out_loss_is_lowest():
    hyper = {"shift": Positive(0.3), "copies": Integer(1, 0, 6), "plain": (jnp.zeros(1),)}

    def inner(model, hyper, batch, *, key):
        first = hyper["shift"].value + hyper["plain"][0][0]
        second = hyper["copies"].value.astype(float)
        return jnp.sum((model() - jnp.stack([first, second])) ** 2), {}

    def outer(model, hyper, batch, *, key):
        return jnp.sum((model() - jnp.asarray([2.0, 5.0])) ** 2), {}

    model, found, info = fit(
        Bias(), hyper, inner, outer, steps=4000, log_every=200, batch_size=16, scale=0.3,
        optimiser=optax.sgd(0.2), hyper_optimiser=optax.adam(0.02), entropy=None,
    )  # fmt: skip
    assert type(model.layer) is eqx.nn.Linear
    np.testing.assert_allclose(model(), [2.0, 5.0], atol=0.05)
    got = values(found)
    np.testing.assert_allclose(got["shift"] + got["plain"][0][0], 2.0, atol=0.1)
    assert int(got["copies"]) > 1  # the whole number has moved, with no gradient through it
    assert info.training.best_loss < 5e-3
    at = info.schedule.at(info.training.best_step)
    np.testing.assert_allclose(at["shift"].value, got["shift"])
    assert int(at["copies"].value) == int(got["copies"])
    assert at["copies"].value.dtype == got["copies"].dtype


@pytest.mark.parametrize("other", [True, False])
def test_one_perturbation_serves_a_batch_where_a_record_says_so(other):
    def inner(model, hyper, batch, *, key):
        seen = {n: h.coordinate for n, h in hyper.items()}
        squares = {f"{n}_squared": c**2 for n, c in seen.items()}
        loss = jnp.sum(model() ** 2) + sum(seen.values())
        return loss, {**seen, **squares, "rows": jnp.asarray(len(batch))}

    hyper = {
        "batch": Bounded(0.5, 0.0, 1.0, per_batch=True),
        "row": Bounded(0.5, 0.0, 1.0, per_batch=not other),
    }
    model = responding(2, centred=False)
    _, _, info = fit(model, hyper, inner, linearised=False, steps=1, log_every=1, scale=2.0)
    history = info.training.history
    spread = {n: history[f"{n}_squared"] - history[n] ** 2 for n in hyper}
    np.testing.assert_allclose(spread["batch"], 0, atol=1e-12)
    assert history["batch"][0] != 0
    assert (spread["row"][0] > 0.5) == other
    assert history["rows"][0] == (1 if other else 8)


def test_runs_of_a_stack_are_what_each_is_alone_and_a_resumed_one_is_the_same(tmp_path):
    keys = jr.split(jr.key(0), 2)
    given = {"hyper_optimiser": optax.adam(0.05), "steps": 20}
    twice = lambda tree: jax.tree.map(lambda x: jnp.stack([x, x]) if eqx.is_array(x) else x, tree)
    models, hypers, info = fit(twice(Bias()), jnp.stack([HYPER, HYPER]), key=keys, **given)
    for run in range(2):
        model, hyper, alone = fit(Bias(), HYPER, key=keys[run], **given)
        np.testing.assert_allclose(hypers[run], hyper, rtol=1e-12)
        np.testing.assert_allclose(models.layer.bias[run], model.layer.bias, rtol=1e-12)
        np.testing.assert_allclose(info.schedule.hyper[:, run], alone.schedule.hyper, rtol=1e-12)
        np.testing.assert_allclose(info.scale[run], alone.scale, rtol=1e-12)
    fit(Bias(), HYPER, key=keys[1], folder=tmp_path, **{**given, "steps": 10})
    again = fit(Bias(), np.asarray(HYPER), key=keys[1], folder=tmp_path, resume=True, **given)
    assert eqx.tree_equal(again[:2], (model, hyper))
    assert eqx.tree_equal(again[2].schedule, alone.schedule)


def test_the_whole_of_a_network_in_float32_and_with_convolutions():
    class Net(eqx.Module):
        conv: eqx.nn.Conv2d
        drop: eqx.nn.Dropout
        last: eqx.nn.Linear

        def __call__(self, x, key):
            return self.last(self.drop(jax.nn.relu(self.conv(x)), key=key).ravel())

    keys = jr.split(jr.key(0), 4)
    conv = eqx.nn.Conv2d(1, 2, 3, dtype=jnp.float32, key=keys[0])
    last = eqx.nn.Linear(8, 2, dtype=jnp.float32, key=keys[1])
    x = jr.normal(keys[2], (24, 1, 4, 4), jnp.float32)

    def outer(model, hyper, batch, *, key):
        out = jax.vmap(model)(batch, jr.split(key, len(batch)))
        return jnp.mean(out**2), {"first": jnp.mean(out[:, 0])}

    def inner(model, hyper, batch, *, key):
        return outer(model, hyper, batch * (1 + hyper.value.astype(batch.dtype)), key=key)

    hyper = Bounded(jnp.asarray(0.5, jnp.float32), 0.0, 1.0)
    model, hyper, info = fit_self_tuning(
        Net(conv, eqx.nn.Dropout(0.5), last), hyper, inner, outer, x[:16], x[16:], steps=6,
        batch_size=8, inner_steps=1, optimiser=optax.sgd(0.1, 0.9), log_every=3,
        hyper_optimiser=optax.adam(0.1), key=keys[3],
    )  # fmt: skip
    assert type(model.conv) is eqx.nn.Conv2d
    assert not model.drop.inference
    assert {leaf.dtype for leaf in jax.tree.leaves(eqx.filter((model, hyper), eqx.is_array))} == {
        jnp.dtype(jnp.float32)
    }
    assert isinstance(info.schedule, Schedule)
    assert set(info.training.history) >= {"first", "validation_first", "response_loss"}


def norm():
    return eqx.nn.BatchNorm(2, "batch", mode="batch")


@pytest.mark.parametrize(
    ("model", "hyper", "given", "said"),
    [
        (Bias(), HYPER, {"scale": 0.0}, "`scale` must be above 0, got 0.0: a network learns"),
        (Bias(), HYPER, {"inner_steps": 0}, "`inner_steps` must be 1 or more"),
        (Bias(), HYPER, {"entropy": -1.0}, "`entropy` must be None, 0 or more"),
        (Bias(), HYPER, {"outer": quadratic}, "`inner` and `outer` are one loss"),
        (Bias(), jnp.asarray([1, 2]), {}, "must be real floating, got int"),
        (Bias(), jnp.asarray([True]), {}, "must be real floating, got bool"),
        (Bias(), jnp.asarray([1j]), {}, "must be real floating, got complex"),
        (Bias(), {"a": 0.5}, {}, "Python number 0.5"),
        ([Bias(), norm()], HYPER, {}, "normalises over the batch"),
        (responding(2), HYPER, {}, r"`hyper` has 3 numbers, .* respond to \[2\]"),
        (responding(3, centred=False), HYPER, {}, "`linearised` needs a network that is plain"),
        ([responding(3), responding(3, False)], HYPER, {}, "or none"),
        ({"w": jnp.ones(2)}, HYPER, {}, "must have an `eqx.nn.Linear`"),
    ],
)
def test_what_does_not_fit_is_refused(model, hyper, given, said):
    with pytest.raises((ValueError, TypeError), match=said):
        fit(model, hyper, **given)


def test_what_no_loss_depends_on_is_refused():
    inner = lambda model, hyper, batch, *, key: quadratic(model, hyper["shift"], batch, key=key)
    with pytest.raises(ValueError, match=r"hyper\['rate'\] does not enter .* tuned by `search`"):
        fit(Bias(), {"shift": HYPER, "rate": jnp.asarray(0.1)}, inner)


def test_validation_rows_that_are_training_rows_are_refused():
    with pytest.raises(ValueError, match="must be held out"):
        fit_self_tuning(
            Bias(), HYPER, quadratic, held_out, rows(8), rows(4), optimiser=STILL,
            hyper_optimiser=STILL, steps=1, batch_size=4, key=jr.key(0),
        )  # fmt: skip

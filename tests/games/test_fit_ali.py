"""Training of both players: the step by hand, stacks, resumed runs, what is refused or told."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from pullback.games import (
    ALI,
    ALIGame,
    Deterministic,
    GANStep,
    GaussianConditional,
    JointDiscriminator,
    fit_ali,
)

ROWS = jr.normal(jr.key(9), (12, 2))
SGD = optax.sgd(0.1)


def net(inside, out, key, dtype=None):
    return eqx.nn.MLP(inside, out, 4, 1, jnp.tanh, key=key, dtype=dtype)


def small(key, logits="scalar", dtype=None):
    keys = jr.split(key, 3)
    nothing = eqx.nn.Identity()
    return ALI(
        GaussianConditional(net(2, 2, keys[0], dtype)),
        Deterministic(net(1, 2, keys[1], dtype)),
        JointDiscriminator(nothing, nothing, net(3, logits, keys[2], dtype)),
        prior_dim=1,
    )


def fit(model, data=ROWS, **given):
    given = {
        "generator_optimiser": SGD, "discriminator_optimiser": SGD, "steps": 4, "batch_size": 6,
        "log_every": 2, "key": jr.key(1), **given,
    }  # fmt: skip
    return fit_ali(model, data, **given)


def players(model):
    return (model.encoder, model.decoder), model.discriminator


def test_a_step_by_hand():
    model = small(jr.key(0))
    step = GANStep(optax.sgd(0.1), optax.sgd(0.3), ALIGame(1, 0.2))
    state, metrics = eqx.filter_jit(step)(step.init(*players(model)), ROWS, key=jr.key(1))
    losses = lambda model: model.losses(ROWS, cycle_weight=0.2, key=jr.key(1))
    gradients = [eqx.filter_grad(lambda m, i=i: losses(m)[i])(model) for i in (0, 1)]
    moved = lambda part, rate, which: jax.tree.map(
        lambda x, g: x - rate * g,
        eqx.filter(part(model), eqx.is_inexact_array),
        eqx.filter(part(gradients[which]), eqx.is_inexact_array),
    )
    for part, rate, which in (
        (lambda m: m.discriminator, 0.3, 0), (lambda m: (m.encoder, m.decoder), 0.1, 1)
    ):  # fmt: skip
        encoder, decoder = state.generator
        after = ALI(encoder, decoder, state.discriminator, 1)
        found = eqx.filter(part(after), eqx.is_inexact_array)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found,
                     moved(part, rate, which))  # fmt: skip
    np.testing.assert_allclose(metrics["discriminator_loss"], losses(model)[0])
    np.testing.assert_allclose(metrics["generator_loss"], losses(model)[1])
    # Eagerly as compiled.
    eager, _ = step(step.init(*players(model)), ROWS, key=jr.key(1))
    leaves = lambda state: jax.tree.leaves(eqx.filter(state, eqx.is_inexact_array))
    for a, b in zip(leaves(eager), leaves(state), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_one_forward_pass_serves_both_losses():
    model = small(jr.key(0))
    step = GANStep(SGD, SGD, ALIGame(1))
    arrays, rest = eqx.partition(step.init(*players(model)), eqx.is_array)

    def whole(arrays, key):
        state, metrics = step(eqx.combine(arrays, rest), ROWS, key=key)
        return eqx.filter(state, eqx.is_array), metrics

    program = jax.jit(whole).lower(arrays, jr.key(1)).compile().as_text()
    # Forward 2 layers of each of the three networks; backward, for the weights of either and for
    # the inputs of all but the first of the encoder; the discriminator's inputs once for each loss.
    forward = 6
    weights = 6
    inputs = 1 + 1 + (1 + 2)
    assert program.count(" dot(") <= forward + weights + inputs


def test_a_stack_is_its_runs():
    keys = jr.split(jr.key(0), 2)
    models = eqx.filter_vmap(small)(keys)
    both, info = fit(models, key=keys)
    for i in range(2):
        alone, one = fit(small(keys[i]), key=keys[i])
        for a, b in zip(
            jax.tree.leaves(eqx.filter(both, eqx.is_array)),
            jax.tree.leaves(eqx.filter(alone, eqx.is_array)), strict=True,
        ):  # fmt: skip
            np.testing.assert_allclose(a[i], b, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(
            info.history["generator_loss"][:, i], one.history["generator_loss"]
        )


def test_a_run_goes_on_to_the_same_bits(tmp_path):
    model = small(jr.key(0))
    whole, _ = fit(model)
    fit(model, steps=2, folder=tmp_path)
    resumed, info = fit(model, folder=tmp_path, resume=True)
    assert eqx.tree_equal(whole, resumed)
    assert info.step == 4
    assert {"discriminator_loss", "z_std", "encoder_accuracy"} <= set(info.history)


def test_labels_come_beside_examples_and_from_functions():
    model = small(jr.key(0), 3)
    labels = np.tile([0, 1, -1], 4)
    trained, _ = fit(model, (ROWS, labels))
    draw = lambda key: (jr.normal(key, (4, 2)), jnp.zeros(4, int))
    drawn, _ = fit(model, draw, batch_size=None)
    plain, _ = fit(model, ROWS)
    weight = lambda m: m.discriminator.head.layers[0].weight
    assert not np.array_equal(weight(trained), weight(plain))
    assert np.all(np.isfinite(weight(drawn)))


def test_float32_stays(x32):
    model, _ = fit(small(jr.key(0), dtype=jnp.float32), np.ones((6, 2), np.float32))
    leaves = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("data", "given", "message"),
    [
        (ROWS.at[3, 1].set(jnp.nan), {}, "row 3 is not"),
        (np.ones((12, 2), int), {}, "noise of one unit"),
        ((ROWS, np.full(12, 2)), {"logits": 3}, "between 0 and 1, got 2 to 2"),
        ((ROWS, np.full(12, -2)), {"logits": 3}, "between 0 and 1, got -2 to -2"),
        ((ROWS, np.zeros(12)), {"logits": 3}, "`labels` must be whole numbers.*got float64"),
        ((ROWS, np.asarray(["a"] * 12)), {"logits": 3}, "`labels` must be whole numbers.*<U1"),
        ((ROWS, np.zeros(12, int)), {}, "knows no classes"),
        (ROWS, {"batch_size": 13}, "`batch_size`"),
        (ROWS, {"cycle_weight": -1.0}, "`cycle_weight` must be 0 or more, got -1"),
    ],
)
def test_what_does_not_fit(data, given, message):
    model = small(jr.key(0), given.pop("logits", "scalar"))
    with pytest.raises((ValueError, TypeError), match=message):
        fit(model, data, **given)


def test_the_part_that_takes_no_such_rows_is_named():
    with pytest.raises(TypeError) as error:
        fit(small(jr.key(0)), np.ones((12, 3)))
    note = "`encoder` was given an example of shape (3,), called with a `key`."
    assert note in error.value.__notes__


def test_large_columns_are_told():
    with pytest.warns(UserWarning, match="column 1 of `data` has a size of 1e"):
        fit(small(jr.key(0)), np.ones((12, 2)) * [1.0, 1e3])

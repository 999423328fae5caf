"""The GAN of sequences: its nets, that it learns a law it can be held to, and bad data."""

from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest

from pullback.models.sequences import (
    SequenceCritic,
    SequenceGenerator,
    _fit_gan,
    fit_sequence_gan,
)
from pullback.models.sequences._rows import checked_sequences


def one_hot(codes, letters=4):
    return np.eye(letters, dtype=np.float32)[np.asarray(codes)]


def test_the_nets_are_those_of_the_paper(x32):
    generator = SequenceGenerator(7, 3, latent=5, width=6, blocks=2, key=jr.key(0))
    z = jr.normal(jr.key(1), (5,))
    x = generator(z)
    assert x.shape == (7, 3)
    np.testing.assert_allclose(x.sum(axis=1), 1, atol=1e-6)

    def conv(layer, h):
        h, weight = np.asarray(h, float), np.asarray(layer.weight, float)
        reach = len(weight) // 2
        padded = np.pad(h, ((reach, reach), (0, 0)))
        return np.stack([
            sum(padded[t + j] @ weight[j] for j in range(len(weight))) for t in range(len(h))
        ]) + np.asarray(layer.bias)  # fmt: skip

    relu = lambda h: np.maximum(h, 0)

    def body(net, h):
        for block in net.blocks:
            h = h + 0.3 * conv(block.second, relu(conv(block.first, relu(h))))
        return h

    h = body(generator, np.asarray(generator.first(z)).reshape(7, 6))
    logits = np.exp(conv(generator.last, h))
    np.testing.assert_allclose(x, logits / logits.sum(axis=1, keepdims=True), atol=1e-5)

    critic = SequenceCritic(7, 3, width=6, blocks=2, key=jr.key(2))
    want = critic.last(jnp.asarray(body(critic, conv(critic.first, x)).ravel(), jnp.float32))
    np.testing.assert_allclose(critic(x), want, atol=1e-5)
    np.testing.assert_allclose(eqx.filter_jit(jax.vmap(critic))(x[None])[0], want, atol=1e-5)
    bound = np.sqrt(6 / (5 + 42))
    assert 0.9 * bound < jnp.abs(generator.first.weight).max() <= bound


@pytest.mark.slow
def test_it_learns_which_letters_there_are_and_its_curve_falls():
    """Half of the letters, more of one: samples have their frequencies, and the curve tells so."""
    codes = np.random.default_rng(0).choice([1, 2], p=[0.75, 0.25], size=(512, 6))
    run = lambda steps: fit_sequence_gan(
        one_hot(codes), latent=4, width=8, blocks=1, steps=steps, batch_size=32,
        learning_rate=3e-3, log_every=50, progress=False, key=jr.key(0),
    )  # fmt: skip
    generator, critic, info = run(150)
    x = eqx.filter_jit(jax.vmap(generator))(jr.normal(jr.key(1), (500, 4), jnp.float32))
    assert x.dtype == jnp.float32
    found = np.asarray(x.mean(axis=(0, 1)))
    np.testing.assert_allclose(found, [0, 0.75, 0.25, 0], atol=0.1)
    curve = info.history["validation_wasserstein"]
    assert curve.shape == (3,)
    assert curve[-1] < curve[0] / 2
    assert 0.5 < info.history["validation_slope"][-1] < 1.5
    assert {"wasserstein", "penalty", "generator_loss"} <= set(info.history)
    assert critic.length == 6


@pytest.mark.parametrize(("data", "options", "message"), [
    (np.ones((5, 4)), {}, r"\[n, length, letters\]"),
    (np.ones((0, 4, 4)), {}, "one or more"),
    (one_hot([[0, 1]] * 9) * 2, {}, "sequence 0 are not, one of 9 such"),
    (one_hot([[0, 1]] * 9) * np.nan, {}, "a law over its letters"),
    (one_hot([[0, 1]]), {}, "got 1 of 1"),
    (one_hot([[0, 1]] * 9), {"held_out": 9}, "`held_out` must leave sequences"),
    (one_hot([[0, 1]] * 9), {"latent": 0}, "`latent` must be 1 or more"),
    (one_hot([[0, 1]] * 9), {"penalty": -1.0}, "`penalty` must be a number"),
    (one_hot([[0, 1]] * 9), {"learning_rate": 0}, "`learning_rate` must be positive, got 0"),
    (one_hot([[0, 1]] * 9), {"learning_rate": -1.0}, "`learning_rate` must be positive"),
    (one_hot([[0, 1]] * 9), {"learning_rate": np.nan}, "`learning_rate` must be positive"),
])  # fmt: skip
def test_bad_data(data, options, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        fit_sequence_gan(data, **options, key=jr.key(0))


def test_strings_and_other_lengths_are_refused_with_what_to_do(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(TypeError, match=r"pullback.data.one_hot\(strings\)"):
        fit_sequence_gan(["ACGT"], key=jr.key(0))
    critic = SequenceCritic(7, 4, width=2, blocks=1, key=jr.key(0))
    with pytest.raises(ValueError, match=r"one sequence, of shape \(7, 4\); got \(6, 4\)"):
        critic(jnp.ones((6, 4)))
    generator = SequenceGenerator(7, 4, 3, width=2, blocks=1, key=jr.key(0))
    with pytest.raises(ValueError, match=r"`z` must have the shape \(3,\), got \(4,\)"):
        generator(jnp.ones(4))
    for setting in ({"penalty": "a"}, {"learning_rate": "a"}):
        with pytest.raises(TypeError, match=r"`(penalty|learning_rate)` must be one number"):
            fit_sequence_gan(np.asarray(one_hot([[0, 1]] * 9)), **setting, key=jr.key(0))


def test_the_curve_is_of_sequences_that_neither_player_sees(monkeypatch):
    """A critic that reads one letter finds the mean of what was held out, and of nothing else."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    seen = {}

    def spy(generator, critic, data, step, *, validation, **options):
        seen.update(data=data, validation=validation, **options)
        return generator, critic, None

    monkeypatch.setattr(_fit_gan, "fit_gan", spy)
    x = np.random.default_rng(0).dirichlet(np.ones(4), (40, 3)).astype(np.float32)
    fit_sequence_gan(x, latent=2, width=2, blocks=1, held_out=13, key=jr.key(0))
    train = {row.tobytes() for row in np.asarray(seen["data"])}
    assert len(train) == seen["batch_size"] == 27
    assert seen["data"].dtype == jnp.float32
    held = np.stack([row for row in x if row.tobytes() not in train])
    assert len(held) == 13
    state = SimpleNamespace(
        generator=lambda z: jnp.full((3, 4), 0.25, jnp.float32), discriminator=lambda x: x[0, 0] / 2
    )
    found = seen["validation"](state, key=jr.key(1))
    np.testing.assert_allclose(found["wasserstein"], held[:, 0, 0].mean() / 2 - 0.125, rtol=1e-5)
    np.testing.assert_allclose(found["slope"], 0.5, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, int, bool])
def test_other_numbers_are_taken_as_float32(dtype):
    rows = np.eye(4)[[[0, 1], [3, 2]]]
    found = checked_sequences(rows.astype(dtype))
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, rows)

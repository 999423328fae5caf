"""The arithmetic of the recipe `sde-bnn`."""

import gzip

import diffrax
import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.integrate import quad

from pullback import data
from pullback.models.ode_net import ODEBlock, ODENet
from pullback.nn import Constant
from pullback.recipes import sde_bnn
from pullback.recipes.sde_bnn import (
    Config,
    bimodal,
    cifar,
    classifiers,
    estimators,
    mnist,
    networks,
)
from pullback.recipes.sde_bnn.stack import Stacked
from pullback.runs import Context


def test_the_quadratures_are_those_of_scipy():
    found = bimodal.truth()
    variance = 9 * np.exp(-0.6) + 10 * (1 - np.exp(-0.6))
    cauchy = lambda y, z: 1 / (np.pi * 0.5 * (1 + ((y - z) / 0.5) ** 2))
    joint = lambda z: (
        cauchy(5, z) * cauchy(-5, z) * np.exp(-(z**2) / 2 / variance)
        / np.sqrt(2 * np.pi * variance)
    )  # fmt: skip
    evidence = 2 * quad(joint, 0, 30, points=[5], epsabs=1e-12)[0]
    assert found["evidence"] == pytest.approx(np.log(evidence), abs=1e-6)
    assert found["gaussian_gap"] == pytest.approx(0.537, abs=2e-3)
    assert found["least_gap"] == pytest.approx(0.064, abs=1e-3)


def test_only_the_papers_gradient_loses_its_noise_at_the_true_posterior():
    noise = estimators.measure((50,), 400, 1, 0)[0, :, 0]
    # A standard deviation from 400 draws of heavy tails.
    np.testing.assert_allclose(noise[[0, 2]], [[1.09, 0.63], [0.118, 0.046]], rtol=0.35)
    assert np.all(noise[1] > noise[0])


def test_stacked_networks_have_the_gradients_of_each_by_itself():
    def loss(model, batch, *, key):
        return jnp.sum(model.weight * batch) * jr.normal(key), {}

    models = eqx.nn.Linear(2, 1, use_bias=False, key=jr.key(0))
    weights = jnp.ones((3, 2, 1, 2)) * jnp.array([1.0, 2.0])[None, :, None, None]
    models = eqx.tree_at(lambda m: m.weight, models, weights)
    batch = jnp.arange(12.0).reshape(2, 3, 2)
    own = jr.split(jr.key(1), (3, 2))
    for mapped in (False, True):
        stack = Stacked(loss, mapped)
        grads = eqx.filter_grad(lambda m, s=stack: s(m, batch, key=jr.key(1))[0])(models)
        for i in range(3):
            for j in range(2):
                # Of w x + ..., the gradient is the sum of the batch, by the noise of the network.
                want = batch[:, i].sum(axis=0) * jr.normal(own[i, j])
                np.testing.assert_allclose(grads.weight[i, j, 0], want)


def test_each_seed_has_training_images_of_its_own(tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    def stop(config, context, images, gains):
        raise Stopped(images)

    monkeypatch.setattr(classifiers, "run", stop)
    with pytest.raises(Stopped) as stopped:
        sde_bnn.run(Config(), Context(tmp_path / "a"))
    first, second = (stopped.value.args[0](seed) for seed in (0, 1))
    assert [len(part.x) for part in first] == [300, 300, 1197]
    assert np.any(first[0].x != second[0].x)
    rows = np.concatenate([part.x for part in first]).reshape(1797, -1)
    assert len(np.unique(rows, axis=0)) == len(np.unique(data.digits()[0].x, axis=0)) + len(
        np.unique(data.digits()[1].x, axis=0)
    )


def test_images_of_mnist_are_averaged_in_blocks(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):
        for kind, array in (("images-idx3", images), ("labels-idx1", np.arange(5, dtype=np.uint8))):
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            header = bytes([0, 0, 8, array.ndim]) + sizes
            file = tmp_path / f"{part}-{kind}-ubyte.gz"
            file.write_bytes(gzip.compress(header + array.tobytes()))
    config = mnist.Config(examples=2, held_out=2)
    train, held, test = mnist.images(config, data.mnist(tmp_path), 0)
    assert [part.x.shape for part in (train, held, test)] == [(2, 14, 14), (2, 14, 14), (5, 14, 14)]
    assert len(set(train.y) | set(held.y)) == 4
    block = images[1, 4:6, 10:12].astype(float).mean() / 255
    assert float(test.x[1, 2, 5]) == pytest.approx(block, rel=1e-5)
    whole = mnist.images(mnist.Config(net="conv", examples=3, held_out=2), data.mnist(tmp_path), 0)
    assert whole[0].x.shape == (3, 28, 28)


def test_images_of_cifar_have_their_colours_first_and_are_averaged():
    images = np.random.default_rng(0).uniform(size=(5, 32, 32, 3)).astype(np.float32)
    part = data.Labelled(images, np.arange(5, dtype=np.int32))
    split = data.Split(part, part)
    train, held, test = cifar.images(cifar.Config(examples=3, held_out=2), split, 0)
    assert [each.x.shape[0] for each in (train, held, test)] == [3, 2, 5]
    assert sorted([*train.y, *held.y]) == [0, 1, 2, 3, 4]
    assert float(test.x[4, 1, 3, 5]) == pytest.approx(images[4, 6:8, 10:12, 1].mean(), rel=1e-5)
    whole = cifar.images(cifar.Config(side=32, examples=3, held_out=2), split, 0)[2]
    np.testing.assert_array_equal(whole.x[2, 0], images[2, :, :, 0])


def test_features_are_dropped_before_and_after_the_block_and_keep_their_mean():
    # With a field of zero the logits are h m m' / (1 - p)^2 with two masks.
    block = ODEBlock(lambda t, y, args: 0 * y, solver=diffrax.Euler(), steps=1)
    same = eqx.nn.Lambda(lambda x: x)
    net = lambda rate: networks.PointNet(ODENet(same, block, same), Constant(jnp.asarray(rate)))
    x = jnp.ones((20000, 2))
    np.testing.assert_array_equal(net(0.0)(x, key=jr.key(0)), x)
    found = net(0.2)(x, key=jr.key(0))
    assert {round(float(v), 4) for v in np.unique(found)} == {0.0, round(1 / 0.8**2, 4)}
    assert float((found > 0).mean()) == pytest.approx(0.64, abs=4 * (0.64 * 0.36 / 40000) ** 0.5)


def test_a_temperature_is_found_and_leaves_the_order():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (true.cumsum(axis=1) < rng.uniform(size=(4000, 1))).sum(axis=1)
    sure = classifiers._tempered(true, 0.5)
    np.testing.assert_array_equal(sure.argmax(axis=1), true.argmax(axis=1))
    # Its standard error is about 0.05.
    assert classifiers._temperature(sure, labels) == pytest.approx(2, abs=0.2)


def test_scores_grow_with_the_average_over_draws():
    probs = np.array([[[0.9, 0.1], [0.4, 0.6]], [[0.1, 0.9], [0.2, 0.8]]])
    first, both = classifiers._growing(probs, np.array([1, 1]))
    assert (first["error"], both["error"]) == (50, 50)
    assert both["nll"] == pytest.approx(-0.5 * (np.log(0.5) + np.log(0.7)), rel=1e-6)


def test_a_configuration_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="members must be at least 2, got 1"):
        Config(members=1)
    with pytest.raises(ValueError, match="rates must be 1 or more numbers that rise, below 1"):
        Config(rates=(0.1, 1.0))
    with pytest.raises(ValueError, match="side must divide 32, got 12"):
        cifar.Config(side=12)
    with pytest.raises(ValueError, match="estimator_steps must be 2 or more numbers that rise"):
        Config(estimator_steps=(5, 2))

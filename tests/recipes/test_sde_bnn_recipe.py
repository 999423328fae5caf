"""The arithmetic of the recipe `sde-bnn`."""

import gzip

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.integrate import quad

from pullback import data
from pullback.recipes import sde_bnn
from pullback.recipes.sde_bnn import Config, bimodal, classifiers, estimators, mnist
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
    grads = eqx.filter_grad(lambda m: Stacked(loss)(m, batch, key=jr.key(1))[0])(models)
    own = jr.split(jr.key(1), (3, 2))
    for i in range(3):
        for j in range(2):
            one = eqx.tree_at(lambda m: m.weight, models, weights[i, j])
            want = eqx.filter_grad(lambda m, i=i, j=j: loss(m, batch[:, i], key=own[i, j])[0])(one)
            np.testing.assert_allclose(grads.weight[i, j], want.weight)


def test_each_seed_has_training_images_of_its_own(tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    def stop(config, context, images):
        raise Stopped(images)

    monkeypatch.setattr(classifiers, "run", stop)
    with pytest.raises(Stopped) as stopped:
        sde_bnn.run(Config(), Context(tmp_path / "a"))
    first, second = (stopped.value.args[0](seed) for seed in (0, 1))
    assert (len(first.train.x), len(first.test.x)) == (300, 1497)
    assert np.any(first.train.x != second.train.x)


def test_images_of_mnist_are_averaged_in_blocks(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):
        for kind, array in (("images-idx3", images), ("labels-idx1", np.arange(5, dtype=np.uint8))):
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            header = bytes([0, 0, 8, array.ndim]) + sizes
            file = tmp_path / f"{part}-{kind}-ubyte.gz"
            file.write_bytes(gzip.compress(header + array.tobytes()))
    train, test = mnist.images(mnist.Config(examples=2), data.mnist(tmp_path), 0)
    assert (train.x.shape, test.x.shape) == ((2, 14, 14), (5, 14, 14))
    block = images[1, 4:6, 10:12].astype(float).mean() / 255
    assert float(test.x[1, 2, 5]) == pytest.approx(block, rel=1e-5)
    whole = mnist.images(mnist.Config(net="conv"), data.mnist(tmp_path), 0)
    assert whole.train.x.shape == (5, 28, 28)


def test_a_configuration_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="sigma must be one of sigmas"):
        Config(sigma=0.2)
    with pytest.raises(ValueError, match="estimator_steps must be 2 or more numbers that rise"):
        Config(estimator_steps=(5, 2))

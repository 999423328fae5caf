"""The recipe `delta-vae`: its run on images, and what it measures and knows exactly."""

import dataclasses
import gzip
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.recipes import load
from pullback.recipes.delta_vae import PRESETS, Config, measure, mnist
from pullback.recipes.delta_vae.models import DecoderLoss, autoencoder, sequences
from pullback.runs import run
from pullback.sampling import StandardNormal

SMOKE = PRESETS["smoke"]


@pytest.mark.slow  # Compiles three trainings.
def test_images_of_a_folder_are_sequences_of_rows(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (70, 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):
        for kind, array in (
            ("images-idx3", images),
            ("labels-idx1", np.arange(70, dtype=np.uint8) % 10),
        ):
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            header = bytes([0, 0, 8, array.ndim]) + sizes
            file = tmp_path / f"{part}-{kind}-ubyte.gz"
            file.write_bytes(gzip.compress(header + array.tobytes()))
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        experiment = load("delta-vae/mnist")
        smoke = experiment.presets["smoke"]
        record = run(experiment, smoke, preset="smoke", folder=tmp_path / "run", data=tmp_path)
    assert all(np.isfinite(claim["value"]) for claim in record["claims"])


def test_the_sums_over_hidden_states_are_those_of_all_paths_enumerated():
    config = dataclasses.replace(SMOKE, length=4)
    x, states = (np.asarray(part) for part in sequences(config, 5, jr.key(0)))
    paths = np.array(list(itertools.product([0, 1], repeat=4)))
    stays = (paths[:, 1:] == paths[:, :-1]).sum(1)
    prior = 0.5 * config.stay**stays * (1 - config.stay) ** (3 - stays)
    chance = np.where(paths == 1, config.contrast, 1 - config.contrast)[..., None]
    given = np.prod(np.where(x[:, None] == 1, chance[None], 1 - chance[None]), axis=(2, 3))
    joint = given * prior[None]
    later = (joint @ paths) / joint.sum(1)[:, None] > 0.5
    found = measure.exact(config, x, states)
    assert found["entropy"] == pytest.approx(-np.log(joint.sum(1)).mean(), rel=1e-12)
    assert found["accuracy"] == pytest.approx(np.mean(later == states))


def test_the_bits_follow_the_hidden_state():
    config, count = Config(length=20), 2000
    x, states = (np.asarray(part) for part in sequences(config, count, jr.key(0)))
    for share, chance, n in (
        (np.mean(states[:, 1:] == states[:, :-1]), config.stay, 19 * count),
        (x[states == 1].mean(), config.contrast, x[states == 1].size),
        (x[states == 0].mean(), 1 - config.contrast, x[states == 0].size),
        (states[:, 0].mean(), 0.5, count),
    ):
        assert abs(share - chance) < 4 * np.sqrt(chance * (1 - chance) / n)


def test_the_encoder_sees_what_the_decoder_does_not_unless_it_is_causal(key):
    make = lambda causal: autoencoder((5, 2), StandardNormal((5, 1)), 4, causal=causal, key=key)
    past = np.tri(5, dtype=bool)
    for causal, sees in ((False, past.T), (True, past)):
        jacobian = jax.jit(jax.jacrev(make(causal).encoder))(jr.normal(key, (5, 2)))
        np.testing.assert_array_equal(np.any(np.asarray(jacobian) != 0, axis=(1, 3)), sees)


def test_the_decoder_alone_is_worth_its_own_probabilities(x32, key):
    vae = autoencoder((2, 2), StandardNormal((2, 1)), 4, raster=True, key=key)
    every = np.array(list(itertools.product([0.0, 1.0], repeat=4)), np.float32).reshape(-1, 2, 2)
    nats = eqx.filter_jit(DecoderLoss().of_each)(vae, jnp.asarray(every))
    assert np.exp(-np.asarray(nats)).sum() == pytest.approx(1, rel=1e-5)


def test_a_probe_reads_what_is_there_and_nothing_else():
    rng = np.random.default_rng(0)
    states = rng.integers(0, 2, (2, 1600))
    noise = rng.standard_normal((2, 1600, 1))
    assert measure.probe([*noise], [*states]) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(1600))
    assert measure.probe([*(0.01 * (2 * states[..., None] - 1))], [*states]) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"alphas": (1.0,)}, "alphas must be 1 or more numbers that rise, above 0, below 1"),
        ({"stay": 0.3}, "stay must be between 0.5 and 1, got 0.3"),
        ({"evaluated": 30}, "evaluated must be a multiple of batch_of_bound, got 30 and 500"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Config(), **wrong)


def test_the_side_of_an_image_divides_28():
    with pytest.raises(ValueError, match="side must be a divisor of 28, got 10"):
        mnist.Config(side=10)


def test_an_image_is_made_of_the_means_of_its_tiles():
    grey = np.zeros((1, 28, 28), np.float32)
    grey[0, :2, :2] = [[1, 1], [0, 0]]  # a mean of a half is ink
    grey[0, 2:4, 2:4] = [[1, 0.9], [0, 0]]
    small = np.asarray(mnist._binary(grey, 14))
    assert small.shape == (1, 14, 14)
    assert small.sum() == small[0, 0, 0] == 1

"""The networks of the recipe `ali`, and their trainings."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.data import Labelled
from pullback.games import (
    ALI,
    AbstractConditional,
    Deterministic,
    GANGame,
    GANStep,
    GaussianConditional,
    JointDiscriminator,
    NoiseConditional,
    fit_ali,
    fit_gan,
    non_saturating,
)
from pullback.recipes._kit.checks import check_above_zero
from pullback.recipes._kit.players import adam, leaky, mlp
from pullback.recipes._kit.stack import made, made_stack
from pullback.runs import Context
from pullback.train import fit

# Nine modes, in units of their distance; their deviation is a twentieth of it.
CENTRES = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), axis=-1).reshape(9, 2).astype(np.float32)
SPREAD = 0.05


@dataclass(frozen=True)
class Images:
    """Settings of what is learned of images."""

    seeds: int = 3
    """Runs, trained side by side."""
    labels: int = 30
    """Images whose class is told, as many of each class; of the others it is not."""
    image_steps: int = 5000
    """Training steps on images, of both players."""
    image_width: int = 96
    """Units of the hidden layers there."""
    image_latent: int = 10
    """Latent columns there."""
    image_batch: int = 100
    """Images a step, of which a fifth have a label."""
    image_rate: float = 1e-3
    """Adam's, which falls to 0 along a cosine."""
    alone_steps: int = 1500
    """Steps of the network that is trained on the labels alone."""

    def __post_init__(self):
        check_above_zero(self)


@dataclass(frozen=True)
class Config(Images):
    image_seeds: int = 8
    """Runs on images: what labels are drawn matters much."""
    steps: int = 20_000
    """Training steps on the nine modes, of both players."""
    gan_steps: int = 8000
    """Training steps of the GAN that is inverted afterwards."""
    inverse_steps: int = 4000
    """Steps of its inverse."""
    width: int = 64
    """Units of the hidden layers on the nine modes."""
    batch_size: int = 128
    """Points a step."""
    rate: float = 1e-3
    """Adam's, which falls to 0 along a cosine."""
    line_steps: int = 4000
    """Steps where the posterior is known."""


def players(rate: float, steps: int) -> dict[str, Any]:
    """One optimiser for each player."""
    return {f"{player}_optimiser": adam(rate, steps) for player in ("generator", "discriminator")}


def on_the_plane(width: int, *, key: PRNGKeyArray) -> ALI:
    """Encoder with noise, decoder without, and a discriminator, on the nine modes."""
    keys = jr.split(key, 3)
    return ALI(
        NoiseConditional(mlp(4, 2, width, 2, keys[0], normalise=True), noise_dim=2),
        Deterministic(mlp(2, 2, width, 3, keys[1], normalise=True)),
        JointDiscriminator(
            eqx.nn.Identity(), eqx.nn.Identity(), mlp(4, "scalar", width, 2, keys[2])
        ),
        prior_dim=2,
    )


def nine_modes(count: int, key: PRNGKeyArray) -> Float[Array, "count 2"]:
    """Points of a mixture of nine normal distributions."""
    mode_key, key = jr.split(key)
    modes = jr.randint(mode_key, (count,), 0, 9)
    return jnp.asarray(CENTRES)[modes] + SPREAD * jr.normal(key, (count, 2))


def trained_on_the_plane(config: Config, context: Context, keys: Array) -> ALI:
    """A model of each key."""
    models, _ = fit_ali(
        made_stack(on_the_plane, keys, config.width),
        lambda key: nine_modes(config.batch_size, key),
        steps=config.steps, log_every=config.steps // 8, sequential=True, key=keys,
        **players(config.rate, config.steps), **context.training("modes"),
    )  # fmt: skip
    return models


def inverted(config: Config, context: Context, keys: Array) -> tuple[Any, Any]:
    """Of each key a GAN's generator, and a network that tells its latents from its samples."""
    width, batch = config.width, config.batch_size
    of = lambda inside, out, depth, normalise: made_stack(
        lambda *, key: mlp(inside, out, width, depth, key, normalise=normalise), keys
    )
    each = adam(config.rate, config.gan_steps)
    step = GANStep(each, each, GANGame(2, non_saturating, "plug_in"))
    generators, _, _ = fit_gan(
        of(2, 2, 3, True), of(2, "scalar", 2, False), lambda key: nine_modes(batch, key), step,
        steps=config.gan_steps, log_every=config.gan_steps // 8, sequential=True, key=keys,
        **context.training("gan"),
    )  # fmt: skip

    def loss(both: tuple[Any, Any], z: Array, *, key: PRNGKeyArray) -> tuple[Array, dict]:
        inverse, generator = both
        return jnp.mean((jax.vmap(inverse)(jax.vmap(generator)(z)) - z) ** 2), {}

    (inverses, _), _ = fit(
        (of(2, 2, 2, True), generators), loss, lambda key: jr.normal(key, (batch, 2)),
        optimiser=adam(config.rate, config.inverse_steps), steps=config.inverse_steps,
        trainable=(True, False), log_every=config.inverse_steps // 4, sequential=True, key=keys,
        **context.training("inverse"),
    )  # fmt: skip
    return generators, inverses


class Line(AbstractConditional):
    """A normal distribution around a line."""

    slope: Float[Array, ""]
    shift: Float[Array, ""]
    log_scale: Float[Array, ""]

    def sample(self, x: Float[Array, " 1"], *, key: PRNGKeyArray) -> Float[Array, " 1"]:
        """One draw given one number."""
        noise = jr.normal(key, x.shape, x.dtype)
        return self.slope * x + self.shift + jnp.exp(self.log_scale) * noise


def quadratic() -> JointDiscriminator:
    """A discriminator that has the best logit of any two lines."""
    features = lambda v: jnp.stack([jnp.ones(()), v[0], v[1], v[0] ** 2, v[0] * v[1], v[1] ** 2])
    linear = eqx.nn.Linear(6, "scalar", use_bias=False, key=jr.key(0))
    linear = eqx.tree_at(lambda at: at.weight, linear, jnp.zeros((1, 6)))
    head = eqx.nn.Sequential([eqx.nn.Lambda(features), linear])
    return JointDiscriminator(eqx.nn.Identity(), eqx.nn.Identity(), head)


def trained_lines(
    config: Config, context: Context, keys: Array, world: tuple[float, float], cycle_weight: float
) -> Any:
    """Where x = a z + s e is known, and the decoder is free: from a decoder of slope 0.5."""
    scale, batch = float(np.hypot(*world)), 500
    at = lambda *numbers: Line(*map(jnp.asarray, numbers))
    model = lambda *, key: ALI(at(0.0, 0.0, 0.0), at(0.5, 0.0, 0.0), quadratic(), prior_dim=1)
    models, _ = fit_ali(
        made_stack(model, keys), lambda key: scale * jr.normal(key, (batch, 1)),
        generator_optimiser=adam(3e-3, config.line_steps),
        discriminator_optimiser=adam(6e-2, config.line_steps),
        cycle_weight=jnp.asarray(cycle_weight),  # so that one program does for all weights
        steps=config.line_steps, log_every=config.line_steps, sequential=True, key=keys,
        **context.training(f"lines-{cycle_weight:g}"),
    )  # fmt: skip
    return models


def of_images(pixels: int, width: int, latent: int, classes: int, *, key: PRNGKeyArray) -> ALI:
    """Encoder, decoder and discriminator of flat images, with K + 1 logits."""
    keys = jr.split(key, 5)
    joint = width + width // 2
    decoder = mlp(latent, pixels, width, 2, keys[1], normalise=True)
    return ALI(
        GaussianConditional(mlp(pixels, 2 * latent, width, 2, keys[0], normalise=True)),
        Deterministic(eqx.nn.Sequential([decoder, eqx.nn.Lambda(jax.nn.sigmoid)])),
        JointDiscriminator(
            reader(pixels, width, keys[2]),
            mlp(latent, width // 2, width // 2, 1, keys[3]),
            head(joint, classes + 1, width, keys[4]),
        ),
        prior_dim=latent,
    )  # fmt: skip


def reader(pixels: int, width: int, key: PRNGKeyArray) -> eqx.nn.Sequential:
    """Features of an image."""
    return eqx.nn.Sequential([eqx.nn.Dropout(0.2), mlp(pixels, width, width, 1, key)])


def head(inside: int, out: int, width: int, key: PRNGKeyArray) -> eqx.nn.Sequential:
    """Logits of features."""
    return eqx.nn.Sequential([
        eqx.nn.Lambda(leaky), eqx.nn.Dropout(0.2), mlp(inside, out, width, 1, key),
    ])  # fmt: skip


def few_labels(images: Labelled, count: int, seed: int) -> np.ndarray:
    """The labels, of which all but as many of each class are -1."""
    rng = np.random.default_rng(seed)
    labels = np.full(len(images.y), -1, np.int32)
    for label in np.unique(images.y):
        rows = rng.permutation(np.flatnonzero(images.y == label))
        labels[rows[: count // len(np.unique(images.y))]] = label
    return labels


def batches(images: Labelled, labels: np.ndarray, count: int, levels: int) -> Any:
    """Batches of images with noise between two grey levels, a fifth of them with a label."""
    x, y = jnp.asarray(images.x.reshape(len(images.x), -1)), jnp.asarray(labels)
    known = jnp.flatnonzero(y >= 0)
    few = count // 5

    def draw(key: PRNGKeyArray) -> tuple[Array, Array]:
        keys = jr.split(key, 3)
        rows = jnp.concatenate([
            known[jr.randint(keys[0], (few,), 0, len(known))],
            jr.randint(keys[1], (count - few,), 0, len(y)),
        ])  # fmt: skip
        return (x[rows] * levels + jr.uniform(keys[2], (count, x.shape[1]))) / (levels + 1), y[rows]

    return draw


def trained_on_images(
    config: Images, context: Context, images: Labelled, labels: np.ndarray, seed: int, levels: int
) -> ALI:
    """A model of images and of their classes."""
    pixels, classes = images.x[0].size, int(images.y.max()) + 1
    key, sizes = jr.key(seed), (config.image_width, config.image_latent)
    model, _ = fit_ali(
        made(of_images, pixels, *sizes, classes, key=key),
        batches(images, labels, config.image_batch, levels), steps=config.image_steps,
        log_every=config.image_steps // 8, key=key,
        **players(config.image_rate, config.image_steps), **context.training(f"images-{seed}"),
    )  # fmt: skip
    return model


def labels_alone(
    config: Images, images: Labelled, labels: np.ndarray, seed: int, levels: int
) -> Any:
    """The network that reads classes, trained on those images alone that have a label."""
    pixels, classes = images.x[0].size, int(images.y.max()) + 1
    key, width = jr.key(seed), config.image_width
    net = eqx.nn.Sequential([
        reader(pixels, width, jr.fold_in(key, 1)), head(width, classes, width, jr.fold_in(key, 2)),
    ])  # fmt: skip
    known = Labelled(images.x[labels >= 0], images.y[labels >= 0])
    draw = batches(known, known.y, min(config.image_batch, 5 * len(known.y)), levels)

    def loss(net: Any, batch: tuple[Array, Array], *, key: PRNGKeyArray) -> tuple[Array, dict]:
        x, y = batch
        logits = jax.vmap(lambda x, key: net(x, key=key))(x, jr.split(key, len(x)))
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y)), {}

    net, _ = fit(
        net, loss, draw, optimiser=adam(config.image_rate, config.alone_steps),
        steps=config.alone_steps, log_every=config.alone_steps, progress=False, key=key,
    )  # fmt: skip
    return eqx.nn.inference_mode(net)

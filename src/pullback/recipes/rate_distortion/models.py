"""Autoencoders of binary images in the plane of rate and distortion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float

from pullback.analysis import rate_distortion
from pullback.bounds import DiagonalNormal, TargetRate
from pullback.models.vae import VAE, Bernoulli, DenseNet, ObjectiveLoss, PixelCNN
from pullback.recipes._kit.checks import check_least, check_rising
from pullback.recipes._kit.stack import unstacked
from pullback.recipes.rate_distortion import show
from pullback.runs import Claim, Context
from pullback.sampling import StandardNormal
from pullback.train import fit

PLAIN, PIXEL = DECODERS = ("independent pixels", "PixelCNN")
_FORCE = 5.0  # the weight of a target that is held by force
_COLUMNS = ("rate", "distortion", "elbo", "information_lower", "information_upper", "active")
Found = Mapping[str, Mapping[str, Mapping[str, np.ndarray]]]


@dataclass(frozen=True)
class Sweep:
    """With what weights and targets autoencoders are trained, and for how long."""

    seeds: int = 3
    """How many models are trained for each objective."""
    betas: tuple[float, ...] = (0.1, 0.3, 1.0, 2.0, 4.0)
    """Weights of the rate of the autoencoders, rising; 1 is among them."""
    rates: tuple[float, ...] = (6.0, 10.0)
    """Target rates of the autoencoders, in nats, rising."""
    steps: int = 2000
    """Steps of the autoencoders with independent pixels."""
    pixel_steps: int = 1000
    """Steps of the autoencoders with an autoregressive decoder."""

    def __post_init__(self):
        check_least(self, seeds=1, steps=1, pixel_steps=1)
        check_rising(self, "betas", count=2, above=0)
        check_rising(self, "rates", count=2, above=0)
        if 1.0 not in self.betas:
            raise ValueError(f"betas must have 1 in them, the ELBO, got {self.betas}")


class Sizes(NamedTuple):
    """Of the networks."""

    image: tuple[int, int, int]
    latent: int
    width: int
    channels: int
    depth: int
    learning_rate: float


def _untrained(sizes: Sizes, decoder: str, key: Array) -> VAE:
    family, likelihood = DiagonalNormal(sizes.latent), Bernoulli()
    encoder_key, decoder_key = jr.split(key)
    if decoder == PIXEL:
        net = PixelCNN(
            sizes.image, sizes.latent, likelihood, sizes.channels, sizes.depth, key=decoder_key
        )
    else:
        net = DenseNet((sizes.latent,), sizes.image, sizes.width, 2, key=decoder_key)
    return VAE(
        DenseNet(sizes.image, family.shape, sizes.width, 2, key=encoder_key), net,
        family=family, prior=StandardNormal(sizes.latent), likelihood=likelihood,
    )  # fmt: skip


def in_the_plane(
    config: Sweep,
    context: Context,
    sizes: Sizes,
    train: Float[Array, "n ..."],
    test: Float[Array, "m ..."],
    what: str,
) -> Found:
    """Train with each decoder for each objective, and show the models in the plane.

    Returns:
        Of each decoder `beta`, `target` and `forced` (the last target, with a large weight), what
        is measured on held-out images, `[setting, seed]`.
    """
    found = {
        decoder: context.stage(
            f"plane-{number}", _measured, config, context, sizes, decoder, train, test
        )
        for number, decoder in enumerate(DECODERS)
    }
    settings = {"beta": config.betas, "target": config.rates, "forced": config.rates[-1:]}
    context.table(
        "plane",
        ["decoder", "objective", "R", "D", "-(D + R)", "I(x; z) above", "I(x; z) below",
         "active latents"],
        [
            [decoder, f"{kind} {setting:g}", *(float(each[kind][c][i].mean()) for c in _COLUMNS)]
            for decoder, each in found.items()
            for kind in settings
            for i, setting in enumerate(settings[kind])
        ],
        f"Held-out images of {what}, means over the seeds, in nats. R is no information: the "
        "mutual information lies between the two bounds beside it.",
    )  # fmt: skip
    show.draw_plane(context, found, config.betas, what)
    show.draw_information(context, found)
    return found


def _measured(
    config: Sweep, context: Context, sizes: Sizes, decoder: str, train: Array, test: Array
) -> dict[str, dict[str, np.ndarray]]:
    # Pairs of a target and its weight: with a target of 0 the weight is beta, for no rate is less.
    kinds = {
        "beta": [(0.0, beta) for beta in config.betas],
        "target": [(rate, 1.0) for rate in config.rates],
        "forced": [(config.rates[-1], _FORCE)],
    }
    pairs = jnp.asarray([pair for each in kinds.values() for pair in each], float)
    steps = config.pixel_steps if decoder == PIXEL else config.steps
    keys = jnp.stack([jr.key(seed) for seed in context.seeds(config.seeds)] * len(pairs))
    models, info = fit(
        eqx.filter_vmap(lambda key: _untrained(sizes, decoder, key))(keys),
        ObjectiveLoss(TargetRate(*jnp.repeat(pairs.T, config.seeds, axis=1)), binarise=True), train,
        optimiser=optax.adam(optax.cosine_decay_schedule(sizes.learning_rate, steps)),
        steps=steps, batch_size=50, progress=None if context.progress else False, key=keys,
    )  # fmt: skip
    context.log(info.lines(), decoder=decoder)
    each = iter(unstacked(models))
    return {
        kind: _scores(list(islice(each, len(pairs) * config.seeds)), test, config.seeds)
        for kind, pairs in kinds.items()
    }


def _scores(models: Sequence[VAE], test: Array, seeds: int) -> dict[str, np.ndarray]:
    found = [
        rate_distortion(vae.target, test, batch_size=500, key=jr.key(number))
        for number, vae in enumerate(models)
    ]
    return {n: np.array([getattr(row, n) for row in found]).reshape(-1, seeds) for n in _COLUMNS}


def claims_in_the_plane(config: Sweep, found: Found, *, slack: float) -> list[Claim]:
    """Bounds are for digits; of larger images, with more nats to lose, `slack` times as wide."""
    plain, pixel = (found[name] for name in DECODERS)
    one = config.betas.index(1.0)
    steps = [
        np.diff(each["beta"][kind].mean(1)) * sign
        for each in (plain, pixel)
        for kind, sign in (("rate", -1), ("distortion", 1))
    ]
    targets = np.array(config.rates)
    # With a weight of 1 a target below the ELBO's own rate is not held: the ELBO is the better.
    held = np.concatenate([
        np.abs(each["target"]["rate"] / targets[:, None] - 1)[
            targets > each["beta"]["rate"][one].max()
        ].ravel()
        for each in (plain, pixel)
    ])  # fmt: skip
    return [
        Claim.over_seeds(
            "At beta = 1 the autoregressive decoder leaves less to z: its rate is lower by",
            plain["beta"]["rate"][one] - pixel["beta"]["rate"][one],
            at_least=1.0 * slack,
            unit="nats",
            reference="0 if both used z alike; with a decoder that needs no z the rate tends to 0",
        ),
        Claim.over_seeds(
            f"A target of {config.rates[0]:g} nats gives its z that much; the price in held-out "
            "ELBO, beside beta = 1",
            pixel["beta"]["elbo"][one] - pixel["target"]["elbo"][0],
            at_most=5.0 * slack,
            unit="nats",
            reference="0 on the line where all have the best ELBO, of endless data",
        ),
        Claim(
            "The rate is held at every target above that of beta = 1, on held-out images (largest "
            "relative difference)",
            value=float(held.max(initial=0.0)),
            at_most=0.2,
            seeds=config.seeds,
            reference="0 in training, up to the noise of a batch",
        ),
        Claim(
            "As beta grows the rate falls and the distortion grows (least step, held out)",
            value=float(min(np.min(each) for each in steps)),
            at_least=-0.2 * slack,
            unit="nats",
            seeds=config.seeds,
            reference="0 or more in training, for the best curve is convex",
        ),
    ]

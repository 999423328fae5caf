"""Autoencoders of binary images in the plane of rate and distortion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float

from pullback.analysis import rate_distortion
from pullback.bounds import DiagonalNormal, TargetRate
from pullback.models.vae import VAE, Bernoulli, DenseNet, MaskedDense, ObjectiveLoss, PixelCNN
from pullback.recipes._kit.checks import check_least, check_rising
from pullback.recipes._kit.stack import unstacked
from pullback.recipes.rate_distortion import show
from pullback.runs import Claim, Context, Headline
from pullback.sampling import StandardNormal
from pullback.train import fit

PLAIN, PIXEL, DENSE = DECODERS = ("independent pixels", "PixelCNN", "dense autoregressive")
_COLUMNS = ("rate", "distortion", "elbo", "information_lower", "information_upper", "active")
Found = Mapping[str, Mapping[str, Mapping[str, np.ndarray]]]


@dataclass(frozen=True)
class Sweep:
    """With what weights and targets autoencoders are trained, and for how long."""

    seeds: int = 3
    """How many models are trained for each objective."""
    betas: tuple[float, ...] = (0.3, 1.0, 3.0)
    """Weights of the rate of the autoencoders, rising; 1 is among them."""
    rates: tuple[float, ...] = (6.0, 10.0)
    """Target rates of the autoencoders, in nats, rising."""
    decoders: tuple[str, ...] = DECODERS
    """Decoders, that of independent pixels first."""
    steps: int = 1500
    """Steps of the autoencoders."""
    pixel_steps: int = 1500
    """Steps of those whose decoder is a PixelCNN."""

    def __post_init__(self):
        check_least(self, seeds=1, steps=1, pixel_steps=1)
        check_rising(self, "betas", count=2, above=0)
        check_rising(self, "rates", count=2, above=0)
        if 1.0 not in self.betas:
            raise ValueError(f"betas must have 1 in them, the ELBO, got {self.betas}")
        if (
            self.decoders[:1] != (PLAIN,)
            or len(self.decoders) < 2
            or {*self.decoders} - {*DECODERS}
        ):
            raise ValueError(
                f"decoders must be {PLAIN!r} and one or more of {DECODERS[1:]}, got {self.decoders}"
            )


class Sizes(NamedTuple):
    """Of the networks."""

    image: tuple[int, int, int]
    latent: int
    width: int
    masked: int
    channels: int
    depth: int
    learning_rate: float


def _untrained(sizes: Sizes, decoder: str, key: Array) -> VAE:
    family, likelihood = DiagonalNormal(sizes.latent), Bernoulli()
    encoder_key, decoder_key = jr.split(key)
    image, latent = sizes.image, sizes.latent
    if decoder == PIXEL:
        net = PixelCNN(
            image, latent, likelihood, sizes.channels, sizes.depth, z_width=sizes.width,
            key=decoder_key,
        )  # fmt: skip
    elif decoder == DENSE:
        net = MaskedDense(image, latent, likelihood, sizes.masked, key=decoder_key)
    else:
        net = DenseNet((latent,), image, sizes.width, 2, key=decoder_key)
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
        Of each decoder `beta` and `target`: what is measured on held-out images, `[setting, seed]`.
    """
    found = {
        decoder: context.stage(
            f"plane-{DECODERS.index(decoder)}", _measured, config, context, sizes, decoder, train,
            test,
        )
        for decoder in config.decoders
    }  # fmt: skip
    settings = {"beta": config.betas, "target": config.rates}
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
    }
    pairs = jnp.asarray([*kinds["beta"], *kinds["target"]], float)
    steps = config.pixel_steps if decoder == PIXEL else config.steps
    keys = jnp.stack([jr.key(seed) for seed in context.seeds(config.seeds)] * len(pairs))
    models, info = fit(
        eqx.filter_vmap(lambda key: _untrained(sizes, decoder, key))(keys),
        ObjectiveLoss(TargetRate(*jnp.repeat(pairs.T, config.seeds, axis=1)), binarise=True), train,
        optimiser=optax.adam(optax.cosine_decay_schedule(sizes.learning_rate, steps)),
        steps=steps, batch_size=50, progress=None if context.progress else False, key=keys,
    )  # fmt: skip
    context.log(info.lines(), decoder=decoder)
    every = [
        rate_distortion(vae.target, test, batch_size=500, key=jr.key(number))
        for number, vae in enumerate(unstacked(models))
    ]
    rows = {
        n: np.array([getattr(row, n) for row in every]).reshape(len(pairs), -1) for n in _COLUMNS
    }
    betas = len(config.betas)
    return {
        "beta": {name: values[:betas] for name, values in rows.items()},
        "target": {name: values[betas:] for name, values in rows.items()},
    }


def claims_in_the_plane(
    config: Sweep, found: Found, *, falls: float, below: float, less: float, dear: float
) -> list[Claim]:
    """The headline first; what differs between data sets is how much there is to gain."""
    one, (low, *_, high) = config.betas.index(1.0), config.rates
    own = [found[name] for name in config.decoders[1:]]
    each = lambda kind, place, name: np.stack([of[kind][name][place] for of in own])
    change = lambda name, place: each("beta", one, name) - each("target", place, name)
    plain, targets = found[PLAIN], np.array(config.rates)
    # With a weight of 1 a target below the ELBO's own rate is not held: the ELBO is the better.
    held = np.concatenate([
        np.abs(of["target"]["rate"] / targets[:, None] - 1)[
            targets > of["beta"]["rate"][one].max()
        ].ravel()
        for of in found.values()
    ])  # fmt: skip
    return [
        Claim.over_seeds(
            f"A target of {low:g} nats makes autoregressive decoders use z: their distortion is "
            "below that at beta = 1 by (least of them)",
            change("distortion", 0).min(axis=0),
            at_least=falls,
            unit="nats",
            reference="0: z is used no more",
            headline=Headline(no_effect=0.0),
        ),
        Claim.over_seeds(
            "It costs next to no likelihood: their held-out ELBO is below that at beta = 1 by "
            "(most of them)",
            change("elbo", 0).max(axis=0),
            at_most=1.0,
            unit="nats",
            reference="0, were data endless and decoders of any power; where z is of no use, the "
            "rate that it gains",
            headline=Headline(no_effect=max(1.0, float(np.mean(-change("rate", 0))))),
        ),
        Claim.over_seeds(
            "At beta = 1 autoregressive decoders leave less to z than independent pixels do: their "
            "rate is lower by (mean of them)",
            (plain["beta"]["rate"][one] - each("beta", one, "rate")).mean(axis=0),
            at_least=less,
            unit="nats",
            reference="0 if all used z alike; of digits 3.0 when z reached a PixelCNN through 8 "
            "units, which could not use more",
        ),
        Claim.over_seeds(
            f"Their frontier is the better one: at a target of {low:g} nats the distortion is "
            "below that of independent pixels by (least of them)",
            (plain["target"]["distortion"][0] - each("target", 0, "distortion")).min(axis=0),
            at_least=below,
            unit="nats",
            reference="0: independent pixels",
        ),
        Claim(
            "The rate is held at every target above that of beta = 1, on held-out images (largest "
            "relative difference)",
            value=float(held.max(initial=0.0)),
            at_most=0.05,
            seeds=config.seeds,
            reference="0 in training, up to the noise of a batch",
        ),
        Claim.over_seeds(
            f"When not to: a target beyond what the data have to say, {high:g} nats, is paid for "
            "in held-out ELBO (below that at beta = 1, mean of them)",
            change("elbo", -1).mean(axis=0),
            at_least=dear,
            unit="nats",
            reference="0: no price",
        ),
    ]

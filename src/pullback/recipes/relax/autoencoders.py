"""Autoencoders with binary latents, trained by each estimator."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from pullback.data import Split
from pullback.recipes._kit.checks import check_above_zero, check_least
from pullback.recipes._kit.discrete_vae import Method, compare
from pullback.recipes.relax import show
from pullback.runs import Claim, Context
from pullback.sampling import GumbelSoftmax, NeuralControlVariate, Relax, ScoreFunction, rebar

_WAYS = ("reinforce", "leave_one_out", "rebar", "relax", "gumbel")


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """Autoencoders of each estimator."""
    ways: tuple[str, ...] = _WAYS
    """How the autoencoders are trained; the claims need reinforce, relax and gumbel."""
    latents: int = 32
    """Binary latents of an image."""
    depth: int = 0
    """Hidden layers of the encoder and of the decoder; 0 is linear."""
    width: int = 200
    """Units of a hidden layer."""
    surrogate: int = 50
    """Units of the hidden layer of RELAX's network."""
    iterations: int = 2000
    """Training steps of an autoencoder."""
    batch_size: int = 50
    """Images in a training step."""
    learning_rate: float = 3e-3
    """Adam's learning rate."""
    images: int = 10_000
    """At most so many images of each set, drawn anew for each seed."""

    def __post_init__(self):
        check_above_zero(self, but=("depth",))
        check_least(self, iterations=10)
        known = {"reinforce", "relax", "gumbel"} <= set(self.ways) <= set(_WAYS)
        if not known or len(set(self.ways)) < len(self.ways):
            raise ValueError(
                "ways must be reinforce, relax, gumbel and others, each once, of "
                f"{', '.join(_WAYS)}; got {self.ways}"
            )


def on_images(config: Config, context: Context, of: Split | None) -> list[Claim]:
    """Train on images of a data set, or on handwritten digits."""
    methods = {name: method for name, method in _methods(config).items() if name in config.ways}
    latents = (config.latents,)
    trained = compare(config, context, methods, latents, config.depth, of, noise=True)
    show.draw_autoencoders(context, trained)
    noise = {name: np.log10(row["noise"]) for name, row in trained.items()}
    train, test = ({n: row[of] for n, row in trained.items()} for of in ("train", "test"))
    context.table(
        "autoencoders",
        ["nats an image", "training images", "held out", "spread", "log10 variance"],
        [
            [
                show.NAMES[name],
                float(train[name][:, -1].mean()),
                float(test[name][:, -1].mean()),
                float(test[name][:, -1].std()),
                float(noise[name].mean()),
            ]
            for name in trained
        ],
        "Minus the evidence lower bound with binary samples at the end of training, mean over "
        "seeds, and the variance of a batch's gradient with respect to the encoder. Each way sees "
        "the decoder three times for a gradient of one image.",
    )
    return [
        Claim.over_seeds(
            "On images RELAX has less variance than REINFORCE with a moving average as its "
            "baseline (log10 of the ratio)",
            noise["reinforce"] - noise["relax"],
            at_least=0.1,
            reference="REINFORCE with as many evaluations of the decoder",
        ),
        Claim.over_seeds(
            "On images RELAX trains to a better bound than REINFORCE with a moving average as its "
            "baseline, on training images, by",
            train["reinforce"][:, -1] - train["relax"][:, -1],
            at_least=0.0,
            unit="nats",
            reference="paper: 1.3 (111.2 and, by NVIL, 112.5; 200 latents, MNIST)",
        ),
        Claim.over_seeds(
            "When not to: where the decoder can be differentiated, biased Gumbel-softmax is faster "
            "than RELAX: after a fifth of the training its bound, held out, is better by",
            test["relax"][:, 1] - test["gumbel"][:, 1],
            at_least=0.3,
            unit="nats",
            reference="0: RELAX; scored with binary samples",
        ),
    ]


def _methods(config: Config) -> dict[str, Method]:
    """Three evaluations of the decoder for a gradient, each way."""

    def relax(key: PRNGKeyArray) -> Relax:
        net = eqx.nn.MLP(config.latents, "scalar", config.surrogate, 1, jnp.tanh, key=key)
        return Relax(NeuralControlVariate(net, residual=True))

    own: Callable[..., Any] = lambda learned, average, step: learned
    return {
        "reinforce": Method(lambda learned, average, step: ScoreFunction(average.value), 3),
        "leave_one_out": Method(lambda learned, average, step: ScoreFunction("leave_one_out"), 3),
        "rebar": Method(own, learned=lambda key: rebar()),
        "relax": Method(own, learned=relax),
        "gumbel": Method(lambda learned, average, step: GumbelSoftmax(0.5), 3),
    }

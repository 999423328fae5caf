"""Autoencoders with binary latents, trained by each estimator."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.data import Split
from pullback.recipes._kit.checks import check_above_zero, check_least
from pullback.recipes._kit.discrete_vae import DiscreteVAE, Method, binary_images, compare
from pullback.recipes.relax import show
from pullback.runs import Claim, Context, Headline
from pullback.sampling import (
    AbstractEstimator,
    GumbelSoftmax,
    NeuralControlVariate,
    RebarControlVariate,
    Relax,
    ScoreFunction,
)

_WAYS = ("reinforce", "leave_one_out", "rebar", "relax", "gumbel")
# Hidden layers of the encoder and of the decoder; and by how many nats RELAX is ahead of REBAR in
# the paper, on MNIST: 111.6 and 111.20; 81.01 and 78.13.
_MODELS = {"nonlinear": (2, 2.88), "linear": (0, 0.4)}


@dataclass(frozen=True)
class Config:
    seeds: int = 5
    """Autoencoders of each kind and estimator."""
    models: tuple[str, ...] = ("nonlinear", "linear")
    """Of two hidden tanh layers between images and latents, each way, and of none."""
    ways: tuple[str, ...] = _WAYS
    """How the autoencoders are trained: rebar, relax, and others."""
    latents: int = 32
    """Binary latents of an image."""
    width: int = 100
    """Units of a hidden layer."""
    surrogate: int = 50
    """Units of the hidden layer of RELAX's network, which is told the image, too."""
    iterations: int = 1000
    """Training steps of an autoencoder."""
    batch_size: int = 24
    """Images in a training step."""
    learning_rates: tuple[float, ...] = (3e-3,)
    """Adam's; of each estimator the one that trains furthest counts."""
    images: int = 10_000
    """At most so many images of each set."""

    def __post_init__(self):
        check_above_zero(self)
        check_least(self, iterations=10)
        for name, least, known in (("ways", {"rebar", "relax"}, _WAYS), ("models", set(), _MODELS)):
            given = getattr(self, name)
            if not least <= {*given} <= {*known} or len({*given}) < len(given):
                raise ValueError(
                    f"{name} must be some, each once, of {', '.join(known)}"
                    f"{', rebar and relax among them' if least else ''}; got {given}"
                )


def on_images(config: Config, context: Context, of: Split | None) -> list[Claim]:
    """Train on images of a data set, or on handwritten digits."""
    images = binary_images(config.images, of, context.seed)
    pixels = images[0].shape[1]
    methods = _methods(config, pixels)
    methods = {name: method for name, method in methods.items() if name in config.ways}
    found = {}
    for model in config.models:
        depth, _ = _MODELS[model]
        make = functools.partial(DiscreteVAE, pixels, (config.latents,), config.width, depth)
        found[model] = compare(config, context, methods, make, images, name=model, noise=True)
        show.draw_autoencoders(context, model, found[model])
        show.table_of_autoencoders(context, model, found[model])
    claims = [_headline(model, rows) for model, rows in found.items()]
    for model, rows in found.items():
        claims += _further(model, rows)
    return claims


def _ahead(rows: Mapping[str, Any], first: str, second: str) -> np.ndarray:
    """By how much the first ends below the second, on training images, seed by seed.

    Over the last three scores: one alone moves by as much as the ways differ.
    """
    ends = [rows[name]["train"][:, -3:].mean(axis=1) for name in (first, second)]
    return ends[1] - ends[0]


def _headline(model: str, rows: Mapping[str, Any]) -> Claim:
    _, paper = _MODELS[model]
    return Claim.over_seeds(
        f"RELAX trains a {model} autoencoder to a better bound than REBAR, on training images, by",
        _ahead(rows, "relax", "rebar"),
        at_least=0.1 if model == "nonlinear" else 0.05,
        unit="nats",
        reference=f"paper: {paper:g} (MNIST, 200 latents, 2 million steps)",
        headline=Headline(no_effect=0.0, paper=paper),
    )


def _further(model: str, rows: Mapping[str, Any]) -> list[Claim]:
    claims = []
    if model == "nonlinear" and "leave_one_out" in rows:
        claims.append(
            Claim.over_seeds(
                "When not to: where a nonlinear decoder is seen three times for a gradient, "
                "REINFORCE with the mean of the two other samples as its baseline, which the paper "
                "leaves out, trains further than RELAX, by",
                _ahead(rows, "leave_one_out", "relax"),
                at_least=0.1,
                unit="nats",
                reference="0: RELAX, with as many evaluations of the decoder",
            )
        )
    if model == "linear" and "reinforce" in rows:
        claims.append(
            Claim.over_seeds(
                "Between linear layers RELAX has less variance than REINFORCE with a moving "
                "average as its baseline (log10 of the ratio)",
                np.log10(rows["reinforce"]["noise"] / rows["relax"]["noise"]),
                at_least=0.1,
                reference="REINFORCE with as many evaluations of the decoder",
            )
        )
    if model == "linear" and "gumbel" in rows:
        claims.append(
            Claim.over_seeds(
                "When not to: where the decoder can be differentiated, biased Gumbel-softmax is "
                "faster than RELAX: after a fifth of the training its bound, held out, is better "
                "by",
                rows["relax"]["test"][:, 1] - rows["gumbel"]["test"][:, 1],
                at_least=0.3,
                unit="nats",
                reference="0: RELAX; scored with binary samples",
            )
        )
    return claims


class Informed(eqx.Module):
    """A network of the latents, and of the image that they are of."""

    net: Callable[[Array], Array]
    x: Float[Array, " pixels"]

    def __call__(self, z: Float[Array, " latents"]) -> Float[Array, ""]:
        return self.net(jnp.concatenate([z, self.x - 0.5]))


def _methods(config: Config, pixels: int) -> dict[str, Method]:
    """Three evaluations of the decoder for a gradient, each way."""

    def residual(key: PRNGKeyArray) -> NeuralControlVariate:
        size = config.latents + pixels
        net = eqx.nn.MLP(size, "scalar", config.surrogate, 1, jnp.tanh, key=key)
        return NeuralControlVariate(net, residual=True)

    def relax(learned: NeuralControlVariate, x: Array) -> Relax:
        return Relax(eqx.tree_at(lambda c: c.net, learned, Informed(learned.net, x)))

    def everywhere(build: Callable[[Any], AbstractEstimator], samples: int = 3) -> Method:
        return Method(lambda learned, average, step: lambda x: build(average), samples)

    return {
        "reinforce": everywhere(lambda average: ScoreFunction(average.value)),
        "leave_one_out": everywhere(lambda average: ScoreFunction("leave_one_out")),
        "rebar": Method(
            lambda learned, average, step: lambda x: Relax(learned),
            learned=lambda key: RebarControlVariate(eta=1.0, temperature=0.5),
        ),
        "relax": Method(
            lambda learned, average, step: lambda x: relax(learned, x), learned=residual
        ),
        "gumbel": everywhere(lambda average: GumbelSoftmax(0.5)),
    }

"""What the recipe `i-resnet` trains: classifiers of images, and densities of two moons."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from pullback.calculus import ExactLogDet, TruncatedLogDet
from pullback.models.flows import (
    ResidualFlow,
    init_actnorm,
    maximum_likelihood_loss,
    residual_flow,
    with_log_det,
)
from pullback.nn import LipschitzConvNet, LipschitzMLP, update_spectral_norms
from pullback.recipes._kit.checks import check_above_zero, check_least
from pullback.train import fit

BOUND = 0.97  # on the norm of each of the three layers of a block of a density


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """How many models are trained of each kind."""
    bounds: tuple[float, ...] = (0.9, 0.5)
    """Bounds on the norm of each linear layer of a classifier, falling; one without any bound is
    trained as well."""
    blocks: int = 6
    """Residual blocks of a classifier."""
    width: int = 128
    """Hidden units of a block of the digits; a quarter of it are the channels of a convolution."""
    steps: int = 600
    """Training steps of a classifier."""
    batch_size: int = 128
    """Images in a training step."""
    learning_rate: float = 1e-3
    """Adam's learning rate for the classifiers."""
    images: int = 500
    """Held-out images whose features are inverted."""
    iterations: int = 100
    """The most fixed-point iterations of a block, in the curves of the error."""
    terms: int = 5
    """Terms of the series that a density is trained on, beside the exact log-determinant."""
    flow_blocks: int = 6
    """Blocks of a density."""
    flow_width: int = 48
    """Hidden units of a block of a density."""
    flow_steps: int = 800
    """Training steps of a density."""
    points: int = 4000
    """Points of the two moons to train on, and as many to test."""

    def __post_init__(self):
        check_above_zero(self)
        check_least(self, images=8, iterations=20, points=500)
        falling = sorted(set(self.bounds), reverse=True)
        if not self.bounds or falling != [*self.bounds] or not 0 < min(falling) <= max(falling) < 1:
            raise ValueError(f"bounds must be in (0, 1), falling, got {self.bounds}")


class Classifier(eqx.Module):
    """Residual blocks, which keep the shape of the image, and a linear layer to the classes."""

    nets: Any
    head: eqx.nn.Linear

    def __init__(self, config: Config, bound: float, shape: tuple[int, ...], *, key: Array):
        """Fully connected blocks for a vector, convolutions for an image of `[channel, h, w]`."""
        head_key, nets_key = jr.split(key)

        def net(key: Array) -> Any:
            options: dict[str, Any] = {"bound": bound, "activation": jax.nn.elu, "key": key}
            if len(shape) == 1:
                return LipschitzMLP(shape[0], config.width, 2, **options)
            return LipschitzConvNet(
                shape[0], config.width // 4, size=(shape[1], shape[2]), **options
            )

        nets = eqx.filter_vmap(net)(jr.split(nets_key, config.blocks))
        # He's variance, from which residual networks without a bound are trained.
        self.nets = eqx.tree_at(
            lambda nets: [layer.weight for layer in nets.layers],
            nets,
            replace_fn=lambda weight: 6**0.5 * weight,
        )
        self.head = eqx.nn.Linear(int(np.prod(shape)), 10, key=head_key)

    def features(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """One image after all blocks."""
        arrays, static = eqx.partition(self.nets, eqx.is_array)
        block = lambda x, net: (x + eqx.combine(net, static)(x), None)
        return jax.lax.scan(block, x, arrays)[0]

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, " classes"]:
        """The logits of one image."""
        return self.head(self.features(x).reshape(-1))

    def after(self, z: Float[Array, "*shape"], n: Any) -> Float[Array, "*shape"]:
        """The input of all blocks, by n plain iterations of each from its output on."""
        arrays, static = eqx.partition(self.nets, eqx.is_array)

        def block(y: Array, net: Any) -> tuple[Array, None]:
            g = eqx.combine(net, static)
            return jax.lax.fori_loop(0, n, lambda _, x: y - g(x), y), None

        return jax.lax.scan(block, z, arrays, reverse=True)[0]


def cross_entropy(
    model: Classifier, batch: tuple[Float[Array, "batch *shape"], Int[Array, " batch"]], *, key: Any
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The mean over a batch, in nats."""
    x, labels = batch
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), labels)
    return jnp.mean(losses), {}


def train(
    config: Config, bound: float, x: np.ndarray, y: np.ndarray, seeds: Sequence[int],
    progress: bool = False,
) -> Classifier:  # fmt: skip
    """Classifiers of all seeds, side by side."""
    new = eqx.filter_vmap(lambda key: Classifier(config, bound, x.shape[1:], key=key))
    models, _ = fit(
        eqx.filter_jit(new)(_keys(seeds)),
        cross_entropy,
        (jnp.asarray(x), jnp.asarray(y)),
        optimiser=optax.adam(config.learning_rate),
        steps=config.steps,
        batch_size=min(config.batch_size, len(x)),
        log_every=min(100, config.steps),
        progress=progress,
        key=jr.split(jr.key(seeds[0] + 1), len(seeds)),
    )
    # Without a bound no norm is asked for.
    return models if math.isinf(bound) else settled(models)


def train_flows(
    config: Config, exact: bool, x: np.ndarray, seeds: Sequence[int], progress: bool = False
) -> ResidualFlow:
    """Densities of all seeds, trained by the exact log-determinant or a series."""
    points = jnp.asarray(x)
    log_det = ExactLogDet() if exact else TruncatedLogDet(config.terms)
    models, _ = fit(
        with_log_det(_untrained(config, points, _keys(seeds)), log_det),
        maximum_likelihood_loss,
        points,
        optimiser=optax.chain(optax.clip_by_global_norm(1.0), optax.adam(2e-3)),
        steps=config.flow_steps,
        batch_size=256,
        log_every=min(100, config.flow_steps),
        progress=progress,
        key=jr.split(jr.key(seeds[0] + 2), len(seeds)),
    )
    return models


@eqx.filter_jit
def _untrained(config: Config, points: Float[Array, "n 2"], keys: Array) -> ResidualFlow:
    """The same for both ways of finding log-determinants, which come later."""

    def new(key: Array) -> ResidualFlow:
        flow = residual_flow(
            2, blocks=config.flow_blocks, width=config.flow_width, bound=BOUND,
            log_det=ExactLogDet(), key=key,
        )  # fmt: skip
        return init_actnorm(flow, points)

    return eqx.filter_vmap(new)(keys)


def settled(models: Any) -> Any:
    """Models whose layers know their norms to rounding."""
    return update_spectral_norms(models, rtol=1e-5, max_steps=10_000)


def _keys(seeds: Sequence[int]) -> Array:
    return jnp.stack([jr.key(seed) for seed in seeds])

"""What the recipe `i-resnet` trains: classifiers, and densities that are classifiers too."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from pullback.calculus import TruncatedLogDet
from pullback.nn import LipschitzConvNet, LipschitzMLP, update_spectral_norms
from pullback.recipes._kit import image_flows
from pullback.recipes._kit.checks import check_above_zero, check_least
from pullback.train import fit

BOUND = 0.9  # on the norm of each layer of a density


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
    steps: int = 500
    """Training steps of a classifier."""
    batch_size: int = 128
    """Images in a training step of a classifier."""
    learning_rate: float = 1e-3
    """Adam's learning rate for the classifiers."""
    images: int = 200
    """Held-out images whose features are inverted, and whose density is found exactly."""
    iterations: int = 30
    """The most fixed-point iterations of a block, in the curves of the error."""
    terms: int = 5
    """Terms of the series that a density is trained on."""
    flow_blocks: int = 2
    """Convolutional blocks of a density."""
    flow_hidden: int = 16
    """Channels inside one."""
    flow_dense: int = 2
    """Blocks of all entries at the end of a density."""
    flow_width: int = 64
    """Hidden units of one; those of couplings have as many as make their parameters as many."""
    flow_steps: int = 300
    """Training steps of a density, of 64 images each."""
    flow_rate: float = 5e-3
    """Adam's learning rate for the densities, at its highest."""

    def __post_init__(self):
        check_above_zero(self)
        check_least(self, images=8, iterations=20)
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


def densities(config: Config, sizes: image_flows.Sizes) -> dict[str, Callable[..., Any]]:
    """How each kind of density is made: of residual blocks, and of couplings of halves in turn."""
    blocks = partial(
        image_flows.residual, sizes, TruncatedLogDet(config.terms), bound=BOUND,
        activation=jax.nn.elu,
    )  # fmt: skip
    outline = eqx.filter_eval_shape(lambda key: blocks(key=key), jr.key(0))
    couplings = partial(image_flows.coupling, sizes, image_flows.count(outline), "reverse")
    return {"i-ResNet": blocks, "couplings": couplings}


def train_density(
    config: Config, sizes: image_flows.Sizes, make: Callable[..., Any], x: np.ndarray,
    y: np.ndarray, seeds: Sequence[int], progress: bool = False,
) -> Any:  # fmt: skip
    """Densities of all seeds, that classify as well."""
    return image_flows.train(
        make, sizes, (jnp.asarray(x), jnp.asarray(y)), seeds, steps=config.flow_steps,
        learning_rate=config.flow_rate, batch_size=64, classify=True, progress=progress,
    )  # fmt: skip


def settled(models: Any) -> Any:
    """Models whose layers know their norms to rounding."""
    return update_spectral_norms(models, rtol=1e-5, max_steps=10_000)


def _keys(seeds: Sequence[int]) -> Array:
    return jnp.stack([jr.key(seed) for seed in seeds])

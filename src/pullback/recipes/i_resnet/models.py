"""What the recipe `i-resnet` trains: classifiers of images, and densities of two moons."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import optimistix as optx
from jaxtyping import Array, Float, Int

from pullback.calculus import ExactLogDet, TruncatedLogDet
from pullback.data import Split, standardise, two_moons
from pullback.models.flows import (
    ResidualBlock,
    ResidualFlow,
    Squeeze,
    Stacked,
    init_actnorm,
    maximum_likelihood_loss,
    residual_flow,
)
from pullback.nn import LipschitzConvNet, LipschitzMLP
from pullback.train import fit


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
    grid: int = 200
    """Points along each side of the grid that a density is summed on."""

    def __post_init__(self):
        names = ("seeds", "blocks", "width", "steps", "batch_size", "images")
        for name in (*names, "terms", "flow_blocks", "flow_width", "flow_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name, least in (("iterations", 20), ("points", 500), ("grid", 20)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        falling = sorted(set(self.bounds), reverse=True)
        if not self.bounds or falling != [*self.bounds] or not 0 < min(falling) <= max(falling) < 1:
            raise ValueError(f"bounds must be in (0, 1), falling, got {self.bounds}")


class Kind(NamedTuple):
    """A way to train a classifier: its layers' bound."""

    bound: float


def kinds(config: Config) -> dict[str, Kind]:
    """The ways to train, by name."""
    return {
        "no bound": Kind(float("inf")),
        **{f"c = {bound:g}": Kind(bound) for bound in config.bounds},
    }


class Classifier(eqx.Module):
    """Residual blocks, which keep the shape of the image, and a linear layer to the classes."""

    nets: Any
    head: eqx.nn.Linear

    def features(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """One image after all blocks."""
        arrays, static = eqx.partition(self.nets, eqx.is_array)
        block = lambda x, net: (x + eqx.combine(net, static)(x), None)
        return jax.lax.scan(block, x, arrays)[0]

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, " classes"]:
        """The logits of one image."""
        return self.head(self.features(x).reshape(-1))

    def trunk(self) -> Stacked:
        """The blocks as one map with an inverse."""
        return Stacked(eqx.filter_vmap(ResidualBlock)(self.nets))


def new_classifier(config: Config, bound: float, shape: tuple[int, ...], key: Array) -> Classifier:
    """Fully connected blocks for a vector, convolutions for an image of `[channel, h, w]`."""
    head_key, nets_key = jr.split(key)

    def net(key: Array) -> Any:
        if len(shape) == 1:
            return LipschitzMLP(
                shape[0], config.width, 2, bound=bound, activation=jax.nn.elu, key=key
            )
        return LipschitzConvNet(
            shape[0], config.width // 4, size=(shape[1], shape[2]), bound=bound,
            activation=jax.nn.elu, key=key,
        )  # fmt: skip

    nets = eqx.filter_vmap(net)(jr.split(nets_key, config.blocks))
    # He's variance, from which residual networks without a bound are trained.
    nets = eqx.tree_at(
        lambda nets: [layer.weight for layer in nets.layers],
        nets,
        replace_fn=lambda weight: 6**0.5 * weight,
    )
    return Classifier(nets, eqx.nn.Linear(int(np.prod(shape)), 10, key=head_key))


def vectors(data: Split) -> Split:
    """Images as vectors in [-1, 1]."""
    return Split(*(part._replace(x=2 * part.x.reshape(len(part.x), -1) - 1) for part in data))


def squeezed(data: Split) -> Split:
    """Images of 28 by 28 as 16 channels of 7 by 7, in [-1, 1]."""
    squeeze = lambda x: Squeeze().forward_and_log_det(x)[0]
    shaped = jax.jit(jax.vmap(lambda x: squeeze(squeeze(x[None]))))
    return Split(*(part._replace(x=2 * np.asarray(shaped(part.x)) - 1) for part in data))


def pictures(x: Float[np.ndarray, "n *shape"]) -> Float[np.ndarray, "n height width"]:
    """Back from what `vectors` or `squeezed` gives."""
    if x.ndim == 2:
        side = int(x.shape[1] ** 0.5)
        return (x.reshape(len(x), side, side) + 1) / 2
    unused = optx.FixedPointIteration(1e-6, 1e-6)
    back = lambda x: Squeeze().inverse(x, unused, 1)[0]
    return (np.asarray(jax.vmap(lambda x: back(back(x))[0])(jnp.asarray(x))) + 1) / 2


def cross_entropy(
    model: Classifier, batch: tuple[Float[Array, "batch *shape"], Int[Array, " batch"]], *, key: Any
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The mean over a batch, in nats."""
    x, labels = batch
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), labels)
    return jnp.mean(losses), {}


def train(
    config: Config, kind: Kind, x: np.ndarray, y: np.ndarray, seeds: Sequence[int],
    progress: bool = False,
) -> list[np.ndarray]:  # fmt: skip
    """The arrays of classifiers of all seeds, side by side."""
    models, _ = fit(
        _classifiers(config, kind.bound, x.shape[1:], seeds),
        cross_entropy,
        (jnp.asarray(x), jnp.asarray(y)),
        optimiser=optax.adam(config.learning_rate),
        steps=config.steps,
        batch_size=min(config.batch_size, len(x)),
        log_every=min(100, config.steps),
        progress=progress,
        key=jr.split(jr.key(seeds[0] + 1), len(seeds)),
    )
    return leaves(models)


def classifiers(
    config: Config, kind: Kind, arrays: Sequence[Any], shape: tuple[int, ...], count: int
) -> Classifier:
    """The models of what `train` returned."""
    return grown(_classifiers(config, kind.bound, shape, range(count)), arrays)


def _classifiers(
    config: Config, bound: float, shape: tuple[int, ...], seeds: Sequence[int]
) -> Classifier:
    keys = jnp.stack([jr.key(seed) for seed in seeds])
    return eqx.filter_vmap(lambda key: new_classifier(config, bound, shape, key))(keys)


def leaves(tree: Any) -> list[np.ndarray]:
    """What of a model a stage can keep."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array))]


def grown(like: Any, arrays: Sequence[Any]) -> Any:
    """A model with the structure of `like` and the arrays of `leaves`."""
    dynamic, static = eqx.partition(like, eqx.is_array)
    filled = jax.tree.unflatten(jax.tree.structure(dynamic), [jnp.asarray(a) for a in arrays])
    return eqx.combine(filled, static)


def moons(config: Config, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points to train on and to test, of mean 0 and deviation 1."""
    train, test = (two_moons(config.points, seed=2 * seed + i).x for i in (0, 1))
    (train, test), _ = standardise(train, test)
    return train.astype(np.float32), test.astype(np.float32)


def train_flows(
    config: Config, exact: bool, x: np.ndarray, seeds: Sequence[int], progress: bool = False
) -> list[np.ndarray]:
    """The arrays of densities of all seeds, trained by the exact log-determinant or a series."""
    points = jnp.asarray(x)
    flows = eqx.filter_vmap(lambda flow: init_actnorm(flow, points))(_flows(config, exact, seeds))
    models, _ = fit(
        flows,
        maximum_likelihood_loss,
        points,
        optimiser=optax.chain(optax.clip_by_global_norm(1.0), optax.adam(2e-3)),
        steps=config.flow_steps,
        batch_size=256,
        log_every=min(100, config.flow_steps),
        progress=progress,
        key=jr.split(jr.key(seeds[0] + 2), len(seeds)),
    )
    return leaves(models)


def flows_of(config: Config, exact: bool, arrays: Sequence[Any], count: int) -> ResidualFlow:
    """The densities of what `train_flows` returned."""
    return grown(_flows(config, exact, range(count)), arrays)


def _flows(config: Config, exact: bool, seeds: Sequence[int]) -> ResidualFlow:
    keys = jnp.stack([jr.key(seed) for seed in seeds])
    log_det = ExactLogDet() if exact else TruncatedLogDet(config.terms)
    make = lambda key: residual_flow(
        2, blocks=config.flow_blocks, width=config.flow_width, log_det=log_det, key=key
    )
    return eqx.filter_vmap(make)(keys)

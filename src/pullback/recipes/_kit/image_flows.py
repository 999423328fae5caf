"""Densities of images by residual blocks and by couplings: built alike, trained alike, and measured
with exact log-determinants."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from pullback.calculus import AbstractLogDet, ExactLogDet
from pullback.models.flows import (
    Chain,
    HybridFlow,
    HybridLoss,
    Logit,
    ResidualFlow,
    Squeeze,
    bits_per_dimension,
    dequantise,
    image_coupling_flow,
    image_residual_flow,
    init_actnorm,
    maximum_likelihood_loss,
    with_log_det,
)
from pullback.nn import update_spectral_norms
from pullback.recipes._kit.stack import made_stack, unstacked
from pullback.train import fit

_NEVER_TRAINED = ("vector", "stamp")  # of a layer that knows its norm


@dataclass(frozen=True)
class Sizes:
    """Of a flow: scales that begin with a squeeze, of convolutional blocks; dense ones at the end.

    Args:
        shape: of an image, `(channel, height, width)`.
        scales: how many.
        blocks: a scale.
        hidden: channels inside a block.
        dense_blocks: at the end.
        dense_width: hidden units of one.
        levels: of a pixel.
        margin: of the logit.
    """

    shape: tuple[int, int, int]
    scales: int
    blocks: int
    hidden: int
    dense_blocks: int
    dense_width: int
    levels: int = 256
    margin: float = 1e-6


def residual(sizes: Sizes, log_det: AbstractLogDet, *, key: Any, **options: Any) -> ResidualFlow:
    """A new residual flow; `options` are a bound and an activation."""
    channels, height, width = sizes.shape
    inner = image_residual_flow(
        (4 * channels, height // 2, width // 2), scales=sizes.scales, blocks=sizes.blocks,
        hidden=sizes.hidden, dense_blocks=sizes.dense_blocks, dense_width=sizes.dense_width,
        log_det=log_det, key=key, **options,
    )  # fmt: skip
    first = [Logit(sizes.margin), Squeeze()]
    return ResidualFlow(Chain([*first, inner.bijection]), inner.base, shape=sizes.shape)


def coupling(
    sizes: Sizes, parameters: int, mix: Literal["conv", "reverse"] = "conv", *, key: Any
) -> ResidualFlow:
    """A new flow of couplings, its last blocks as wide as makes so many parameters or just more."""

    def make(width: int, key: Any) -> ResidualFlow:
        return image_coupling_flow(
            sizes.shape, scales=sizes.scales, blocks=sizes.blocks, hidden=sizes.hidden,
            dense_blocks=sizes.dense_blocks, dense_width=width, mix=mix,
            before=Logit(sizes.margin), key=key,
        )  # fmt: skip

    one, two = (count(eqx.filter_eval_shape(make, width, jr.key(0))) for width in (1, 2))
    return make(max(1, 1 + -(-(parameters - one) // (two - one))), key)


def count(model: Any) -> int:
    """The number of parameters of a model, or of the outline of one."""
    leaves = jax.tree_util.tree_leaves_with_path(model)
    trained = lambda path: getattr(path[-1], "name", "") not in _NEVER_TRAINED
    floating = lambda leaf: hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)
    return sum(leaf.size for path, leaf in leaves if floating(leaf) and trained(path))


def hybrid(flow: ResidualFlow, *, key: Any) -> HybridFlow:
    """The flow with a linear classifier of what it carries to the base."""
    size = int(np.prod(flow.shape))
    return HybridFlow(flow, _Head(eqx.nn.Linear(size, 10, key=key)))


class _Head(eqx.Module):
    linear: eqx.nn.Linear

    def __call__(self, z: Array) -> Array:
        return self.linear(z.reshape(-1))


class NoisyLoss(eqx.Module):
    """Nats a dimension of images that are dequantised anew; or those of a hybrid, in bits."""

    levels: int = eqx.field(static=True)

    def __call__(self, model: Any, batch: Any, *, key: Any) -> tuple[Array, dict[str, Array]]:
        noise_key, key = jr.split(key)
        if isinstance(model, HybridFlow):
            x, labels = batch
            noisy = dequantise(x, levels=self.levels, key=noise_key)
            return HybridLoss()(model, (noisy, labels), key=key)
        noisy = dequantise(batch, levels=self.levels, key=noise_key)
        loss, metrics = maximum_likelihood_loss(model, noisy, key=key)
        return loss / batch[0].size, metrics


def train(
    make: Callable[..., ResidualFlow], sizes: Sizes, data: Any, seeds: Sequence[int], *,
    steps: int, learning_rate: float, batch_size: int, classify: bool = False, **options: Any,
) -> Any:  # fmt: skip
    """Flows of all seeds, by Adam along a cosine; hybrid ones of images and labels if `classify`.

    `options` are those of `pullback.train.fit` that say where it keeps what it does.
    """
    images = data[0] if classify else data
    first = dequantise(images[:512], levels=sizes.levels, key=jr.key(0))

    def new(first: Array, *, key: Any) -> Any:
        flow_key, head_key = jr.split(key)
        flow = init_actnorm(make(key=flow_key), first)
        return hybrid(flow, key=head_key) if classify else flow

    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, min(50, steps // 2), steps)
    models, _ = fit(
        made_stack(new, _keys(seeds, 0), first),
        NoisyLoss(sizes.levels),
        data,
        optimiser=optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule)),
        steps=steps,
        batch_size=batch_size,
        log_every=min(50, steps),
        sequential=True,  # the number of terms of a roulette is that of one model, not the largest
        key=_keys(seeds, 1),
        **options,
    )
    return update_spectral_norms(models, rtol=1e-5, max_steps=5_000)


def exact_bits(
    sizes: Sizes, models: Any, x: Float[np.ndarray, "n channel height width"]
) -> Float[np.ndarray, "seed n"]:
    """Bits a dimension of images, all with the same noise, by exact log-determinants."""
    return _bits(sizes, with_log_det(models, ExactLogDet()), x, draws=1)


def own_bits(
    sizes: Sizes, models: Any, x: Float[np.ndarray, "n channel height width"], draws: int
) -> Float[np.ndarray, "seed n"]:
    """What the estimate of the training says of the same images, a mean of `draws`."""
    return _bits(sizes, models, x, draws)


def _bits(sizes: Sizes, models: Any, x: np.ndarray, draws: int) -> np.ndarray:
    noisy = dequantise(jnp.asarray(x, float), levels=sizes.levels, key=jr.key(1))
    keys = jr.split(jr.key(2), draws)
    size = x[0].size
    found = [np.mean([_log_prob(flow, noisy, key) for key in keys], 0) for flow in _flows(models)]
    return np.asarray(bits_per_dimension(jnp.asarray(np.stack(found)), size, levels=sizes.levels))


@eqx.filter_jit
def _log_prob(flow: ResidualFlow, x: Array, key: Any) -> Array:
    return flow.log_prob(x, batch_size=10, key=key)


def accuracy(
    sizes: Sizes,
    models: Any,
    x: Float[np.ndarray, "n channel height width"],
    labels: Int[np.ndarray, " n"],
) -> Float[np.ndarray, " seed"]:
    """Of hybrid models of all seeds."""
    noisy = dequantise(jnp.asarray(x, float), levels=sizes.levels, key=jr.key(1))
    parts = [noisy[start : start + 1000] for start in range(0, len(noisy), 1000)]
    found = [[np.argmax(_logits(m, part), axis=1) for part in parts] for m in unstacked(models)]
    return np.mean([np.concatenate(guess) == labels for guess in found], axis=1)


@eqx.filter_jit
def _logits(model: HybridFlow, x: Array) -> Array:
    return model.logits(x, key=jr.key(0))


def _flows(models: Any) -> list[ResidualFlow]:
    return [m.flow if isinstance(m, HybridFlow) else m for m in unstacked(models)]


def _keys(seeds: Sequence[int], role: int) -> Key[Array, " seeds"]:
    return jnp.stack([jr.fold_in(jr.key(seed), role) for seed in seeds])

"""The settings of the recipe `residual-flow`, and the flows that it trains."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from pullback.calculus import (
    AbstractLogDet,
    ExactLogDet,
    Geometric,
    RouletteLogDet,
    TruncatedLogDet,
)
from pullback.models.flows import (
    ResidualFlow,
    init_actnorm,
    log_prob_estimate,
    maximum_likelihood_loss,
    residual_flow,
    with_log_det,
)
from pullback.nn import update_spectral_norms
from pullback.train import fit


@dataclass(frozen=True)
class Config:
    points: int = 20_000
    """Points of the checkerboard to train on."""
    held_out: int = 4000
    """Points to score."""
    blocks: int = 6
    """Residual blocks of a flow."""
    width: int = 48
    """Size of a block's two hidden layers."""
    bound: float = 0.98
    """Bound on the norm of each linear layer."""
    ratio: float = 0.5
    """Ratio of the geometric distribution that stops a series; 2 exact terms come before."""
    iterations: int = 1200
    """Training steps of a flow."""
    batch_size: int = 256
    """Points in a training step."""
    learning_rate: float = 2e-3
    """Adam's learning rate; gradients are clipped to norm 1."""
    seeds: int = 3
    """Flows of each kind."""
    draws: int = 2000
    """Draws of an estimate that is compared with the exact value."""

    def __post_init__(self):
        for name in ("seeds", "points", "held_out", "blocks", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def methods(config: Config) -> dict[str, AbstractLogDet]:
    """How each kind of flow finds its log-determinants in training."""
    return {
        "exact": ExactLogDet(),
        "roulette": RouletteLogDet(Geometric(config.ratio)),
        "4 terms": TruncatedLogDet(4),
        "2 terms": TruncatedLogDet(2),
    }


def build(config: Config, dim: int, method: AbstractLogDet, key: Any) -> ResidualFlow:
    """A new flow of vectors."""
    return residual_flow(
        dim, blocks=config.blocks, width=config.width, depth=2, bound=config.bound,
        log_det=method, key=key,
    )  # fmt: skip


def new_flows(config: Config, x: Float[np.ndarray, "n 2"], seeds: Sequence[int]) -> ResidualFlow:
    """Flows of the plane that are not trained yet, one for each seed, side by side."""

    @eqx.filter_jit
    def make(keys: Key[Array, " seeds"], rows: Array) -> ResidualFlow:
        flows = eqx.filter_vmap(lambda key: build(config, 2, ExactLogDet(), key))(keys)
        return jax.vmap(init_actnorm, in_axes=(0, None))(flows, rows)

    return make(_keys(seeds, 0), jnp.asarray(x[:1000], float))


def train_toys(
    config: Config, new: ResidualFlow, method: AbstractLogDet, x: Float[np.ndarray, "n 2"],
    seeds: Sequence[int], progress: bool = False,
) -> tuple[list[Any], dict[str, np.ndarray]]:  # fmt: skip
    """Flows of the plane, one for each seed: their arrays, and the losses on the way."""
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(config.learning_rate))
    flows, info = fit(
        with_log_det(new, method),
        maximum_likelihood_loss,
        jnp.asarray(x, float),
        optimiser=optimiser,
        steps=config.iterations,
        batch_size=config.batch_size,
        log_every=50,
        progress=progress,
        key=_keys(seeds, 1),
    )
    # Measured with norms that are known more closely than training asks.
    flows = update_spectral_norms(flows, rtol=1e-6, max_steps=10_000)
    return jax.tree.leaves(eqx.filter(flows, eqx.is_array)), {"loss": info.history["loss"]}


def restore(new: ResidualFlow, method: AbstractLogDet, arrays: list[Any]) -> list[ResidualFlow]:
    """The trained flows, one by one, from their arrays."""
    params, static = eqx.partition(with_log_det(new, method), eqx.is_array)
    trained = jax.tree.unflatten(jax.tree.structure(params), [jnp.asarray(a) for a in arrays])
    return [
        eqx.combine(jax.tree.map(lambda leaf, i=i: leaf[i], trained), static)
        for i in range(len(arrays[0]))
    ]


def scores(
    flows: Sequence[ResidualFlow], x: Float[np.ndarray, "n 2"], seeds: Sequence[int]
) -> list[dict[str, float]]:
    """Negative log-likelihoods of held-out points: by each flow's own estimate, and exactly."""
    found, rows = [], jnp.asarray(x, float)
    for flow, seed in zip(flows, seeds, strict=True):
        # A batch shares the terms at which its series stop, so more points do not make less noise.
        own = -log_prob_estimate(flow, rows, samples=16, key=jr.key(seed)).mean
        exact = -with_log_det(flow, ExactLogDet()).log_prob(rows)
        found.append({"own": float(own.mean()), "exact": float(exact.mean())})
    return found


def _keys(seeds: Sequence[int], role: int) -> Key[Array, " seeds"]:
    return jnp.stack([jr.fold_in(jr.key(seed), role) for seed in seeds])

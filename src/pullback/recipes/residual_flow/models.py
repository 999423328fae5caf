"""The flows of the plane that the recipe `residual-flow` trains, and what it measures of them."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
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
from pullback.recipes._kit.checks import check_above_zero, check_between
from pullback.recipes._kit.stack import unstacked
from pullback.train import fit

_DRAWS = 16  # of the estimate of a log-density


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

    def __post_init__(self):
        check_above_zero(self)
        check_between(self, 0, 1, "ratio")


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


def train_flows(
    config: Config, method: AbstractLogDet, x: Float[Array, "n 2"], seeds: Sequence[int],
    progress: bool = False,
) -> tuple[ResidualFlow, np.ndarray]:  # fmt: skip
    """Flows of the plane, one for each seed, and their losses on the way, `[times, seeds]`."""
    flows, info = fit(
        with_log_det(_untrained(config, x[:1000], _keys(seeds, 0)), method),
        maximum_likelihood_loss,
        x,
        optimiser=optax.chain(optax.clip_by_global_norm(1.0), optax.adam(config.learning_rate)),
        steps=config.iterations,
        batch_size=config.batch_size,
        log_every=50,
        progress=progress,
        key=_keys(seeds, 1),
    )
    # Measured exactly, and with norms that are known more closely than training asks.
    flows = with_log_det(flows, ExactLogDet())
    flows = update_spectral_norms(flows, rtol=1e-6, max_steps=10_000)
    return flows, info.history["loss"]


@eqx.filter_jit
def _untrained(config: Config, x: Float[Array, "n 2"], keys: Key[Array, " seeds"]) -> ResidualFlow:
    """The same for all ways of finding log-determinants, which come later."""
    make = lambda key: init_actnorm(build(config, 2, ExactLogDet(), key), x)
    return eqx.filter_vmap(make)(keys)


_exact = eqx.filter_jit(lambda flow, x: flow.log_prob(x))
_estimate = eqx.filter_jit(functools.partial(log_prob_estimate, samples=_DRAWS))
_samples = eqx.filter_jit(lambda flow, key: flow.invert(flow.base.sample(key, (4000,)))[0])


def measure(
    flows: ResidualFlow, method: AbstractLogDet, x: Float[Array, "n 2"],
    grid: Float[Array, "m 2"], seeds: Sequence[int],
) -> dict[str, np.ndarray]:  # fmt: skip
    """Of each seed, negative log-likelihoods of held-out points: by the estimate of its training,
    and exactly; and the standard deviation of one draw of a point's log-density. Of the first, its
    density on a grid and samples."""
    rows: list[dict[str, Any]] = []
    for flow, seed in zip(unstacked(flows), seeds, strict=True):
        log_prob = _exact(flow, jnp.concatenate([x, grid]))
        # A batch shares the terms at which its series stop, so more points do not make less noise.
        own = _estimate(with_log_det(flow, method), x, key=jr.key(seed))
        rows.append({
            "own": -own.mean.mean(),
            "exact": -log_prob[: len(x)].mean(),
            "noise": np.sqrt(_DRAWS) * np.mean(own.standard_error),
            "density": np.exp(log_prob[len(x) :]),
            "samples": _samples(flow, jr.key(seed)),
        })  # fmt: skip
    found = {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}
    return {**found, "density": found["density"][0], "samples": found["samples"][0]}


def _keys(seeds: Sequence[int], role: int) -> Key[Array, " seeds"]:
    return jnp.stack([jr.fold_in(jr.key(seed), role) for seed in seeds])

"""The settings of the recipe `transient-chaos`, and its networks that are trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray

from pullback.analysis.signals import MeanField, critical_weight_scale
from pullback.data import digits
from pullback.nn import gaussian_init
from pullback.recipes._kit.checks import check_above_zero, check_least, check_rising
from pullback.recipes._kit.stack import one_by_one
from pullback.runs import Context
from pullback.train import fit

THEORY_OF = jnp.tanh


@dataclass(frozen=True)
class Config:
    seeds: int = 4
    """Random networks at each scale, and trainings from each start."""
    weight_scales: tuple[float, ...] = (1.0, 1.3, 1.4, 1.6, 2.0, 2.5, 3.0, 4.0)
    """Weight scales, rising: standard deviations times the root of the width."""
    bias_scale: float = 0.3
    """Standard deviation of the biases."""
    width: int = 500
    """Units a layer of the random networks."""
    depth: int = 15
    """Their layers, the circle with them."""
    points: int = 64
    """Points of the circle."""
    turned: tuple[float, ...] = (1.3, 2.5, 4.0)
    """Scales at which the turning of the circle is claimed."""
    turned_layer: int = 12
    """The layer in which it is."""
    deep: int = 30
    """Hidden layers of the network that is trained."""
    shallow: int = 3
    """Hidden layers of one that needs no care."""
    hidden: int = 100
    """Units of their hidden layers."""
    ordered: float = 1.0
    """A weight scale in the ordered phase that is trained from."""
    chaotic: float = 4.0
    """One in the chaotic phase."""
    steps: int = 300
    """Training steps, by Adam."""
    batch_size: int = 100
    """Images a step."""
    rate: float = 1e-3
    """Learning rate: Adam's default."""
    small_rate: float = 3e-4
    """A smaller one."""

    def __post_init__(self):
        check_above_zero(self)
        check_least(self, width=2, points=2, depth=2, deep=2, shallow=2)
        check_rising(self, "weight_scales", count=2, above=0)
        if not {*self.turned} <= {*self.weight_scales}:
            raise ValueError(f"turned must be among weight_scales, got {self.turned}")
        if self.turned_layer > self.depth:
            raise ValueError(f"turned_layer must be at most {self.depth}, got {self.turned_layer}")


def starts(config: Config) -> dict[str, float]:
    """Weight scales to train from by what they are; 0 is what Equinox makes.

    Raises:
        ValueError: one that is to be in a phase is not.
    """
    critical = float(critical_weight_scale(MeanField(THEORY_OF), config.bias_scale))
    if not config.ordered < critical < config.chaotic:
        raise ValueError(
            f"ordered and chaotic must lie below and above the critical scale, {critical:.4f}, got "
            f"{config.ordered:g} and {config.chaotic:g}"
        )
    return {
        f"critical, {critical:.2f}": critical,
        f"ordered, {config.ordered:g}": config.ordered,
        f"chaotic, {config.chaotic:g}": config.chaotic,
        "Equinox's default": 0.0,
    }


def trained(
    config: Config, context: Context, seeds: Sequence[int], name: str, scales: Sequence[float],
    depth: int, rate: float,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Test accuracy of networks trained from these scales, `[scale, seed]`, and their losses."""
    train, test = _images()
    keys = jnp.stack([jr.key(seed) for seed in seeds])
    keys, each = jnp.tile(keys, len(scales)), jnp.repeat(jnp.asarray(scales), len(seeds))
    nets = _networks(keys, each, config.bias_scale, config.hidden, depth)
    nets, info = fit(
        nets, loss, train, optimiser=optax.adam(rate), steps=config.steps,
        batch_size=config.batch_size, log_every=max(1, config.steps // 20), key=keys,
        **context.training(name),
    )  # fmt: skip
    by_scale = lambda rows: np.moveaxis(np.asarray(rows).reshape(-1, len(scales), len(seeds)), 0, 2)
    return {
        "accuracy": by_scale(one_by_one(_accuracy, nets, test))[..., 0],
        "loss": by_scale(info.history["loss"]),
        "step": np.asarray(info.history["step"]),
    }


def loss(net: Any, batch: Any, *, key: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
    """Cross-entropy."""
    logits = jax.vmap(net)(batch["x"])
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])), {}


@eqx.filter_jit
def _networks(keys: Array, scales: Array, bias_scale: float, hidden: int, depth: int) -> Any:
    """A network for each key and scale, stacked."""

    def network(key: PRNGKeyArray, scale: Array) -> Any:
        # One loop over the hidden layers, which are compiled once.
        net = eqx.nn.MLP(64, 10, hidden, depth, THEORY_OF, scan=True, key=key)
        key = jr.fold_in(key, 1)
        drawn = gaussian_init(net, weight_scale=scale, bias_scale=bias_scale, key=key)
        chosen = lambda ours, theirs: jnp.where(scale > 0, ours, theirs)
        return jax.tree.map(lambda *of: chosen(*of) if eqx.is_array(of[0]) else of[0], drawn, net)

    return eqx.filter_vmap(network)(keys, scales)


def _accuracy(net: Any, test: Any) -> Array:
    right = jnp.argmax(jax.vmap(net)(test["x"]), axis=1) == test["y"]
    return jnp.mean(right.astype(test["x"].dtype))


def _images() -> list[dict[str, Array]]:
    """Digits of mean 0 and mean square 1 over all pixels."""
    split = digits()
    mean, spread = split.train.x.mean(), split.train.x.std()
    rows = lambda x: jnp.asarray((x - mean) / spread).reshape(len(x), -1)
    return [{"x": rows(part.x), "y": jnp.asarray(part.y)} for part in split]

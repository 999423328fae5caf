"""Networks whose weights are normal, for tables: noisy K-FAC and noisy Adam."""

import functools
import warnings
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree
from sklearn.exceptions import ConvergenceWarning

from pullback._on_device import on_device
from pullback.nn import layer_factors
from pullback.optim import AbstractCurvature, Diagonal, Kronecker, fit_posterior
from pullback.train import TrainingError

from ._padded import CHUNK, chunks, power_of_two
from ._trained import Trained

CURVATURES: dict[str, AbstractCurvature] = {"noisy-kfac": Kronecker(), "noisy-adam": Diagonal()}
Target = Literal["classes", "numbers"]

_WIDTH, _STEPS, _BATCH, _DAMPING, _PRIOR = 50, 8000, 64, 0.003, 1.0
_PATHS = 64  # networks that predict
_ROUNDS = 4  # how often each row stands in the rows to train on, at least
_CLOSE, _FAR = -6.0, 4.0  # what logarithms of deviations are held in


class Beside(eqx.Module):
    """A network that is added to lines, which come with the rows."""

    own: eqx.nn.MLP

    def __call__(self, x: Float[Array, " both"]) -> Float[Array, " o"]:
        count = self.own.layers[0].weight.shape[1]
        return self.own(x[:count]) + x[count:]


class NoisyNet(eqx.Module):
    """A posterior over the weights of a network that is added to lines."""

    mean: Beside
    prepared: PyTree
    weight: Float[Array, "o d"]
    bias: Float[Array, " o"]
    method: str = eqx.field(static=True)


def normal(outputs: Float[Array, " two"]) -> Any:
    """Of a mean and the logarithm of a deviation."""
    return dist.Normal(outputs[0], jnp.exp(jnp.clip(outputs[1], _CLOSE, _FAR)))


def categorical(outputs: Float[Array, " k"]) -> Any:
    """Of logits."""
    return dist.Categorical(logits=outputs)


_LIKELIHOODS = {"classes": categorical, "numbers": normal}


def train(
    method: str,
    target: Target,
    weight: Float[np.ndarray, "o d"],
    bias: Float[np.ndarray, " o"],
    x: Float[np.ndarray, "n d"],
    y: np.ndarray,
    rows: Int[np.ndarray, " t"],
    *,
    room: int,
    steps: int | None,
    seed: int,
    progress: bool | None,
) -> Trained | None:
    """A posterior of the rows to train on; None where training failed."""
    size = max(4096, _ROUNDS * power_of_two(room))
    taken = np.resize(rows, size)  # so that one program serves other rows too
    steps = _STEPS if steps is None else max(1, steps)
    weight, bias = (part.astype(np.float32) for part in (weight, bias))
    y = y.astype(np.float32) if target == "numbers" else y
    fresh, key = (_key(number, seed) for number in (1, 0))
    try:
        posterior, _ = fit_posterior(
            _begin(weight.shape[1], weight.shape[0], fresh), _LIKELIHOODS[target],
            _with_lines(x.astype(np.float32), weight, bias)[taken], y[taken],
            curvature=CURVATURES[method], prior_variance=_PRIOR, kl_weight=size / len(rows),
            damping=_DAMPING, steps=steps, batch_size=_BATCH, inverse_every=20, draws="batch",
            rollbacks=3, log_every=min(100, steps), progress=progress, key=key,
        )  # fmt: skip
    except TrainingError as error:
        told = "the network could not be trained, so the model is what it starts from: "
        warnings.warn(f"{told}{error}", ConvergenceWarning, stacklevel=5)
        return None
    lines = on_device(weight), on_device(bias)
    return Trained(NoisyNet(posterior.mean, posterior.prepared, *lines, method), None, steps)


def outputs(
    net: NoisyNet, x: Float[np.ndarray, "n d"], seed: int
) -> Float[np.ndarray, "paths n o"]:
    """What each network that is drawn says, to the bit whatever is beside a row."""
    parts = [np.zeros((_PATHS, 0, net.bias.shape[0]))]
    lines = np.asarray(net.weight), np.asarray(net.bias)
    for start, stop in chunks(len(x)):
        part = _with_lines(x[start:stop].astype(np.float32), *lines)
        filled = np.concatenate([part, np.repeat(part[:1], CHUNK - len(part), axis=0)])
        found = _outputs(net, on_device(filled), jr.split(_key(2, seed), _PATHS))
        parts.append(np.asarray(found, np.float64)[:, : stop - start])
    return np.concatenate(parts, axis=1)


@eqx.filter_jit
def _outputs(net: NoisyNet, x: Array, keys: Array) -> Array:
    draw = CURVATURES[net.method].draw
    return jax.vmap(lambda key: jax.vmap(draw(net.prepared, net.mean, key=key))(x))(keys)


def _with_lines(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    # Column by column: a matrix product is not to the bit whatever is beside a row.
    lines = np.repeat(bias[None], len(x), axis=0)
    for column, slope in zip(x.T, weight.T, strict=True):
        lines = lines + column[:, None] * slope
    return np.concatenate([x, lines], axis=1).astype(np.float32)


@eqx.filter_jit
def _begin(width: int, count: int, key: PRNGKeyArray) -> Beside:
    """The network before the first step, which adds 0."""
    own = eqx.nn.MLP(width, count, _WIDTH, 1, dtype=jnp.float32, key=key)
    last = lambda net: (net.layers[-1].weight, net.layers[-1].bias)
    return Beside(eqx.tree_at(last, own, jax.tree.map(jnp.zeros_like, last(own))))


def shape_of(method: str, count: int, width: int) -> Any:
    """The shapes of the arrays of such a network, and what else it is made of."""
    return _shape(method, count, width)


@functools.lru_cache(maxsize=64)
def _shape(method: str, count: int, width: int) -> Any:
    rest = []

    def arrays() -> Any:
        mean, curvature = _begin(width, count, jr.key(0)), CURVATURES[method]
        loss = lambda net, x, *, key: (jnp.mean(jax.vmap(net)(x)), {})
        rows = jnp.zeros((1, width + count), jnp.float32)
        start = curvature.start(layer_factors(loss, mean, rows, key=jr.key(0)))
        prepared = curvature.prepare(start, intrinsic=1.0, damping=1.0, scale=1.0)
        lines = jnp.zeros((count, width), jnp.float32), jnp.zeros(count, jnp.float32)
        net = NoisyNet(mean, prepared, *lines, method)
        rest.append(eqx.filter(net, eqx.is_array, inverse=True))
        return eqx.filter(net, eqx.is_array)

    return eqx.filter_eval_shape(arrays), rest[0]


def _key(number: int, seed: int) -> PRNGKeyArray:
    return jr.wrap_key_data(on_device(np.asarray([number, seed], np.uint32)))

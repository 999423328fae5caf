"""Networks whose weights follow an SDE, for tables: how they are trained, kept and asked."""

import functools
import math
import warnings
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray
from sklearn.exceptions import ConvergenceWarning

from pullback._on_device import on_device
from pullback._solve_failures import failures_are_nan
from pullback.models.bayes import (
    SDEBNN,
    OUPrior,
    Outputs,
    SDEBNNLoss,
    categorical_log_likelihood,
    mlp_sde_bnn,
)
from pullback.train import TrainingError, fit

from . import _noisy_nets as noisy
from ._net_arrays import filled
from ._padded import CHUNK, chunks, power_of_two
from ._trained import Trained

METHODS = ("sde-bnn", *noisy.CURVATURES)
Target = Literal["classes", "numbers"]

_DIM, _WIDTH, _EULER, _SIGMA = 24, 32, 10, 0.1
_PATHS, _CHOOSING = 32, 8  # of the weights, to predict and to choose by
_BATCH, _STEPS, _LOG_EVERY, _PATIENCE = 64, 4000, 100, 8
_ROUNDS = 4  # how often each row stands in the rows to train on, at least
_CLOSE, _FAR = -6.0, 4.0  # what logarithms of deviations are held in


class Lines(NamedTuple):
    """What a network starts from: its outputs are a line of the inputs, and its own beside it."""

    weight: Float[np.ndarray, "o d"]
    bias: Float[np.ndarray, " o"]


class Net(eqx.Module):
    """A network that is added to lines, which are not trained."""

    own: SDEBNN
    weight: Float[Array, "o d"]
    bias: Float[Array, " o"]

    def __call__(self, x: Float[Array, "n d"], **settings: Any) -> Outputs:
        found = self.own(x, **settings)
        weight, bias = jax.lax.stop_gradient((self.weight, self.bias))
        return found._replace(values=found.values + (x @ weight.T + bias[None])[None])


AnyNet = Net | noisy.NoisyNet


def normal_log_likelihood(
    outputs: Float[Array, " two"], target: Float[Array, ""]
) -> Float[Array, ""]:
    """The log-density of a number, of a mean and the logarithm of a deviation."""
    log_scale = jnp.clip(outputs[1], _CLOSE, _FAR)
    apart = (target - outputs[0]) * jnp.exp(-log_scale)
    return -jnp.square(apart) / 2 - log_scale - 0.5 * math.log(2 * math.pi)


class _HeldOut(eqx.Module):
    """The negative log-likelihood of rows held out, by the mean of several paths of the weights."""

    x: Float[Array, "m d"]
    y: Array
    weight: Float[Array, " m"]
    target: Target = eqx.field(static=True)

    def __call__(self, net: Net, *, key: PRNGKeyArray) -> dict[str, Array]:
        found = net(self.x, paths=_CHOOSING, kl=None, throw=False, key=key)
        of_one = jax.vmap(jax.vmap(_LIKELIHOODS[self.target]), in_axes=(0, None))
        mean = jax.nn.logsumexp(of_one(found.values, self.y), axis=0) - math.log(_CHOOSING)
        return {"loss": -jnp.sum(self.weight * mean) / jnp.sum(self.weight)}


_LIKELIHOODS = {"classes": categorical_log_likelihood, "numbers": normal_log_likelihood}


def train(
    target: Target,
    lines: Lines,
    x: Float[np.ndarray, "n d"],
    y: np.ndarray,
    rows: Int[np.ndarray, " t"],
    choose: Int[np.ndarray, " m"],
    *,
    method: str,
    first: Trained | None,
    room: int,
    steps: int | None,
    seed: int,
    progress: bool | None,
) -> Trained | None:
    """A network, the one of all steps that does best on the rows to choose by.

    Args:
        target: what `y` is: classes from 0, or numbers of mean 0 and scale 1.
        lines: what the network is added to.
        x: standardised rows.
        y: their targets.
        rows: places of those to train on.
        choose: places of rows to choose the number of steps by; a noisy method takes all its steps.
        method: one of `METHODS`.
        first: what to go on from, for half as many steps, on all rows: those to choose by then say
            which of the last states is no chance one. None: begin, and leave them out.
        room: rows that there may be, so that one program serves the choice and the last training.
        steps: how many, or at most; None: so many that it seldom matters.
        seed: of all that is random.
        progress: as for `fit`.

    Returns:
        None where training failed.
    """
    if method in noisy.CURVATURES:
        return noisy.train(
            method, target, *lines, x, y, rows, room=room,
            steps=steps if first is None else first.steps, seed=seed, progress=progress,
        )  # fmt: skip
    steps = _STEPS if steps is None else max(1, steps)
    log_every = min(_LOG_EVERY, steps)
    if first is not None:
        steps = max(log_every, first.steps // 2)
    steps = steps // log_every * log_every
    key, fresh = (_key(k, seed) for k in (0, 1))
    weight, bias = (on_device(part.astype(np.float32)) for part in lines)
    if target == "numbers":
        y = y.astype(np.float32)
    places = np.resize(choose, max(256, power_of_two(len(choose))))
    counts = (np.arange(len(places)) < len(choose)).astype(np.float32)
    validation = _HeldOut(
        on_device(x[places].astype(np.float32)), on_device(y[places]), on_device(counts), target
    )
    taken = np.resize(rows, max(4096, _ROUNDS * power_of_two(room)))
    try:
        net, info = fit(
            _begin(weight, bias, fresh) if first is None else first.net,
            SDEBNNLoss(len(rows), log_likelihood=_LIKELIHOODS[target], paths=2),
            (x[taken].astype(np.float32), y[taken]),
            optimiser=optax.adam(_rate),
            clip_norm=1.0,
            optimiser_state=None if first is None else first.state,
            steps=steps,
            batch_size=_BATCH,
            validation=validation,
            patience=_PATIENCE if first is None else steps,
            log_every=log_every,
            rollbacks=3,
            progress=progress,
            key=key,
        )
    except TrainingError as error:
        told = "the network could not be trained, so the model is what it starts from: "
        warnings.warn(f"{told}{error}", ConvergenceWarning, stacklevel=4)
        return None
    before = 0 if first is None else first.steps
    return Trained(net, info.optimiser_state, before + int(info.best_step))


def _rate(step: ArrayLike) -> Array:
    """Of learning: the same at a step however many follow, as the last training stops anywhere."""
    return 1e-2 * jax.lax.rsqrt(1 + jnp.asarray(step, jnp.float32) / 100)


def _make(weight: Array, bias: Array, key: PRNGKeyArray) -> Net:
    outputs, width = weight.shape
    dtype = weight.dtype
    prior = OUPrior(sigma=jnp.asarray(_SIGMA, dtype), rate=jnp.asarray(1.0, dtype))
    own = mlp_sde_bnn(
        width, outputs, prior=prior, dim=_DIM, width=_WIDTH, steps=_EULER, dtype=dtype, key=key
    )
    head = lambda net: (net.head.weight, net.head.bias)
    return Net(eqx.tree_at(head, own, jax.tree.map(jnp.zeros_like, head(own))), weight, bias)


@eqx.filter_jit
def _begin(weight: Array, bias: Array, key: PRNGKeyArray) -> Net:
    """The network before the first step, which adds 0."""
    return _make(weight, bias, key)


def outputs(net: AnyNet, x: Float[np.ndarray, "n d"], seed: int) -> Float[np.ndarray, "paths n o"]:
    """What the network says on each path of its weights, to the bit whatever is beside a row."""
    if isinstance(net, noisy.NoisyNet):
        return noisy.outputs(net, x, seed)
    parts, key = [np.zeros((_PATHS, 0, net.bias.shape[0]))], _key(2, seed)
    for start, stop in chunks(len(x)):
        part = x[start:stop].astype(np.float32)
        filled = np.concatenate([part, np.repeat(part[:1], CHUNK - len(part), axis=0)])
        # The times of a solve, which are in double precision where that is on, move the last bits.
        with failures_are_nan(), jax.enable_x64(False):
            found = np.asarray(_outputs(net, on_device(filled), key), np.float64)
        parts.append(found[:, : stop - start])
    return np.concatenate(parts, axis=1)


def variances(log_scale: Float[np.ndarray, "*all"]) -> Float[np.ndarray, "*all"]:
    """Of outputs that are logarithms of deviations, held in as in training."""
    return np.exp(2 * np.clip(log_scale, _CLOSE, _FAR))


@eqx.filter_jit
def _outputs(net: Net, x: Array, key: PRNGKeyArray) -> Array:
    return net(x, paths=_PATHS, kl=None, throw=False, key=key).values


def _key(number: int, seed: int) -> PRNGKeyArray:
    return jr.wrap_key_data(on_device(np.asarray([number, seed], np.uint32)))


def from_arrays(arrays: dict[str, np.ndarray], method: str = "sde-bnn") -> AnyNet | None:
    """The network that had these arrays, or None.

    Raises:
        ValueError: they are not those of such a network.
    """
    if "net.weight" not in arrays:
        return None
    sizes = arrays["net.weight"].shape
    shape, static = noisy.shape_of(method, *sizes) if method in noisy.CURVATURES else _shape(*sizes)
    return eqx.combine(filled(shape, arrays), static)


@functools.lru_cache(maxsize=64)
def _shape(outputs: int, width: int) -> Any:
    """The shapes of a network's arrays, and what else it is made of."""
    given = (jax.ShapeDtypeStruct((outputs, width), np.float32),
             jax.ShapeDtypeStruct((outputs,), np.float32))  # fmt: skip
    rest = []  # a block keeps the shapes of its weights, which are no arrays of its own

    def arrays(weight: Array, bias: Array, key: PRNGKeyArray) -> Any:
        net = _make(weight, bias, key)
        rest.append(eqx.filter(net, eqx.is_array, inverse=True))
        return eqx.filter(net, eqx.is_array)

    return eqx.filter_eval_shape(arrays, *given, jr.key(0)), rest[0]


def check_settings(method: str, max_steps: int | None) -> None:
    """Raise ValueError for settings that do not fit."""
    if method not in METHODS:
        raise ValueError(
            f"`method` must be one of {', '.join(map(repr, METHODS))}, got {method!r}."
        )
    if max_steps is not None and max_steps < 0:
        raise ValueError(f"`max_steps` must be 0 or more, got {max_steps}.")

"""Rows in coordinates in which the model that is tested is simple."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._on_device import on_device
from pullback._solve_failures import failures_are_nan

from ._density import FlowDensity
from ._mixture import MixtureBase
from ._padded import CHUNK, chunks

DRAWS = 2000  # of a model, to show


class Side(NamedTuple):
    """What is tested, in coordinates in which the model is simple.

    Attributes:
        learn: rows to learn from.
        test: rows to test on.
        score: the model's.
        draw: as many rows of the model as there are to test on, treated as those are.
    """

    learn: Float[np.ndarray, "n d"]
    test: Float[np.ndarray, "m d"]
    score: Any
    draw: Callable[[], Float[np.ndarray, "m d"]]


class _NormalScore(eqx.Module):
    """The score of a standard normal."""

    def __call__(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        return -z


class _BaseScore(eqx.Module):
    """The score of the base of a flow, of columns that are the table's."""

    base: MixtureBase

    def __call__(self, u: Float[Array, " d"]) -> Float[Array, " d"]:
        more = self.base.shape[0] - u.shape[0]
        return jax.grad(lambda u: self.base.log_prob(jnp.pad(u, (0, more))))(u)


def gaussian_side(
    values: Float[np.ndarray, "n d"], cut: int, generator: np.random.RandomState
) -> tuple[Side, Any, Float[np.ndarray, "draws d"]]:
    """Rows whitened by their own moments, the draws like them: so their law hangs on no number."""

    def whitened(part: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mean = part.mean(axis=0)
        root = np.linalg.cholesky(np.atleast_2d(np.cov(part.T, bias=True)))
        return np.linalg.solve(root, (part - mean).T).T, mean, root

    (learn, _, _), (test, mean, root) = whitened(values[:cut]), whitened(values[cut:])
    draws = mean + generator.normal(size=(DRAWS, len(mean))) @ root.T
    blame = lambda field, parts: _turned(parts, root)
    side = Side(learn, test, _NormalScore(), lambda: whitened(generator.normal(size=test.shape))[0])
    return side, blame, draws


@eqx.filter_jit
def _to_base(flow: Any, z: Array) -> Array:
    return flow.inverse_and_log_det(z)[0]


@eqx.filter_jit
def _pulled(flow: Any, z: Array, field: Array) -> Array:
    return jax.vjp(lambda z: flow.inverse_and_log_det(z)[0], z)[1](field)[0]


@eqx.filter_jit
def _of_base(base: MixtureBase, key: PRNGKeyArray) -> Array:
    return base.sample(key, (CHUNK,))


def model_side(
    z: Float[np.ndarray, "n d"], cut: int, model: FlowDensity, generator: np.random.RandomState
) -> tuple[Side, Any]:
    """Rows in the coordinates of the flow's base, where only that need be asked."""
    flow: Any = model.flow_
    dim, wide = z.shape[1], flow.shape[0]

    def through(function: Any, *columns: np.ndarray) -> Float[np.ndarray, "n d"]:
        found = np.empty((len(columns[0]), dim))
        for start, stop in chunks(len(found)):
            places = np.minimum(np.arange(start, start + CHUNK), stop - 1)
            filled = [np.pad(c[places], ((0, 0), (0, wide - dim))) for c in columns]
            with failures_are_nan():
                part = function(flow, *(on_device(c.astype(np.float32)) for c in filled))
            found[start:stop] = np.asarray(part)[: stop - start, :dim]
        return found

    trained = model.n_steps_ > 0
    u = through(_to_base, z) if trained else z

    def blame(field: np.ndarray, parts: np.ndarray) -> Float[np.ndarray, " d"]:
        if not trained:
            return _turned(parts, np.linalg.inv(model.map_.whiten))
        # No one matrix turns a flow's coordinates: the critic's squares, brought back, must do.
        return np.mean((through(_pulled, z[cut:], field) @ model.map_.whiten) ** 2, axis=0)

    def draw() -> Float[np.ndarray, "m d"]:
        parts = [
            np.asarray(_of_base(flow.base, key_of(generator)))[: stop - start, :dim]
            for start, stop in chunks(len(u) - cut)
        ]
        return np.concatenate(parts)

    return Side(u[:cut], u[cut:], _BaseScore(flow.base), draw), blame


def key_of(generator: np.random.RandomState) -> PRNGKeyArray:
    """A key that is the generator's next."""
    return jr.wrap_key_data(on_device(np.asarray([0, generator.randint(2**31)], np.uint32)))


def _turned(
    parts: Float[np.ndarray, "d d"], turn: Float[np.ndarray, "d d"]
) -> Float[np.ndarray, " d"]:
    """What each column adds to the operator's mean, where columns are `turn` times coordinates."""
    return np.diag(np.linalg.solve(turn.T, parts) @ turn.T)

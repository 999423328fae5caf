"""The fields of `DynamicsModel`: polynomials and nets in units of their own, solved together."""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pullback._on_device import on_device
from pullback._solve_failures import failures_are_nan
from pullback.ode import Dopri5, solve, state_norm

from ._padded import CHUNK, chunks

Known = Callable[[Any, Any, Any], Any]

WIDTH = 32
LANES, TIMES = 16, 64  # starts and times that a program is asked of at once
_MOST_TERMS = 100


class Frame(NamedTuple):
    """The units in which a field is learned.

    Attributes:
        mean: of the columns.
        scale: of the columns.
        time: in which a column changes by its scale.
        low: of the box that trajectories lie in, and some more, in scales.
        high: likewise.
    """

    mean: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    time: Float[np.ndarray, ""]
    low: Float[np.ndarray, " d"]
    high: Float[np.ndarray, " d"]

    def to(self, ys: Float[np.ndarray, "*n d"]) -> Float[np.ndarray, "*n d"]:
        """Columns in these units."""
        return (ys - self.mean) / self.scale

    def back(self, zs: Float[np.ndarray, "*n d"]) -> Float[np.ndarray, "*n d"]:
        """Columns in the user's."""
        return self.mean + self.scale * zs


def orders_of(dim: int) -> int:
    """The degree of polynomials of so many columns: 3 of a few, 1 of many."""
    return next((order for order in (3, 2) if len(terms(dim, order)) <= _MOST_TERMS), 1)


@functools.lru_cache(maxsize=64)
def terms(dim: int, order: int) -> Int[np.ndarray, "terms order"]:
    """Which columns are multiplied in each term; 0 is the constant 1."""
    return np.asarray([*itertools.combinations_with_replacement(range(dim + 1), order)], np.int32)


@functools.lru_cache(maxsize=64)
def degrees(dim: int, order: int) -> Int[np.ndarray, " terms"]:
    """The degree of each term."""
    return (terms(dim, order) > 0).sum(axis=1)


def features(z: Float[np.ndarray, "n d"], frame: Frame, order: int) -> Float[np.ndarray, "n terms"]:
    """Those terms of degree `order` or less at places; above 1, of the nearest place of the box."""
    dim = z.shape[1]
    highest = orders_of(dim)
    degree, which = degrees(dim, highest), terms(dim, highest)
    found = np.empty((int((degree <= order).sum()), len(z)))
    columns, near = z.T, np.clip(z, frame.low, frame.high).T if order > 1 else z.T
    place = 0
    for each, factors in zip(degree, which, strict=True):
        if each > order:
            continue
        row = found[place]
        row[:] = 1
        for factor in factors[factors > 0]:
            row *= (near if each > 1 else columns)[factor - 1]
        place += 1
    return found.T


def _products(z: Float[Array, " d"], which: np.ndarray) -> Float[Array, " terms"]:
    return jnp.prod(jnp.concatenate([jnp.ones(1, z.dtype), z])[which], axis=-1)


class Net(eqx.Module):
    """Two hidden layers, and an end that starts as 0."""

    weights: list[Array]
    biases: list[Array]

    def __call__(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            z = jnp.tanh(weight @ z + bias)
        return self.weights[-1] @ z + self.biases[-1]


class Field(eqx.Module):
    r"""The rate of change of the columns, in the frame's units.

    $$ \frac{dz}{ds} = C^\top \phi(z) + n(z) + \frac{\tau}{\sigma} \odot g(t, \mu + \sigma z) $$

    Attributes:
        coefficients: C, a row for each term.
        net: n.
        active: 1 for each term that has a part.
        gate: 1 where the net has one.
        mean, scale, time, low, high: the frame.
        known: g, in the user's units, or None.
    """

    coefficients: Float[Array, "*stack terms d"]
    net: Net
    active: Float[Array, "*stack terms"]
    gate: Float[Array, "*stack"]
    mean: Float[Array, "*stack d"]
    scale: Float[Array, "*stack d"]
    time: Float[Array, "*stack"]
    low: Float[Array, "*stack d"]
    high: Float[Array, "*stack d"]
    known: Known | None = eqx.field(static=True)

    def __call__(self, t: Float[Array, ""], z: Float[Array, " d"]) -> Float[Array, " d"]:
        """dz/ds at the user's time t."""
        which = terms(z.shape[0], orders_of(z.shape[0]))
        near = jnp.clip(z, self.low, self.high)
        many = on_device((which > 0).sum(axis=1) > 1)
        phi = jnp.where(many, _products(near, which), _products(z, which))
        rate = (self.active * phi) @ self.coefficients + self.gate * self.net(near)
        if self.known is None:
            return rate
        found = known_rate(self.known, t, self.mean + self.scale * z)
        return rate + found * self.time / self.scale


def known_rate(known: Known, t: Float[Array, ""], y: Float[Array, " d"]) -> Float[Array, " d"]:
    """The known part of the field, whatever a function of the user's makes of it.

    Raises:
        ValueError: it is no vector of the state's shape.
    """
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        found = jnp.asarray(known(t, y, None))
    if found.shape != y.shape:
        raise ValueError(
            "`known` must give the rate of change of a state, a vector of shape "
            f"{list(y.shape)}; it gave shape {list(found.shape)}."
        )
    return found.astype(y.dtype)


FIXED = ("active", "gate", *Frame._fields)  # what is not trained


def stacked(
    coefficients: Float[np.ndarray, "k terms d"],
    net: list[np.ndarray],
    frame: Frame,
    known: Known | None,
    *,
    order: int,
    gate: float,
) -> Field:
    """Fields of the same frame, each array with a leading axis.

    Args:
        coefficients: of each.
        net: weights, then biases, of each.
        frame: of all.
        known: of all.
        order: the degree of the polynomial.
        gate: 1 where the nets have a part.
    """
    count, _, dim = coefficients.shape
    put = lambda array: on_device(np.ascontiguousarray(array, np.float32))
    half = len(net) // 2
    active = degrees(dim, orders_of(dim)) <= order
    fixed: Any = {"active": active, "gate": gate, **frame._asdict()}
    same: Any = {
        name: put(np.broadcast_to(part, (count, *np.shape(part)))) for name, part in fixed.items()
    }
    nets = Net([*map(put, net[:half])], [*map(put, net[half:])])
    return Field(coefficients=put(coefficients), net=nets, known=known, **same)


def trained_parts(fields: Field) -> list[np.ndarray]:
    """The coefficients, the weights and the biases, on the host."""
    return [np.asarray(x) for x in (fields.coefficients, *fields.net.weights, *fields.net.biases)]


def fresh_nets(count: int, dim: int, generator: np.random.RandomState) -> list[np.ndarray]:
    """Weights and biases of nets that are 0."""
    sizes = [(WIDTH, dim), (WIDTH, WIDTH), (dim, WIDTH)]
    weights = [generator.normal(size=(count, *s)) / np.sqrt(s[1]) for s in sizes]
    biases = [generator.uniform(-0.5, 0.5, (count, s[0])) for s in sizes]
    weights[-1][:], biases[-1][:] = 0, 0
    return weights + biases


def flow(
    field: Field, first: Float[Array, " n"], z: Float[Array, "n d"], since: Float[Array, "n t"],
    **how: Any,
) -> Float[Array, "n t d"]:  # fmt: skip
    """Paths from starts at their first times, at times since then in the frame's unit."""

    def rate(s: Array, state: tuple[Array, Array], field: Field) -> tuple[Array, Array]:
        z, first = state
        return field(first + s * field.time, z), jnp.zeros_like(first)

    found = solve(
        rate, (z, first), since, field, stepping="per_sample", norm=state_norm, throw=False, **how
    )
    return found.ys[0]


@eqx.filter_jit
def _paths(fields: Field, first: Array, z: Array, since: Array) -> Array:
    one = lambda field, z: flow(field, first, z, since, solver=Dopri5(), rtol=1e-5, atol=1e-6)
    return eqx.filter_vmap(one)(fields, z)


def paths(
    fields: Field, frame: Frame, y0: Float[np.ndarray, "n d"], ts: Float[np.ndarray, "n t"]
) -> Float[np.ndarray, "k n t d"]:
    """The path of each field from each start, in the user's units; NaN from where a solve failed.

    Args:
        fields: stacked.
        frame: theirs.
        y0: states at the first times.
        ts: for each start times that all rise or all fall.
    """
    count, members = len(y0), fields.coefficients.shape[0]
    found = np.empty((members, count, ts.shape[1], y0.shape[1]))
    found[:, :, 0] = y0
    for low in range(0, count, LANES):
        rows = np.minimum(np.arange(low, low + LANES), count - 1)
        here = slice(low, min(low + LANES, count))
        z = np.broadcast_to(frame.to(y0[rows]), (members, LANES, y0.shape[1]))
        for start in range(0, ts.shape[1] - 1, TIMES):
            places = np.minimum(np.arange(start, start + TIMES + 1), ts.shape[1] - 1)
            since = (ts[rows][:, places] - ts[rows, start][:, None]) / frame.time
            arrays = (ts[rows, start], z, since)
            # Of the process's precision nothing may hang.
            with failures_are_nan(), jax.enable_x64(False):
                part = _paths(fields, *(on_device(a.astype(np.float32)) for a in arrays))
            part = np.asarray(part, np.float64)
            stop = min(start + TIMES, ts.shape[1] - 1)
            found[:, here, start + 1 : stop + 1] = frame.back(
                part[:, : here.stop - low, 1 : stop - start + 1]
            )
            z = part[:, :, -1]
    return found


@eqx.filter_jit
def _rates(fields: Field, ts: Array, zs: Array) -> Array:
    one = lambda field: jax.vmap(field)(ts, zs)
    return eqx.filter_vmap(one)(fields)


def rates(
    fields: Field, frame: Frame, ts: Float[np.ndarray, " n"], ys: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "n d"]:
    """The mean of fields, in the user's units."""
    found = np.empty_like(ys)
    for start, stop in chunks(len(ts)):
        places = np.minimum(np.arange(start, start + CHUNK), len(ts) - 1)
        arrays = (on_device(a[places].astype(np.float32)) for a in (ts, frame.to(ys)))
        with jax.enable_x64(False):
            part = np.asarray(_rates(fields, *arrays), np.float64).mean(axis=0)
        found[start:stop] = part[: stop - start]
    return found * frame.scale / frame.time

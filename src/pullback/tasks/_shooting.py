"""Training of fields by multiple shooting: short pieces of trajectories that must join."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._on_device import on_device
from pullback.ode import Bosh3
from pullback.train import fit

from ._field import FIXED, Field, Frame, flow
from ._padded import power_of_two
from ._smooth import Smooth

PIECE = 8  # intervals of a window
_BATCH = 64  # windows a step
_JOIN = 4.0  # weight of a gap between windows, beside a value's error


class Windows(NamedTuple):
    """Pieces of trajectories, in the frame's units, each with the first point of the next.

    Attributes:
        first: the user's time of each window's start.
        since: times since then.
        ys: states; 0 where none was measured.
        weight: of each value: 0 where there is none.
        start: the smooth path at the start.
        end: that path at the start of the next window, the last time; of the last window, 0.
        joined: 1 where there is a next window.
        own: 1 where the start is learned.
        place: of the window among the learned starts.
        following: of the next window.
    """

    first: Float[np.ndarray, " w"]
    since: Float[np.ndarray, "w t"]
    ys: Float[np.ndarray, "w t d"]
    weight: Float[np.ndarray, "w t d"]
    start: Float[np.ndarray, "w d"]
    end: Float[np.ndarray, "w d"]
    joined: Float[np.ndarray, " w"]
    own: Float[np.ndarray, " w"]
    place: Int[np.ndarray, " w"]
    following: Int[np.ndarray, " w"]


def windows(parts: list[Smooth], frame: Frame, *, own: bool) -> Windows:
    """The windows of trajectories, one after another; each but the last ends where the next starts.

    Args:
        parts: trajectories with smooth paths.
        frame: units.
        own: whether starts are learned and windows joined.
    """
    found = []
    for part in parts:
        ts, ys = part.path.ts, frame.to(part.path.ys)
        clean = frame.to(part.ys)
        starts = range(0, max(1, len(ts) - 1), PIECE)
        for start in starts:
            stop = min(start + PIECE, len(ts) - 1)
            places = np.minimum(np.arange(start, start + PIECE + 1), stop)
            there = ~np.isnan(ys[places]) & (np.arange(PIECE + 1) <= stop - start)[:, None]
            joined = own and stop < len(ts) - 1
            if joined:  # the last point is the next one's first
                there[-1] = False
            number = len(found)
            found.append(
                (
                    ts[start], (ts[places] - ts[start]) / frame.time,
                    np.where(there, ys[places], 0), there, clean[start],
                    clean[stop], joined, own, number, number + 1 if joined else number,
                )
            )  # fmt: skip
    columns = [np.asarray(column) for column in zip(*found, strict=True)]
    return Windows(*(c if c.dtype.kind == "i" else c.astype(np.float32) for c in columns))


def filled(pieces: Windows, least: int) -> Windows:
    """As many as the next power of two: those added weigh nothing."""
    count = len(pieces.first)
    size = max(least, power_of_two(count))
    found = Windows(*(np.resize(column, (size, *column.shape[1:])) for column in pieces))
    added = np.arange(size) >= count
    found.weight[added], found.joined[added] = 0, 0
    # The mean over all is that over those that count.
    scale = np.float32(size / max(found.weight.sum(), 1))
    return found._replace(
        weight=found.weight * scale, joined=found.joined * scale,
        place=found.place.astype(np.int32), following=found.following.astype(np.int32),
    )  # fmt: skip


class Shot(eqx.Module):
    """What is trained: a field, and how far windows' starts lie from the smooth paths."""

    field: Field
    starts: Float[Array, "*stack w d"]


class ShootingLoss(eqx.Module):
    """The squared errors of windows, and of the gaps between them.

    Attributes:
        weights: of the windows, drawn anew for each member of an ensemble.
        steps: solver steps from one time to the next.
    """

    weights: Float[Array, "*stack w"]
    steps: int = eqx.field(static=True)

    def __call__(
        self, model: Shot, batch: Windows, *, key: PRNGKeyArray
    ) -> tuple[Array, dict[str, Array]]:
        own = jnp.asarray(batch.own)[:, None]
        start = jnp.asarray(batch.start) + own * model.starts[batch.place]
        end = batch.end + own * model.starts[batch.following]
        first, since = jnp.asarray(batch.first), jnp.asarray(batch.since)
        found = flow(model.field, first, start, since, solver=Bosh3(), steps=self.steps)
        weight = jnp.where(batch.own > 0, self.weights[batch.place], 1)
        apart = jnp.sum(batch.weight * (found - batch.ys) ** 2, axis=(1, 2))
        gaps = batch.joined * jnp.sum((found[:, -1] - end) ** 2, axis=1)
        return jnp.mean(weight * apart + _JOIN * gaps), {}


class Training(NamedTuple):
    """How fields are trained.

    Attributes:
        steps: of the optimiser.
        substeps: of the solver, from one time to the next.
        rate: of learning, at first; at the last step it is 0.
        log_every: steps between two looks at the held-out windows.
    """

    steps: int
    substeps: int
    rate: float = 1e-2
    log_every: int = 50


def train(
    fields: Field,
    shots: Windows,
    held_out: Windows,
    weights: Float[np.ndarray, "k w"],
    plan: Training,
    *,
    seed: int,
    progress: bool | None,
) -> tuple[Field, int]:
    """Fields, one for each row of weights, that do best on the windows held out.

    Returns:
        Them, and the steps taken.

    Raises:
        TrainingError: some could not be trained.
    """
    size = len(shots.first)
    starts = on_device(np.zeros((len(weights), size, shots.start.shape[1]), np.float32))
    model = Shot(fields, starts)
    trainable = jax.tree.map(lambda _: True, model)
    for name in FIXED:
        trainable = eqx.tree_at(lambda m, name=name: getattr(m.field, name), trainable, False)
    drawn = np.ones((len(weights), size), np.float32)
    drawn[:, : weights.shape[1]] = weights
    keys = np.asarray([[k, seed] for k in range(len(weights))], np.uint32)
    model, info = fit(
        model,
        ShootingLoss(on_device(drawn), plan.substeps),
        shots,
        optimiser=optax.adam(optax.cosine_decay_schedule(plan.rate, plan.steps)),
        steps=plan.steps,
        batch_size=min(_BATCH, size),
        clip_norm=1.0,
        trainable=trainable,
        validation=held_out,
        patience=6,
        log_every=plan.log_every,
        rollbacks=3,
        progress=progress,
        key=jr.wrap_key_data(on_device(keys)),
    )
    return model.field, int(np.max(np.asarray(info.step)))

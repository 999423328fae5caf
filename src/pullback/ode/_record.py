"""What a solve keeps of its way: the last states, and some of those before."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from pullback._lanes import State, put, take

from ._method import Method, Record, Recorder


def empty_record(method: Method, recorder: Recorder, t: Array, y: State) -> Record:
    """Room for it."""

    def many(n: int, x: Array) -> Array:
        return jnp.zeros((n, *x.shape), x.dtype)

    return Record(
        ring_t=many(recorder.segment, t),
        ring_y=jax.tree.map(lambda x: many(recorder.segment, x), y),
        held_step=jnp.full(recorder.checkpoints, -1, jnp.int32),
        held_t=many(recorder.checkpoints, t),
        held_y=jax.tree.map(lambda x: many(recorder.checkpoints, x), y),
        stride=jnp.asarray(recorder.segment, jnp.int32),
        h=many(method.max_steps, t),
    )


def checkpoint(
    recorder: Recorder, record: Record | None, slot: Array, t: Array, y: State
) -> Record:
    """Hold the state at this multiple of `segment` steps.

    When all places are taken the stride doubles, and every other state held gives up its place.
    """
    if record is None:
        raise ValueError("a checkpoint needs a record")
    full = jnp.all((record.held_step >= 0) & (record.held_step % record.stride == 0))
    stride = jnp.where(full, 2 * record.stride, record.stride)
    free = (record.held_step < 0) | (record.held_step % stride != 0)
    place = jnp.argmax(free)
    wanted = slot % stride == 0
    keep = lambda new, old: jax.tree.map(lambda n, o: jnp.where(wanted, n, o), new, old)
    return record._replace(
        stride=stride,
        held_step=record.held_step.at[place].set(jnp.where(wanted, slot, record.held_step[place])),
        held_t=put(record.held_t, keep(t, take(record.held_t, place)), place),
        held_y=put(record.held_y, keep(y, take(record.held_y, place)), place),
    )

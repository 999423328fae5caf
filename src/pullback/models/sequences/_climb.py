"""Many searches for sequences side by side, up the slope of a score, as one program."""

import abc
from collections.abc import Callable
from typing import Any, NoReturn

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from pullback._numbers import check_number
from pullback._traced import compiled
from pullback.data import from_one_hot
from pullback.models.sequences._designs import Designs
from pullback.models.sequences._objective import Score, members_of
from pullback.models.sequences._pattern import Pattern
from pullback.train import TrainingError, apply_gradient, iterate


class AbstractSpace(eqx.Module):
    """What a search may change, of one design, and the sequence that it stands for."""

    @abc.abstractmethod
    def decode(self, free: PyTree) -> Float[Array, "length letters"]:
        """The sequence between letters."""

    @abc.abstractmethod
    def value(
        self, score: Score, free: PyTree, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """What is maximised, and the score alone."""

    @abc.abstractmethod
    def project(self, free: PyTree) -> PyTree:
        """The nearest that is allowed."""


class Held(eqx.Module):
    """Places whose letters are given."""

    rows: Float[Array, "length letters"]
    given: Float[Array, " length"]

    @classmethod
    def of(cls, fixed: Pattern, letters: int, dtype: Any) -> "Held":
        return cls(fixed.one_hot(letters, dtype), jnp.asarray(~fixed.free, dtype))

    def __call__(self, x: Float[Array, "length letters"]) -> Float[Array, "length letters"]:
        return jnp.where(self.given[:, None] > 0, self.rows, x)


class _Climbed(eqx.Module):
    free: PyTree
    optimiser: PyTree
    units: Float[Array, " count"]
    trajectory: Float[Array, "step count"]
    step: Int[Array, ""]


class _Climb(eqx.Module):
    """One step of all searches."""

    score: Score
    space: AbstractSpace
    optimiser: optax.GradientTransformation

    def start(self, free: PyTree, steps: int) -> _Climbed:
        leaf = jax.tree.leaves(free)[0]
        trajectory = jnp.zeros((steps, leaf.shape[0]), leaf.dtype)
        units, step = jnp.zeros(leaf.shape[0], leaf.dtype), jnp.asarray(0, jnp.int32)
        return _Climbed(free, self.optimiser.init(free), units, trajectory, step)

    def __call__(
        self, now: _Climbed, batch: None, *, key: PRNGKeyArray
    ) -> tuple[_Climbed, dict[str, Array]]:
        def loss(free: PyTree, key: Array) -> tuple[Array, Array]:
            aim, value = self.space.value(self.score, free, key=key)
            return -aim, value

        keys = jr.split(key, now.trajectory.shape[1])
        slopes, values = jax.vmap(jax.grad(loss, has_aux=True))(now.free, keys)
        units = jnp.maximum(now.units, _largest(slopes))
        by = 1 / jnp.where(units > 0, units, 1)
        moments = _rescaled(now.optimiser, now.units * by)
        free, optimiser = apply_gradient(self.optimiser, _times(slopes, by), moments, now.free)
        free = jax.vmap(self.space.project)(free)
        trajectory = now.trajectory.at[now.step].set(values.astype(now.trajectory.dtype))
        broken = [jnp.any(~jnp.isfinite(leaf)) for leaf in jax.tree.leaves(free)]
        metrics = {"score": jnp.mean(values), "diverged": jnp.any(jnp.stack(broken))}
        return _Climbed(free, optimiser, units, trajectory, now.step + 1), metrics


# Adam adds a small number to every deviation, which is nothing beside the slopes of one score and
# everything beside those of another. So the slopes of each search are told in the largest that it
# has met, as a power of two, by which nothing is rounded.
def _largest(slopes: PyTree) -> Float[Array, " count"]:
    sizes = [
        jnp.max(jnp.abs(leaf), axis=tuple(range(1, leaf.ndim))) for leaf in jax.tree.leaves(slopes)
    ]
    size = jnp.max(jnp.stack(sizes), axis=0)
    return jnp.where(size > 0, jnp.ldexp(jnp.ones_like(size), jnp.frexp(size)[1]), size)


def _rescaled(state: Any, by: Float[Array, " count"]) -> Any:
    """The state of Adam, its moments in another unit."""
    adam, *rest = state
    return adam._replace(mu=_times(adam.mu, by), nu=_times(adam.nu, by**2)), *rest


def _times(rows: PyTree, by: Float[Array, " count"]) -> PyTree:
    return jax.tree.map(lambda leaf: leaf * by.reshape(-1, *[1] * (leaf.ndim - 1)), rows)


def climb_all(
    score: Score,
    space: AbstractSpace,
    free: PyTree,
    *,
    alphabet: str,
    steps: int,
    learning_rate: float,
    z: Callable[[PyTree], Array] | None = None,
    key: PRNGKeyArray,
) -> Designs:
    """The designs at which the searches end that start at `free`, which has them in front."""
    _refuse_traced((score, space, free, key))
    step = _Climb(score, space, optax.adam(learning_rate))
    try:
        state, _ = iterate(
            step, step.start(free, steps), steps=steps, log_every=steps, progress=False, key=key
        )
    except TrainingError as error:
        _refuse(f"at step {error.step} of {steps} ", error)
    members = members_of(score)
    soft, one_hot, score_soft, value, told = _read(score, members, space, state.free)
    if not np.all(np.isfinite(value)):
        _refuse("of a one-hot string ", None)
    order = jnp.argsort(-value, stable=True)
    return Designs(
        letters=tuple(from_one_hot(one_hot[order], alphabet)),
        one_hot=one_hot[order],
        soft=soft[order],
        score=value[order],
        score_soft=score_soft[order],
        members=None if told is None else told[order],
        z=None if z is None else z(state.free)[order],
        trajectory=state.trajectory[:, order],
    )


def _refuse_traced(given: PyTree) -> None:
    # Within `jit` every new array is traced, also where nothing that is handed over is.
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((given, jnp.zeros(())))):
        raise TypeError(
            "a search was called within `jax.jit`, `vmap` or a gradient: it compiles its own steps "
            "and ranks strings on the host, so call it by itself; `count` makes many designs at "
            "once."
        )


def _refuse(where: str, cause: Exception | None) -> NoReturn:
    raise ValueError(
        f"`score`, or its slope, {where}is not finite: look at what it divides by and takes the "
        "logarithm of, or lower `learning_rate`."
    ) from cause


@compiled
def _read(
    score: Score, members: Callable[[Array], Array] | None, space: AbstractSpace, free: PyTree
) -> tuple[Array, Array, Array, Array, Array | None]:
    """The sequences between letters, the strings, and what is said of either."""
    soft = jax.vmap(space.decode)(free)
    one_hot = jax.nn.one_hot(jnp.argmax(soft, axis=-1), soft.shape[-1], dtype=soft.dtype)
    told = None if members is None else jax.vmap(members)(one_hot)
    return soft, one_hot, jax.vmap(score)(soft), jax.vmap(score)(one_hot), told


def check_rate(learning_rate: float) -> None:
    check_number("learning_rate", learning_rate, "positive", lambda value: value > 0)


def dtype_of(*trees: PyTree) -> Any:
    """That of the arrays that a model is made of; JAX's default float where it has none."""
    found = [leaf.dtype for leaf in jax.tree.leaves(trees) if eqx.is_inexact_array(leaf)]
    return found[0] if found else jnp.zeros(()).dtype

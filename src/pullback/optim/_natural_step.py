"""A step of natural-gradient variational inference."""

import math
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from pullback.nn import Factors, layer_factors
from pullback.optim._by_place import parts_of, put
from pullback.optim._curvature import AbstractCurvature, moving_average
from pullback.optim._likelihood import Likelihood
from pullback.train import apply_gradient

Draws = Literal["example", "batch"]


class Weighing(eqx.Module):
    r"""How the data, the prior and the noise of the weights are weighed.

    Attributes:
        intrinsic: $\lambda / (N \eta)$.
        damping: what comes to it in steps.
        scale: $\sqrt{\lambda / N}$.
    """

    intrinsic: Float[Array, ""]
    damping: float = eqx.field(static=True)
    scale: Float[Array, ""]

    @classmethod
    def of(
        cls, rows: int, *, prior_variance: float, kl_weight: float, damping: float
    ) -> "Weighing":
        """Those of so many rows: arrays, so that one program serves any of them."""
        intrinsic, scale = kl_weight / (rows * prior_variance), math.sqrt(kl_weight / rows)
        return cls(jnp.asarray(intrinsic, float), damping, jnp.asarray(scale, float))

    def prepare(self, curvature: AbstractCurvature, statistics: PyTree) -> PyTree:
        """What a curvature makes of its average."""
        return curvature.prepare(
            statistics, intrinsic=self.intrinsic, damping=self.damping, scale=self.scale
        )


class Inferred(eqx.Module):
    """What a step changes.

    Attributes:
        model: the mean of the posterior.
        optimiser: the optimiser's state.
        first: what stands for the curvature before it is measured.
        statistics: of the curvature, 0 at first.
        prepared: what the curvature made of an earlier average.
        step: how many were taken.
        measured: how often the curvature was measured.
        left: the share of `first` in what steps are taken by.
    """

    model: PyTree
    optimiser: PyTree
    first: PyTree
    statistics: PyTree
    prepared: PyTree
    step: Int[Array, ""]
    measured: Int[Array, ""]
    left: Float[Array, ""]

    @property
    def curvature(self) -> PyTree:
        """What steps are taken by: the average, and what is left of the start.

        Few examples say nothing of many directions, in which steps and draws would be wild.
        """
        mix = lambda average, first: average + self.left.astype(average.dtype) * (first - average)
        return jax.tree.map(mix, self.statistics, self.first)

    @property
    def settled(self) -> PyTree:
        """What the posterior is drawn by: the start, left in it, would count as data.

        Half of it is left after each measurement, for runs that end after a few.
        """
        left = jnp.exp2(-self.measured.astype(float))
        add = lambda average, first: average + left.astype(average.dtype) * first
        return jax.tree.map(add, self.statistics, self.first)


class NaturalStep(eqx.Module):
    """A natural-gradient step of the mean, and now and then of the curvature."""

    likelihood: Callable[[Any], Any]
    curvature: AbstractCurvature
    optimiser: Any
    weighing: Weighing
    statistics_every: int = eqx.field(static=True)
    inverse_every: int = eqx.field(static=True)
    draws: Draws = eqx.field(static=True)
    exclude: tuple[str, ...] = eqx.field(static=True)

    def start(self, model: PyTree, batch: PyTree, key: PRNGKeyArray) -> Inferred:
        """The state before the first step."""
        factors = factors_of(Likelihood(self.likelihood), model, batch, self.exclude, key)
        first = self.curvature.start(factors)
        optimiser = self.optimiser.init(eqx.filter(model, eqx.is_inexact_array))
        zero = jnp.asarray(0, jnp.int32)
        statistics = jax.tree.map(jnp.zeros_like, first)
        prepared = self.weighing.prepare(self.curvature, first)
        return Inferred(model, optimiser, first, statistics, prepared, zero, zero, jnp.ones(()))

    def __call__(
        self, state: Inferred, batch: PyTree, *, key: PRNGKeyArray
    ) -> tuple[Inferred, dict[str, Array]]:
        keys = jr.split(key, 2)
        state = self._with_curvature(state, batch, keys[0])
        factors = self._factors(state, batch, keys[1], drawn=False)
        params = eqx.filter(state.model, eqx.is_inexact_array)
        # The prior's pull is that of the mean, which that of a draw is on average.
        pull = lambda slope, mean: slope + self.weighing.intrinsic.astype(mean.dtype) * mean
        slope = jax.tree.map(pull, factors.gradient(), params)
        direction = self.curvature.solve(state.prepared, slope)
        loss = jnp.mean(factors.losses)
        model, optimiser = apply_gradient(
            self.optimiser, direction, state.optimiser, state.model, loss=loss
        )
        moved = [
            jnp.all(jnp.isfinite(x))
            for x in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
        ]
        diverged = ~jnp.all(jnp.stack(moved))
        changed = lambda s: (s.model, s.optimiser, s.step)
        new = eqx.tree_at(changed, state, (model, optimiser, state.step + 1))
        return new, {"loss": loss, "diverged": diverged}

    def _with_curvature(self, state: Inferred, batch: PyTree, key: PRNGKeyArray) -> Inferred:
        def measured(state: Inferred) -> Inferred:
            factors = self._factors(state, batch, key, drawn=True)
            count = state.measured.astype(factors.losses.dtype)
            share = jnp.maximum(self.curvature.rate, 1 / (count + 1))
            found = self.curvature.measure(factors)
            statistics = moving_average(state.statistics, found, share)
            rate = jnp.asarray(self.curvature.rate, state.left.dtype)
            left = state.left * (1 - jnp.maximum(rate, 1 / (state.measured.astype(rate.dtype) + 2)))
            changed = lambda s: (s.statistics, s.measured, s.left)
            return eqx.tree_at(changed, state, (statistics, state.measured + 1, left))

        def refreshed(state: Inferred) -> Inferred:
            prepared = self.weighing.prepare(self.curvature, state.curvature)
            return eqx.tree_at(lambda s: s.prepared, state, prepared)

        state = _now_and_then(state, self.statistics_every, measured)
        return _now_and_then(state, self.inverse_every, refreshed)

    def _factors(
        self, state: Inferred, batch: PyTree, key: PRNGKeyArray, *, drawn: bool
    ) -> Factors:
        """Each example's gradient at weights drawn from the posterior."""
        loss = Likelihood(self.likelihood, drawn)
        weights, key = jr.split(key)
        model = self.curvature.draw(state.prepared, state.model, key=weights)
        if self.draws == "batch":
            return factors_of(loss, model, batch, self.exclude, key)
        dense = _dense(state.model)
        shape = jax.eval_shape(
            lambda k: self.curvature.noise(state.prepared, exact=drawn, key=k), weights
        )
        if shape is not None:  # what has noise of its own in each example stays at its mean
            names = [name for name in shape if name in dense]
            model = put(model, parts_of(state.model, names)) if names else model

        def of_one(row: PyTree, key: PRNGKeyArray) -> Factors:
            weights, key = jr.split(key)
            row = jax.tree.map(lambda leaf: leaf[None], row)
            if shape is None:
                own = self.curvature.draw(state.prepared, state.model, key=weights)
                return factors_of(loss, own, row, self.exclude, key)
            noise = self.curvature.noise(state.prepared, exact=drawn, key=weights) or {}
            noise = {
                name: jax.tree.map(lambda leaf: leaf[None], each)
                for name, each in noise.items()
                if name in dense
            }
            return factors_of(loss, model, row, self.exclude, key, noise)

        count = jax.tree.leaves(batch)[0].shape[0]
        found = jax.vmap(of_one)(batch, jr.split(key, count))
        return jax.tree.map(lambda leaf: leaf[:, 0], found)


def as_inferred(model: PyTree) -> PyTree:
    """The model in inference mode, with arrays of JAX's, to which alone a derivative comes."""
    model = jax.tree.map(
        lambda leaf: jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf, model
    )
    return eqx.nn.inference_mode(model)


def factors_of(
    loss: Likelihood,
    model: PyTree,
    batch: PyTree,
    exclude: tuple[str, ...],
    key: PRNGKeyArray,
    noise: Any = None,
) -> Factors:
    """The gradients of each example, of a model that may have no known layer."""
    if _has_layers(model):
        return layer_factors(loss, model, batch, noise=noise, exclude=exclude, key=key)
    if exclude:
        raise ValueError(f"`exclude` names {exclude[0]!r}, which is no layer: `model` has none.")
    params, rest = eqx.partition(model, eqx.is_inexact_array)

    def of_one(params: PyTree, row: PyTree, key: PRNGKeyArray) -> Array:
        row = jax.tree.map(lambda leaf: leaf[None], row)
        return loss(eqx.combine(params, rest), row, key=key)[0]

    keys = jr.split(key, jax.tree.leaves(batch)[0].shape[0])
    pulled = jax.vmap(jax.value_and_grad(of_one), in_axes=(None, 0, 0))
    return Factors(*pulled(params, batch, keys))


def _has_layers(model: PyTree) -> bool:
    return any(map(_is_layer, jax.tree.leaves(model, is_leaf=_is_layer)))


def _dense(model: PyTree) -> set[str]:
    """The places of dense layers."""
    found = jtu.tree_leaves_with_path(model, is_leaf=_is_layer)
    return {jtu.keystr(path) for path, node in found if isinstance(node, eqx.nn.Linear)}


def _is_layer(node: Any) -> bool:
    return isinstance(node, eqx.nn.Linear | eqx.nn.Conv2d)


def _now_and_then(state: Inferred, every: int, change: Callable[[Inferred], Inferred]) -> Inferred:
    if every == 1:
        return change(state)
    arrays, rest = eqx.partition(state, eqx.is_array)
    changed = lambda arrays: eqx.filter(change(eqx.combine(arrays, rest)), eqx.is_array)
    arrays = jax.lax.cond(state.step % every == 0, changed, lambda arrays: arrays, arrays)
    return eqx.combine(arrays, rest)

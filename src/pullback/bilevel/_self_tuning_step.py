"""A step of self-tuning: of the weights, and now and then of the hyperparameters."""

import functools
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from pullback._leading_axis import leading_axis
from pullback.bilevel._checks import SELF_TUNING, check_enters, value_of
from pullback.bilevel._coordinates import coordinates, moved, shared_by_batch
from pullback.nn import (
    AbstractHyperLayer,
    freeze_response,
    linearised,
    respond,
    response_parameters,
)
from pullback.train import apply_gradient


class SelfTuned(eqx.Module):
    """What a step changes.

    `width` is the unconstrained coordinate of the scale of perturbations.
    """

    model: PyTree
    hyper: PyTree
    width: Float[Array, " count"]
    optimiser: PyTree
    hyper_optimiser: PyTree
    count: Int[Array, ""]


class SelfTuningStep(eqx.Module):
    """The step, with what stays as it is."""

    inner: Callable[..., Any]
    outer: Callable[..., Any]
    optimiser: Any
    hyper_optimiser: Any
    centred: bool = eqx.field(static=True)
    linearised: bool = eqx.field(static=True)
    inner_steps: int = eqx.field(static=True)
    warmup: int = eqx.field(static=True)
    entropy: float | None = eqx.field(static=True)

    def start(self, model: PyTree, hyper: PyTree, scale: Float[Array, " count"]) -> SelfTuned:
        """The state before the first step."""
        width = scale + jnp.log(-jnp.expm1(-scale))
        with jax.numpy_dtype_promotion("standard"):
            state = self.optimiser.init(_trained(model))
            tuned = (eqx.filter(hyper, eqx.is_inexact_array), width)
            hyper_state = self.hyper_optimiser.init(tuned)
        count = jnp.zeros((), jnp.int32)
        as_arrays = lambda tree: jax.tree.map(jnp.asarray, tree)
        return SelfTuned(model, hyper, width, as_arrays(state), as_arrays(hyper_state), count)

    def __call__(
        self, now: SelfTuned, batches: dict[str, PyTree], *, key: PRNGKeyArray
    ) -> tuple[SelfTuned, dict[str, Array]]:
        keys = jr.split(key)
        model = centre(now.model)
        of = lambda name, loss, batch: (
            lambda hyper: value_of(name, loss, model, hyper, batch, key=key)[0]
        )
        check_enters(
            {
                "`inner`": of("inner", self.inner, batches["train"]),
                "`outer`": of("outer", self.outer, batches["validation"]),
            },
            now.hyper,
            remedy=SELF_TUNING,
        )
        now, metrics = self.train(now, batches["train"], key=keys[0])
        due = (now.count % self.inner_steps == 0) & (now.count > self.warmup)
        arrays, rest = eqx.partition((now.hyper, now.width, now.hyper_optimiser), eqx.is_array)

        def step(arrays: PyTree) -> PyTree:
            new = self.tune(now, batches["validation"], key=keys[1])
            return eqx.filter(new, eqx.is_array)

        found = jax.lax.cond(due, step, lambda arrays: arrays, arrays)
        hyper, width, state = eqx.combine(found, rest)
        parts = lambda now: (now.hyper, now.width, now.hyper_optimiser)
        return eqx.tree_at(parts, now, (hyper, width, state)), metrics

    def train(
        self, now: SelfTuned, batch: PyTree, *, key: PRNGKeyArray
    ) -> tuple[SelfTuned, dict[str, Array]]:
        """A step of the weights."""
        keys = jr.split(key)
        params, rest = _trained(now.model), now.model
        marks = response_parameters(now.model)
        response, general = eqx.partition(params, marks)

        def plain(general: PyTree) -> tuple[Array, dict[str, Array]]:
            model = centre(eqx.combine(general, rest))
            return value_of("inner", self.inner, model, now.hyper, batch, key=keys[0])

        def perturbed(params: PyTree) -> tuple[Array, dict[str, Array]]:
            model = eqx.combine(params, rest)
            scale = jax.nn.softplus(now.width)
            return self.expected("inner", self.inner, model, now.hyper, scale, batch, key=keys[1])

        slope = lambda of: jax.value_and_grad(of, has_aux=True)
        if self.centred:
            # The general part at the hyperparameters as they are, so that perturbations do not
            # blur it, and the response alone by what they change.
            (loss, metrics), gradient = slope(plain)(general)
            (response_loss, _), of_response = slope(perturbed)(response)
            gradient = eqx.combine(gradient, of_response)
            metrics = {**metrics, "response_loss": response_loss}
        else:
            (loss, metrics), gradient = slope(perturbed)(params)
        params, state = apply_gradient(self.optimiser, gradient, now.optimiser, params, loss=loss)
        new = (eqx.combine(params, rest), state, now.count + 1)
        parts = lambda now: (now.model, now.optimiser, now.count)
        return eqx.tree_at(parts, now, new), {"loss": loss, **metrics}

    def tune(
        self, now: SelfTuned, batch: PyTree, *, key: PRNGKeyArray
    ) -> tuple[PyTree, Array, PyTree]:
        """A step of the hyperparameters and of the scale, through the response alone."""
        model = eqx.nn.inference_mode(now.model)
        arrays, rest = eqx.partition(now.hyper, eqx.is_inexact_array)

        def objective(tuned: tuple[PyTree, Array]) -> Array:
            hyper, scale = eqx.combine(tuned[0], rest), jax.nn.softplus(tuned[1])
            expected = functools.partial(self.expected, "outer", self.outer, model, hyper)
            if self.entropy is None:
                return expected(None, batch, key=key)[0]
            return expected(scale, batch, key=key)[0] - self.entropy * entropy_of(scale)

        tuned = (arrays, now.width)
        value, gradient = jax.value_and_grad(objective)(tuned)
        (arrays, width), state = apply_gradient(
            self.hyper_optimiser, gradient, now.hyper_optimiser, tuned, loss=value
        )
        width = now.width if self.entropy is None else width
        return eqx.combine(arrays, rest), width, state

    def expected(
        self, name: str, loss: Callable[..., Any], model: PyTree, hyper: PyTree,
        scale: Float[Array, " count"] | None, batch: PyTree, *, key: PRNGKeyArray,
    ) -> tuple[Array, dict[str, Array]]:  # fmt: skip
        """A loss under perturbed hyperparameters, with another draw for each example.

        Without a scale nothing is perturbed, and the gradient comes through the response still.
        """
        here = coordinates(hyper)
        together = shared_by_batch(hyper)

        def at(by: Array, batch: PyTree, key: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
            gate = by + (here - jax.lax.stop_gradient(here) if self.centred else here)
            seen = linearised(model, gate) if self.linearised else respond(model, gate)
            return value_of(name, loss, seen, moved(hyper, by), batch, key=key)

        if scale is None:
            return at(jnp.zeros_like(here), batch, key)
        keys = jr.split(key)
        if np.all(together):
            return at(scale * jr.normal(keys[0], here.shape, here.dtype), batch, keys[1])
        rows = leading_axis(batch, name=name)
        noise = _noise(together, rows, here, keys[0])
        one = lambda row, noise, key: at(scale * noise, jax.tree.map(lambda x: x[None], row), key)
        values, metrics = jax.vmap(one)(batch, noise, jr.split(keys[1], rows))
        return jnp.mean(values), jax.tree.map(lambda x: jnp.mean(x, axis=0), metrics)


def entropy_of(scale: Float[Array, " count"]) -> Float[Array, ""]:
    r"""That of the perturbations, $\sum_i \log(\sigma_i \sqrt{2 \pi e})$."""
    return jnp.sum(jnp.log(scale)) + scale.size * 0.5 * math.log(2 * math.pi * math.e)


def centre(model: PyTree) -> PyTree:
    """The plain network where every gate is 0."""
    is_layer = lambda node: isinstance(node, AbstractHyperLayer)
    return jax.tree.map(
        lambda node: node.general if is_layer(node) else node, model, is_leaf=is_layer
    )


def at_hyper(model: PyTree, hyper: PyTree, *, centred: bool) -> PyTree:
    """The plain network at the hyperparameters where they stand."""
    return centre(model) if centred else freeze_response(model, coordinates(hyper))


def _noise(
    together: Bool[np.ndarray, " count"], rows: int, like: Array, key: PRNGKeyArray
) -> Float[Array, "rows count"]:
    noise = jr.normal(key, (rows, like.size), like.dtype)
    first = jnp.broadcast_to(noise[:1], noise.shape)
    return jnp.where(jnp.broadcast_to(together, noise.shape), first, noise)


def _trained(model: PyTree) -> PyTree:
    """The parameters: all but the gates, which are inputs."""
    is_layer = lambda node: isinstance(node, AbstractHyperLayer)

    def of(node: Any) -> Any:
        params = eqx.filter(node, eqx.is_inexact_array)
        return eqx.tree_at(lambda at: at.gate, params, None) if is_layer(node) else params

    return jax.tree.map(of, model, is_leaf=is_layer)

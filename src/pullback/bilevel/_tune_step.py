"""What is done between two looks at the outer loss: training, and a step of the hyperparameters."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Int, Key, PRNGKeyArray, PyTree

from pullback.bilevel._checks import value_of
from pullback.bilevel._hypergradient import AbstractHypergradient, Point, Problem
from pullback.bilevel._recorder import Recorder
from pullback.train import apply_gradient


class Tuned(eqx.Module):
    """What an outer step changes."""

    model: PyTree
    state: PyTree
    hyper: PyTree
    hyper_state: PyTree
    count: Int[Array, ""]
    origin: PyTree
    felt: PyTree
    record: Recorder


class TuneStep(eqx.Module):
    """One outer step: training, then a step of the hyperparameters."""

    problem: Problem
    hyper_optimiser: Any
    method: AbstractHypergradient
    whole: dict[str, PyTree]
    inner_steps: int = eqx.field(static=True)
    restart_every: int | None = eqx.field(static=True)

    def start(self, model: PyTree, hyper: PyTree) -> Tuned:
        """Before the first step."""
        params = eqx.filter(model, eqx.is_inexact_array)
        with jax.numpy_dtype_promotion("standard"):
            numbers = eqx.filter(hyper, eqx.is_inexact_array)
            states = (
                self.problem.optimiser_at(hyper).init(params),
                self.hyper_optimiser.init(numbers),
            )
            # What an optimiser starts as a plain number is one of the arrays that change.
            state, hyper_state = jax.tree.map(jnp.asarray, states)
        origin = None if self.restart_every is None else (params, state)
        count = jnp.asarray(0, jnp.int32)
        felt = jax.tree.map(lambda leaf: jnp.asarray(False), numbers)
        record = Recorder.start(hyper)
        return Tuned(model, state, hyper, hyper_state, count, origin, felt, record)

    def __call__(
        self, now: Tuned, batches: dict[str, PyTree] | None, *, key: PRNGKeyArray
    ) -> tuple[Tuned, dict[str, Array]]:
        batches = batches or {}
        params, rest = eqx.partition(now.model, eqx.is_inexact_array)
        trained = params, now.state
        if self.restart_every is not None:
            anew = now.count % self.restart_every == 0
            trained = jax.tree.map(lambda a, b: jnp.where(anew, a, b), now.origin, trained)
        alone = self.inner_steps - self.method.steps
        keys = jr.split(key, alone + 1)
        rows = batches.get("train")
        last = jax.tree.map(lambda x: x[None], self.whole.get("train"))
        if rows is not None:
            last = jax.tree.map(lambda x: x[alone:], rows)
            rows = jax.tree.map(lambda x: x[:alone], rows)
        trained, metrics = self._train(trained, rest, now.hyper, rows, keys[:-1])
        point = Point(eqx.combine(trained[0], rest), trained[1], now.hyper)
        validation = batches.get("validation", self.whole.get("validation"))
        found, point = self.method(self.problem, point, last, validation, key=keys[-1])
        hyper, hyper_state = apply_gradient(
            self.hyper_optimiser, found.gradient, now.hyper_state, now.hyper, loss=found.value
        )
        if not alone:
            at = jax.tree.map(lambda leaf: leaf[-1], last)
            value, _ = value_of(
                "inner", self.problem.inner, point.model, now.hyper, at, key=keys[-1]
            )
            metrics = {"inner": value}
        felt = jax.tree.map(lambda old, g: old | jnp.any(g != 0), now.felt, found.gradient)
        count = now.count + 1
        metrics = {
            **metrics,
            "outer": found.value,
            **{f"outer_{name}": value for name, value in found.metrics.items()},
            "gradient_norm": found.gradient_norm,
            "ratio": found.ratio,
            "hypergradient_norm": optax.tree.norm(found.gradient),
        }
        record = now.record.add(hyper, count)
        return Tuned(
            point.model, point.state, hyper, hyper_state, count, now.origin, felt, record
        ), metrics

    def _train(
        self, trained: PyTree, rest: PyTree, hyper: PyTree, rows: PyTree, keys: Key[Array, " steps"]
    ) -> tuple[PyTree, dict[str, Array]]:
        """Some steps of training, and the means of what was measured in them."""
        optimiser = self.problem.optimiser_at(hyper)
        whole = self.whole.get("train")

        def loss(
            params: PyTree, batch: PyTree, key: PRNGKeyArray
        ) -> tuple[Array, dict[str, Array]]:
            model = eqx.combine(params, rest)
            value, metrics = value_of("inner", self.problem.inner, model, hyper, batch, key=key)
            named = {f"inner_{name}": metric for name, metric in metrics.items()}
            return value, {"inner": value, **named}

        def once(trained: PyTree, item: PyTree) -> tuple[PyTree, dict[str, Array]]:
            row, key = item
            params, state = trained
            batch = whole if rows is None else row
            slope = jax.value_and_grad(loss, has_aux=True)
            (value, metrics), gradient = slope(params, batch, key)
            model = eqx.combine(params, rest)
            model, state = apply_gradient(optimiser, gradient, state, model, loss=value)
            return (eqx.filter(model, eqx.is_inexact_array), state), metrics

        if len(keys) == 0:
            return trained, {}
        trained, metrics = jax.lax.scan(once, trained, (rows, keys))
        return trained, jax.tree.map(lambda x: jnp.mean(x, axis=0), metrics)

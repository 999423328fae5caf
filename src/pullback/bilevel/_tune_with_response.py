"""Hyperparameters and a local response to them, trained in turns in one run."""

import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, PyTree

from pullback._inputs import positive
from pullback._key import checked_key_or_keys
from pullback.bilevel._checks import SELF_TUNING, check_apart, check_enters, check_losses, value_of
from pullback.bilevel._coordinates import coordinates
from pullback.bilevel._fit_response import mean_inner, trained_part
from pullback.bilevel._response import AbstractResponse, check_response
from pullback.bilevel._streams import streams_of
from pullback.train import TrainingInfo, apply_gradient, iterate

R = TypeVar("R", bound=AbstractResponse)


def tune_with_response(
    response: R,
    inner: Callable[..., Any],
    outer: Callable[..., Any],
    train: Any,
    validation: Any,
    *,
    optimiser: Any,
    hyper_optimiser: Any,
    scale: float | int = 0.3,
    samples: int = 2,
    warmup: int = 500,
    inner_steps: int = 1,
    outer_steps: int,
    batch_size: int | None = None,
    validation_batch_size: int | None = None,
    log_every: int = 100,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    mesh: jax.sharding.Mesh | None = None,
    key: Key[Array, "*runs"],
) -> tuple[R, TrainingInfo]:
    r"""Tune hyperparameters while a response learns how the weights follow them.

    In turns: `inner_steps` steps of the response on hyperparameters round its centre $\bar\lambda$,

    $$ \phi \leftarrow \phi - \alpha \nabla_\phi \, L_\text{inner}(w_\phi(\lambda), \lambda),
       \qquad \lambda \sim N(\bar\lambda, s^2), $$

    and one step of the centre itself,

    $$ \bar\lambda \leftarrow \bar\lambda - \beta \nabla_\lambda
       L_\text{outer}(w_\phi(\lambda), \lambda) \big|_{\lambda = \bar\lambda}. $$

    No training runs to its end for a value of the hyperparameters, and no second derivative is
    taken, so thousands of them can be tuned at once. What is tuned must be read by `inner`: the
    settings of an optimiser cannot be, for `search` is there.

    The response answers the same for any hyperparameters when its centre has moved
    (`AbstractResponse.recentred`). Its slope is off by a share of $s^2$, and is not learned at all
    without noise: at a single point nothing in the data tells it, and the hyperparameters drift
    away. So `scale` is above 0.

    Args:
        response: the start, with the hyperparameters to start from as its centre; most often a
            `DiagonalResponse` or a `LinearResponse`. For several keys, a stack, as for `fit`.
        inner: `inner(model, hyper, batch, *, key) -> (scalar, dict of scalar metrics)`, the loss
            of training, with what regularises in it.
        outer: the same of held-out data, without what regularises the weights. Many
            hyperparameters overfit it: a penalty on `hyper` has its place here, and a test set is
            what tells.
        train: the examples of `inner`, as the `data` of `fit`; None where it needs none.
        validation: those of `outer`, held out. Arrays are compared with `train`.
        optimiser: an Optax gradient transformation, for the response.
        hyper_optimiser: another, for the hyperparameters. It moves their unconstrained
            coordinates; take small steps, for the response has to follow.
        scale: $s$, a standard deviation, in the unconstrained coordinates; 0.1 to 0.5 for the
            logarithm of a decay. Larger ones bias the slope, smaller ones leave it to the noise.
        samples: draws of $\lambda$ a step. They share its batch.
        warmup: steps of the response before the first of the hyperparameters.
        inner_steps: steps of the response for each of the hyperparameters.
        outer_steps: how many steps of the hyperparameters. In all `warmup + inner_steps *
            outer_steps` are taken, which is what `log_every` and the history count.
        batch_size: examples of a batch of `inner`. None: all of `train` in every step.
        validation_batch_size: examples of a batch of `outer`. None: all of `validation`.
        log_every: as for `fit`, and so are `folder`, `resume`, `progress` and `mesh`.
        key: a typed PRNG key, or `[n]` of them for n runs at once.

    Returns:
        The response, with the tuned hyperparameters as its centre, so that the model is
        `response(response.centre)`; and the `TrainingInfo` of `iterate`. Its history has the losses
        `inner`, the mean over the draws, and `outer`, at the centre, and their metrics as
        `inner_NAME` and `outer_NAME`.

    Raises:
        ValueError, TypeError: an argument does not fit; the message says which and how.
        TrainingError: as `iterate` does.

    Example:
        The decay of every one of the ten weights of a regression, of which three are of use:

        >>> import jax, jax.numpy as jnp, jax.random as jr, optax
        >>> from pullback.bilevel import DiagonalResponse, tune_with_response
        >>> x = jr.normal(jr.key(0), (60, 10))
        >>> y = x[:, :3].sum(axis=1) + jr.normal(jr.key(1), (60,))
        >>> def outer(w, hyper, batch, *, key):
        ...     x, y = batch
        ...     return jnp.mean((x @ w - y) ** 2), {}
        >>> def inner(w, log_decays, batch, *, key):
        ...     error, _ = outer(w, log_decays, batch, key=key)
        ...     return error + jnp.sum(jnp.exp(log_decays) * w**2), {}
        >>> response = DiagonalResponse(jnp.zeros(10), jnp.full(10, -1.0))
        >>> response, info = tune_with_response(
        ...     response, inner, outer, (x[:20], y[:20]), (x[20:], y[20:]),
        ...     optimiser=optax.adam(1e-2), hyper_optimiser=optax.adam(1e-2), warmup=300,
        ...     outer_steps=700, key=jr.key(2))
        >>> log_decays = response.centre
        >>> bool(jnp.max(log_decays[:3]) < jnp.mean(log_decays[3:]))
        True

    Source: Lorraine and Duvenaud, "Stochastic Hyperparameter Optimization through Hypernetworks",
    arXiv 1802.09419, algorithm 3. Its authors' code sets the noise to 0.
    """
    key = checked_key_or_keys(key)
    check_response(response)
    positive(samples=samples, inner_steps=inner_steps, outer_steps=outer_steps)
    if warmup < 0:
        raise ValueError(f"`warmup` must be 0 or more, got {warmup}.")
    check_losses(inner, outer)
    check_apart(train, validation)
    _check_scale(scale, response)
    step = _Step(
        inner,
        outer,
        optimiser,
        hyper_optimiser,
        jnp.asarray(scale, float),
        samples,
        warmup,
        inner_steps,
    )
    start = step.start if key.ndim == 0 else eqx.filter_vmap(step.start)
    state, info = iterate(
        step, start(response),
        streams_of(
            {"train": (train, batch_size), "validation": (validation, validation_batch_size)}
        ),
        steps=warmup + inner_steps * outer_steps, log_every=log_every, folder=folder,
        resume=resume, progress=progress, mesh=mesh, key=key,
    )  # fmt: skip
    return cast(R, state.response), info


def _check_scale(scale: float | int, response: AbstractResponse) -> None:
    numbers = np.asarray(jax.device_get(coordinates(response.centre)))
    felt = scale > 0 and bool(np.any(numbers + np.asarray(scale, numbers.dtype) != numbers))
    if not felt:
        raise ValueError(
            f"`scale` must be above 0, and so that `hyper` feels it in {numbers.dtype}; got "
            f"{scale}. Without noise the slope of the response is not told by any data, and the "
            "hyperparameters drift away from their optimum. Values from 0.1 to 0.5 do well for "
            "the logarithm of a decay."
        )


class _State(eqx.Module):
    response: AbstractResponse
    optimiser: PyTree
    hyper_optimiser: PyTree
    count: Int[Array, ""]


class _Step(eqx.Module):
    """One step of the response and, where it is due, one of its centre."""

    inner: Callable[..., Any]
    outer: Callable[..., Any]
    optimiser: Any
    hyper_optimiser: Any
    scale: Float[Array, ""]  # no setting of the program: another value compiles nothing
    samples: int = eqx.field(static=True)
    warmup: int = eqx.field(static=True)
    inner_steps: int = eqx.field(static=True)

    def start(self, response: AbstractResponse) -> _State:
        params = eqx.filter(_trained(response), eqx.is_inexact_array)
        hyper = eqx.filter(response.centre, eqx.is_inexact_array)
        with jax.numpy_dtype_promotion("standard"):
            states = (self.optimiser.init(params), self.hyper_optimiser.init(hyper))
        return _State(response, *states, jnp.asarray(0, jnp.int32))

    def __call__(
        self, state: _State, batches: dict[str, PyTree] | None, *, key: PRNGKeyArray
    ) -> tuple[_State, dict[str, Array]]:
        inner_key, outer_key = jr.split(key)
        batches = batches or {}
        here = state.response(state.response.centre)
        of = lambda name, loss, batch: (
            lambda hyper: value_of(name, loss, here, hyper, batch, key=inner_key)[0]
        )
        check_enters(
            {
                "`inner`": of("inner", self.inner, batches.get("train")),
                "`outer`": of("outer", self.outer, batches.get("validation")),
            },
            state.response.centre,
            remedy=SELF_TUNING,
        )
        response, optimiser, inner = self._inner_step(state, batches.get("train"), inner_key)
        told = lambda hyper: value_of(
            "outer", self.outer, response(hyper), hyper, batches.get("validation"), key=outer_key
        )

        def step(hyper: PyTree) -> Any:
            (value, metrics), slope = eqx.filter_value_and_grad(told, has_aux=True)(hyper)
            moved, after = apply_gradient(
                self.hyper_optimiser, slope, state.hyper_optimiser, hyper, loss=value
            )
            return response.recentred(moved), after, (value, metrics)

        def look(hyper: PyTree) -> Any:
            return response, state.hyper_optimiser, told(hyper)

        done = state.count + 1 - self.warmup
        due = (done > 0) & (done % self.inner_steps == 0)
        response, hyper_optimiser, outer = _either(due, step, look, response.centre)
        metrics = {}
        for name, (loss, rest) in (("inner", inner), ("outer", outer)):
            metrics |= {name: loss} | {f"{name}_{of}": value for of, value in rest.items()}
        return _State(response, optimiser, hyper_optimiser, state.count + 1), metrics

    def _inner_step(self, state: _State, batch: PyTree, key: PRNGKeyArray) -> Any:
        noise_key, key = jr.split(key)
        centre = state.response.centre
        near = eqx.filter_vmap(lambda key: _perturbed(centre, self.scale, key))
        hypers = near(jr.split(noise_key, self.samples))
        trained, still = eqx.partition(state.response, trained_part(state.response))

        def loss(trained: PyTree) -> tuple[Array, dict[str, Array]]:
            response = eqx.combine(trained, still)
            return mean_inner(self.inner, response, hypers, batch, key=key)

        (value, metrics), slope = eqx.filter_value_and_grad(loss, has_aux=True)(trained)
        trained, optimiser = apply_gradient(
            self.optimiser, slope, state.optimiser, trained, loss=value
        )
        return eqx.combine(trained, still), optimiser, (value, metrics)


def _trained(response: AbstractResponse) -> PyTree:
    return eqx.filter(response, trained_part(response))


def _perturbed(hyper: PyTree, scale: Float[Array, ""], key: PRNGKeyArray) -> PyTree:
    floats, rest = eqx.partition(hyper, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(floats)
    keys = jr.split(key, len(leaves))
    moved = [
        leaf + scale.astype(leaf.dtype) * jr.normal(key, leaf.shape, leaf.dtype)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return eqx.combine(jax.tree.unflatten(structure, moved), rest)


def _either(
    which: Array, yes: Callable[[PyTree], Any], no: Callable[[PyTree], Any], given: PyTree
) -> Any:
    """`jax.lax.cond` of functions whose results hold more than arrays."""
    kept = []

    def arrays(function: Callable[[PyTree], Any]) -> Callable[[PyTree], PyTree]:
        def call(given: PyTree) -> PyTree:
            found, rest = eqx.partition(function(given), eqx.is_array)
            kept.append(rest)
            return found

        return call

    dynamic, static = eqx.partition(given, eqx.is_array)
    whole = lambda function: arrays(lambda dynamic: function(eqx.combine(dynamic, static)))
    found = jax.lax.cond(which, whole(yes), whole(no), dynamic)
    return eqx.combine(found, kept[-1])

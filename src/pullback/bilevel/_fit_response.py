"""A response trained over a range of hyperparameters, and hyperparameters tuned through it."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Key, PRNGKeyArray, PyTree

from pullback._checked_data import check_data
from pullback._inputs import positive
from pullback._key import checked_key_or_keys
from pullback.bilevel._checks import value_of
from pullback.bilevel._response import AbstractResponse, check_response, checked_hyper
from pullback.bilevel._streams import whole_batch
from pullback.train import TrainingInfo, fit

H = TypeVar("H")
R = TypeVar("R", bound=AbstractResponse)


def fit_response(
    response: R,
    inner: Callable[..., Any],
    sample: Callable[..., PyTree],
    train: Any,
    *,
    optimiser: Any,
    steps: int,
    batch_size: int | None = None,
    samples: int = 2,
    clip_norm: float | None = None,
    log_every: int = 100,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    mesh: jax.sharding.Mesh | None = None,
    key: Key[Array, "*runs"],
) -> tuple[R, TrainingInfo]:
    r"""Train a response to give the best weights for any hyperparameters of a range.

    $$ \min_\phi \; \mathbb{E}_{\lambda \sim p} \, L_\text{inner}(w_\phi(\lambda), \lambda) $$

    Every step draws some $\lambda$ and a batch. Where the best weights are continuous in $\lambda$,
    a response that is flexible enough matches them on the whole range: one training gives the
    models of a grid, and their loss on held-out data as a function that has a gradient.

    Args:
        response: what is trained, all but its centre. For several keys, a stack, as for `fit`.
        inner: `inner(model, hyper, batch, *, key) -> (scalar, dict of scalar metrics)`, the loss
            of training, with what regularises in it.
        sample: `sample(key) -> hyper`, one draw from the range; of the structure and shapes of the
            response's centre.
        train: the examples of `inner`, as the `data` of `fit`; None where it needs none.
        optimiser: an Optax gradient transformation.
        steps: how many in all.
        batch_size: examples of a batch. None: all of `train` in every step.
        samples: draws of $\lambda$ a step. They share its batch.
        clip_norm: as for `fit`, and so are `log_every`, `folder`, `resume`, `progress` and `mesh`.
        key: a typed PRNG key, or `[n]` of them for n responses at once.

    Returns:
        The response, and the `TrainingInfo` of `fit`.

    Raises:
        ValueError, TypeError: an argument does not fit; the message says which and how.
        TrainingError: as `fit` does. A range that reaches to where `exp(hyper)` overflows is one
            reason.

    Example:
        One run gives the regularisation path of a regression, every decay between 1e-3 and 10:

        >>> import equinox as eqx, jax, jax.numpy as jnp, jax.random as jr, optax
        >>> from pullback.bilevel import MLPResponse, fit_response
        >>> x = jr.normal(jr.key(0), (40, 3))
        >>> y = x @ jnp.asarray([1.0, -2.0, 0.0])
        >>> def inner(w, log_decay, batch, *, key):
        ...     x, y = batch
        ...     penalty = jnp.exp(log_decay) * jnp.sum(w**2)
        ...     return jnp.mean((x @ w - y) ** 2) / 2 + penalty / 2, {}
        >>> response = MLPResponse(jnp.zeros(3), jnp.asarray(-2.3), scale=4.6, key=jr.key(1))
        >>> response, info = fit_response(
        ...     response, inner, lambda key: jr.uniform(key, minval=-6.9, maxval=2.3), (x, y),
        ...     optimiser=optax.adam(1e-2), steps=1000, samples=8, key=jr.key(2))
        >>> path = jax.vmap(response)(jnp.linspace(-6.9, 2.3, 50))  # 50 models, no more training
        >>> path.shape
        (50, 3)
        >>> exact = jnp.linalg.solve(x.T @ x / 40 + jnp.exp(-1.0) * jnp.eye(3), x.T @ y / 40)
        >>> bool(jnp.max(jnp.abs(response(jnp.asarray(-1.0)) - exact)) < 0.1)
        True

    Source: Lorraine and Duvenaud, "Stochastic Hyperparameter Optimization through Hypernetworks",
    arXiv 1802.09419, algorithm 2, first loop.
    """
    key = checked_key_or_keys(key)
    check_response(response)
    positive(samples=samples)
    loss = ResponseLoss(inner, sample, samples)
    batch_size = whole_batch(train, batch_size, name="train")
    return fit(
        response, loss, train, optimiser=optimiser, steps=steps, batch_size=batch_size,
        clip_norm=clip_norm, trainable=trained_part(response), log_every=log_every, folder=folder,
        resume=resume, progress=progress, mesh=mesh, key=key,
    )  # fmt: skip


def tune_through(
    response: AbstractResponse,
    outer: Callable[..., Any],
    hyper: H,
    validation: Any,
    *,
    optimiser: Any,
    steps: int,
    batch_size: int | None = None,
    log_every: int = 100,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    mesh: jax.sharding.Mesh | None = None,
    key: Key[Array, "*runs"],
) -> tuple[H, TrainingInfo]:
    r"""Tune hyperparameters by the held-out loss of the models that a trained response gives.

    $$ \min_\lambda \; L_\text{outer}(w_\phi(\lambda), \lambda) $$

    The response stays as it is. It answers beyond the range that it was trained on as well, where
    it has learned nothing: let `outer` hold `hyper` in the range, by `Bounded` or by a penalty, and
    train anew, or with the response as the start, what `hyper` turns out to be.

    Args:
        response: as `fit_response` gives it.
        outer: `outer(model, hyper, batch, *, key) -> (scalar, dict of scalar metrics)`, the loss
            on held-out data, without what regularises the weights. With many hyperparameters it
            is overfitted, as training is: a penalty on `hyper` has its place here.
        hyper: where to start. For several keys, a stack, as for `fit`.
        validation: the examples of `outer`, as the `data` of `fit`; None where it needs none.
        optimiser: an Optax gradient transformation; it moves the unconstrained coordinates.
        steps: how many.
        batch_size: examples of a batch. None: all of `validation` in every step.
        log_every: as for `fit`, and so are `folder`, `resume`, `progress` and `mesh`.
        key: a typed PRNG key, or `[n]` of them for n starts at once.

    Returns:
        The hyperparameters, and the `TrainingInfo` of `fit`. The model is `response(hyper)`.

    Raises:
        ValueError, TypeError: an argument does not fit; the message says which and how.
        TrainingError: as `fit` does.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from pullback.bilevel import LinearResponse, tune_through
        >>> response = LinearResponse(jnp.zeros(2), jnp.zeros(2))
        >>> import equinox as eqx
        >>> response = eqx.tree_at(lambda r: r.slope, response, jnp.eye(2))
        >>> def outer(w, hyper, batch, *, key):
        ...     return jnp.mean((batch - w[None]) ** 2), {}
        >>> hyper, info = tune_through(
        ...     response, outer, jnp.zeros(2), jnp.asarray([[1.0, 2.0], [3.0, 2.0]]),
        ...     optimiser=optax.sgd(0.5), steps=20, key=jax.random.key(0))
        >>> hyper.round(3).tolist()
        [2.0, 2.0]

    Source: Lorraine and Duvenaud, "Stochastic Hyperparameter Optimization through Hypernetworks",
    arXiv 1802.09419, algorithm 2, second loop. The term for what `outer` reads of `hyper` itself is
    in the gradient too.
    """
    key = checked_key_or_keys(key)
    check_response(response)

    def loss(hyper: PyTree, batch: PyTree, *, key: PRNGKeyArray) -> tuple[Any, Any]:
        return value_of("outer", outer, response(hyper), hyper, batch, key=key)

    batch_size = whole_batch(validation, batch_size, name="validation")
    return fit(
        checked_hyper(hyper), loss, validation, optimiser=optimiser, steps=steps,
        batch_size=batch_size, log_every=log_every, folder=folder, resume=resume,
        progress=progress, mesh=mesh, key=key,
    )  # fmt: skip


class ResponseLoss(eqx.Module):
    """The mean of an inner loss over hyperparameters that are drawn, as a loss of the response."""

    inner: Callable[..., Any]
    sample: Callable[..., PyTree]
    samples: int = eqx.field(static=True)

    def check(self, response: AbstractResponse, data: PyTree) -> None:
        """As the inner loss's own."""
        check_data(self.inner, response(response.centre), data)

    def __call__(
        self, response: AbstractResponse, batch: PyTree, *, key: PRNGKeyArray
    ) -> tuple[Array, dict[str, Array]]:
        draw_key, key = jr.split(key)
        hypers = eqx.filter_vmap(self.sample)(jr.split(draw_key, self.samples))
        return mean_inner(self.inner, response, hypers, batch, key=key)


def mean_inner(
    inner: Callable[..., Any],
    response: AbstractResponse,
    hypers: PyTree,
    batch: PyTree,
    *,
    key: PRNGKeyArray,
) -> tuple[Array, dict[str, Array]]:
    """The mean of `inner` and of its metrics over stacked hyperparameters."""
    arrays, rest = eqx.partition(hypers, eqx.is_array)
    count = jax.tree.leaves(arrays)[0].shape[0]

    def one(arrays: PyTree, key: PRNGKeyArray) -> Any:
        hyper = eqx.combine(arrays, rest)
        return value_of("inner", inner, response(hyper), hyper, batch, key=key)

    return jax.tree.map(
        lambda values: jnp.mean(values, axis=0), jax.vmap(one)(arrays, jr.split(key, count))
    )


def trained_part(response: AbstractResponse) -> PyTree:
    """Which leaves of a response are trained, as a filter."""
    everything = jax.tree.map(lambda _: True, response)
    still = jax.tree.map(lambda _: False, response.centre)
    return eqx.tree_at(lambda r: r.centre, everything, still)

"""What tuned hyperparameters are worth to a model that starts anew."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from pullback._key import checked_key
from pullback._leading_axis import leading_axis
from pullback.bilevel._checks import check_hyper, check_losses, value_of
from pullback.bilevel._hypergradient import Problem
from pullback.bilevel._schedule import Schedule
from pullback.train import TrainingInfo, evaluate, fit

M = TypeVar("M")


def retrain(
    model: M,
    hyper: PyTree,
    inner: Callable[..., Any],
    train: Any,
    *,
    optimiser: Any,
    steps: int,
    batch_size: int | None = None,
    log_every: int = 100,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    key: PRNGKeyArray,
) -> tuple[M, TrainingInfo]:
    """Train a model at fixed hyperparameters, or along a schedule of them.

    Args:
        model: where training starts.
        hyper: the hyperparameters; or a `Schedule`, which is replayed.
        inner: the inner loss, as for `tune`.
        train: its data, as for `tune`.
        optimiser: an Optax transformation, or a function of `hyper` that gives one; of a schedule
            the last hyperparameters count for it.
        steps: how many.
        batch_size: examples of a batch. None: all of `train` in every step.
        log_every: as for `fit`, and the four below too.
        folder: where the log and the checkpoint are written.
        resume: go on from the checkpoint in `folder`.
        progress: show a bar.
        key: a random key.

    Returns:
        The trained model, and a `TrainingInfo`.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> def inner(w, hyper, batch, *, key):
        ...     return (w - 1) ** 2 / 2 + hyper * w**2 / 2, {}
        >>> w, _ = retrain(jnp.asarray(0.0), jnp.asarray(3.0), inner, None,
        ...                optimiser=optax.sgd(0.2), steps=50, key=jax.random.key(0))
        >>> print(f"{w:.3f}")
        0.250
    """
    key = checked_key(key)
    if train is not None and batch_size is None and not callable(train):
        batch_size = leading_axis(train, name="train")
    replayed = isinstance(hyper, Schedule)
    last = hyper.at(steps) if replayed else hyper
    if not replayed:  # whole numbers are replayed as well
        check_hyper(hyper)

    def at(model: PyTree, batch: PyTree, *, key: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
        return value_of("inner", inner, model, hyper, batch, key=key)

    def along(
        model: PyTree, batch: PyTree, *, key: PRNGKeyArray, step: Int[Array, ""]
    ) -> tuple[Array, dict[str, Array]]:
        return value_of("inner", inner, model, hyper.at(step), batch, key=key)

    return fit(
        model,
        along if replayed else at,
        train,
        optimiser=Problem(inner, inner, optimiser).optimiser_at(last),
        steps=steps,
        batch_size=batch_size,
        log_every=log_every,
        folder=folder,
        resume=resume,
        progress=progress,
        key=key,
    )


class RetrainGap(NamedTuple):
    """How much of a tuned result was in the weights and not in the hyperparameters.

    Attributes:
        tuned: the outer loss, or a metric of it, of the model that was tuned with them.
        retrained: of a model trained from the start at the tuned hyperparameters.
        gap: `retrained - tuned`. Near 0 what was tuned can be used again; far from it the path
            that tuning took is a part of the result.
        model: the retrained model.
    """

    tuned: float
    retrained: float
    gap: float
    model: Any


def retrain_gap(
    tuned: Any,
    model: Any,
    hyper: PyTree,
    inner: Callable[..., Any],
    outer: Callable[..., Any],
    train: Any,
    validation: PyTree,
    *,
    optimiser: Any,
    steps: int,
    batch_size: int | None = None,
    metric: str = "loss",
    progress: bool | None = None,
    key: PRNGKeyArray,
) -> RetrainGap:
    """Train anew at tuned hyperparameters, and say what that loses.

    Args:
        tuned: the model that `tune` returned.
        model: where to start anew, as `tune` was given it.
        hyper: the tuned hyperparameters, or a `Schedule`.
        inner: the inner loss.
        outer: the outer loss, which judges both models on the whole of `validation`.
        train: data of `inner`.
        validation: arrays to judge by; None where `outer` needs none.
        optimiser: as for `retrain`.
        steps: training steps; enough for `model` to come to a minimum.
        batch_size: as for `retrain`.
        metric: "loss", or the name of a metric of `outer`.
        progress: show a bar.
        key: a random key.

    Returns:
        A `RetrainGap`.

    Raises:
        ValueError: `outer` has no such metric; there is one loss for two.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> def inner(w, hyper, batch, *, key):  # one equation for two weights
        ...     return (w[0] - hyper) ** 2, {}
        >>> def outer(w, hyper, batch, *, key):
        ...     return jnp.sum((w - 1) ** 2), {}
        >>> gap = retrain_gap(jnp.ones(2), jnp.zeros(2), jnp.asarray(1.0), inner, outer, None, None,
        ...                   optimiser=optax.sgd(0.3), steps=50, key=jax.random.key(0))
        >>> print(f"{gap.tuned:.2f} {gap.retrained:.2f} {gap.gap:.2f}")
        0.00 1.00 1.00

    Source:
        Vicol et al., "On Implicit Bias in Overparameterized Bilevel Optimization",
        arXiv 2212.14032.
    """
    key = checked_key(key)
    check_losses(inner, outer)
    again, _ = retrain(
        model, hyper, inner, train, optimiser=optimiser, steps=steps, batch_size=batch_size,
        progress=progress, key=key,
    )  # fmt: skip
    at = hyper.at(steps) if isinstance(hyper, Schedule) else hyper
    judged = [judge(outer, each, at, validation, key=key) for each in (tuned, again)]
    for found in judged:
        if metric not in found:
            raise ValueError(f"`metric` must be one of {', '.join(found)}, got {metric!r}.")
    before, after = (found[metric] for found in judged)
    return RetrainGap(before, after, after - before, again)


def judge(
    outer: Callable[..., Any],
    model: PyTree,
    hyper: PyTree,
    validation: PyTree,
    *,
    key: PRNGKeyArray,
) -> dict[str, float]:
    """The outer loss, as `loss`, and its metrics, over the whole of a set."""
    if validation is None:
        value, metrics = value_of("outer", outer, model, hyper, None, key=jr.fold_in(key, 0))
        return {"loss": float(value), **{name: float(each) for name, each in metrics.items()}}

    def loss(model: PyTree, batch: PyTree, *, key: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
        return value_of("outer", outer, model, hyper, batch, key=key)

    data = jax.tree.map(jnp.asarray, validation)
    # Whole, for it need not be a mean over its rows.
    rows = leading_axis(data, name="validation")
    return evaluate(model, loss, data, batch_size=rows, key=key)

"""`fit_jem`: a classifier and labelled arrays in, a JEM out."""

import os
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._key import checked_key
from pullback.models.energy._finite import check_finite
from pullback.models.energy._jem import JEM
from pullback.models.energy._jem_step import JEMStep
from pullback.models.energy._replay import ReplayBuffer
from pullback.models.energy._starts import AbstractStart, BoxStart
from pullback.train import Stream, TrainingInfo, iterate


def fit_jem(
    classifier: Callable[..., Any],
    x: Float[Array | np.ndarray, "n ..."],
    y: Int[Array | np.ndarray, " labels"],
    *,
    unlabelled: Float[Array | np.ndarray, "m ..."] | None = None,
    step: JEMStep | None = None,
    steps: int = 2000,
    batch_size: int = 64,
    start: AbstractStart | None = None,
    buffer_size: int = 2000,
    log_every: int = 100,
    rollbacks: int = 5,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    key: PRNGKeyArray,
) -> tuple[JEM, TrainingInfo]:
    """Train a classifier as a density, too.

    A run that blows up is rolled back to where it last was well, model and chains together, up to
    `rollbacks` times; `TrainingInfo.rollbacks` says how often. Look at `gap` in the history: it
    should hover about 0. For calibration take honest noise, and scale the data to about 1 (see
    `SGLD`).

    Args:
        classifier: from one input to logits `[K]`, such as `equinox.nn.MLP`; without batch
            normalisation.
        x: labelled examples, `[n, ...]`, of a scale of about 1.
        y: their classes, from 0, `[n]`.
        unlabelled: further examples, `[m, ...]`, of which the density learns.
        step: the optimiser, the sampler and the weights; None: `JEMStep(optax.adam(3e-4))`.
        steps: training steps.
        batch_size: examples a step, and chains; of fewer labelled ones, all.
        start: the distribution of fresh chains; None: uniform over the range of the data.
            `GaussianStart` begins nearer to them.
        buffer_size: chains that are kept.
        log_every: steps between two points of the history, and between snapshots.
        rollbacks: how often the run may be rolled back.
        folder: for checkpoints and `metrics.jsonl`; None: nowhere.
        resume: go on from the checkpoint in `folder`.
        progress: show a bar on stderr. None: where stderr is a terminal.
        key: a typed PRNG key.

    Returns:
        The model, and an `TrainingInfo`.

    Raises:
        ValueError: shapes do not fit, an entry of the data is not finite, or the labels are not
            classes of the classifier, at least two of them.
        TrainingError: the run diverged more often than `rollbacks` allows.

    Example:
        >>> import equinox as eqx, jax, optax
        >>> from pullback.data import two_moons
        >>> from pullback.models.energy import SGLD
        >>> x, y = two_moons(200)
        >>> net = eqx.nn.MLP(2, 2, 32, 2, jax.nn.silu, key=jax.random.key(0))
        >>> step = JEMStep(optax.adam(3e-3), sampler=SGLD(10, step_size=0.05, noise=None))
        >>> model, info = fit_jem(net, x, y, step=step, steps=300, key=jax.random.key(1))
        >>> bool(info.history["accuracy"][-1] > 0.8), int(info.rollbacks)
        (True, 0)

    Source: Grathwohl et al., arXiv 1912.03263.
    """
    key = checked_key(key)
    leaves = jax.tree.leaves(eqx.filter(classifier, eqx.is_inexact_array))
    dtype = leaves[0].dtype if leaves else jnp.result_type(float)
    sets = {"x": np.asarray(x), "unlabelled": unlabelled}
    sets = {name: np.asarray(value) for name, value in sets.items() if value is not None}
    for name, value in sets.items():
        _check_examples(name, value, sets["x"].shape[1:])
    _check_labels(classifier, sets["x"], np.asarray(y), dtype)
    everything = np.concatenate(list(sets.values()))
    labelled = (jnp.asarray(x, dtype), jnp.asarray(y))
    streams: Any = Stream(labelled, min(batch_size, len(x)))
    if unlabelled is not None:
        streams = {
            "labelled": streams,
            "unlabelled": Stream(jnp.asarray(everything, dtype), min(batch_size, len(everything))),
        }
    if start is None:
        low, high = float(everything.min()), float(everything.max())
        start = BoxStart(labelled[0].shape[1:], low=low, high=high, dtype=dtype)
    step = JEMStep(optax.adam(3e-4)) if step is None else step
    buffer_key, key = jr.split(key)
    state = step.init(JEM(classifier), ReplayBuffer.init(start, buffer_size, key=buffer_key))
    state, info = iterate(
        step, state, streams, steps=steps, log_every=min(log_every, steps), rollbacks=rollbacks,
        folder=folder, resume=resume, progress=progress, key=key,
    )  # fmt: skip
    return state.model, info


def _check_examples(name: str, x: np.ndarray, shape: tuple[int, ...]) -> None:
    if x.ndim < 2 or not len(x) or x.shape[1:] != shape:
        raise ValueError(
            f"`{name}` must hold examples of one shape along its leading axis, as `x` does; got "
            f"{x.shape}."
        )
    check_finite(name, x)


def _check_labels(classifier: Callable[..., Any], x: np.ndarray, y: np.ndarray, dtype: Any) -> None:
    if y.shape != x.shape[:1]:
        raise ValueError(f"`y` must be {len(x)} labels, one for each row of `x`; got {y.shape}.")
    logits = eqx.filter_eval_shape(classifier, jax.ShapeDtypeStruct(x.shape[1:], dtype))
    if len(logits.shape) != 1 or logits.shape[0] < 2:
        raise ValueError(
            f"`classifier` must give logits of shape [K], K at least 2, for one input of shape "
            f"{x.shape[1:]}; got {logits.shape}."
        )
    present = np.unique(y)
    if present[0] < 0 or present[-1] >= logits.shape[0]:
        raise ValueError(
            f"`y` must be classes from 0 to {logits.shape[0] - 1}, as many as `classifier` has "
            f"logits; got {present[0]} to {present[-1]}."
        )
    if len(present) == 1:
        raise ValueError(
            f"`y` must have two classes or more, and is {present[0]} in every row: there is "
            "nothing to tell apart."
        )

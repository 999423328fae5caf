"""`fit_vera`: an energy and examples in, an energy with a sampler out."""

import os
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from pullback._key import checked_key
from pullback.models.energy._entropy_proposals import AbstractProposal
from pullback.models.energy._finite import check_finite
from pullback.models.energy._latent_generator import LatentGenerator
from pullback.models.energy._vera_step import VERAState, VERAStep
from pullback.train import Stream, TrainingInfo, iterate


def fit_vera(
    energy: PyTree,
    generator: LatentGenerator,
    x: Float[Array | np.ndarray, "n ..."],
    y: Int[Array | np.ndarray, "..."] | None = None,
    *,
    proposal: AbstractProposal | None = None,
    step: VERAStep | None = None,
    steps: int = 4000,
    batch_size: int = 100,
    log_every: int = 100,
    rollbacks: int = 0,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    key: PRNGKeyArray,
) -> tuple[VERAState, TrainingInfo]:
    """Train an energy together with a generator of its samples; with some labels, a classifier.

    The density learns of all rows, and the classes of those that have one. Look at
    `effective_samples` in the history (near 1: the entropy is that of one latent) and at `sigma`
    (at an end of its range: widen it).

    Args:
        energy: log p(x) but for a constant: a callable `x -> []` or a module with `log_density`;
            with `y` one with `logits`, too, such as `JEM(classifier)`.
        generator: of samples of the shape of a row of `x`.
        x: examples, `[n, ...]`, of a scale of about 1.
        y: their classes, from 0, and -1 where it is not known, `[n]`; None: no classes.
        proposal: see `VERAStep.init`.
        step: the optimisers and the weights; None: `VERAStep` with Adam at 5e-4 (b1 = 0, b2 = 0.9).
        steps: training steps.
        batch_size: examples a step, and samples; of fewer labelled ones, all.
        log_every: steps between two points of the history.
        rollbacks: how often the run may be rolled back to its last snapshot; see `iterate`.
        folder: for checkpoints and `metrics.jsonl`; None: nowhere.
        resume: go on from the checkpoint in `folder`.
        progress: show a bar on stderr. None: where stderr is a terminal.
        key: a typed PRNG key.

    Returns:
        The state after training, with the energy and the generator, and an `TrainingInfo`.

    Raises:
        ValueError: shapes do not fit, an entry of `x` is not finite, or `y` is not classes of the
            energy, or has none.
        TrainingError: a step diverged more often than `rollbacks` allows.

    Example:
        >>> import equinox as eqx, jax, numpy as np
        >>> from pullback.models.energy import LatentGenerator
        >>> x = np.random.default_rng(0).normal(3.0, 0.5, (400, 1)).astype(np.float32)
        >>> net = eqx.nn.MLP(1, "scalar", 16, 1, jax.nn.silu, key=jax.random.key(0))
        >>> generator = LatentGenerator(eqx.nn.Linear(1, 1, key=jax.random.key(1)), 1)
        >>> adam = optax.adam(0.01, b1=0.0, b2=0.9)
        >>> state, info = fit_vera(net, generator, x, step=VERAStep(adam, adam), steps=600,
        ...                        batch_size=50, key=jax.random.key(2))
        >>> print(f"{state.generator.net.bias[0]:.0f}", info.good)
        3 True

    Source: Grathwohl et al., No MCMC for me, arXiv 2010.04230.
    """
    key = checked_key(key)
    leaves = jax.tree.leaves(eqx.filter(energy, eqx.is_inexact_array))
    dtype = leaves[0].dtype if leaves else jnp.result_type(float)
    rows = np.asarray(x)
    _check_rows(generator, rows)
    data = jnp.asarray(rows, dtype)
    batch = min(batch_size, len(rows))
    streams: Any = Stream(data, batch)
    if y is not None:
        known = np.flatnonzero(_checked_classes(energy, data, np.asarray(y)) >= 0)
        labelled = (data[known], jnp.asarray(np.asarray(y)[known], jnp.int32))
        streams = {
            "unlabelled": Stream(data, batch),
            "labelled": Stream(labelled, min(batch_size, len(known))),
        }
    adam = optax.adam(5e-4, b1=0.0, b2=0.9)
    step = VERAStep(adam, adam, adam) if step is None else step
    return iterate(
        step, step.init(energy, generator, proposal), streams, steps=steps,
        log_every=min(log_every, steps), rollbacks=rollbacks, folder=folder, resume=resume,
        progress=progress, key=key,
    )  # fmt: skip


def _check_rows(generator: LatentGenerator, x: np.ndarray) -> None:
    latent = jax.ShapeDtypeStruct((generator.latent,), generator.log_sigma.dtype)
    shape = eqx.filter_eval_shape(generator.net, latent).shape
    if x.ndim < 1 or not len(x) or x.shape[1:] != shape:
        raise ValueError(
            f"`x` must hold examples of the shape that the generator makes, {shape}, along its "
            f"leading axis; got {x.shape}."
        )
    check_finite("x", x)


def _checked_classes(energy: PyTree, x: Array, y: np.ndarray) -> np.ndarray:
    if not hasattr(energy, "logits"):
        raise ValueError(
            f"`y` needs an `energy` with `logits`, such as JEM; got {type(energy).__name__}."
        )
    if y.shape != (len(x),):
        raise ValueError(f"`y` must be {len(x)} classes, one for each row of `x`; got {y.shape}.")
    count = eqx.filter_eval_shape(energy.logits, jax.ShapeDtypeStruct(x.shape[1:], x.dtype)).size
    if y.min() < -1 or y.max() >= count or y.max() < 0:
        raise ValueError(
            f"`y` must be classes from 0 to {count - 1}, or -1 where it is not known, and not all "
            f"unknown; got {y.min()} to {y.max()}."
        )
    return y

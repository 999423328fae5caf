"""`fit_sequence_regressor`: sequences and their scores in, an ensemble out."""

import os
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._checked_data import check_rows
from pullback._inputs import positive
from pullback._key import checked_key
from pullback._numbers import as_numbers
from pullback.models.sequences._climb import check_rate
from pullback.models.sequences._regressor import SequenceEnsemble, SequenceRegressor
from pullback.models.sequences._rows import check_range, checked_sequences, split_rows
from pullback.train import TrainingInfo, fit


def fit_sequence_regressor(
    x: Float[Array | np.ndarray, "n length letters"],
    y: Float[Array | np.ndarray, " n"],
    *,
    members: int = 5,
    kernel: int = 11,
    filters: int = 32,
    width: int = 64,
    depth: int = 2,
    both_strands: bool = False,
    steps: int = 1500,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    held_out: int | None = None,
    patience: int | None = None,
    log_every: int = 100,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    mesh: jax.sharding.Mesh | None = None,
    key: PRNGKeyArray,
) -> tuple[SequenceEnsemble, TrainingInfo]:
    r"""Nets from a sequence to its score, trained side by side by squared error.

    $$ \min_{s_m}\; \frac{1}{n} \sum_i \Big(
       s_m(x_i) - \frac{y_i - \bar y}{\mathrm{sd}(y)} \Big)^2 $$

    The nets differ by their first weights and the order of their batches; all are one program.

    Args:
        x: sequences one-hot, as `pullback.data.one_hot` makes them of strings; those of half
            precision are taken as float32.
        y: the score of each, in any unit, best of a scale without long tails: the logarithm of a
            binding signal, for example.
        members: how many nets.
        kernel: as for `SequenceRegressor`, as are the four that follow.
        filters: how many.
        width: of the MLP's layers.
        depth: how many of them.
        both_strands: the same score for the reverse complement.
        steps: of Adam.
        batch_size: sequences a step, or all there are.
        learning_rate: of Adam.
        held_out: sequences kept apart for `validation_loss`; None: a tenth, at most 4096.
        patience: as for `pullback.train.fit`, as is all that follows.
        log_every: steps between two points of the history.
        folder: where the log and the checkpoint are written. None: nowhere.
        resume: go on from the checkpoint in `folder`.
        progress: show a bar on stderr. None: where stderr is a terminal.
        mesh: spread each batch over these devices.
        key: for the weights, what is held out and the batches.

    Returns:
        The ensemble, with scores in the unit of `y`, and a `TrainingInfo`, whose history has a
        column for each net; its `validation_loss` is the share of the variance that is left.

    Raises:
        ValueError: `x` are not sequences one-hot, `y` does not fit them, is not finite, is the same
            for all or is beyond the range of the dtype of `x`; or a number does not fit.
        TypeError: `x` is no array, or `y` or a number is none.
        TrainingError: as for `pullback.train.fit`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jax.nn.one_hot(jax.random.randint(jax.random.key(0), (200, 8), 0, 4), 4)
        >>> y = jnp.sum(x[:, :, 2], axis=1)  # how many G there are
        >>> ensemble, info = fit_sequence_regressor(
        ...     x, y, members=2, kernel=3, filters=4, width=8, depth=1, steps=300,
        ...     learning_rate=0.01, key=jax.random.key(1))
        >>> bool(info.history["validation_loss"][-1].max() < 0.2)
        True

    Source: Killoran et al., arXiv 1712.06148, section 3.3; Lakshminarayanan et al.,
        arXiv 1612.01474.
    """
    key = checked_key(key)
    positive(members=members, steps=steps, batch_size=batch_size)
    check_rate(learning_rate)
    x = checked_sequences(x, name="x")
    y, mean, sd = _standardised(y, len(x), x.dtype)
    split_key, net_key, key = jr.split(key, 3)
    train, test = split_rows(len(x), held_out, most=4096, key=split_key)
    make = lambda key: SequenceRegressor(
        x.shape[2], kernel, filters, width, depth, both_strands=both_strands, dtype=x.dtype, key=key
    )
    nets, info = fit(
        eqx.filter_vmap(make)(jr.split(net_key, members)), _squared_error, (x[train], y[train]),
        optimiser=optax.adam(learning_rate), steps=steps, batch_size=min(batch_size, len(train)),
        validation=(x[test], y[test]), patience=patience, log_every=log_every, folder=folder,
        resume=resume, progress=progress, mesh=mesh, key=jr.split(key, members),
    )  # fmt: skip
    return SequenceEnsemble(nets, mean, sd), info


def _squared_error(
    net: SequenceRegressor, batch: tuple[Array, Array], *, key: PRNGKeyArray
) -> tuple[Array, dict[str, Array]]:
    x, y = batch
    return jnp.mean(jnp.square(jax.vmap(net)(x) - y)), {}


def _standardised(y: Any, n: int, dtype: Any) -> tuple[Array, Array, Array]:
    """The scores with mean 0 and sd 1, and what they had."""
    y = as_numbers("y", y)
    if y.shape != (n,):
        raise ValueError(f"`y` must be a score for each of the {n} sequences; got {y.shape}.")
    check_rows(y, name="y")
    with np.errstate(over="ignore"):
        mean, sd = y.mean(), y.std()
    if not sd > 1e-12 * max(abs(mean), 1e-300):
        raise ValueError(
            f"the scores in `y` are all the same, {mean:g}: there is nothing to learn. Is it the "
            "right column?"
        )
    check_range("y", y, sd, dtype)
    in_units_of_sd, mean, sd = (jnp.asarray(each, dtype) for each in ((y - mean) / sd, mean, sd))
    return in_units_of_sd, mean, sd

"""The model that a run of `fit` left in its folder."""

import os
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.tree_util as jtu
import numpy as np

from pullback.train._checkpoint import CheckpointError
from pullback.train._folder import is_of_training, newest

M = TypeVar("M")


def load_model(folder: str | os.PathLike[str], like: M) -> M:
    """The model that `fit` wrote in a folder, as `fit` returns it.

    That is the last one, or with `patience` the one of the lowest validation loss. All its arrays
    are read, those too that were not trained. Where the last checkpoint is damaged the one before
    is read, with a warning. Whatever optimiser it was trained with, give it to
    `fit` to train it on: without `resume` training starts afresh, at step 0 and with a new state of
    the optimiser.

    Args:
        folder: the `folder` that `fit` was given.
        like: a model of the same structure and settings, for instance a new one. Its arrays may be
            `jax.ShapeDtypeStruct`, as `equinox.filter_eval_shape` makes them.

    Returns:
        The model.

    Raises:
        CheckpointError: `folder` is a file, or has no checkpoint; all are damaged, or not of `fit`;
            or `like` is another model: the first leaf or setting that differs is named.

    Example:
        >>> import pathlib, tempfile
        >>> import jax, jax.numpy as jnp, optax
        >>> from pullback.train import fit
        >>> def loss(mean, batch, *, key):
        ...     return jnp.mean((batch - mean) ** 2), {}
        >>> folder, data = pathlib.Path(tempfile.mkdtemp()), jnp.asarray([1.0, 2.0, 3.0])
        >>> trained, _ = fit(jnp.asarray(0.0), loss, data, optimiser=optax.adam(0.1), steps=9,
        ...                  batch_size=3, folder=folder, key=jax.random.key(0))
        >>> model = load_model(folder, jnp.asarray(0.0))
        >>> bool(model == trained)
        True
    """
    folder = Path(folder)
    if os.path.isfile(folder):
        raise CheckpointError(
            f"{folder} is a file. `load_model` takes the folder that `fit` was given, in which "
            "`checkpoint-STEP.safetensors` lies."
        )
    try:
        os.scandir(folder).close()
        stored = newest(folder, stacklevel=2)
    except FileNotFoundError:
        stored = None
    except (OSError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        told = error.strerror if isinstance(error, OSError) else error
        raise CheckpointError(f"{str(folder)!r} cannot be read: {told}.") from error
    if stored is None:
        raise CheckpointError(f"{folder}: there is no checkpoint in this folder.")
    if not is_of_training(stored.header) or stored.header["face"] != "fit":
        raise CheckpointError(f"{stored.path}: not written by `fit`. Give another folder.")
    like = jax.tree.map(_as_trained, like)
    model = stored.part(like, "model")
    names = stored.names("best", "params")
    if not names or not np.any(stored.header["best"]["step"]):
        return model

    def kept(path: Any, leaf: Any) -> Any:
        return leaf if jtu.keystr(path) in names else None

    lowest = stored.part(jtu.tree_map_with_path(kept, like), "best", "params")
    return eqx.combine(lowest, model)


def _as_trained(leaf: Any) -> Any:
    """A leaf as `fit` keeps it: an array of NumPy becomes one of JAX."""
    if not isinstance(leaf, np.ndarray):
        return leaf
    return jax.ShapeDtypeStruct(leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype))

"""What a classifier says of whole pixels kept and removed, under infills no search has seen."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from pullback._in_batches import over_rows
from pullback._traced import Compiled
from pullback.analysis.explain._black_box import BlackBox
from pullback.analysis.explain._classifier import JaxModel
from pullback.analysis.explain._infill import AbstractInfill

Judge = Callable[..., Float[np.ndarray, "m fresh"]]


def pasted(infill: AbstractInfill, x: Array, keep: Array, key: Array) -> Array:
    """The image with what is not kept filled in."""
    keep = keep[None].astype(x.dtype)
    return keep * x + (1 - keep) * infill(x, keep, key=key)


def judge(model: JaxModel | BlackBox, infill: AbstractInfill) -> Judge:
    """`judge(x, keeps [m, H, W], target, keys [fresh])` is the log-odds, traced once.

    The masks share the draws, so that what differs between them is no noise.
    """

    def images(infill: Any, x: Array, keeps: Array, keys: Array) -> Array:
        each = lambda keep: jax.vmap(lambda key: pasted(infill, x, keep, key))(keys)
        return jax.vmap(each)(keeps)

    def by_jax(
        model: JaxModel, infill: Any, x: Array, keeps: Array, target: Array, keys: Array
    ) -> Array:
        m, fresh = len(keeps), len(keys)
        pairs = (jnp.repeat(jnp.arange(m), fresh), jnp.tile(jnp.arange(fresh), m))

        def one(pair: tuple[Array, Array]) -> Array:
            filled = pasted(infill, x, keeps[pair[0]], keys[pair[1]])
            return model.log_odds(filled, target)

        return over_rows(one, pairs, model.batch_size).reshape(m, fresh)

    program: list[Compiled] = []

    def asked(x: Array, keeps: Array, target: Array, keys: Key[Array, " fresh"]) -> np.ndarray:
        black = isinstance(model, BlackBox)
        function = images if black else by_jax
        args = (infill, x, keeps, keys) if black else (model, infill, x, keeps, target, keys)
        if not program:
            program.append(Compiled(function, *args))
        found = np.asarray(program[0](*args))
        if isinstance(model, BlackBox):
            flat = found.reshape(-1, *x.shape)
            classes = np.full(len(flat), int(target))
            found = model.log_odds(flat, classes).reshape(len(keeps), len(keys))
        if not np.isfinite(found).all():
            raise ValueError(
                "the log-odds of an image with some of its pixels filled in is not finite: the "
                "classifier cannot take what `infill` makes."
            )
        return found

    return asked


def mean_and_error(
    values: Float[np.ndarray, "... n"], infill: AbstractInfill
) -> tuple[np.ndarray, np.ndarray]:
    """The mean over the draws of an infill, and its standard error.

    0 of an infill that is always the same, and NaN of one draw of another.
    """
    n = values.shape[-1]
    if n > 1:
        error = values.std(axis=-1, ddof=1) / np.sqrt(n)
    else:
        error = np.full(values.shape[:-1], np.nan if infill.stochastic else 0.0)
    return values.mean(axis=-1), error

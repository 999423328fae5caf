"""Searches for masks, side by side, by the program or by the host."""

import sys
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from rich.console import Console
from rich.progress import track

from pullback._traced import Compiled, compiled
from pullback.analysis.explain._black_box import BlackBox
from pullback.analysis.explain._classifier import JaxModel
from pullback.analysis.explain._search import (
    Drawn,
    JaxStep,
    Question,
    Search,
    Searched,
    drawn,
    told,
)
from pullback.sampling import ScoreFunction
from pullback.train import TrainingError, iterate


def run(
    search: Search,
    model: JaxModel | BlackBox,
    questions: Question,
    *,
    dtype: Any,
    progress: bool | None,
    keys: Key[Array, " lanes"],
) -> Searched:
    """All searches after their last step, with an axis of them in front."""
    state = _begun(search, questions, dtype)
    shown = sys.stderr.isatty() if progress is None else progress
    if isinstance(model, BlackBox):
        return _by_host(search, model, state, shown=shown, keys=keys)
    # One program unless somebody watches.
    each = _share(search.steps) if shown else search.steps
    try:
        state, info = iterate(
            JaxStep(search, model), state, steps=search.steps, log_every=each, progress=shown,
            key=keys,
        )  # fmt: skip
    except TrainingError as error:
        raise ValueError(_FAILED) from error
    if not np.all(info.good):
        raise ValueError(f"{_FAILED} It was one of {np.size(info.good)} searches.")
    return state


@compiled
def _begun(search: Search, questions: Question, dtype: Any) -> Searched:
    return eqx.filter_vmap(lambda question: search.start(question, dtype))(questions)


_FAILED = (
    "the log-odds of an image with some of its pixels filled in, or their gradient, is not finite: "
    "the classifier cannot take what `infill` makes, its gradient overflows, or `learning_rate` is "
    "too large."
)


def _share(steps: int) -> int:
    """About a tenth of the steps, in equal parts."""
    return max(each for each in range(1, max(steps // 10, 1) + 1) if steps % each == 0)


def _by_host(
    search: Search, model: BlackBox, state: Searched, *, shown: bool, keys: Key[Array, " lanes"]
) -> Searched:
    """Masks drawn in JAX, answers from Python: two programs a step, with no callback in them."""
    by_slope = search.estimator is None or _differentiates(search)
    ask = Compiled(eqx.filter_vmap(lambda *args: drawn(search, *args)), state, keys)
    hear = eqx.filter_vmap(lambda *args: told(search, *args))
    step = None
    console = Console(stderr=True)
    for _ in track(range(search.steps), "explain", console=console, disable=not shown):
        asked = ask(state, keys)
        values, slopes = _answers(model, asked, np.asarray(state.question.target), by_slope)
        values = jnp.asarray(values, state.params.dtype)
        args = (state, asked, values, slopes, keys)
        step = Compiled(hear, *args) if step is None else step
        state = step(*args)
    if not (np.isfinite(state.params).all() and np.isfinite(state.trace).all()):
        raise ValueError(_FAILED)
    return state


def _answers(
    model: BlackBox, asked: Drawn, target: np.ndarray, by_slope: bool
) -> tuple[Float[np.ndarray, "lanes n"], Array | None]:
    """Log-odds of all images, and their gradients by the images where these are wanted."""
    lanes, n = asked.images.shape[:2]
    images = np.asarray(asked.images).reshape(lanes * n, *asked.images.shape[2:])
    target = np.repeat(target, n)
    if not by_slope:
        return model.log_odds(images, target).reshape(lanes, n), None
    values, slopes = model.value_and_grad(images, target)
    return values.reshape(lanes, n), jnp.asarray(slopes, asked.images.dtype).reshape(
        asked.images.shape
    )


def _differentiates(search: Search) -> bool:
    return not isinstance(search.estimator, ScoreFunction)

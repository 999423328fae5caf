"""From the arguments of an explanation to the searches, and from those to what they found."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from pullback._floating import at_least_float32
from pullback._inputs import positive
from pullback._traced import compiled
from pullback.analysis.explain._black_box import BlackBox, host_log_odds
from pullback.analysis.explain._classifier import (
    JaxModel,
    as_classifier,
    asked_first,
    checked_images,
    steady_predictions,
)
from pullback.analysis.explain._fresh import judge, mean_and_error
from pullback.analysis.explain._infill import AbstractInfill, checked_infill
from pullback.analysis.explain._run_search import run
from pullback.analysis.explain._saliency import Saliency
from pullback.analysis.explain._search import Noise, Question, Search
from pullback.sampling import (
    AbstractEstimator,
    Enumeration,
    GumbelSoftmax,
    Relax,
    ScoreFunction,
    StraightThrough,
)

# Of each objective, whether its searches keep the class.
_SIGNS = {"ssr": (1.0,), "sdr": (-1.0,), "joint": (1.0, -1.0)}


@dataclasses.dataclass(frozen=True)
class Asked:
    """The arguments of an explanation, checked."""

    model: JaxModel | BlackBox
    x: Array  # [n, C, H, W]
    infill: AbstractInfill
    target: np.ndarray  # [n]
    log_odds: np.ndarray  # [n]
    objective: str
    grid: tuple[int, int]
    weights: np.ndarray  # [k]
    several: tuple[bool, bool]  # images, weights
    fresh: int

    def checked_estimator(self, estimator: Any) -> AbstractEstimator:
        """The estimator of the gradient, if this classifier has what it needs."""
        black = isinstance(self.model, BlackBox)
        by_slope = not isinstance(self.model, BlackBox) or self.model.gradient is not None
        if estimator is None:
            return GumbelSoftmax(0.1) if by_slope else ScoreFunction("leave_one_out")
        if not isinstance(estimator, AbstractEstimator):
            raise TypeError(
                "`estimator` must be one of `pullback.sampling`, such as "
                f"`ScoreFunction('leave_one_out')`; got {estimator!r}."
            )
        if not black or isinstance(estimator, ScoreFunction):
            return estimator
        if not by_slope:
            raise ValueError(
                f"`estimator` {type(estimator).__name__} needs gradients, and `model` is a black "
                "box without: leave `estimator` out, or give `classifier(model, "
                "value_and_grad=...)`."
            )
        if not isinstance(estimator, GumbelSoftmax | StraightThrough):
            raise ValueError(
                f"`estimator` {type(estimator).__name__} asks at points that are known inside a "
                "compiled program alone; of a model outside of JAX take `ScoreFunction`, "
                "`GumbelSoftmax` or `StraightThrough`."
            )
        return estimator

    def search(
        self, *, estimator: AbstractEstimator | None, noise: Noise, steps: int, samples: int,
        learning_rate: Any, warmup: Any,
    ) -> Search:  # fmt: skip
        """The search with these settings."""
        number = learning_rate is None or isinstance(learning_rate, int | float | np.number)
        if not number or (learning_rate is not None and not 0 < learning_rate < np.inf):
            raise ValueError(f"`learning_rate` must be above 0 and finite, got {learning_rate!r}.")
        alone = isinstance(estimator, ScoreFunction) and isinstance(estimator.baseline, str)
        if alone and samples < 2:
            raise ValueError(
                "`samples` must be 2 or more where masks are compared with each other, as those of "
                "a model without gradients are; got 1."
            )
        if not isinstance(warmup, int | np.integer) or not 0 <= warmup <= steps:
            raise ValueError(
                f"`warmup` must be a whole number from 0 to `steps`, {steps}; got {warmup!r}."
            )
        return Search(
            infill=self.infill, estimator=estimator, grid=self.grid, noise=noise, steps=steps,
            samples=samples, warmup=int(warmup),
            learning_rate=float(60 / steps if learning_rate is None else learning_rate),
            batch_size=None if isinstance(self.model, BlackBox) else self.model.batch_size,
        )  # fmt: skip


def asked(
    model: Any, x: Any, infill: Any, *, target: Any, objective: Any, grid: Any, size_weight: Any,
    fresh: int, steps: int, samples: int,
) -> Asked:  # fmt: skip
    """The arguments of an explanation, if they fit together."""
    reader = as_classifier(model)
    images = checked_images(x)
    stack = images if images.ndim == 4 else images[None]
    checked_infill(infill, jax.ShapeDtypeStruct(stack.shape[1:], stack.dtype))
    if not isinstance(objective, str) or objective not in _SIGNS:
        raise ValueError(f"`objective` must be 'ssr', 'sdr' or 'joint', got {objective!r}.")
    positive(steps=steps, samples=samples, fresh=fresh)
    size = stack.shape[2:]
    # Adam takes squares of slopes, which are the weight at least.
    most = float(np.finfo(at_least_float32(stack.dtype)).max) ** 0.5 / (size[0] * size[1])
    given = np.asarray(10 / (size[0] * size[1]) if size_weight is None else size_weight)
    weights = given.astype(float) if given.dtype.kind in "iuf" else np.zeros(0)
    if weights.ndim > 1 or not weights.size or not ((weights >= 0) & (weights < most)).all():
        raise ValueError(
            f"`size_weight` must be a number of nats, 0 or more and below {most:.0e}, or several "
            f"of them, got {size_weight!r}."
        )
    called = reader.of(stack[0])
    rows = steady_predictions(called, stack)
    found = checked_target(target, rows)
    return Asked(
        called, stack, infill, found, host_log_odds(rows, found, called.outputs),
        objective, _checked_grid(grid, size), np.atleast_1d(weights),
        (images.ndim == 4, weights.ndim == 1), fresh,
    )  # fmt: skip


def checked_target(target: Any, rows: np.ndarray) -> np.ndarray:
    """A class for each image: the predicted ones, if None."""
    n, classes = rows.shape
    if target is None:
        return rows.argmax(axis=1)
    found = np.asarray(target)
    if not np.issubdtype(found.dtype, np.integer) or found.shape not in ((), (n,)):
        raise ValueError(
            f"`target` must be a class, a whole number, or one for each of {n} images; got "
            f"{target!r}."
        )
    if found.min() < 0 or found.max() >= classes:
        raise ValueError(
            f"`target` must lie between 0 and {classes - 1}, for `model` has {classes} classes; "
            f"got {target!r}."
        )
    return np.broadcast_to(found, (n,))


def explained(
    search: Search, asked: Asked, *, progress: bool | None, key: PRNGKeyArray
) -> Saliency:
    """Run all searches, and score what they found under fresh infills."""
    of_search, of_scores = jr.split(key)
    n, k, signs = len(asked.x), len(asked.weights), _SIGNS[asked.objective]
    dtype = at_least_float32(asked.x.dtype)
    lanes = [a.ravel() for a in np.indices((n, k, len(signs)))]
    # By NumPy, here and below: what JAX does outside of a program is one more for each shape.
    questions = Question(
        jnp.asarray(np.asarray(asked.x)[lanes[0]]), jnp.asarray(asked.target[lanes[0]]),
        *(jnp.asarray(a, dtype) for a in (asked.weights[lanes[1]], np.asarray(signs)[lanes[2]])),
    )  # fmt: skip
    # The searches of one image share their draws, so that what differs is not the noise.
    keys = jr.split(of_search, n)[lanes[0]]
    state = run(search, asked.model, questions, dtype=dtype, progress=progress, keys=keys)
    size = asked.x.shape[2:]
    kept = np.asarray(_probabilities(search, state.params, size))
    kept = np.clip(kept, 0, 1).reshape(n, k, len(signs), *size)
    trace = np.asarray(state.trace).reshape(n, k, len(signs), -1)
    matters = {
        "ssr": kept[:, :, 0],
        "sdr": 1 - kept[:, :, 0],
        "joint": np.sqrt(kept[:, :, 0] * (1 - kept[:, :, -1])),
    }[asked.objective]
    marked = matters > 0.5
    values = _scores(asked, marked, of_scores)
    means, errors = mean_and_error(values, asked.infill)
    if len(signs) == 1:
        kept, trace = kept[:, :, 0], trace[:, :, 0]
    taken = tuple(slice(None) if several else 0 for several in asked.several)
    pick = lambda a: jnp.asarray(np.asarray(a, kept.dtype)[taken])
    spread = lambda a: np.broadcast_to(np.asarray(a)[:, None], (n, k))
    return Saliency(
        map=pick(matters), keep_probability=pick(kept),
        target=jnp.asarray(spread(asked.target)[taken]), log_odds=pick(spread(asked.log_odds)),
        only=pick(means[..., 0]), only_error=pick(errors[..., 0]),
        without=pick(means[..., 1]), without_error=pick(errors[..., 1]),
        area=pick(marked.mean(axis=(2, 3))), objective=pick(trace),
        evaluations=asked_first(asked.model)
        + k * (len(signs) * search.steps * _asked_a_step(search, size) + 2 * values.shape[-1]),
    )  # fmt: skip


def _scores(asked: Asked, marked: np.ndarray, key: PRNGKeyArray) -> np.ndarray:
    """Log-odds of the marked pixels alone and of the others alone, `[n, k, 2, fresh]`."""
    score = judge(asked.model, asked.infill)
    keys = jr.split(key, asked.fresh if asked.infill.stochastic else 1)
    found = [
        score(
            jnp.asarray(x), jnp.asarray(np.stack([each, ~each]), x.dtype), jnp.asarray(target), keys
        )
        for x, target, of_image in zip(np.asarray(asked.x), asked.target, marked, strict=True)
        for each in of_image
    ]
    return np.stack(found).reshape(*marked.shape[:2], 2, -1)


@compiled
def _probabilities(search: Search, params: Array, size: tuple[int, ...]) -> Array:
    return jax.vmap(lambda params: search.probability(params, size))(params)


def _asked_a_step(search: Search, size: tuple[int, ...]) -> int:
    match search.estimator:
        case None:
            return 1
        case Enumeration():
            rows, columns = search.grid if search.noise == "coarse" else size
            return 2 ** (rows * columns)
        case Relax() if search.estimator.relaxes:
            # At the mask, and at two between masks for the value and again for its slope.
            return 5 * search.samples
        case _:
            return search.samples


def _checked_grid(grid: Any, size: tuple[int, ...]) -> tuple[int, int]:
    if grid is None:
        return size[0], size[1]
    whole = lambda n: isinstance(n, int | np.integer) and not isinstance(n, bool)
    fits = isinstance(grid, tuple | list) and len(grid) == 2
    if not fits or not all(whole(n) and 1 <= n <= m for n, m in zip(grid, size)):  # noqa: B905
        raise ValueError(
            f"`grid` must be rows and columns of the mask, 1 to those of the image, {list(size)}; "
            f"got {grid!r}."
        )
    return int(grid[0]), int(grid[1])

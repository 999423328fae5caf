"""Search over hyperparameters without their gradient: many settings trained as one program."""

import os
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from pullback._inputs import positive
from pullback._key import checked_key
from pullback._traced import compiled
from pullback.bilevel._checks import as_arrays, check_apart, check_losses, value_of
from pullback.bilevel._hypergradient import Problem
from pullback.bilevel._hyperparameters import values
from pullback.bilevel._response import checked_hyper
from pullback.bilevel._streams import streams_of
from pullback.train import TrainingInfo, apply_gradient, iterate


class SearchResult(NamedTuple):
    """What a search found.

    Attributes:
        model: the one with the lowest outer loss.
        hyper: its hyperparameters.
        loss: its outer loss.
        hypers: those of all trials, stacked, in the order in which they were drawn.
        losses: the outer loss of each, NaN where its training failed.
        metrics: the metrics of the outer loss, likewise.
        info: of the training, with the trials as the last axis of its history.
    """

    model: Any
    hyper: Any
    loss: float
    hypers: Any
    losses: Float[np.ndarray, " trials"]
    metrics: dict[str, Float[np.ndarray, " trials"]]
    info: TrainingInfo

    def rows(self) -> list[dict[str, Any]]:
        """The trials from the best to the worst, each a dictionary: for `pandas.DataFrame`, say.

        `trial`, `loss`, the metrics of the outer loss, and every hyperparameter by its place in
        `hyper`, as a loss reads it. Where one of these has the name of another, metrics are
        `outer_NAME` and hyperparameters `hyper.NAME`.
        """
        found = jtu.tree_leaves_with_path(
            eqx.filter(jax.device_get(values(self.hypers)), eqx.is_array)
        )
        own = lambda name, mark: f"{mark}{name}" if name in ("trial", "loss") else name
        columns = {"loss": self.losses}
        columns |= {own(name, "outer_"): values for name, values in self.metrics.items()}
        for path, stacked in found:
            name = own(jtu.keystr(path, simple=True, separator=".") or "hyper", "hyper.")
            name = f"hyper.{name}" if name in columns else name
            for index in np.ndindex(stacked.shape[1:]):
                place = f"[{', '.join(map(str, index))}]" if index else ""
                columns[name + place] = stacked[(slice(None), *index)]
        order = np.argsort(self.losses)  # NaN comes last
        return [
            {"trial": int(at)} | {name: column[at].item() for name, column in columns.items()}
            for at in order
        ]


def search(
    model: Any,
    low: PyTree,
    high: PyTree,
    inner: Callable[..., Any],
    outer: Callable[..., Any],
    train: Any,
    validation: PyTree,
    *,
    trials: int,
    method: Literal["sobol", "random"] = "sobol",
    optimiser: Any,
    steps: int,
    batch_size: int | None = None,
    log_every: int = 100,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    mesh: jax.sharding.Mesh | None = None,
    sequential: bool = False,
    key: PRNGKeyArray,
) -> SearchResult:
    r"""Train a model at many settings of the hyperparameters, and keep the best.

    All trials are one compiled program. They start at the same weights, and their hyperparameters
    are drawn evenly between two ends. It asks for no gradient, so it tunes what has none, whole
    numbers too, and the settings of an optimiser; and it is the baseline at equal cost for what
    does: `trials * steps` gradients of `inner`. Beyond some ten hyperparameters it finds little.

    Args:
        model: where every trial starts, any PyTree; its real floating arrays are trained.
        low: one end, a PyTree as every `hyper`.
        high: the other, of the same structure. Draws are uniform between the two along the
            unconstrained coordinates: for a plain array along its value, so of a log-decay give
            the logarithms; for a `Positive` much below 1 along its logarithm.
        inner: `inner(model, hyper, batch, *, key) -> (scalar, dict of scalar metrics)`, the loss
            of training.
        outer: the same of held-out data, by which trials are compared.
        train: the examples of `inner`, as the `data` of `fit`; None where it needs none.
        validation: arrays, which `outer` is given whole, in inference mode; or None.
        trials: how many settings.
        method: "sobol", a scrambled Sobol sequence, which fills the space more evenly than chance;
            or "random".
        optimiser: an Optax transformation, or a function of `hyper` that gives one.
        steps: of each training.
        batch_size: examples of a batch. None: all of `train` in every step.
        log_every: as for `fit`, and so are `folder`, `resume`, `progress`, `mesh` and `sequential`.
        key: a random key.

    Returns:
        A `SearchResult`.

    Raises:
        TypeError: a leaf of `low` or `high` is not real floating; a loss is none.
        ValueError: there is one loss for two; validation rows are training rows; `low` and `high`
            differ in more than their numbers; a number does not fit.
        TrainingError: every trial failed.

    Example:
        The learning rate and the decay of a regression:

        >>> import jax, jax.numpy as jnp, jax.random as jr, optax
        >>> from pullback.bilevel import Positive, search
        >>> x, noise = jr.normal(jr.key(0), (60, 10)), jr.normal(jr.key(1), (60,))
        >>> y = x[:, 0] + noise
        >>> def outer(w, hyper, batch, *, key):
        ...     x, y = batch
        ...     return jnp.mean((x @ w - y) ** 2), {}
        >>> def inner(w, hyper, batch, *, key):
        ...     error, _ = outer(w, hyper, batch, key=key)
        ...     return error + jnp.exp(hyper["log_decay"]) * jnp.sum(w**2), {}
        >>> found = search(
        ...     jnp.zeros(10), {"log_decay": jnp.asarray(-5.0), "rate": Positive(1e-3)},
        ...     {"log_decay": jnp.asarray(3.0), "rate": Positive(1e-1)}, inner, outer,
        ...     (x[:20], y[:20]), (x[20:], y[20:]), trials=16,
        ...     optimiser=lambda hyper: optax.sgd(hyper["rate"].value), steps=100, key=jr.key(2))
        >>> [sorted(row) for row in found.rows()[:1]]
        [['log_decay', 'loss', 'rate', 'trial']]
        >>> bool(found.loss == found.losses.min())
        True

    Source: J. Bergstra and Y. Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 13,
    2012, which compares random draws with Sobol's sequence too.
    """
    key = checked_key(key)
    check_losses(inner, outer)
    low, high = checked_hyper(low, name="low"), checked_hyper(high, name="high")
    check_apart(train, validation)
    positive(trials=trials, steps=steps)
    draw_key, key = jr.split(key)
    hypers = _between(low, high, _unit_cube(method, trials, _size(low), draw_key))
    step = _Step(Problem(inner, outer, optimiser))
    arrays, rest = eqx.partition(as_arrays(model), eqx.is_array)
    begin = lambda hyper: step.start(eqx.combine(arrays, rest), hyper)
    state, info = iterate(
        step, eqx.filter_vmap(begin)(hypers), streams_of({"train": (train, batch_size)}),
        steps=steps, log_every=log_every, folder=folder, resume=resume,
        progress=progress, mesh=mesh, sequential=sequential, key=jr.split(key, trials),
    )  # fmt: skip
    data = jax.tree.map(jnp.asarray, validation)
    found = jax.device_get(_judged(outer, state.model, state.hyper, data, key))
    losses, metrics = (
        jax.tree.map(lambda x: np.where(info.good, np.asarray(x, float), np.nan), part)
        for part in found
    )
    if np.all(np.isnan(losses)):
        raise ValueError(
            "`outer` is not a number in any trial, so that none is the best: look at `validation` "
            "and at what `outer` divides by."
        )
    best = int(np.nanargmin(losses))
    model, hyper = _row((state.model, state.hyper), best)
    return SearchResult(model, hyper, float(losses[best]), hypers, losses, metrics, info)


class _Trial(eqx.Module):
    model: PyTree
    state: PyTree
    hyper: PyTree


class _Step(eqx.Module):
    """One step of training at hyperparameters that stay."""

    problem: Problem

    def start(self, model: PyTree, hyper: PyTree) -> _Trial:
        params = eqx.filter(model, eqx.is_inexact_array)
        with jax.numpy_dtype_promotion("standard"):
            state = self.problem.optimiser_at(hyper).init(params)
        return _Trial(model, jax.tree.map(jnp.asarray, state), hyper)

    def __call__(
        self, now: _Trial, batches: dict[str, PyTree] | None, *, key: PRNGKeyArray
    ) -> tuple[_Trial, dict[str, Array]]:
        batch = (batches or {}).get("train")

        def loss(model: PyTree) -> tuple[Array, dict[str, Array]]:
            return value_of("inner", self.problem.inner, model, now.hyper, batch, key=key)

        (value, metrics), slope = eqx.filter_value_and_grad(loss, has_aux=True)(now.model)
        optimiser = self.problem.optimiser_at(now.hyper)
        model, state = apply_gradient(optimiser, slope, now.state, now.model, loss=value)
        named = {f"inner_{name}": metric for name, metric in metrics.items()}
        return _Trial(model, state, now.hyper), {"inner": value, **named}


@compiled
def _judged(
    outer: Callable[..., Any], models: PyTree, hypers: PyTree, data: PyTree, key: PRNGKeyArray
) -> tuple[Array, dict[str, Array]]:
    """The outer loss and its metrics of every trial, one after another."""
    arrays, rest = eqx.partition((models, hypers), eqx.is_array)

    def one(arrays: PyTree) -> tuple[Array, dict[str, Array]]:
        model, hyper = eqx.combine(arrays, rest)
        return value_of("outer", outer, eqx.nn.inference_mode(model), hyper, data, key=key)

    return jax.lax.map(one, arrays)


def _size(hyper: PyTree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(hyper, eqx.is_array)))


def _unit_cube(
    method: str, count: int, dim: int, key: PRNGKeyArray
) -> Float[np.ndarray, "count dim"]:
    if method not in ("sobol", "random"):
        raise ValueError(f"`method` must be 'sobol' or 'random', got {method!r}.")
    rng = np.random.default_rng(np.asarray(jr.key_data(key)))
    if method == "random":
        return rng.uniform(size=(count, dim))
    from scipy.stats import qmc

    # Of a power of two: only those are balanced.
    return qmc.Sobol(dim, rng=rng).random_base2((count - 1).bit_length())[:count]


def _between(low: PyTree, high: PyTree, cube: Float[np.ndarray, "count dim"]) -> PyTree:
    """For every row of the cube the hyperparameters at that place between two ends, stacked."""
    ends = [eqx.partition(end, eqx.is_array) for end in (low, high)]
    (low_arrays, rest), (high_arrays, other) = ends
    lows, structure = jax.tree.flatten(low_arrays)
    highs, other_structure = jax.tree.flatten(high_arrays)
    shapes = lambda leaves: [(leaf.shape, leaf.dtype) for leaf in leaves]
    if (
        structure != other_structure
        or shapes(lows) != shapes(highs)
        or not eqx.tree_equal(rest, other)
    ):
        raise ValueError(
            "`low` and `high` must be alike but for their numbers, and the bounds of records the "
            f"same; got {low} and {high}."
        )
    parts = np.split(cube, np.cumsum([leaf.size for leaf in lows])[:-1], axis=1)
    found = []
    for part, a, b in zip(parts, lows, highs, strict=True):
        share = part.reshape(len(cube), *a.shape)
        found.append(jnp.asarray(np.asarray(a) + share * np.asarray(b - a), a.dtype))
    return eqx.combine(jax.tree.unflatten(structure, found), rest)


def _row(tree: PyTree, at: int) -> PyTree:
    arrays, rest = eqx.partition(tree, eqx.is_array)
    return eqx.combine(_rows_at(arrays, jnp.asarray(at)), rest)


@jax.jit
def _rows_at(arrays: PyTree, at: Int[Array, ""]) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[at], arrays)

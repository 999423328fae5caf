"""What can be explained over time: a predictor, and a generator of what it might have seen."""

from collections.abc import Callable
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from pullback._in_batches import check_batch_size

Outputs = Literal["logits", "probabilities"]
Kind = Literal["categorical", "multilabel", "gaussian"]


@runtime_checkable
class SeriesGenerator(Protocol):
    """A law of series, from which parts of a time step are drawn given the rest and the past.

    For one series; NaN is what was not observed. One's own class needs these three methods, and is
    a PyTree of JAX functions, as an `equinox.Module` is.
    """

    def start(self) -> PyTree:
        """The state before the first time step."""
        ...

    def step(self, state: PyTree, x: Float[Array, " features"]) -> PyTree:
        """The state that sums up one time step more."""
        ...

    def sample(
        self,
        state: PyTree,
        x: Float[Array, " features"],
        keep: Bool[Array, " features"],
        *,
        key: PRNGKeyArray,
    ) -> Float[Array, " features"]:
        """One time step, given those before it and the kept features of it.

        Args:
            state: what sums up the time steps before this one.
            x: this one. Only entries that are kept and not NaN are known.
            keep: which features are.
            key: for the draw.

        Returns:
            `x` with all the others drawn.
        """
        ...


class StepPredictor(eqx.Module):
    """A predictor by JAX functions, which carries a state from one time step to the next.

    Made by `step_predictor`.
    """

    start: Callable[[], PyTree]
    step: Callable[[PyTree, Array], tuple[PyTree, Array]]
    outputs: Outputs = eqx.field(static=True)
    kind: Kind = eqx.field(static=True)


class PrefixPredictor(eqx.Module):
    """A predictor of which nothing is known but its answers. Made by `prefix_predictor`."""

    function: Callable[[np.ndarray], Any] = eqx.field(static=True)
    outputs: Outputs = eqx.field(static=True)
    kind: Kind = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)


def step_predictor(
    start: Callable[[], PyTree],
    step: Callable[[PyTree, Array], tuple[PyTree, Array]],
    *,
    outputs: Outputs = "logits",
    kind: Kind = "categorical",
) -> StepPredictor:
    r"""A predictor that goes along a series step by step, such as a recurrent network.

    What it has seen is carried on, so that a time step is explained without the ones before it
    being run again.

    Args:
        start: `start() -> state`, any PyTree of arrays.
        step: `step(state, x) -> (state, output)`, for x `[features]`, in which NaN is what was not
            observed, and the output `[K]`.
        outputs: "logits" or "probabilities".
        kind: "categorical", of K classes one (K is at least 2); "multilabel", each of K labels by
            itself, so one yes or no is K = 1; "gaussian", whose output is the mean and the standard
            deviation, whatever `outputs` is.

    Returns:
        What `fit_importance` and its neighbours take.

    Raises:
        TypeError: `start` or `step` is no function.
        ValueError: `outputs` or `kind` is unknown.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> cell = eqx.nn.GRUCell(3, 8, key=jax.random.key(0))
        >>> head = eqx.nn.Linear(8, 2, key=jax.random.key(1))
        >>> def step(state, x):
        ...     state = cell(jnp.nan_to_num(x), state)
        ...     return state, head(state)
        >>> step_predictor(lambda: jnp.zeros(8), step).kind
        'categorical'
    """
    for name, function in (("start", start), ("step", step)):
        if not callable(function):
            raise TypeError(f"`{name}` must be a function, got {function!r}.")
    _check(outputs, kind)
    return StepPredictor(start, step, outputs, kind)


def prefix_predictor(
    f: Callable[[np.ndarray], Any],
    *,
    outputs: Outputs = "probabilities",
    kind: Kind = "categorical",
    batch_size: int | None = None,
) -> PrefixPredictor:
    r"""A predictor of which nothing is known but its answers, from any library.

    It is called on the host with NumPy arrays, once a time step, with all that is asked about
    predictions at that time; and once more at the end, to see that it answers the same. What was
    not drawn comes to it to the bit, in the dtype of a series of NumPy.

    Args:
        f: `f(prefixes) -> answers`, for series up to some time step `[n, time, features]`, of every
            length from 1 on, to `[n, K]`. NaN is what was not observed.
        outputs: "logits" or "probabilities".
        kind: as of `step_predictor`.
        batch_size: the most series in a call, which bounds the memory. None: all.

    Returns:
        What `fit_importance` and its neighbours take; these are then not to be compiled, nor mapped
        over series by `jax.vmap`.

    Raises:
        TypeError: `f` is no function.
        ValueError: `outputs` or `kind` is unknown, or `batch_size` is below 1.

    Example:
        >>> import numpy as np
        >>> def risk(prefixes):  # such as a fitted scikit-learn model gives it
        ...     odds = np.exp(np.nan_to_num(prefixes[:, -1]).sum(axis=1))
        ...     return np.stack([1 / (1 + odds), odds / (1 + odds)], axis=1)
        >>> prefix_predictor(risk).outputs
        'probabilities'
    """
    if not callable(f):
        raise TypeError(
            f"`f` must be a function of prefixes [n, time, features], got {f!r}: of a model with "
            "`predict_proba`, give a function that makes its columns and calls it."
        )
    _check(outputs, kind)
    check_batch_size(batch_size)
    return PrefixPredictor(f, outputs, kind, batch_size)


def check_predictor(predictor: Any) -> None:
    """Refuse what neither of the two functions made."""
    if not isinstance(predictor, StepPredictor | PrefixPredictor):
        raise TypeError(
            f"`predictor` must be what `step_predictor(start, step)` or `prefix_predictor(f)` "
            f"gives, got {predictor!r}."
        )


def check_generator(generator: Any) -> None:
    """Refuse what has not the methods of one."""
    for name in ("start", "step", "sample"):
        if not callable(getattr(generator, name, None)):
            raise TypeError(
                f"`generator` must have a method `{name}`, as `SeriesGenerator` describes it; got "
                f"{generator!r}."
            )


def drawn_by(
    generator: SeriesGenerator,
    state: PyTree,
    x: Float[Array, " features"],
    keep: Bool[Array, " features"],
    *,
    key: PRNGKeyArray,
) -> Float[Array, " features"]:
    """A draw of a generator, once it is found to be of as many features."""
    drawn = generator.sample(state, x, keep, key=key)
    if np.shape(drawn) != x.shape:
        raise ValueError(
            f"`generator` must draw the features of `series`, {list(x.shape)}; it gives "
            f"{list(np.shape(drawn))}: give one of as many features."
        )
    return drawn


def _check(outputs: Any, kind: Any) -> None:
    for name, value, known in (("outputs", outputs, Outputs), ("kind", kind, Kind)):
        if value not in get_args(known):
            raise ValueError(f"`{name}` must be one of {get_args(known)}, got {value!r}.")

"""A predictor of the user's own, as `analysis.explain` takes it, and what it says of series."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit, softmax

from pullback._on_device import on_device
from pullback.analysis.explain import prefix_predictor, step_predictor
from pullback.data import DataError, IrregularSeries

from ._answers import Answers, changes
from ._model_file import place_of
from ._series import SeriesModel
from ._series_steps import Steps

Kind = Literal["categorical", "multilabel", "gaussian"]
KINDS = ("categorical", "multilabel", "gaussian")
_PROBED = 8  # series


class Predictor:
    """A predictor of one's own.

    Args:
        model: with `start` and `step`, of JAX's functions; a function of prefixes; or a
            `SeriesModel` with outcomes.
        outputs: "probabilities", "logits" or None, which is probabilities of a function and logits
            of what has steps.
        kind: what it predicts.
        batch_size: the most prefixes in a call.
        step: between the rows of a prefix.
        variables: of a prefix.
    """

    def __init__(
        self, model: Any, outputs: Any, kind: Any, batch_size: int | None, step: float,
        variables: tuple[str, ...],
    ) -> None:  # fmt: skip
        if isinstance(model, SeriesModel):
            model = of_series_model(model, step, variables)
        start, carry_on = getattr(model, "start", None), getattr(model, "step", None)
        self.model, self.kind = model, kind
        self.stepwise = callable(start) and callable(carry_on)
        self.outputs = outputs or ("logits" if self.stepwise else "probabilities")
        if self.stepwise:
            self.made: Any = step_predictor(
                model.start, model.step, outputs=self.outputs, kind=kind
            )
            return
        if not callable(model):
            raise TypeError(
                "the model of series must be a function of prefixes, (n, time, variables) to (n, "
                f"classes), or have `start` and `step`; got a {type(model).__name__}. Of one with "
                "predict_proba give a function that makes its columns of a prefix and calls it."
            )
        self.asked = Answers(model, self.outputs if kind == "categorical" else "any", "prefixes")
        self.made = prefix_predictor(
            self.asked, outputs=self.outputs, kind=kind, batch_size=batch_size
        )

    def check(self, steps: Steps) -> float:
        """By how much its answers change from call to call; 0 where it has steps.

        Raises:
            DataError: it takes one length alone, or its answers are none.
        """
        if self.stepwise:
            return 0.0
        # No rows behind the end of a series: nothing is said of them, and a model may refuse them.
        longest = np.argsort(-steps.lengths, kind="stable")[:_PROBED]
        probe = steps.values[longest, : steps.lengths[longest[-1]]]
        try:
            self.asked(probe[:, :1])
        except DataError as error:
            whole = int(steps.lengths[longest[0]])
            try:
                self.asked(steps.of_one(longest[0])[None])
            except DataError:
                raise error from None
            self.asked.refuse(
                f"takes series of {whole} steps, and fails on the first one alone ({error}). What "
                "moved it at a time is seen from what it says up to then, so it must take prefixes "
                f"of every length from 1 to {whole}: fill them up in the function, x = np.pad(x, "
                f"((0, 0), (0, {whole} - x.shape[1]), (0, 0)), constant_values=np.nan), or with "
                "what the model takes for unknown."
            )
        return changes(self.asked, probe)

    def predict(self, steps: Steps) -> Float[np.ndarray, "s t k"]:
        """What it says at every step of every series: probabilities, or means and deviations.

        NaN behind the end of a series.
        """
        values, lengths = steps.values, steps.lengths
        if self.stepwise:
            found = np.array(_along(self.made, on_device(steps.carried(), float)), np.float64)
            found[np.arange(found.shape[1]) >= lengths[:, None]] = np.nan
        else:
            size = self.made.batch_size or len(values)
            said = [
                (rows, t, self.asked(values[rows, : t + 1]))
                for t in range(values.shape[1])
                for rows in _parts(np.flatnonzero(lengths > t), size)
            ]
            found = np.full((*values.shape[:2], said[0][2].shape[1]), np.nan)
            for rows, t, answer in said:
                found[rows, t] = answer
        if self.kind != "gaussian" and self.outputs == "logits":
            found = softmax(found, axis=-1) if self.kind == "categorical" else expit(found)
        return found


def of_series_model(
    model: SeriesModel, step: float, variables: tuple[str, ...]
) -> Callable[[np.ndarray], np.ndarray]:
    """The outcomes that a model of series gives to prefixes of these of its variables."""
    units = dict(zip(model.variables_, model.units_, strict=True))
    unknown = [name for name in variables if name not in units]
    if unknown:
        raise ValueError(
            f"`variables` has {unknown[0]!r}, which the model of series does not know; it was "
            f"fitted to {', '.join(units)}."
        )

    def outcomes(prefixes: Float[np.ndarray, "n t v"]) -> Float[np.ndarray, "n k"]:
        mask = ~np.isnan(prefixes)
        times = np.broadcast_to(step * np.arange(prefixes.shape[1]), prefixes.shape[:2])
        ids = tuple(map(str, range(len(prefixes))))
        given = IrregularSeries(
            times, np.where(mask, prefixes, 0.0), mask, ids, variables,
            tuple(units[name] for name in variables), model.time_unit_, None,
        )  # fmt: skip
        return model.predict_proba(given)

    return outcomes


def _parts(rows: Int[np.ndarray, " n"], size: int) -> list[Int[np.ndarray, " m"]]:
    return [rows[low : low + size] for low in range(0, len(rows), size)]


@eqx.filter_jit
def _along(predictor: Any, values: Any) -> Any:
    def one(series: Any) -> Any:
        shape = jax.eval_shape(lambda s: predictor.step(s, series[0])[0], predictor.start())
        start = jax.tree.map(lambda a, b: jnp.asarray(a, b.dtype), predictor.start(), shape)
        return jax.lax.scan(lambda state, x: predictor.step(state, x), start, series)[1]

    return jax.vmap(one)(values)


@contextmanager
def blamed(model: Any) -> Iterator[None]:
    """Say what is wrong with a model with the file and the line where it stands."""
    try:
        with warnings.catch_warnings():
            # Said before, of all series at once.
            for known in ("the predictor gave two answers", "`model` changes its answer"):
                warnings.filterwarnings("ignore", message=known)
            yield
    except DataError:
        raise
    except (ValueError, TypeError) as error:
        if "`model`" not in str(error) and "predictor" not in str(error):
            raise
        file, line = place_of(model)
        raise DataError(file, str(error), line=line) from error

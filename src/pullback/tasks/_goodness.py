"""Does a model fit a table? A test by a critic that learns where it does not."""

import hashlib
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float
from scipy.stats import ks_2samp
from sklearn.utils import check_random_state

from pullback import analysis
from pullback._on_device import on_device
from pullback.calculus import stein_terms

from ._columns import with_a_density
from ._coordinates import DRAWS, Side, gaussian_side, key_of, model_side
from ._density import FlowDensity
from ._frame import choose, frame_of, is_file, is_frame
from ._groups import whole_rows
from ._load import load
from ._padded import CHUNK, chunks, in_chunks

_FEWEST, _MOST = 100, 8000  # rows
_LEARN = 0.6  # share of the rows that the critic is learned from
_SPLIT = (0.6, 0.2, 0.2)  # of those: to train on, to choose by, and a test that is not looked at
_WIDTH, _STEPS, _BATCH, _LOOK = 32, 400, 256, 50
_DRAWN, _TIMES = 60_000, (99, 499)  # rows drawn to tell chance by, and how often a table of them


class ColumnFit(NamedTuple):
    """One column of the rows beside the model's draws.

    Attributes:
        name: of the column.
        share: of what the critic sees, in the column's direction.
        mean: of the rows, and of the draws.
        deviation: likewise.
        distance: the largest between their distribution functions (Kolmogorov and Smirnov's).
    """

    name: str
    share: float
    mean: tuple[float, float]
    deviation: tuple[float, float]
    distance: float


class FitTest(NamedTuple):
    """How a test of a model against rows came out.

    Attributes:
        statistic: T: large where the model does not fit.
        p_value: how often a model that is right gives one as large.
        rejected: whether that is at most the level.
        columns: each column, those that the critic looks at first.
        order: the names of the columns of `values` and `draws`.
        model: what was tested.
        rows: how many there were, without holes.
        source: where they came from.
        notes: what was done and found, in sentences.
        values: the rows that were tested on, `[m, d]`.
        draws: the model's.
    """

    statistic: float
    p_value: float
    rejected: bool
    columns: list[ColumnFit]
    order: list[str]
    model: str
    rows: int
    source: str
    notes: list[str]
    values: Float[np.ndarray, "m d"]
    draws: Float[np.ndarray, "n d"]

    def __str__(self) -> str:
        return "\n".join(self.notes)


def goodness_of_fit(
    X: Any,
    model: Any = None,
    *,
    columns: Sequence[Any] | None = None,
    level: float | int = 0.05,
    random_state: Any = None,
) -> FitTest:
    r"""Test whether a model fits rows, and find the columns in which it does not.

    $$ T = \frac{\sqrt m\,\mathrm{mean}\, \mathcal{A}_q f(x_i)}{\mathrm{std}\, \mathcal{A}_q
       f(x_i)}, \qquad
       \mathcal{A}_q f = \nabla \ln q \cdot f + \mathrm{tr} \frac{\partial f}{\partial x} $$

    A net f, the critic, is learned on three fifths of the rows, and the mean of Stein's operator is
    taken over the others: 0 where the model q is right, and above where the critic has found that
    it is not. How large T may be by chance is told by as many rows drawn of the model, again and
    again, so the level is exact, for few rows too; a Gaussian is fitted to each draw anew.

    Args:
        X: an array, a data frame, or a CSV or Parquet file; for a model rows that it was not fitted
            to: to those that it was it may be too near.
        model: a fitted `FlowDensity`, or the folder of a saved one; None tests whether the rows are
            those of a Gaussian.
        columns: without a model, the columns to take; None takes all of numbers.
        level: how often a model that is right is to be rejected.
        random_state: seed, generator or None.

    Returns:
        A `FitTest`; nothing is saved.

    Raises:
        ValueError: there are fewer than 100 rows without holes, or an argument does not fit.

    Example:
        >>> import numpy as np, pullback as pb
        >>> x = np.random.default_rng(0).normal(size=(400, 2))
        >>> x[:, 1] = x[:, 1] ** 3
        >>> found = pb.tasks.goodness_of_fit(x, random_state=0)
        >>> found.rejected, found.columns[0].name
        (True, 'x2')

    Source: Grathwohl et al., Learning the Stein Discrepancy for Training and Evaluating
        Energy-Based Models without Sampling, arXiv 2002.05616, section 4.1.
    """
    if not 0 < level < 1:
        raise ValueError(f"`level` must be between 0 and 1, got {level}.")
    generator = check_random_state(random_state)
    if isinstance(model, str | os.PathLike):
        model = load(model)
    if model is not None and not isinstance(model, FlowDensity):
        raise ValueError(
            f"`model` must be a FlowDensity or the folder of one; got a {type(model).__name__}."
        )
    if model is None:
        values, names, source, notes = _of_gaussian(X, columns)
        said = "a Gaussian"
    else:
        if columns is not None:
            raise ValueError("`columns` are those of the model; give one of them alone.")
        values, source, notes = _of_model(X, model)
        names, said = model.columns_, f"the density of {model.data_['source']}"
    if len(values) < _FEWEST:
        raise ValueError(
            f"expected {_FEWEST} rows or more without holes, to learn from and to test on; got "
            f"{len(values)}."
        )
    rows, outside = len(values), 0
    values = values[generator.permutation(rows)[:_MOST]]
    cut = int(_LEARN * len(values))
    if model is None:
        side, blame, draws = gaussian_side(values, cut, generator)
    else:
        spread = _spread(values, model, generator)
        z, slope = model.map_.to_line(spread)
        outside = int((~np.isfinite(slope)).sum())
        side, blame = model_side(z, cut, model, generator)
        draws = model.sample(DRAWS, random_state=generator)
    if outside:
        found: Any = (np.inf, 0.0, np.full((len(names),), 1 / len(names)))
        notes.append(f"{outside} rows lie where the model has no mass at all.")
    else:
        found = _tested(side, blame, generator)
    statistic, p_value, shares = found
    fits = _columns(names, shares, values[cut:], draws)
    notes = [*_told(said, source, p_value, level, fits, len(values) - cut), *notes]
    return FitTest(
        statistic=statistic,
        p_value=p_value,
        rejected=p_value <= level,
        columns=fits,
        order=[*names],
        model=said,
        rows=rows,
        source=source,
        notes=notes,
        values=values[cut:],
        draws=draws,
    )


def _of_gaussian(
    x: Any, columns: Sequence[Any] | None
) -> tuple[Float[np.ndarray, "n d"], tuple[str, ...], str, list[str]]:
    """The columns that may be those of a Gaussian."""
    if columns is None:
        if is_file(x) or is_frame(x):
            x = frame_of(x)
            columns = choose(x, None, None).used
        else:
            columns = range(np.shape(x)[1] if np.ndim(x) == 2 else 0)
    whole = whole_rows(x, columns)
    notes = [*whole.notes]
    none = with_a_density(whole.values, whole.names) if len(whole.values) > 1 else {}
    kept = [k for k in range(len(whole.names)) if k not in none]
    if none:
        told = "; ".join(f"{whole.names[k]} ({why})" for k, why in none.items())
        notes.append(f"Columns left out: {told}.")
    if not kept:
        raise ValueError(f"{whole.source} has no column that varies.")
    return whole.values[:, kept], tuple(whole.names[k] for k in kept), whole.source, notes


def _of_model(x: Any, model: FlowDensity) -> tuple[Float[np.ndarray, "n d"], str, list[str]]:
    values = model._values(x)
    source = frame_of(x).source if is_file(x) or is_frame(x) else "the array"
    whole = ~np.isnan(values).any(axis=1)
    notes = []
    if not whole.all():
        notes.append(f"{(~whole).sum()} of {len(values)} rows have holes and were left out.")
    values = values[whole]
    if hashlib.sha256(values.tobytes()).hexdigest() == model.data_["sha256"]:
        notes.append(
            "These are the rows that the model was fitted to, to which it may be too near: rows "
            "that it has not seen are the better test."
        )
    return values, source, notes


def _spread(
    values: Float[np.ndarray, "n d"], model: FlowDensity, generator: np.random.RandomState
) -> Float[np.ndarray, "n d"]:
    """Rows with the noise that columns on a grid were fitted with."""
    return values + model.map_.step * generator.uniform(-0.5, 0.5, values.shape)


def _tested(
    side: Side, blame: Any, generator: np.random.RandomState
) -> tuple[float, float, Float[np.ndarray, " d"]]:
    """The statistic, its p-value, and the shares of the columns in what the critic sees."""
    learn, count = on_device(side.learn.astype(np.float32)), len(side.test)
    critic = analysis.goodness_of_fit(
        learn, score=side.score, split=_SPLIT, width=_WIDTH, steps=_STEPS, evaluate_every=_LOOK,
        batch_size=min(_BATCH, int(_SPLIT[0] * len(learn))), key=key_of(generator),
    ).critic  # fmt: skip
    # Its size means nothing here, and is 0 where it has found nothing.
    critic = eqx.tree_at(lambda critic: critic.factor, critic, on_device(np.float32(1)))

    def statistics(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " s"]:
        asked = lambda part: _operator(critic, side.score, on_device(part.astype(np.float32)))
        values = in_chunks(asked, rows).astype(np.float64).reshape(-1, count)
        return np.sqrt(count) * values.mean(axis=1) / (values.std(axis=1, ddof=1) + 1e-30)

    statistic = float(statistics(side.test)[0])
    times = int(np.clip(_DRAWN // count, *_TIMES))
    chance = statistics(np.concatenate([side.draw() for _ in range(times)]))
    p_value = float((1 + (chance >= statistic).sum()) / (1 + times))
    field, parts = np.empty_like(side.test), np.zeros((side.test.shape[1],) * 2)
    for start, stop in chunks(count):
        places = np.minimum(np.arange(start, start + CHUNK), stop - 1)
        part = on_device(side.test[places].astype(np.float32))
        found = [np.asarray(each)[: stop - start] for each in _parts(critic, side.score, part)]
        field[start:stop], parts = found[0], parts + found[1].sum(axis=0) / count
    shares = np.maximum(blame(field, parts), 0)
    return statistic, p_value, shares / max(shares.sum(), 1e-30)


@eqx.filter_jit
def _operator(critic: Any, score: Any, z: Float[Array, "m d"]) -> Float[Array, " m"]:
    return stein_terms(critic, jax.vmap(score)(z), z).operator


@eqx.filter_jit
def _parts(critic: Any, score: Any, z: Float[Array, "m d"]) -> tuple[Array, Array]:
    """The critic, and the matrices whose traces are the operator's values."""

    def one(z: Array) -> tuple[Array, Array]:
        field = critic(z)
        return field, score(z)[:, None] * field[None] + jax.jacfwd(critic)(z).T

    return jax.vmap(one)(z)


def _columns(
    names: Sequence[str],
    shares: Float[np.ndarray, " d"],
    values: Float[np.ndarray, "m d"],
    draws: Float[np.ndarray, "n d"],
) -> list[ColumnFit]:
    return [
        ColumnFit(
            names[j],
            float(shares[j]),
            (float(values[:, j].mean()), float(draws[:, j].mean())),
            (float(values[:, j].std()), float(draws[:, j].std())),
            float(ks_2samp(values[:, j], draws[:, j]).statistic),
        )
        for j in np.argsort(-shares)
    ]


def _told(
    said: str, source: str, p_value: float, level: float | int, fits: list[ColumnFit], rows: int
) -> list[str]:
    if p_value > level:
        return [
            f"{said[0].upper()}{said[1:]} is not rejected as the law of {source}: p = "
            f"{p_value:.3g}, tested on {rows} rows.",
            "That is no proof: of so many rows small misfits, and wrong weights of groups that lie "
            "far apart, are not seen.",
        ]
    worst = fits[0]
    told = [
        f"{said[0].upper()}{said[1:]} does not fit {source}: p = {p_value:.3g}, tested on {rows} "
        "rows."
    ]
    if len(fits) > 1:
        told.append(
            f"Look first at {worst.name}: {100 * worst.share:.0f} % of what the critic sees."
        )
    (a, b), (c, d) = worst.mean, worst.deviation
    told.append(
        f"Its mean is {a:.4g}, and the model's {b:.4g}; its deviation {c:.4g}, and the model's "
        f"{d:.4g}."
    )
    return told

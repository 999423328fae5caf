"""How many nats two groups of columns share."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.random as jr
import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree
from scipy.special import digamma
from sklearn.utils import check_random_state

from pullback._names import check_list
from pullback._normal_scores import normal_scores, repeating
from pullback._on_device import on_device
from pullback.analysis import estimate_mutual_information

from ._groups import whole_rows

_FEWEST = 20
_NEIGHBOURS = 4
_KSG_ROWS, _TEST_ROWS, _PAIR_ROWS = 5000, 1000, 1000
_PAIRS = 8  # columns of a side of which pairs are told
_BATCH, _STEPS = 64, 2000
_LEARNED_ROWS = 25 * _BATCH
_FEW_COLUMNS = 6  # up to which neighbours tell more than a bound


class Estimate(NamedTuple):
    """One estimate of what is shared.

    Attributes:
        nats: its value.
        standard_error: of it, or None.
        what: how it was found.
    """

    nats: float
    standard_error: float | None
    what: str


class Dependence(NamedTuple):
    """What two groups of columns share.

    Attributes:
        nats: the mutual information, by the estimate that suits the table.
        interval: in which it lies with probability 95 %, for that estimate.
        p_value: how often independent groups give as much, by permutation.
        estimates: all of them, by name.
        pairs: what each column of x shares with each of y, in nats.
        x: names of the columns of a group.
        y: of the other.
        rows: how many there were, without holes.
        source: where they came from.
        notes: what was done and found, in sentences.
    """

    nats: float
    interval: tuple[float, float]
    p_value: float
    estimates: dict[str, Estimate]
    pairs: Float[np.ndarray, "x y"]
    x: tuple[str, ...]
    y: tuple[str, ...]
    rows: int
    source: str
    notes: list[str]

    def __str__(self) -> str:
        return "\n".join(self.notes)


def dependence(
    X: Any,
    x: Sequence[Any],
    y: Sequence[Any],
    *,
    learned: bool | None = None,
    permutations: int = 199,
    random_state: Any = None,
    progress: bool | None = None,
) -> Dependence:
    r"""How many nats two groups of columns of a table share, and whether they share any.

    $$ I(X; Y) = \mathrm{E} \ln \frac{p(x, y)}{p(x)\, p(y)} $$

    Columns are brought to normal scores, which changes no mutual information. Three estimates stand
    beside each other: of nearest neighbours (Kraskov, Stoegbauer and Grassberger), good for up to
    some six columns; the closed form of a Gaussian, which knows linear relations of scores alone;
    and, of 1600 rows or more, a learned lower bound, on pairs that its critic has not seen. The
    p-value is that of the first two under permutations of the rows of y: exact, for any table.

    Args:
        X: an array, a data frame, or a CSV or Parquet file.
        x: names of columns, or places of an array's.
        y: likewise, of others.
        learned: whether to learn the bound; None: where there are rows enough and more than six
            columns.
        permutations: how many.
        random_state: seed, generator or None.
        progress: show a bar while the bound is learned; None: where stderr is a terminal.

    Returns:
        A `Dependence`; nothing is saved.

    Raises:
        ValueError: a column is in both groups, missing or constant, or there are too few rows.

    Example:
        >>> import numpy as np, pullback as pb
        >>> random = np.random.default_rng(0)
        >>> a, noise = random.normal(size=(2, 500))
        >>> table = np.stack([a, 0.8 * a + 0.6 * noise], axis=1)
        >>> found = pb.tasks.dependence(table, x=[0], y=[1], random_state=0)
        >>> bool(abs(found.nats - 0.51) < 0.1), found.p_value
        (True, 0.005)

    Source: Poole et al., On Variational Bounds of Mutual Information, arXiv 1905.06922; Kraskov,
        Stoegbauer and Grassberger, Estimating Mutual Information, Physical Review E 69 (2004).
    """
    check_list("x", x)
    check_list("y", y)
    x, y = [*x], [*y]
    if not x or not y:
        raise ValueError("`x` and `y` must each name a column or more.")
    both = [name for name in x if name in y]
    if both:
        raise ValueError(f"column {both[0]!r} is in `x` and in `y`.")
    if permutations < 19:
        raise ValueError(f"`permutations` must be 19 or more, got {permutations}.")
    whole = whole_rows(X, [*x, *y])
    count = len(whole.values)
    if count < _FEWEST:
        raise ValueError(f"expected {_FEWEST} rows or more without holes; got {count}.")
    for name, column in zip(whole.names, whole.values.T, strict=True):
        if (column == column[0]).all():
            raise ValueError(f"column {name!r} is the same in all rows, and shares nothing.")
    generator = check_random_state(random_state)
    scores = normal_scores(whole.values, generator)
    notes = _told_of_ties([whole.names[j] for j in repeating(whole.values)])
    order = generator.permutation(count)
    a, b = scores[order, : len(x)], scores[order, len(x) :]
    value, error = _ksg(a[:_KSG_ROWS], b[:_KSG_ROWS])
    estimates = {
        "nearest neighbours": Estimate(value, error, "KSG"),
        "Gaussian": Estimate(_gaussian(a, b), None, "closed form of normal scores"),
    }
    if learned is None:
        learned = count >= _LEARNED_ROWS and len(x) + len(y) > _FEW_COLUMNS
    if learned:
        if count < _LEARNED_ROWS:
            raise ValueError(f"to learn a bound takes {_LEARNED_ROWS} rows or more; got {count}.")
        estimates["learned bound"] = _learned(a, b, generator, progress)
    main = "learned bound" if learned and len(x) + len(y) > _FEW_COLUMNS else "nearest neighbours"
    nats, spread = estimates[main].nats, estimates[main].standard_error or 0.0
    interval = (nats - 1.96 * spread, nats + 1.96 * spread)
    p_value = _permuted(a, b, permutations, generator)
    notes = [
        *_told(main, nats, interval, p_value, estimates, (whole.names, len(x)), count),
        *whole.notes,
        *notes,
    ]
    pairs = np.asarray(
        [[_ksg(p[:_PAIR_ROWS, None], q[:_PAIR_ROWS, None])[0] for q in b.T[:_PAIRS]]
         for p in a.T[:_PAIRS]]
    )  # fmt: skip
    names = whole.names[: len(x)], whole.names[len(x) :]
    return Dependence(nats, interval, p_value, estimates, pairs, *names, count, whole.source, notes)


def _told(
    main: str,
    nats: float,
    interval: tuple[float, float],
    p_value: float,
    estimates: dict[str, Estimate],
    names: tuple[tuple[str, ...], int],
    rows: int,
) -> list[str]:
    columns, split = names
    shares = "share" if split > 1 else "shares"
    least = "at least " if main == "learned bound" else ""
    sure = "more than chance" if p_value <= 0.05 else "no more than chance may make"
    told = [
        f"{', '.join(columns[:split])} {shares} {least}{nats:.3g} nats (95 %: "
        f"{interval[0]:.3g} to {interval[1]:.3g}) with {', '.join(columns[split:])}, by {main}, of "
        f"{rows} rows.",
        f"That is {sure}: p = {p_value:.3g} by permutation.",
    ]
    others = [f"{name} {found.nats:.3g}" for name, found in estimates.items() if name != main]
    told.append(f"Beside: {', '.join(others)} nats.")
    neighbours, linear = (estimates[name].nats for name in ("nearest neighbours", "Gaussian"))
    error = estimates["nearest neighbours"].standard_error or 0.0
    if neighbours > linear + 3 * error:
        told.append("Most of it is no linear relation: the Gaussian, which knows those, has less."
                    if linear < neighbours / 2 else
                    "A part of it is no linear relation: the Gaussian has less.")  # fmt: skip
    if linear > neighbours + 3 * error:
        told.append(
            "The Gaussian has more: where columns nearly follow from each other nearest neighbours "
            "find less than there is."
        )
    if len(columns) > _FEW_COLUMNS and main != "learned bound":
        told.append(
            f"Of {len(columns)} columns nearest neighbours find less than there is; with "
            f"{_LEARNED_ROWS} rows a bound would be learned."
        )
    return told


def _told_of_ties(tied: Sequence[str]) -> list[str]:
    if not tied:
        return []
    return [
        f"Values that repeat were put in an order of chance: {', '.join(tied)}. Of few levels "
        "nearest neighbours are rough."
    ]


def _ksg(a: Float[np.ndarray, "n p"], b: Float[np.ndarray, "n q"]) -> tuple[float, float]:
    """The first estimator of Kraskov and others, and its standard error."""
    count = len(a)
    near = min(_NEIGHBOURS, count - 1)
    joint = np.concatenate([a, b], axis=1)
    reach = cKDTree(joint).query(joint, near + 1, p=np.inf)[0][:, -1]
    reach = np.nextafter(reach, 0)  # nearer than the last neighbour
    inside = [
        cKDTree(part).query_ball_point(part, reach, p=np.inf, return_length=True) for part in (a, b)
    ]
    terms = digamma(near) + digamma(count) - digamma(inside[0]) - digamma(inside[1])
    # Terms of neighbours hang together, by which their spread is a fifth too small.
    return float(terms.mean()), float(1.2 * terms.std(ddof=1) / np.sqrt(count))


def _gaussian(a: Float[np.ndarray, "n p"], b: Float[np.ndarray, "n q"]) -> float:
    """What a Gaussian of these correlations shares; less what chance makes of few rows."""
    count, p, q = len(a), a.shape[1], b.shape[1]
    if count < p + q + 3:
        return float("nan")
    log_det = lambda part: np.linalg.slogdet(np.atleast_2d(np.cov(part.T)))[1]
    raw = (log_det(a) + log_det(b) - log_det(np.concatenate([a, b], axis=1))) / 2
    bias = sum(
        sign * digamma((count - k) / 2).sum() / 2
        for sign, k in (
            (1, np.arange(1, p + 1)), (1, np.arange(1, q + 1)), (-1, np.arange(1, p + q + 1))
        )
    )  # fmt: skip
    return float(raw - bias)


def _learned(
    a: Float[np.ndarray, "n p"],
    b: Float[np.ndarray, "n q"],
    generator: np.random.RandomState,
    progress: bool | None,
) -> Estimate:
    seed = np.asarray([0, generator.randint(2**31)], np.uint32)
    found = estimate_mutual_information(
        a, b, batch_size=_BATCH, steps=_STEPS, progress=progress,
        key=jr.wrap_key_data(on_device(seed)),
    )  # fmt: skip
    ceiling = f", whose ceiling is {found.ceiling:.3g}"
    return Estimate(found.value, found.standard_error, f"lower bound {found.bound}{ceiling}")


def _permuted(
    a: Float[np.ndarray, "n p"],
    b: Float[np.ndarray, "n q"],
    count: int,
    generator: np.random.RandomState,
) -> float:
    """The p-value of both estimates together, each beside its own spread over permutations.

    Neighbours are looked for among the first thousand rows, which are permuted among themselves.
    """
    few = min(len(a), _TEST_ROWS)
    found = np.empty((count + 1, 2))
    other = b
    for number in range(count + 1):
        if number > 0:
            places = np.concatenate(
                [generator.permutation(few), few + generator.permutation(len(b) - few)]
            )
            other = b[places]
        found[number] = _ksg(a[:few], other[:few])[0], np.nan_to_num(_gaussian(a, other))
    found = (found - found.mean(axis=0)) / np.maximum(found.std(axis=0), 1e-12)
    most = found.max(axis=1)
    return float((most >= most[0] - 1e-12).mean())

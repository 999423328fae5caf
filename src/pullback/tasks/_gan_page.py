"""The page of a table GAN: whether to believe it, rows and draws, and the least usual rows."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from scipy.stats import ks_2samp, rankdata

from pullback.runs import number

from ._categories import in_codes, read_any
from ._density_page import pairs, plain_cell
from ._frame import is_file, is_frame
from ._gan_report import OURS, REAL, checks
from ._page import Picture, Report, Table
from ._rows import TableReader

if TYPE_CHECKING:
    from ._gan import TableGAN

_PAIRS, _UNUSUAL, _DRAWS = 5, 12, 1000


def gan_page(model: "TableGAN", X: Any) -> Report:
    """The page of a table GAN and the rows that it was fitted to."""
    named = is_file(X) or is_frame(X)
    frame = read_any(X, None, None) if named else None
    given = X if frame is None or is_frame(X) or model.kinds_ else frame
    table = in_codes(given, model.columns_, model.kinds_)
    values = TableReader(model).use(table, model.columns_, model.places_)
    score = model._scores(model._sorted(values))
    names: dict[str, Any] = {"row": np.arange(1, len(values) + 1) if frame is None else frame.rows}
    if frame is not None and model.id_column_ in frame.names:
        names = {model.id_column_: frame.column(model.id_column_), **names}
    whole = model._sorted(values[~np.isnan(values).any(axis=1)])
    draws = model._draws(_DRAWS, 0)
    count = len(model.columns_) - len(model.kinds_)
    numbers = [name for name in model.columns_ if name not in model.kinds_]
    parts: list[Any] = []
    if count:
        few = f": the first {_PAIRS} of {count}" if count > _PAIRS else ""
        parts.append(
            Picture(
                "Rows and draws",
                pairs(numbers, whole[:, :count], draws[: len(whole), :count]),
                f"Columns of numbers{few}: rows of the table, and as many drawn of the model. "
                "Where the colours part, the model is wrong.",
            )
        )
    parts.append(_columns(model, whole, draws))
    if model.kinds_:
        parts.append(_kinds(model, whole, draws))
    parts.append(_unusual(model, values, score, names))
    source = model.data_["source"]
    return Report(
        title=f"{source}: a GAN",
        heading=source,
        lead=f"New rows by a generator: {number(model.data_['rows'])} rows, {len(model.columns_)} "
        f"columns ({', '.join(model.columns_)}), {number(model.n_steps_)} training steps.",
        quality=_quality(model),
        notes=_without_checks(model),
        checks=[] if model.report_ is None else checks(model.report_),
        parts=parts,
        words=["AUROC", "density of samples", "coverage of samples", "Gaussian copula"],
    )


def _without_checks(model: "TableGAN") -> list[str]:
    told = [] if model.report_ is None else [each.sentence for each in checks(model.report_)]
    return [note for note in model.notes_ if note not in told]


def _quality(model: "TableGAN") -> Table | None:
    if model.report_ is None:
        return None
    rows = [
        [
            f"{name} (as good as it gets)" if name == REAL else name,
            found["auroc"],
            found["standard_error"],
            found["density"],
            found["coverage"],
        ]
        for name, found in model.report_.items()
        if name != "rows"
    ]
    expected = number(model.report_[OURS]["expected_coverage"])
    first = f"beside {number(model.report_['rows'])} rows that took no part in the fit"
    return Table(
        "",
        (first, "AUROC", "standard error", "density", "coverage"),
        rows,
        f"Samples of the rows' own distribution have 0.5, 1 and {expected} in the mean.",
    )


def _columns(
    model: "TableGAN", rows: Float[np.ndarray, "n d"], draws: Float[np.ndarray, "m d"]
) -> Table:
    """How far each column of draws is from that of the rows, alone and with others."""
    names = [name for name in model.columns_ if name not in model.kinds_]
    names += list(model.kinds_)
    apart = np.abs(_rank_correlation(rows) - _rank_correlation(draws))
    cells = []
    for place, name in enumerate(names):
        other = int(apart[place].argmax())
        alone = len(names) == 1
        cells.append(
            [
                name,
                float(ks_2samp(rows[:, place], draws[:, place]).statistic),
                None if alone else names[other],
                None if alone else float(apart[place, other]),
            ]
        )
    worst = int(np.argmax([float(cell[1] or 0) for cell in cells]))
    return Table(
        "Column by column",
        ("column", "largest gap of shares", "hangs together otherwise with", "by"),
        cells,
        "The largest gap between the shares of rows and of draws below a value; and the column "
        "with which the rank correlation differs most, and by how much. Kinds are in the order of "
        "their names.",
        frozenset({(worst, 1)}),
    )


def _rank_correlation(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d d"]:
    """Spearman's, 0 where a column is the same in all rows."""
    ranks = np.stack([rankdata(column) for column in x.T], axis=1)
    ranks = ranks - ranks.mean(axis=0)
    sizes = np.linalg.norm(ranks, axis=0)
    ranks = ranks / np.where(sizes > 0, sizes, 1)
    return ranks.T @ ranks


def _kinds(
    model: "TableGAN", rows: Float[np.ndarray, "n d"], draws: Float[np.ndarray, "m d"]
) -> Table:
    cells, start = [], len(model.columns_) - len(model.kinds_)
    for place, (name, kinds) in enumerate(model.kinds_.items(), start):
        for code, kind in enumerate(kinds):
            shares = [100 * float((part[:, place] == code).mean()) for part in (rows, draws)]
            cells.append([name, kind, *shares])
    return Table(
        "Kinds", ("column", "kind", "% of rows", "% of draws"), cells,
        "How often each kind stands in the table and among draws.",
    )  # fmt: skip


def _unusual(
    model: "TableGAN",
    values: Float[np.ndarray, "n d"],
    score: Float[np.ndarray, " n"],
    names: dict[str, Any],
) -> Table:
    worst = np.argsort(np.where(np.isnan(score), np.inf, score))[:_UNUSUAL]
    worst = worst[~np.isnan(score[worst])]
    shown = np.empty((len(worst), len(model.columns_)), object)
    for place, name in enumerate(model.columns_):
        cells = values[worst, place]
        kinds = model.kinds_.get(name)
        shown[:, place] = cells.tolist()
        if kinds is not None:
            shown[:, place] = [kinds[int(k)] if k >= 0 else "not seen" for k in cells]
    rows = [
        [*(plain_cell(column[place]) for column in names.values()), float(score[place]), *cells]
        for place, cells in zip(worst, shown.tolist(), strict=True)
    ]
    return Table(
        "The least usual rows",
        (*names, "score", *model.columns_),
        rows,
        "The score falls with the length of the latent that the encoder gives to a row, and with "
        "how badly the decoder gives the row back.",
    )

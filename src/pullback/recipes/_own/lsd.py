"""The recipe `lsd` on a table of the user's own: does a model fit my data?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
from sklearn.mixture import GaussianMixture

from pullback import data
from pullback._location_scale import location_and_scale
from pullback._promotion import standard_promotion
from pullback.analysis import compare_models, goodness_of_fit, kernel_stein_test
from pullback.plots import PALETTE, figure
from pullback.recipes import lsd as recipe
from pullback.recipes._own import own_file
from pullback.runs import Claim, Context

_FEWEST_ROWS = 200
_MOST_TESTED = 4000  # rows that kernel tests take all pairs of
_LEAST_RESIDUAL = 1e-3  # share of a column's deviation that the others leave unexplained


@dataclass(frozen=True)
class Config(recipe.Config):
    components: int = 5
    """Gaussians in the mixture."""
    columns: tuple[str, ...] = ()
    """The columns to take; all when none is named."""


def run(config: Config, context: Context) -> list[Claim]:
    """Fit a Gaussian and a mixture to a half of the rows, and test each on the other half."""
    file = own_file(context)
    table, dropped = read(file, config.columns)
    values, columns = table.values, table.columns
    order = np.random.default_rng(context.seed).permutation(len(values))
    half = len(values) // 2
    (train, test), _ = data.standardise(values[order[:half]], values[order[half:]])
    test = test[:_MOST_TESTED]
    found = context.stage("fits", _fits, config, train, test, context.seed)
    _draw(context, columns, found)
    context.table(
        "models",
        ["model", "nats a row", "discrepancy", "error", "p, learned", "p, kernel", "verdict"],
        [
            [
                name, row["nll"], row["discrepancy"], row["error"], row["learned"], row["kernel"],
                "does not fit" if min(row["learned"], row["kernel"]) <= 0.025 else "not rejected",
            ]
            for name, row in found.items()
        ],
        f"{file.name}: {len(values)} rows of {len(columns)} columns, standardised. Models are "
        f"fitted to {half} rows; all else is of {len(test)} others. The discrepancy is half the "
        "mean squared gap of scores, as far as a critic finds it; the best model has the least. "
        "A model is said not to fit where one of the two p-values is at most 0.025.",
    )  # fmt: skip
    if table.holes:
        context.note(table.describe_holes())
    if dropped:
        context.note(
            f"Left out: {', '.join(dropped)}. A column that is constant, or a combination of those "
            "before it, has no density."
        )
    context.note(
        "A p-value tells whether this many rows suffice to see that a model is wrong, not how "
        "wrong it is. Rows with ties or whole numbers have no density: every model of one is "
        "rejected once there are enough of them."
    )
    return _claims(found)


def read(file: Path, columns: Sequence[str]) -> tuple[data.NumberTable, list[str]]:
    """The columns that have a density beside those before them, and the names of the others."""
    table = data.read_table(file, list(columns) or None)
    values, names = table.values, table.columns
    if len(values) < _FEWEST_ROWS:
        raise data.DataError(
            file, f"expected {_FEWEST_ROWS} rows or more to fit and to test; got {len(values)}."
        )
    kept: list[int] = []
    (scaled,), _ = data.standardise(values)
    for place in np.flatnonzero(scaled.any(axis=0)).tolist():
        column = scaled[:, place]
        if kept:
            others = scaled[:, kept]
            column = column - others @ np.linalg.lstsq(others, column, rcond=None)[0]
        if column.std() > _LEAST_RESIDUAL:
            kept.append(place)
    if not kept:
        raise data.DataError(file, "expected a column that varies; there is none.")
    dropped = [name for place, name in enumerate(names) if place not in kept]
    kept_names = tuple(names[place] for place in kept)
    return table._replace(values=values[:, kept], columns=kept_names), dropped


def _fits(config: Config, train: np.ndarray, test: np.ndarray, seed: int) -> dict[str, Any]:
    models = {
        name: _mixture(train, count, seed)
        for name, count in (("Gaussian", 1), (f"mixture of {config.components}", config.components))
    }
    x, key = jnp.asarray(test, float), jr.key(seed)
    options = {
        "width": config.width,
        "steps": config.test_steps,
        "evaluate_every": max(1, config.test_steps // 10),
        "split": (0.6, 0.1, 0.3),
    }
    own_key, key = jr.split(key)
    ranked = compare_models(
        {name: jax.grad(model.log_prob) for name, model in models.items()}, x, l2=1.0, key=key,
        **options,
    )  # fmt: skip
    found = {}
    for name, model in models.items():
        with standard_promotion():
            own = model.sample(own_key, (len(x),))
            nll = -jnp.mean(jax.vmap(model.log_prob)(x))
        gap = jnp.mean(jax.vmap(ranked[name].critic)(x) ** 2, axis=0)
        gap = gap / location_and_scale(x).scale ** 2
        test_of = lambda rows, model=model: goodness_of_fit(
            rows, log_prob=model.log_prob, key=key, **options
        )
        found[name] = {
            "nll": float(nll),
            "discrepancy": float(ranked[name].discrepancy),
            "error": float(ranked[name].standard_error),
            "learned": float(test_of(x).p_value),
            "kernel": float(kernel_stein_test(x, log_prob=model.log_prob, key=key).p_value),
            "own": float(test_of(own).p_value),
            "share": np.asarray(gap / jnp.sum(gap)),
        }
    return found


def _mixture(x: np.ndarray, count: int, seed: int) -> Any:
    fitted = GaussianMixture(count, reg_covar=1e-4, random_state=seed % 2**32).fit(x)
    as_array = lambda values: jnp.asarray(values, float)
    with standard_promotion():
        parts = dist.MultivariateNormal(
            as_array(fitted.means_), covariance_matrix=as_array(fitted.covariances_)
        )
        return dist.MixtureSameFamily(dist.Categorical(as_array(fitted.weights_)), parts)


def _draw(context: Context, names: Sequence[str], found: dict[str, Any]) -> None:
    """Which columns the critic points at, for each model."""
    shares = {name: np.asarray(row["share"]) for name, row in found.items()}
    fig, ax = figure(width=9.0, height=0.9 + 0.42 * len(names))
    places = np.arange(len(names))
    for number, (name, share) in enumerate(shares.items()):
        offset = (number - (len(shares) - 1) / 2) * 0.8 / len(shares)
        ax.barh(places + offset, share, 0.8 / len(shares), label=name, color=PALETTE[number])
    ax.set_yticks(places, names)
    ax.invert_yaxis()
    ax.set(xlabel="share of the mismatch", title="where the models do not fit")
    ax.grid(axis="y", visible=False)
    ax.legend(fontsize=8)
    context.figure(
        "columns",
        fig,
        "The columns in which each model differs from the data: the part of each in the critic's "
        "mean squared gap of scores, in standardised units. Of a model that is not rejected it is "
        "noise.",
    )


def _claims(found: dict[str, Any]) -> list[Claim]:
    rows = list(found.values())
    behind = [row["nll"] - min(row["nll"] for row in rows) for row in rows]
    nearest = int(np.argmin([row["discrepancy"] for row in rows]))
    apart = abs(rows[0]["discrepancy"] - rows[1]["discrepancy"])
    error = float(np.hypot(rows[0]["error"], rows[1]["error"]))
    claims = [
        Claim(
            "A check of the test itself: rows drawn from each model are not rejected under it "
            "(smallest p-value)",
            value=min(row["own"] for row in rows),
            at_least=1e-3,
            reference="one in 500 fails by chance, for there are two",
        ),
    ]
    if apart > 2 * error:
        claims.append(
            Claim(
                "The model that is nearest by the learned discrepancy has the best likelihood of "
                "unseen rows, too (nats behind the best)",
                value=behind[nearest],
                at_most=0.02,
                unit="nats",
                reference="the likelihood, which this ranking does without",
            )
        )
    return claims


PRESETS = {name: Config(**vars(config)) for name, config in recipe.PRESETS.items()}

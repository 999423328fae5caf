"""The latent ODE of the recipe `latent-ode` on series of the user's own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from pullback import data
from pullback.models import timeseries as ts
from pullback.plots import PALETTE, figure
from pullback.recipes import latent_ode as recipe
from pullback.recipes._own import own_file
from pullback.recipes.latent_ode.models import SPAN, fit, keep_trained, last_seen
from pullback.runs import Claim, Context

_FEWEST = 10
_SHOWN, _PAST = 0.8, 0.75
_LEVEL = 0.9


class _Sets(NamedTuple):
    """Series on the model's scale, and the way back."""

    train: data.IrregularSeries
    validation: data.IrregularSeries
    test: data.IrregularSeries
    scaler: data.SeriesScaler
    units: tuple[str, ...]
    time_unit: str


@dataclass(frozen=True)
class Config(recipe.Config):
    own_steps: int = 2000
    """Training steps."""


def run(config: Config, context: Context) -> list[Claim]:
    """Fit a latent ODE to a long table; fill in and continue series that it has not seen."""
    file = own_file(context)
    series = data.read_long(file)
    if len(series.ids) < _FEWEST:
        raise data.DataError(
            file, f"expected {_FEWEST} series or more, some to score; got {len(series.ids)}."
        )
    split = series.split(validation=0.15, test=0.2, seed=context.seed)
    train, validation, test = keep_trained(context, split)
    # On the model's scale nothing has a unit.
    units, time_unit = train.units, train.time_unit
    (train, validation, test), scaler = data.rescale_series(train, validation, test)
    sets = _Sets(
        _stretched(train), _stretched(validation), _stretched(test), scaler, units, time_unit
    )
    found = context.stage("own", _fit_and_score, config, context, sets)
    _draw(context, sets, found)
    _tables(context, sets, found)
    context.note(
        f"{file.name}: {len(series.ids)} series of {len(series.variables)} variables and "
        f"{int(series.counts.sum())} values. {len(sets.train.ids)} series trained the model, "
        f"{len(sets.validation.ids)} chose its best weights, and {len(sets.test.ids)} are what the "
        "claims are about. Errors are squared, in standard deviations of each variable."
    )
    return _claims(found)


def _stretched(series: data.IrregularSeries) -> data.IrregularSeries:
    return series._replace(times=SPAN * series.times)


def _training_series(
    series: data.IrregularSeries, window: tuple[float, float], seed: int
) -> ts.TrainingSeries:
    """Each series three times: shown whole, shown in part, and shown up to a time; scored whole."""
    shown, _ = series.hold_out(_SHOWN, seed=seed)
    start = window[0] + _PAST * (window[1] - window[0])
    past = series._replace(mask=series.mask & (series.times < start)[:, :, None])
    copies = [ts.observations(part, window=window) for part in (series, shown, past)]
    observed = jax.tree.map(lambda *parts: jnp.concatenate(parts), *copies)
    target = jax.tree.map(lambda part: jnp.concatenate([part] * 3), copies[0])
    return ts.TrainingSeries(observed, target)


def _fit_and_score(config: Config, context: Context, sets: _Sets) -> dict[str, Any]:
    seed, variables = context.seed, len(sets.train.variables)
    ends = [(part.times.min(), part.times.max()) for part in sets[:3]]
    window = (float(min(low for low, _ in ends)), float(max(high for _, high in ends)))
    model = ts.latent_ode(
        variables,
        latent=config.latent + variables,
        encoder_size=config.encoder_size + 2 * variables,
        gate_width=config.gate_width,
        width=config.width,
        steps=config.solver_steps or None,
        likelihood=ts.Normal(0.3, variables=variables),
        key=jr.key(seed),
    )
    model = fit(
        config,
        context,
        "own",
        model,
        ts.LatentODELoss(),
        _training_series(sets.train, window, seed),
        learning_rate=config.learning_rate,
        steps=config.own_steps,
        seed=seed,
        clip_norm=5.0,
        validation=_training_series(sets.validation, window, seed + 1),
    )
    past_end = window[0] + _PAST * (window[1] - window[0])
    shown, held_out = sets.test.hold_out(_SHOWN, seed=seed)
    past = sets.test._replace(mask=sets.test.mask & (sets.test.times < past_end)[:, :, None])
    future = sets.test.mask & ~past.mask
    key = jr.key(seed)

    def predicted(seen: data.IrregularSeries, times: np.ndarray) -> np.ndarray:
        said = ts.predict(
            model,
            ts.observations(seen, window=window),
            jnp.asarray(times, float),
            level=_LEVEL,
            batch_size=64,
            key=key,
        )
        return np.stack([np.asarray(part) for part in (said.mean, said.lower, said.upper)])

    grid = np.linspace(window[0], window[1] + 0.25 * (window[1] - window[0]), 120)
    drawn = min(4, len(sets.test.ids))
    few = np.arange(drawn)
    grids = np.tile(grid, (drawn, 1))
    return {
        "filled": _scores(predicted(shown, sets.test.times), sets.test, held_out.mask),
        "future": _scores(predicted(past, sets.test.times), sets.test, future)
        | {"carried": _carried(past, sets.test, future)},
        "grid": grid,
        "past_end": past_end,
        "shown": predicted(shown.take(few), grids),
        "past": predicted(past.take(few), grids),
        "shown_mask": shown.mask[:drawn],
        "past_mask": past.mask[:drawn],
    }


def _scores(bands: np.ndarray, truth: data.IrregularSeries, mask: np.ndarray) -> dict[str, Any]:
    """Errors and coverage where `mask` is True; NaN where it is so nowhere."""
    mean, lower, upper = bands
    error = np.square(mean - truth.values)
    inside = (lower <= truth.values) & (truth.values <= upper)
    variables = range(mask.shape[2])

    def averages(x: np.ndarray) -> list[float]:
        return [float(x[:, :, k][mask[:, :, k]].mean()) if mask[:, :, k].any() else float("nan")
                for k in variables]  # fmt: skip

    some = mask.any()
    return {
        "error": float(error[mask].mean()) if some else float("nan"),
        "plain": float(np.square(truth.values[mask]).mean()) if some else float("nan"),
        "coverage": float(inside[mask].mean()) if some else float("nan"),
        "errors": averages(error),
        "coverages": averages(inside),
        "count": int(mask.sum()),
    }


def _carried(past: data.IrregularSeries, truth: data.IrregularSeries, mask: np.ndarray) -> float:
    """The error of saying each variable's last value again; its mean where it was never seen."""
    error = np.square(truth.values - last_seen(past)[:, None])
    return float(error[mask].mean()) if mask.any() else float("nan")


def _draw(context: Context, sets: _Sets, found: dict[str, Any]) -> None:
    names = [
        name + (f" [{unit}]" if unit else "")
        for name, unit in zip(sets.test.variables, sets.units, strict=True)
    ]
    unit = f" [{sets.time_unit}]" if sets.time_unit else ""
    back = lambda times: sets.scaler.times.undo(np.atleast_1d(times) / SPAN)
    values = lambda x, k: x * sets.scaler.values.scale[k] + sets.scaler.values.mean[k]
    test = sets.test
    most = np.argsort(-sets.train.mask.sum(axis=(0, 1)))[:3]
    for what, title in (
        ("shown", f"{100 * _SHOWN:.0f} % of the values seen"),
        ("past", "only the past seen"),
    ):
        bands = np.asarray(found[what])
        rows, columns = bands.shape[1], len(most)
        fig, axes = figure(
            rows, columns, width=3.6 * columns + 0.6, height=1.9 * rows + 0.6, sharex=True
        )
        axes = np.asarray(axes).reshape(rows, columns)
        for row in range(rows):
            for ax, k in zip(axes[row], most, strict=True):
                mean, lower, upper = (values(band[row, :, k], k) for band in bands)
                times = back(found["grid"])
                (line,) = ax.plot(times, mean, label="posterior mean")
                ax.fill_between(
                    times, lower, upper, color=line.get_color(), alpha=0.25, linewidth=0,
                    label="90 % band",
                )  # fmt: skip
                seen = np.asarray(found[f"{what}_mask"])[row, :, k].astype(bool)
                hidden = test.mask[row, :, k] & ~seen
                for mask, colour, label in (
                    (seen, "black", "seen"), (hidden, PALETTE[1], "held back"),
                ):  # fmt: skip
                    ax.plot(
                        back(test.times[row][mask]), values(test.values[row, :, k][mask], k),
                        "o", color=colour, markersize=3.5, label=label,
                    )  # fmt: skip
                if what == "past":
                    ax.axvline(back(found["past_end"])[0], color="#7b8794", linewidth=1)
                if row == 0:
                    ax.set_title(names[k])
                if row == rows - 1:
                    ax.set_xlabel(f"time{unit}")
            axes[row, 0].set_ylabel(f"series {test.ids[row]}")
        axes[0, -1].legend(fontsize="x-small", ncols=2)
        caption = {
            "shown": "Held-out series, filled in and continued: the model saw the black values; "
            "the coloured ones were held back.",
            "past": "The same series with nothing seen after the grey line: a forecast.",
        }[what]
        context.figure(
            {"shown": "imputation", "past": "forecast"}[what], fig, f"{caption} {title}.".strip()
        )


def _tables(context: Context, sets: _Sets, found: dict[str, Any]) -> None:
    rows: list[Sequence[Any]] = [
        [
            name, unit or None, found["filled"]["errors"][k], found["filled"]["coverages"][k],
            found["future"]["errors"][k], found["future"]["coverages"][k],
        ]
        for k, (name, unit) in enumerate(zip(sets.test.variables, sets.units, strict=True))
    ]  # fmt: skip
    context.table(
        "variables",
        ["variable", "unit", "error, filled in", "covered", "error, forecast", "covered"],
        rows,
        "Held-out series, by variable: mean squared error in squared standard deviations of the "
        "variable (1: no better than its mean), and the share of values inside the 90 % band.",
    )


def _claims(found: dict[str, Any]) -> list[Claim]:
    filled, future = found["filled"], found["future"]
    claims = [
        Claim(
            "Values held back at random from held-out series: mean squared error over that of the "
            f"variables' means ({filled['count']} values)",
            value=filled["error"] / filled["plain"],
            at_most=1.0,
            reference=f"the mean of the training series; {filled['error']:.3g} over "
            f"{filled['plain']:.3g}",
        ),
        Claim(
            "and the share of them inside the 90 % band",
            value=filled["coverage"],
            at_least=0.75,
            at_most=0.99,
            reference="0.9 if the model is right",
        ),
    ]
    if future["count"]:
        claims.append(
            Claim(
                "The last quarter of the window, forecast from the rest: mean squared error over "
                f"that of the variables' means (last value carried on: {future['carried']:.3g} / "
                f"{future['plain']:.3g})",
                value=future["error"] / future["plain"],
                at_most=1.0,
                reference=f"the mean of the training series; {future['error']:.3g} over "
                f"{future['plain']:.3g}",
            )
        )
    return claims


PRESETS = {name: Config(**vars(config)) for name, config in recipe.PRESETS.items()}
PRESETS["smoke"] = replace(PRESETS["smoke"], own_steps=20)
PRESETS["paper"] = replace(PRESETS["paper"], own_steps=10_000)

"""The settings of the recipe `latent-ode`, and the models that it trains and scores."""

import math
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array

from pullback import data, train
from pullback.models import timeseries as ts
from pullback.recipes._kit.checks import check_above_zero, check_between
from pullback.runs import Context

# Of the sinusoids, in their unit of time.
HALF, WINDOW, BEYOND = 2.5, 5.0, 7.5
GRID, LATER = 100, 50
# Of the points of a held-out sinusoid.
SHARES = (0.1, 0.3, 0.5)
# The window of a rescaled series: dynamics of a few turns in it are learned soonest.
SPAN = 5.0


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """Models of each kind, with data, weights and batches of their own."""
    series: int = 1000
    """Sinusoids to train on."""
    held_out: int = 200
    """Sinusoids to score."""
    batch_size: int = 50
    """Series in a training step."""
    learning_rate: float = 1e-2
    """Adamax's for the latent ODEs and Adam's for the others, at the start of a cosine to zero."""
    predictor_kept: float = 0.2
    """Share of the points that the autoregressive models see."""
    predictor_size: int = 20
    """Size of the hidden state of the autoregressive models."""
    predictor_epochs: int = 40
    """Passes over the series to train an autoregressive model."""
    kept: float = 0.3
    """Share of the points that the latent ODEs see."""
    latent: int = 8
    """Size of the latent ODEs' latent state."""
    encoder_size: int = 24
    """Size of the mean, and of the spread, that the latent ODEs' encoder carries."""
    gate_width: int = 50
    """Size of the hidden layers of the latent ODEs' encoder."""
    width: int = 50
    """Size of the hidden layers of every vector field."""
    epochs: int = 60
    """Passes over the series to train a latent ODE to fill in."""
    forecast_epochs: int = 40
    """Passes over the series to train a latent ODE or an RNN-VAE to continue."""
    solver_steps: int = 0
    """Equal steps of the latent ODEs' decoder between two times; 0 for steps adapted to 1e-3."""
    noise: float = 0.1
    """Standard deviation of the latent ODEs' likelihood."""

    def __post_init__(self):
        check_above_zero(self, but=("solver_steps",))
        check_between(self, 0, 1, "predictor_kept", "kept")


def fit(
    config: Any,
    context: Context,
    name: str,
    model: Any,
    loss: Any,
    series: Any,
    *,
    learning_rate: float,
    steps: int,
    seed: int,
    clip_norm: float,
    rule: Any = optax.adamax,
    validation: Any = None,
) -> Any:
    """Train a model, and keep its checkpoint and log in the run's folder."""
    model, info = train.fit(
        model,
        loss,
        series,
        optimiser=rule(optax.cosine_decay_schedule(learning_rate, steps)),
        steps=steps,
        batch_size=min(config.batch_size, jax.tree.leaves(series)[0].shape[0]),
        validation=validation,
        patience=None if validation is None else 1_000_000,
        clip_norm=clip_norm,
        log_every=max(1, steps // 20),
        **context.training(name),
        key=jr.key(seed),
    )
    context.log(info.lines(), model=name)
    return model


def train_steps(config: Any, series: int, epochs: int) -> int:
    return math.ceil(series / min(config.batch_size, series)) * epochs


def score_predictor(config: Config, context: Context, kind: Any, seed: int) -> dict[str, Any]:
    """Train an autoregressive model on sinusoids, and score it in the second half of others."""
    made = [
        data.sinusoids(n, points=GRID, stop=WINDOW, kept=config.predictor_kept, seed=2 * seed + i)
        for i, n in enumerate((config.series, config.held_out))
    ]
    seen, test = (ts.observations(each.observed.compact()) for each in made)
    model = fit(
        config,
        context,
        f"predictor-{kind}-{seed}",
        ts.predictor(kind, 1, config.predictor_size, width=config.width, key=jr.key(seed)),
        ts.one_step_loss,
        seen,
        learning_rate=config.learning_rate,
        steps=train_steps(config, config.series, config.predictor_epochs),
        seed=seed,
        clip_norm=1.0,
        rule=optax.adam,
    )
    grid = np.linspace(0.0, WINDOW, GRID)
    said = np.asarray(_predict(model, test, jnp.asarray(grid, float)))[:, :, 0]
    truth, mask = made[1].clean.values[:, :, 0], made[1].observed.mask[:, :, 0]
    later = (grid > WINDOW / 2)[None, :]
    return {
        "error": float(np.square(said - truth)[~mask & later].mean()),
        "one_step": float(np.square(said - truth)[mask & later].mean()),
        "grid": grid,
        "said": said[0],
        "truth": truth[0],
        "mask": mask[0],
    }


@eqx.filter_jit
def _predict(model: ts.Predictor, test: ts.Observations, grid: Array) -> Array:
    return jax.vmap(lambda t, x, m: model.predict(t, x, m, grid))(*test)


def score_latent_ode(config: Config, context: Context, encoder: Any, seed: int) -> dict:
    """Train one on sinusoids, and score it on the whole grid without noise, and beyond it."""
    whole = [
        data.sinusoids(
            n, points=GRID + LATER, stop=BEYOND, offset=0.0, seed=10_000 + 2 * seed + i
        ).clean
        for i, n in enumerate((config.series, config.held_out))
    ]
    inside = [each.window(stop=WINDOW) for each in whole]
    show = lambda i, kept: inside[i].hold_out(kept, whole_times=True, seed=seed + i)[0].compact()
    window = (0.0, WINDOW)
    model = fit(
        config,
        context,
        f"latent-{encoder}-{seed}",
        _latent_ode(config, seed, encoder=encoder),
        ts.LatentODELoss(),
        ts.TrainingSeries(ts.observations(show(0, config.kept), window=window)),
        learning_rate=config.learning_rate,
        steps=train_steps(config, config.series, config.epochs),
        seed=seed,
        clip_norm=5.0,
    )
    truth = whole[1]
    later = truth.times[0] >= WINDOW
    times = jnp.asarray(truth.times, float)

    def predicted(shown: data.IrregularSeries) -> ts.Prediction:
        # As wide for every share, so that all run one compiled program.
        seen = ts.observations(_widened(shown, GRID), window=window)
        return ts.predict(model, seen, times, samples=20, key=jr.key(seed))

    shown = show(1, config.kept)
    said = predicted(shown)
    error = lambda mean: np.square(np.asarray(mean) - truth.values)[:, :, 0]
    return {
        "error": float(error(said.mean)[:, ~later].mean()),
        "beyond": float(error(said.mean)[:, later].mean()),
        "carried": float(error(last_seen(shown)[:, None])[:, later].mean()),
        "by_share": [
            float(error(predicted(show(1, share)).mean)[:, ~later].mean()) for share in SHARES
        ],
        "times": truth.times[0],
        "bands": np.stack([np.asarray(a)[:3, :, 0] for a in (said.mean, said.lower, said.upper)]),
        "truth": truth.values[:3, :, 0],
        "seen": [(shown.times[i][mask], shown.values[i, mask, 0])
                 for i, mask in enumerate(shown.mask[:3, :, 0])],
    }  # fmt: skip


def score_forecast(config: Config, context: Context, kind: Any, seed: int) -> dict[str, Any]:
    """Train one to write the second half of a window from the first, and score that of others."""
    made = [
        data.sinusoids(n, points=GRID, stop=WINDOW, offset=0.0, seed=20_000 + 2 * seed + i).clean
        for i, n in enumerate((config.series, config.held_out))
    ]
    shown = [
        each.hold_out(config.kept, whole_times=True, seed=seed + i)[0]
        for i, each in enumerate(made)
    ]
    past, test = (
        ts.observations(each.window(stop=HALF).compact(), window=(0.0, HALF)) for each in shown
    )
    later = shown[0].window(HALF)
    if kind == "rnn-vae":
        # Its decoder takes a step for each time, so it learns on the grid that it is scored on.
        loss: Any = ts.recurrent_vae_loss
        model: Any = ts.recurrent_vae(
            1,
            latent=config.latent,
            size=2 * config.encoder_size,
            encoder_size=config.encoder_size,
            gate_width=config.gate_width,
            likelihood=ts.Normal(config.noise),
            anchor="last",
            key=jr.key(seed),
        )
    else:
        later, loss = later.compact(), ts.LatentODELoss()
        model = _latent_ode(config, seed, encoder=kind, anchor="last")
    model = fit(
        config,
        context,
        f"forecast-{kind}-{seed}",
        model,
        loss,
        ts.TrainingSeries(past, ts.observations(later)),
        learning_rate=config.learning_rate,
        steps=train_steps(config, config.series, config.forecast_epochs),
        seed=seed,
        clip_norm=5.0,
    )
    truth = made[1].window(HALF)
    said = ts.predict(model, test, jnp.asarray(truth.times, float), samples=20, key=jr.key(seed))
    error = lambda mean: float(np.square(np.asarray(mean) - truth.values).mean())
    seen = [
        (shown[1].times[i][mask], shown[1].values[i, mask, 0])
        for i, mask in enumerate(shown[1].mask[:3, :, 0] & (shown[1].times[:3] < HALF))
    ]
    return {
        "error": error(said.mean),
        "carried": error(last_seen(shown[1].window(stop=HALF))[:, None]),
        "times": truth.times[0],
        "said": np.asarray(said.mean)[:3, :, 0],
        "whole": (made[1].times[0], made[1].values[:3, :, 0]),
        "seen": seen,
    }  # fmt: skip


def _latent_ode(config: Config, seed: int, **given: Any) -> ts.LatentODE:
    return ts.latent_ode(
        1,
        latent=config.latent,
        encoder_size=config.encoder_size,
        gate_width=config.gate_width,
        width=config.width,
        encoder_steps=1,
        steps=config.solver_steps or None,
        likelihood=ts.Normal(config.noise),
        key=jr.key(seed),
        **given,
    )


def _widened(series: data.IrregularSeries, width: int) -> data.IrregularSeries:
    """The same observations on a grid of `width` times, by padding."""
    more = (0, width - series.times.shape[1])
    return series._replace(
        times=np.pad(series.times, ((0, 0), more), mode="edge"),
        values=np.pad(series.values, ((0, 0), more, (0, 0))),
        mask=np.pad(series.mask, ((0, 0), more, (0, 0))),
    )


def last_seen(shown: data.IrregularSeries) -> np.ndarray:
    """The last value of each variable that was seen, `[series, variable]`; 0 where none was."""
    last = shown.mask.shape[1] - 1 - np.argmax(shown.mask[:, ::-1], axis=1)
    value = np.take_along_axis(shown.values, last[:, None, :], axis=1)[:, 0]
    return np.where(shown.mask.any(axis=1), value, 0.0)


def keep_trained(context: Context, split: data.SeriesSplit) -> list[data.IrregularSeries]:
    """The three sets without the variables that the first one never observed, and a note."""
    seen = split.train.mask.any(axis=(0, 1))
    names = np.array(split.train.variables)
    if not seen.all():
        left_out = ", ".join(names[~seen])
        context.note(f"Left out, because no series to train on has a value of it: {left_out}.")
    return [part.select([*names[seen]]) for part in split]

"""The settings of the recipe `latent-ode`, and the models that it trains."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array

from pullback import data, train
from pullback.models import timeseries as ts
from pullback.runs import Context

Encoder = Literal["ode", "rnn", "gated"]
# Of the sinusoids, in their unit of time.
WINDOW, BEYOND = 5.0, 7.5
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
    predictor_learning_rate: float = 1e-2
    """Adam's learning rate for the autoregressive models and the intensity, at the start of a
    cosine to zero."""
    learning_rate: float = 1e-2
    """Adamax's learning rate for the latent ODEs, at the start of a cosine to zero."""
    predictor_kept: float = 0.2
    """Share of the points that the autoregressive models see."""
    predictor_size: int = 20
    """Size of the hidden state of the autoregressive models."""
    predictor_epochs: int = 60
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
    depth: int = 1
    """Number of hidden layers of every vector field."""
    epochs: int = 60
    """Passes over the series to train a latent ODE."""
    solver_steps: int = 0
    """Equal steps of the latent ODEs' decoder between two times; 0 for steps adapted to 1e-3."""
    noise: float = 0.1
    """Standard deviation of the latent ODEs' likelihood."""
    event_series: int = 200
    """Series of events from which an intensity is learned."""
    event_steps: int = 250
    """Training steps of the intensity."""

    def __post_init__(self):
        for name in ("seeds", "series", "held_out", "batch_size", "event_series"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("predictor_kept", "kept"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be in (0, 1), got {getattr(self, name)}")


def _optimiser(learning_rate: float, steps: int, *, adamax: bool) -> optax.GradientTransformation:
    rule = optax.adamax if adamax else optax.adam
    return rule(optax.cosine_decay_schedule(learning_rate, steps))


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
    adamax: bool = False,
    batch_size: int | None = None,
    validation: Any = None,
) -> tuple[Any, list[dict[str, Any]]]:
    """Train a model, and keep its checkpoint and log in the run's folder."""
    size = jax.tree.leaves(series)[0].shape[0]
    model, info = train.fit(
        model,
        loss,
        series,
        optimiser=_optimiser(learning_rate, steps, adamax=adamax),
        steps=steps,
        batch_size=min(config.batch_size if batch_size is None else batch_size, size),
        validation=validation,
        patience=None if validation is None else 1_000_000,
        clip_norm=clip_norm,
        log_every=max(1, steps // 20),
        **context.training(name),
        key=jr.key(seed),
    )
    context.log(info.lines(), model=name)
    return model, info.lines()


def train_steps(config: Any, series: int, epochs: int) -> int:
    return math.ceil(series / min(config.batch_size, series)) * epochs


# Autoregressive models on sinusoids.


def score_predictor(config: Config, context: Context, kind: str, seed: int) -> dict[str, Any]:
    """Train one on sinusoids, and score it where it saw nothing, in the second half."""
    made = [
        data.sinusoids(n, points=GRID, stop=WINDOW, kept=config.predictor_kept, seed=2 * seed + i)
        for i, n in enumerate((config.series, config.held_out))
    ]
    seen, test = (ts.observations(each.observed.compact()) for each in made)
    model, history = fit(
        config,
        context,
        f"predictor-{kind}-{seed}",
        ts.predictor(
            kind,  # pyright: ignore[reportArgumentType]
            1,
            config.predictor_size,
            width=config.width,
            depth=config.depth,
            key=jr.key(seed),
        ),
        ts.one_step_loss,
        seen,
        learning_rate=config.predictor_learning_rate,
        steps=train_steps(config, config.series, config.predictor_epochs),
        seed=seed,
        clip_norm=1.0,
    )
    grid = np.linspace(0.0, WINDOW, GRID)
    said = np.asarray(_predict(model, test, jnp.asarray(grid, float)))[:, :, 0]
    truth, mask = made[1].clean.values[:, :, 0], made[1].observed.mask[:, :, 0]
    unseen = ~mask & (grid > WINDOW / 2)[None, :]
    return {
        "error": float(np.square(said - truth)[unseen].mean()),
        "one_step": float(np.square(said - truth)[mask & (grid > WINDOW / 2)[None, :]].mean()),
        "training": float(history[-1]["mse"]),
        "said": said[:2],
        "truth": truth[:2],
        "mask": mask[:2],
    }


@eqx.filter_jit
def _predict(model: ts.Predictor, test: ts.Observations, grid: Array) -> Array:
    return jax.vmap(lambda t, x, m: model.predict(t, x, m, grid))(*test)


# Latent ODEs on sinusoids.


def make_latent_ode(config: Config, variables: int, encoder: Encoder, seed: int) -> ts.LatentODE:
    return ts.latent_ode(
        variables,
        latent=config.latent,
        encoder=encoder,
        encoder_size=config.encoder_size,
        gate_width=config.gate_width,
        width=config.width,
        depth=config.depth,
        encoder_steps=1,
        steps=config.solver_steps or None,
        likelihood=ts.Normal(config.noise),
        key=jr.key(seed),
    )


def score_latent_ode(config: Config, context: Context, encoder: Encoder, seed: int) -> dict:
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
    model, history = fit(
        config,
        context,
        f"latent-{encoder}-{seed}",
        make_latent_ode(config, 1, encoder, seed),
        ts.LatentODELoss(),
        ts.TrainingSeries(ts.observations(show(0, config.kept), window=window)),
        learning_rate=config.learning_rate,
        steps=train_steps(config, config.series, config.epochs),
        seed=seed,
        clip_norm=5.0,
        adamax=True,
    )
    truth = whole[1]
    later = truth.times[0] >= WINDOW
    times = jnp.asarray(truth.times, float)

    def predicted(shown: data.IrregularSeries) -> ts.Prediction:
        # As wide for every share, so that all run one compiled program.
        seen = ts.observations(_widened(shown, GRID), window=window)
        return ts.predict(model, seen, times, samples=20, key=jr.key(seed))

    def errors(prediction: ts.Prediction) -> tuple[float, float]:
        error = np.square(np.asarray(prediction.mean) - truth.values)[:, :, 0]
        return float(error[:, ~later].mean()), float(error[:, later].mean())

    shown = show(1, config.kept)
    said = predicted(shown)
    error, beyond = errors(said)
    return {
        "error": error,
        "beyond": beyond,
        "carried": _carried_forward(inside[1], shown, truth, later),
        "by_share": [errors(predicted(show(1, share))) for share in SHARES],
        "loss": [float(entry["loss"]) for entry in history],
        "times": truth.times[0],
        "bands": np.stack([np.asarray(a)[:3, :, 0] for a in (said.mean, said.lower, said.upper)]),
        "truth": truth.values[:3, :, 0],
        "mask": np.pad(_mask_on(inside[1], shown)[:3], ((0, 0), (0, int(later.sum())))),
    }


def _widened(series: data.IrregularSeries, width: int) -> data.IrregularSeries:
    """The same observations on a grid of `width` times, by padding."""
    more = (0, width - series.times.shape[1])
    return series._replace(
        times=np.pad(series.times, ((0, 0), more), mode="edge"),
        values=np.pad(series.values, ((0, 0), more, (0, 0))),
        mask=np.pad(series.mask, ((0, 0), more, (0, 0))),
    )


def _mask_on(grid: data.IrregularSeries, shown: data.IrregularSeries) -> np.ndarray:
    """Which times of a grid are among those shown, `[series, time]`."""
    seen = np.any(shown.mask, axis=2)
    found = np.zeros(grid.times.shape, bool)
    for row, times in enumerate(shown.times):
        found[row] = np.isin(grid.times[row], times[seen[row]])
    return found


def _carried_forward(
    inside: data.IrregularSeries,
    shown: data.IrregularSeries,
    truth: data.IrregularSeries,
    later: np.ndarray,
) -> float:
    """The error beyond the window of saying the last value that was seen."""
    mask = _mask_on(inside, shown)
    last = mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)
    value = inside.values[np.arange(len(mask)), last, 0]
    return float(np.square(truth.values[:, later, 0] - value[:, None]).mean())


# When events happen.


def intensity(t: np.ndarray) -> np.ndarray:
    """Events per unit of time: exp(1 + z_1), where z_1 follows a rotation."""
    return np.exp(1 + np.sin(2 * np.pi * t / WINDOW))


def score_poisson(config: Config, context: Context, seed: int) -> dict:
    """Learn an intensity from when events happened, and compare it with the truth."""
    made = [
        data.poisson_events(
            intensity, float(np.exp(2)), WINDOW, config.event_series, seed=30_000 + 2 * seed + i
        )
        for i in range(2)
    ]
    train_set, test = (
        ts.observations(
            # As wide for every seed, so that all run one compiled program.
            _widened(data.irregular_series([(times, np.ones(len(times))) for times in each]), 64),
            window=(0.0, WINDOW),
        )
        for each in made
    )
    count = float(np.mean([len(times) for times in made[0]]))
    process = ts.PoissonProcess(
        1, latent=4, width=config.width, scale=float(round(count / WINDOW)), key=jr.key(seed)
    )
    process, _ = fit(
        config,
        context,
        f"poisson-{seed}",
        process,
        ts.event_loss,
        train_set,
        learning_rate=config.predictor_learning_rate,
        steps=config.event_steps,
        seed=seed,
        clip_norm=1e3,
    )
    grid = np.linspace(0.0, WINDOW, 101)
    found = process.intensity(jnp.asarray(grid, float)[None])
    step = np.linspace(0.0, WINDOW, 100_001)
    exact = np.concatenate([[0.0], np.cumsum((intensity(step)[1:] + intensity(step)[:-1]) / 2)])
    exact = (exact * (step[1] - step[0]))[:: 100_000 // 100]
    learned = np.asarray(found.integral)[0, :, 0]
    log_prob, _ = process.log_prob(test.times, test.mask)
    events = np.asarray(test.mask).sum(axis=(1, 2))
    constant = events * np.log(count / WINDOW) - count
    true = np.array([np.log(intensity(times)).sum() for times in made[1]]) - exact[-1]
    return {
        "error": float(np.max(np.abs(learned - exact)) / exact[-1]),
        "gain": float(np.mean(np.asarray(log_prob) - constant)),
        "most": float(np.mean(true - constant)),
        "times": grid,
        "learned": np.asarray(found.rate)[0, :, 0],
        "integral": learned,
        "exact": exact,
        "events": [times for times in made[0][:30]],
    }


def keep_trained(context: Context, split: data.SeriesSplit) -> list[data.IrregularSeries]:
    """The three sets without the variables that the first one never observed, and a note."""
    seen = split.train.mask.any(axis=(0, 1))
    names = np.array(split.train.variables)
    if not seen.all():
        left_out = ", ".join(names[~seen])
        context.note(f"Left out, because no series to train on has a value of it: {left_out}.")
    return [part.select([*names[seen]]) for part in split]

"""Classifiers of few labels and many rows, in the recipe `vera`."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from pullback import data
from pullback.analysis import brier_score, expected_calibration_error, negative_log_likelihood
from pullback.models.energy import (
    JEM,
    BoxStart,
    JEMStep,
    LatentGenerator,
    ReplayBuffer,
    VERAStep,
)
from pullback.recipes.vera.models import Config, adam
from pullback.train import Stream, iterate

METHODS = ("labels alone", "JEM by chains", "JEM by VERA")


class Task(NamedTuple):
    """Rows that are trained on, rows that have a label, and rows to judge by.

    Attributes:
        x: all rows that may be seen, with their labels left out, `[n, d]`.
        labelled: some rows and their classes.
        rows: of which predictions are wanted, `[m, d]`.
        classes: how many.
    """

    x: Float[np.ndarray, "n d"]
    labelled: data.Labelled
    rows: Float[np.ndarray, "m d"]
    classes: int


def digit_task(config: Config, split: data.Split, seed: int) -> tuple[Task, Int[np.ndarray, " m"]]:
    """A few labels of each class, and the classes of the rows to judge by."""
    generator = np.random.default_rng(seed)
    train, test = split
    flat = lambda x: 2 * x.reshape(len(x), -1) - 1
    places = [
        generator.choice(np.flatnonzero(train.y == k), config.labels_per_class, replace=False)
        for k in range(10)
    ]
    known = np.concatenate(places)
    labelled = data.Labelled(flat(train.x[known]), train.y[known])
    return Task(flat(train.x), labelled, flat(test.x), 10), test.y


def new_model(config: Config, task: Task, key: Array) -> tuple[JEM, LatentGenerator]:
    size, width = task.x.shape[1], config.digit_width
    first, second = jr.split(key)
    net = eqx.nn.MLP(size, task.classes, width, 2, jax.nn.silu, key=first)
    maker = eqx.nn.MLP(config.digit_latent, size, width, 2, jax.nn.silu, key=second)
    return JEM(net), LatentGenerator(maker, config.digit_latent)


def step_of(config: Config, method: str) -> JEMStep | VERAStep:
    if method == "JEM by VERA":
        return VERAStep(
            adam(config.digit_rate), adam(2 * config.digit_rate), samples=config.samples,
            entropy_weight=config.entropy_weight, gradient_penalty=0.1,
            label_weight=config.label_weight,
            prediction_entropy_weight=config.prediction_entropy_weight,
        )  # fmt: skip
    weight = 1.0 if method == "JEM by chains" else 0.0
    return JEMStep(optax.adam(config.digit_rate), density_weight=weight)


def train_classifiers(
    config: Config, method: str, tasks: Sequence[Task], seeds: Sequence[int], progress: bool
) -> dict[str, Any]:
    """Probabilities and log-densities of the rows of each task, and some generated rows.

    One program serves all tasks, if they are of one size: `seconds` is what a step of the last
    takes, which waits for no compiler where there are two tasks or more.
    """
    step = step_of(config, method)
    pairs = zip(tasks, seeds, strict=True)
    found = [_train(config, step, task, seed, progress) for task, seed in pairs]
    kept = {name: np.stack([row[name] for row in found]) for name in found[0]}
    return {**kept, "seconds": float(found[-1]["seconds"])}


def _train(config: Config, step: Any, task: Task, seed: int, progress: bool) -> dict[str, Any]:
    model_key, buffer_key, key, draw_key = jr.split(jr.key(seed), 4)
    model, generator = new_model(config, task, model_key)
    if isinstance(step, VERAStep):
        state = step.init(model, generator)
    else:
        low, high = float(task.x.min()), float(task.x.max())
        start = BoxStart(task.x.shape[1:], low=low, high=high)
        state = step.init(model, ReplayBuffer.init(start, 2000, key=buffer_key))
    batch = min(config.digit_batch, len(task.x))
    labelled = (jnp.asarray(task.labelled.x, float), jnp.asarray(task.labelled.y, jnp.int32))
    streams = {
        "labelled": Stream(labelled, min(batch, len(labelled[0]))),
        "unlabelled": Stream(jnp.asarray(task.x, float), batch),
    }
    state, info = iterate(
        step, state, streams, steps=config.digit_steps, log_every=min(100, config.digit_steps),
        rollbacks=10, progress=progress, key=key,
    )  # fmt: skip
    trained: Any = state
    learned = trained.energy if isinstance(step, VERAStep) else trained.model
    logits, density = _judge(learned, jnp.asarray(task.rows, float))
    made: Any = np.zeros((0, task.x.shape[1]))
    if isinstance(step, VERAStep):
        made = jax.vmap(lambda key: state.generator.sample(key=key)[0])(jr.split(draw_key, 40))
    return {
        "probs": np.asarray(jax.nn.softmax(logits)),
        "log_density": np.asarray(density),
        "made": np.asarray(made),
        "rollbacks": int(info.rollbacks),
        "effective": float(info.history.get("effective_samples", np.full(1, np.nan))[-1]),
        "seconds": info.seconds / config.digit_steps,
    }


@eqx.filter_jit
def _judge(model: JEM, rows: Array) -> tuple[Array, Array]:
    logits = jax.lax.map(model.logits, rows, batch_size=1000)
    return logits, jax.nn.logsumexp(logits, axis=1)


def score(probs: Float[np.ndarray, "m k"], y: Int[np.ndarray, " m"]) -> dict[str, float]:
    """Whether the classes are right, and the probabilities mean what they say."""
    return {
        "accuracy": float((probs.argmax(axis=1) == y).mean()),
        "nll": float(negative_log_likelihood(probs, y)),
        "brier": float(brier_score(probs, y)),
        "ece": float(expected_calibration_error(probs, y)),
    }

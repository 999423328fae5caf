"""The network of the recipe `self-tuning`, its two losses, and its trainings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback.bilevel import Bounded, Integer, Recorded, Schedule, fit_self_tuning, search
from pullback.data import Labelled, Split
from pullback.recipes._kit.checks import check_above_zero, check_rising
from pullback.recipes._kit.stack import made
from pullback.runs import Context
from pullback.train import fit

LARGEST = 0.95


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """Splits of the images, first weights and orders of the batches."""
    train: int = 300
    """Training images."""
    held_out: int = 500
    """Images that hyperparameters are tuned on."""
    width: int = 128
    """Units of the two hidden layers."""
    steps: int = 2400
    """Training steps of every run."""
    batch_size: int = 100
    """Images a step."""
    rate: float = 0.05
    """Learning rate of the weights, which falls to 0; momentum is 0.9."""
    hyper_rate: float = 0.03
    """Learning rate of the hyperparameters."""
    constants: tuple[float, ...] = (0.01, 0.05, 0.2, 0.35, 0.5, 0.65)
    """Dropout rates that are held constant, rising, each the same for all layers."""
    start: float = 0.5
    """Where runs start that are to find better rates: a bad one of the constants."""
    other: float = 0.01
    """Where others start, on the other side: another one."""
    scale: float = 1.0
    """Scale of the perturbations at the start: 0.5 sees too little of what lies around 0.01."""
    cutout: int = 5
    """Side, in pixels, of the square that is cut out of each image where a run starts that tunes
    it."""
    largest_cutout: int = 6
    """The largest side."""
    trials: int = 4
    """Trainings of the search, which cost as much as one run that tunes itself, or more."""
    evaluations: int = 60
    """How often a run is evaluated."""

    def __post_init__(self):
        check_above_zero(self)
        check_rising(self, "constants", count=2, above=0, below=LARGEST)
        if not {self.start, self.other} <= set(self.constants) or self.start == self.other:
            starts = f"{self.start} and {self.other}"
            raise ValueError(f"start and other must be two of constants, got {starts}")
        if not self.cutout <= self.largest_cutout:
            raise ValueError(f"cutout must be at most {self.largest_cutout}, got {self.cutout}")
        if self.steps % self.evaluations:
            raise ValueError(f"evaluations must divide steps, got {self.evaluations}")


class Net(eqx.Module):
    """Three dense layers, with dropout before each."""

    layers: tuple[eqx.nn.Linear, ...]

    def __init__(self, pixels: int, width: int, classes: int, *, key: PRNGKeyArray):
        sizes, keys = (pixels, width, width, classes), jr.split(key, 3)
        self.layers = tuple(
            eqx.nn.Linear(i, o, key=k) for i, o, k in zip(sizes[:-1], sizes[1:], keys, strict=True)
        )

    def __call__(
        self,
        x: Float[Array, " pixels"],
        rates: Float[Array, " layers"] | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, " classes"]:
        """Logits; without rates nothing is dropped."""
        for place, layer in enumerate(self.layers):
            if rates is not None and key is not None:
                x = dropped(x, rates[place], jr.fold_in(key, place))
            x = layer(x)
            x = jax.nn.relu(x) if place < len(self.layers) - 1 else x
        return x


def dropped(
    x: Float[Array, " units"], rate: Float[Array, ""], key: PRNGKeyArray
) -> Float[Array, " units"]:
    """Each unit 0 with this chance, and else larger, so that the mean stays."""
    keep = jr.uniform(key, x.shape, x.dtype) >= rate
    return jnp.where(keep, x / (1 - rate), 0)


def cut_out(
    image: Float[Array, " pixels"], side: Int[Array, ""], key: PRNGKeyArray
) -> Float[Array, " pixels"]:
    """The image with a square of it blank, whole, anywhere."""
    size = round(image.size**0.5)
    first = jr.randint(key, (2,), 0, size - side + 1)
    inside = lambda at: (jnp.arange(size) >= at) & (jnp.arange(size) < at + side)
    hole = inside(first[0])[:, None] & inside(first[1])[None]
    return jnp.where(hole.ravel(), 0, image)


def inner(net: Any, hyper: Any, batch: Any, *, key: PRNGKeyArray) -> tuple[Array, dict]:
    """Cross-entropy under dropout, and under squares cut out where `hyper` has their side."""

    def logits(x: Array, key: PRNGKeyArray) -> Array:
        if "cutout" in hyper:
            x = cut_out(x, hyper["cutout"].value, jr.fold_in(key, 7))
        return net(x, hyper["rates"].value, key=key)

    return _cross_entropy(jax.vmap(logits)(batch.x, jr.split(key, len(batch.x))), batch.y)


def outer(net: Any, hyper: Any, batch: Any, *, key: PRNGKeyArray) -> tuple[Array, dict]:
    """Cross-entropy with nothing dropped and nothing cut out."""
    del hyper, key
    return _cross_entropy(jax.vmap(lambda x: net(x))(batch.x), batch.y)


def _cross_entropy(logits: Array, y: Array) -> tuple[Array, dict]:
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
    right = jnp.mean((jnp.argmax(logits, axis=1) == y).astype(losses.dtype))
    return jnp.mean(losses), {"accuracy": right}


def parts(config: Config, data: Split, seed: int) -> tuple[Labelled, Labelled, Labelled]:
    """Training, held-out and test images, as rows; the first two drawn anew for each seed."""
    flat = lambda part: Labelled(part.x.reshape(len(part.x), -1), part.y)
    order = np.random.default_rng(seed).permutation(len(data.train.y))
    used = config.train + config.held_out
    if used > len(order):
        raise ValueError(f"train and held_out must be at most {len(order)} in all, got {used}")
    rows = order[: config.train], order[config.train : used]
    train, held_out = (flat(Labelled(data.train.x[at], data.train.y[at])) for at in rows)
    return train, held_out, flat(data.test)


def tuned(
    config: Config, context: Context, data: Split, seeds: Sequence[int], rate: float, cutout: bool
) -> list[dict[str, Any]]:
    """Runs that tune themselves, from one dropout rate for all layers."""
    start: dict[str, Any] = {"rates": Bounded(jnp.full(3, rate), 0.0, LARGEST)}
    if cutout:
        start["cutout"] = Integer(config.cutout, 0, config.largest_cutout)

    def run(seed: int, train: Labelled, held_out: Labelled, settings: dict[str, Any]) -> Any:
        net, _, info = fit_self_tuning(
            first_net(config, data, seed), start, inner, outer, train, held_out,
            hyper_optimiser=optax.adam(config.hyper_rate), warmup=config.steps // 20,
            scale=config.scale, **settings,
        )  # fmt: skip
        return net, info.training, info.schedule

    name = f"tuned-{rate:g}{'-cutout' * cutout}"
    return _each(config, context, data, seeds, name, run)


def held(
    config: Config, context: Context, data: Split, seeds: Sequence[int], name: str,
    schedules: Sequence[Schedule],
) -> list[dict[str, Any]]:  # fmt: skip
    """Runs of the plain network on a schedule, which may be a constant."""

    def run(seed: int, train: Labelled, held_out: Labelled, settings: dict[str, Any]) -> Any:
        schedule = schedules[list(seeds).index(seed)]

        def loss(net: Net, batch: Labelled, *, key: PRNGKeyArray, step: Array) -> tuple:
            return inner(net, schedule.at(step), batch, key=key)

        def validation(net: Net, *, key: PRNGKeyArray) -> dict[str, Array]:
            value, metrics = outer(net, None, held_out, key=key)
            return {"loss": value, **metrics}

        net = first_net(config, data, seed)
        # Of all evaluations the best is kept: no run stops early.
        kept = {"validation": validation, "patience": config.evaluations}
        net, info = fit(net, loss, train, **kept, **settings)
        return net, info, schedule

    return _each(config, context, data, seeds, name, run)


def constant(rate: float, cutout: int | None = None) -> Schedule:
    """A schedule that stays where it is."""
    hyper: dict[str, Any] = {"rates": Recorded(np.full((1, 3), rate, np.float32))}
    if cutout is not None:
        hyper["cutout"] = Recorded(np.asarray([cutout], np.int32))
    return Schedule([0], hyper)


def searched(
    config: Config, context: Context, data: Split, seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """For each seed, the best of some settings of the three rates."""
    low, high = (Bounded(jnp.full(3, rate), 0.0, LARGEST) for rate in (0.01, 0.8))

    def run(seed: int, train: Labelled, held_out: Labelled, settings: dict[str, Any]) -> Any:
        found = search(
            first_net(config, data, seed), {"rates": low}, {"rates": high}, inner, outer, train,
            held_out, trials=config.trials, **settings,
        )  # fmt: skip
        return found.model, found.loss

    return _each(config, context, data, seeds, "search", run)


def first_net(config: Config, data: Split, seed: int) -> Net:
    """The weights that all runs of a seed start from."""
    pixels, classes = data.train.x[0].size, int(data.train.y.max()) + 1
    return made(Net, pixels, config.width, classes, key=jr.key(seed))


def _each(
    config: Config, context: Context, data: Split, seeds: Sequence[int], name: str,
    run: Callable[..., tuple],
) -> list[dict[str, Any]]:  # fmt: skip
    """A run of every seed, with what it came to."""
    found = []
    for seed in seeds:
        train, held_out, test = parts(config, data, seed)
        settings = {
            "optimiser": optax.sgd(optax.cosine_decay_schedule(config.rate, config.steps), 0.9),
            "steps": config.steps,
            "batch_size": config.batch_size,
            "log_every": config.steps // config.evaluations,
            "key": jr.key(seed),
            **context.training(f"{name}-{seed}"),
        }
        net, *rest = run(seed, train, held_out, settings)
        value, metrics = _tested(net, test)
        row: dict[str, Any] = {"test": float(value), "test_accuracy": float(metrics["accuracy"])}
        if len(rest) == 1:
            found.append({**row, "held_out": rest[0]})
            continue
        info, schedule = rest
        curve = np.asarray(info.history["validation_loss"])
        row |= {"held_out": info.best_loss, "best_step": info.best_step, "curve": curve}
        found.append({**row, "steps": info.history["step"], "schedule": schedule})
    return found


@eqx.filter_jit
def _tested(net: Net, test: Labelled) -> tuple[Array, dict]:
    return outer(net, None, test, key=jr.key(0))

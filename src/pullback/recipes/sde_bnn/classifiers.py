"""Classifiers with random weights beside point weights, mean field, dropout and an ensemble."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from pullback.data import Labelled
from pullback.recipes._kit.calibration import calibration
from pullback.recipes._kit.checks import check_above_zero, check_least, check_rising
from pullback.recipes._kit.stack import unstacked
from pullback.recipes.sde_bnn import show
from pullback.recipes.sde_bnn.networks import divergence, passes, train
from pullback.runs import Claim, Context, Headline

Images = tuple[Labelled, Labelled, Labelled]
"""To train on, to choose by, and to test on."""


@dataclass(frozen=True)
class Config:
    net: Literal["mlp", "conv"] = "mlp"
    """Fully connected, or convolutions."""
    examples: int = 300
    """Training images of each seed, drawn anew."""
    held_out: int = 300
    """Images by whose NLL each seed chooses a kind's strength, and a temperature."""
    seeds: int = 3
    """How many networks of each kind and strength are trained."""
    sigmas: tuple[float, ...] = (0.1, 0.3, 0.6)
    """Diffusions of weights that move in depth: their strength."""
    stds: tuple[float, ...] = (0.03, 0.1, 0.3)
    """Standard deviations of the prior of weights by mean field."""
    rates: tuple[float, ...] = (0.1, 0.2, 0.4)
    """Rates of dropout, before and after the block."""
    kappa: float = 1.0
    """The weight of a KL; 1 is the true evidence lower bound, the paper has 0.001."""
    members: int = 5
    """Networks of an ensemble; a point network is one of them."""
    iterations: int = 1000
    """Training steps of each network."""
    batch_size: int = 100
    """Images in a training step."""
    learning_rate: float = 3e-3
    """Adam's learning rate at the start; it falls on a cosine."""
    dim: int = 16
    """Size of the state, or channels of it."""
    width: int = 24
    """Hidden units of the field of an mlp."""
    solver_steps: int = 20
    """Euler steps."""
    paths: int = 32
    """Draws of a network over which a prediction is averaged at most."""

    def __post_init__(self):
        check_above_zero(self, but=("kappa",))
        check_least(self, members=2)
        check_rising(self, "sigmas")
        check_rising(self, "stds")
        check_rising(self, "rates", below=1)


def run(
    config: Config, context: Context, images: Callable[[int], Images], *, gains: tuple[float, float]
) -> list[Claim]:
    """Train classifiers on images, given a seed, and measure them.

    `gains` are bounds on how much less NLL and calibration error there is than with point weights.
    """
    sequences = [np.random.SeedSequence([context.seed, number]) for number in range(config.seeds)]
    data = [images(int(sequence.generate_state(1)[0])) for sequence in sequences]
    stacked = jax.tree.map(lambda *parts: np.stack(parts, axis=1), *[each[0] for each in data])
    nets = train(config, context, stacked)
    found = context.stage("classifiers", _measure, config, context.seed, nets, data)
    show.draw(context, found, config.members)
    show.table(context, found, config.seeds, config.members)
    return _claims(config, found, gains)


def drawn(config: Config, part: Labelled, seed: int) -> tuple[Labelled, Labelled]:
    """Images to train on and to choose by, drawn anew for each seed."""
    rows = np.random.default_rng(seed).permutation(len(part.x))
    first, last = config.examples, config.examples + config.held_out
    of = lambda rows: Labelled(part.x[rows], part.y[rows])
    return of(rows[:first]), of(rows[first:last])


def _measure(
    config: Config, seed: int, nets: dict[str, Any], data: list[Images]
) -> list[dict[str, Any]]:
    """Of each seed: scores by kind, after each number of draws for those that are drawn."""
    kinds = zip(*(unstacked(stack) for stack in nets.values()), strict=True)
    found = []
    for number, (parts, stacks) in enumerate(zip(data, kinds, strict=True)):
        keys = jr.split(jr.fold_in(jr.key(seed), number), config.paths)
        moving, mean_field, points = map(unstacked, stacks)
        certain, dropping = points[: config.members], points[config.members :]
        drawn = {
            "random weights": (config.sigmas, moving),
            "mean field": (config.stds, mean_field),
            "dropout": (config.rates, dropping),
        }
        found.append({**_of_drawn(drawn, parts, keys), **_of_points(certain, parts, keys[:1])})
    return found


def _of_drawn(
    kinds: Mapping[str, tuple[Sequence[float], list[Any]]], parts: Images, keys: PRNGKeyArray
) -> dict[str, Any]:
    """Scores of the network of each kind that is best on the images held out, by few draws."""
    _, held, test = parts
    own: dict[str, Any] = {"held_out": {}, "strength": {}, "kl": {}}
    for kind, (strengths, nets) in kinds.items():
        few = [_probs(net, held, keys[:8]).mean(axis=0) for net in nets]
        own["held_out"][kind] = [_score(probs, held.y)["nll"] for probs in few]
        best = int(np.argmin(own["held_out"][kind]))
        own["strength"][kind] = strengths[best]
        own[kind] = _growing(_probs(nets[best], test, keys), test.y)
        if kind != "dropout":
            own["kl"][kind] = float(divergence(nets[best], jnp.asarray(test.x[:1]), keys[0]))
    return own


def _of_points(nets: list[Any], parts: Images, keys: PRNGKeyArray) -> dict[str, Any]:
    """Scores of their ensemble, and means of each by itself, with a temperature and without."""
    _, held, test = parts
    probs = np.concatenate([_probs(net, test, keys) for net in nets])
    temperatures = [_temperature(_probs(net, held, keys)[0], held.y) for net in nets]
    tempered = [_tempered(each, t) for each, t in zip(probs, temperatures, strict=True)]
    return {
        "ensemble": _growing(probs, test.y),
        "point": _mean([_score(each, test.y) for each in probs]),
        "tempered": _mean([_score(each, test.y) for each in tempered]),
    }


def _probs(net: Any, part: Labelled, keys: PRNGKeyArray) -> np.ndarray:
    return np.asarray(passes(net, jnp.asarray(part.x), keys))


def _score(probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Error and ECE in per cent, and nats an image."""
    found = calibration(jnp.asarray(probs), labels)
    return {
        "error": float(100 * np.mean(probs.argmax(axis=1) != labels)),
        "nll": float(found["nll"]),
        "ece": float(100 * found["ece"]),
    }


def _growing(probs: np.ndarray, labels: np.ndarray) -> list[dict[str, float]]:
    """Scores of the average over the first, the first two, ... of draws `[draws, n, classes]`."""
    numbers = range(1, len(probs) + 1)
    total = np.cumsum(probs, axis=0)
    return [_score(total[n - 1] / n, labels) for n in numbers]


def _mean(scores: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}


def _temperature(probs: np.ndarray, labels: np.ndarray) -> float:
    """The temperature at which these labels are likeliest."""
    nll = lambda log: _score(_tempered(probs, np.exp(log)), labels)["nll"]
    return float(np.exp(minimize_scalar(nll, bounds=(-2, 3), method="bounded").x))


def _tempered(probs: np.ndarray, temperature: float) -> np.ndarray:
    return softmax(np.log(np.maximum(probs, 1e-30)) / temperature, axis=1)


def _claims(config: Config, found: list[dict[str, Any]], gains: tuple[float, float]) -> list[Claim]:
    def values(kind: str, name: str) -> np.ndarray:
        last = lambda scores: scores[-1] if isinstance(scores, list) else scores
        return np.array([last(own[kind])[name] for own in found])

    ours = functools.partial(values, "random weights")
    plain = functools.partial(values, "point")
    draws = [
        next((n for n, s in enumerate(own["random weights"], 1)
              if s["error"] <= own["point"]["error"]), float("inf"))
        for own in found
    ]  # fmt: skip
    return [
        Claim.over_seeds(
            "Weights that move in depth have a lower test NLL than point weights: the latter's "
            "over theirs",
            plain("nll") / ours("nll"),
            at_least=gains[0],
            reference="1: no better",
            headline=Headline(no_effect=1),
        ),
        Claim.over_seeds(
            "They are better calibrated: the expected calibration error of point weights over "
            "theirs",
            plain("ece") / ours("ece"),
            at_least=gains[1],
            reference="1: no better",
            headline=Headline(no_effect=1),
        ),
        Claim.over_seeds(
            "They err no more often: their test error less that of point weights",
            ours("error") - plain("error"),
            at_most=0.5,
            unit="points",
            reference=f"0: as often; point weights err in {plain('error').mean():.1f} of a hundred",
        ),
        Claim.over_seeds(
            "They predict better than a mean field of the same size: its test NLL over theirs",
            values("mean field", "nll") / ours("nll"),
            at_least=1,
            reference="1: no better; the prior's deviation is chosen by held-out images",
        ),
        Claim.over_seeds(
            "They predict as well as dropout, at least: its test NLL over theirs",
            values("dropout", "nll") / ours("nll"),
            at_least=1,
            reference="1: as well; its rate is chosen by held-out images",
        ),
        Claim.over_seeds(
            f"One such network gains most of what an ensemble of {config.members} gains in NLL "
            "over point weights: share",
            (plain("nll") - ours("nll")) / (plain("nll") - values("ensemble", "nll")),
            at_least=0.5,
            reference="as good as the ensemble is 1",
        ),
        Claim.over_seeds(
            "The cost of equal accuracy: draws of the network, each as dear as a point network, "
            "after which it errs no more often than that",
            draws,
            at_most=8,
            reference=f"1: no dearer; inf: {config.paths} do not suffice",
        ),
        Claim.over_seeds(
            "When not to use them: where held-out images can set a temperature, point weights gain "
            "most of it for nothing: share of the gain in NLL",
            (plain("nll") - values("tempered", "nll")) / (plain("nll") - ours("nll")),
            at_least=0.5,
            reference="all of the gain is 1",
        ),
    ]

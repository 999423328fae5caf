"""HollowNet (arXiv 1912.03579): networks whose divergence costs no more than an evaluation.

What the divergence costs in each way; what noise in it costs a continuous flow on handwritten
digits; and how the same cheap diagonal solves the equation of an implicit step.
"""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import diffrax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Float

from pullback.calculus import AbstractDivergence, HollowDivergence, HutchinsonDivergence
from pullback.data import digits
from pullback.models.flows import CNF, maximum_likelihood_loss
from pullback.nn import HollowNet, TwoSidedConditioner
from pullback.recipes._kit.gaussian import fitted_gaussian
from pullback.recipes.hollow_net import measure, show
from pullback.runs import Claim, Context
from pullback.sampling import StandardNormal
from pullback.train import fit

_LEVELS = 16  # of grey
_DIVERGENCES: dict[str, AbstractDivergence] = {
    "exact": HollowDivergence(),
    "hutchinson": HutchinsonDivergence(),
}


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """How many pairs of flows are trained, each with its own split, weights and batches."""
    width: int = 128
    """Size of the hidden layer of each side of the conditioner."""
    features: int = 4
    """Numbers that a pixel's own net is told of the pixels before it; as many of those after it."""
    inner: int = 32
    """Size of each of the two hidden layers of the net that all pixels share."""
    solver_steps: int = 4
    """Midpoint steps of a training solve."""
    score_steps: tuple[int, ...] = (4, 8, 16, 32, 128)
    """Midpoint steps of the solves that score; the last is the score, the first is that of
    training."""
    iterations: int = 400
    """Training steps of a flow."""
    batch_size: int = 64
    """Images in a training step."""
    learning_rate: float = 2e-3
    """Adam's learning rate at the start; it falls to zero along a cosine."""
    dims: tuple[int, ...] = (8, 32, 128)
    """Sizes of the state at which the cost of a divergence is measured, rising."""
    cost_batch: int = 64
    """States in one measured call."""
    cost_turns: int = 4
    """How often each way has its turn to be timed."""
    stiff_dim: int = 20
    """Size of the stiff problem."""
    root_steps: int = 6
    """Iterations of each way to solve it."""

    def __post_init__(self):
        for name in ("seeds", "iterations", "solver_steps", "cost_turns", "root_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("score_steps", "dims"):
            rising = getattr(self, name)
            if len(rising) < 2 or sorted(set(rising)) != [*rising]:
                raise ValueError(f"{name} must be two or more, rising, got {rising}")


def run(config: Config, context: Context) -> list[Claim]:
    """Measure the costs, train the flows, solve the stiff steps."""
    seeds = context.seeds(config.seeds)
    identities = context.stage("identities", measure.identities)
    costs = context.stage("cost", measure.cost, config.dims, config.cost_batch, config.cost_turns)
    roots = context.stage("roots", measure.root_finding, config.stiff_dim, config.root_steps, seeds)
    sets = [_images(seed) for seed in seeds]
    optimiser = optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.iterations))
    trained = {
        name: [
            _train(config, context, optimiser, name, number, seed, images.train)
            for number, (seed, images) in enumerate(zip(seeds, sets, strict=True))
        ]
        for name in _DIVERGENCES
    }
    scores = [
        context.stage(
            f"scores-{i}", _scores, config, seeds[i], sets[i], *(trained[n][i][0] for n in trained)
        )
        for i in range(config.seeds)
    ]
    first = trained["exact"][0][0]
    pictures = context.stage("pictures", _pictures, first, sets[0])

    show.draw_cost(context, costs)
    histories = {name: [history for _, history in pairs] for name, pairs in trained.items()}
    show.draw_training(context, histories)
    show.draw_scores(context, config.score_steps, scores)
    show.draw_roots(context, roots)
    show.draw_jacobians(context, *pictures["jacobians"])
    show.draw_samples(context, pictures["images"], pictures["samples"])
    _tables(config, context, costs, scores, roots)
    return [
        *_claims_of_cost(config, identities, costs),
        *_claims_of_training(scores),
        *_claims_of_roots(roots),
    ]


# The flows on digits.


class _Images(NamedTuple):
    """Images as rows of 64 real numbers, each pixel shifted and scaled."""

    train: Float[np.ndarray, "n 64"]
    test: Float[np.ndarray, "m 64"]
    mean: Float[np.ndarray, " 64"]
    scale: Float[np.ndarray, " 64"]


def _images(seed: int) -> _Images:
    """A split of the digits, with uniform noise that fills the gaps between grey levels."""
    rng = np.random.default_rng(seed)
    train, test = (
        part.x.reshape(len(part.x), -1) + rng.uniform(0, 1 / _LEVELS, (len(part.x), 64))
        for part in digits(seed=seed)
    )
    # Pixels that are always white would be scaled up to pure noise.
    mean, scale = train.mean(axis=0), train.std(axis=0) + 0.1
    return _Images((train - mean) / scale, (test - mean) / scale, mean, scale)


def _train(
    config: Config,
    context: Context,
    optimiser: optax.GradientTransformation,
    name: str,
    number: int,
    seed: int,
    images: Float[np.ndarray, "n 64"],
) -> tuple[CNF, list[dict[str, Any]]]:
    """A trained flow and its log. Both kinds start alike and see the same batches."""
    conditioner_key, net_key, key = jr.split(jr.key(seed), 3)
    dim = images.shape[1]
    conditioner = TwoSidedConditioner(dim, config.features, config.width, key=conditioner_key)
    flow = CNF(
        HollowNet(conditioner, config.inner, depth=2, key=net_key),
        StandardNormal(dim),
        _DIVERGENCES[name],
        solver=diffrax.Midpoint(),
        steps=config.solver_steps,
    )
    flow, info = fit(
        flow,
        maximum_likelihood_loss,
        jnp.asarray(images, float),
        optimiser=optimiser,
        steps=config.iterations,
        batch_size=min(config.batch_size, len(images)),
        log_every=20,
        **context.training(f"{name}-{number}"),
        key=key,
    )
    context.log(info.lines(), trace=name, number=number)
    return flow, info.lines()


def _scores(
    config: Config, seed: int, images: _Images, exact: CNF, hutchinson: CNF
) -> dict[str, Any]:
    """Held-out scores by the exact trace, and the noise of a score by Hutchinson's."""
    x = jnp.asarray(images.test, float)

    def score(flow: CNF, steps: int) -> float:
        scoring = dataclasses.replace(flow, divergence=HollowDivergence(), steps=steps)
        return -float(jnp.mean(scoring.log_prob(x, batch_size=150)))

    noisy = dataclasses.replace(exact, divergence=HutchinsonDivergence())
    noise = noisy.log_prob(x, key=jr.key(seed)) - exact.log_prob(x)
    return {
        "exact": [score(exact, steps) for steps in config.score_steps],
        "hutchinson": [score(hutchinson, steps) for steps in config.score_steps],
        "gaussian": -float(fitted_gaussian(images.train, images.test).mean()),
        "noise": float(jnp.std(noise, ddof=1)),
    }


def _pictures(flow: CNF, images: _Images) -> dict[str, Any]:
    fine = dataclasses.replace(flow, steps=32)
    samples = np.asarray(fine.sample(jr.key(0), (32,)))
    back = functools.partial(lambda rows: rows * images.scale + images.mean)
    net: Any = flow.field
    return {
        "jacobians": measure.jacobians(net, images.test[:64]),
        "images": back(images.test[:32]),
        "samples": back(samples),
    }


# What is reported.


def _tables(
    config: Config,
    context: Context,
    costs: Sequence[dict[str, Any]],
    scores: Sequence[dict[str, Any]],
    roots: dict[str, np.ndarray],
) -> None:
    for number, row in enumerate(scores):
        scored = {
            f"{name}_{steps}": row[name][i]
            for name in show.TRACES
            for i, steps in enumerate(config.score_steps)
        }
        context.metrics(
            {"number": number, **scored, "gaussian": row["gaussian"], "noise": row["noise"]}
        )
    names = {"field": "the field alone", **show.WAYS}
    context.table(
        "cost",
        ["milliseconds a call", *(f"d = {row['dim']}" for row in costs)],
        [[text, *(1e3 * row["seconds"][name] for row in costs)] for name, text in names.items()],
        f"The field and its divergence for {config.cost_batch} states: least time of a call.",
    )
    context.table(
        "scores",
        ["nats, held out", *(f"pair {number + 1}" for number in range(len(scores)))],
        [
            *(
                [
                    f"trained with {show.TRACES[name]}, {steps} steps",
                    *(s[name][i] for s in scores),
                ]
                for name in show.TRACES
                for i, steps in [(0, config.score_steps[0]), (-1, config.score_steps[-1])]
            ),
            ["a Gaussian with full covariance", *(row["gaussian"] for row in scores)],
        ],
        "Negative log-likelihood of images that were not trained on, by the exact trace and as "
        "many midpoint steps, in the units of the standardised pixels.",
    )
    context.table(
        "roots",
        ["largest residual after", *(f"{i}" for i in range(config.root_steps + 1))],
        [[text, *map(float, roots[name][0])] for name, text in show.ROOTS.items()],
        f"One implicit Euler step of length {measure.STEP} of a field with rates from "
        f"{measure.RATES[0]:g} to {measure.RATES[1]:g}, first seed; iterations across.",
    )


def _claims_of_cost(
    config: Config, identities: dict[str, float], costs: Sequence[dict[str, Any]]
) -> list[Claim]:
    largest = config.dims[-1]
    return [
        Claim(
            "The divergence is the trace of the whole Jacobian (difference, float64)",
            value=identities["divergence"],
            at_most=1e-12,
            reference="rounding",
        ),
        Claim(
            "Its gradients, by the weights and by the state, are those of the trace (largest "
            "difference, float64)",
            value=identities["gradient"],
            at_most=1e-10,
            reference="rounding; a conditioner that gets no gradient would show here",
        ),
        Claim(
            "Field and divergence need as few operations as the field (ratio, worst size)",
            value=max(measure.ratio(costs, "flops", "hollow", "field")),
            at_most=3,
            reference="3 evaluations; counted by the compiler",
        ),
        Claim(
            f"At d = {largest} the full trace takes longer than the hollow one (ratio of times)",
            value=measure.ratio(costs, "seconds", "exact", "hollow")[-1],
            at_least=100,
            reference="100 times; 140 in plain JAX",
        ),
        Claim(
            "The hollow trace needs no more operations than one of Hutchinson's probes (ratio, "
            "worst size)",
            value=max(measure.ratio(costs, "flops", "hollow", "hutchinson")),
            at_most=1,
            reference="level in plain JAX, 12.0 ms against 13.7 ms; counted by the compiler",
        ),
    ]


def _claims_of_training(scores: Sequence[dict[str, Any]]) -> list[Claim]:
    gains = [row["hutchinson"][-1] - row["exact"][-1] for row in scores]
    exact = [row["exact"][-1] for row in scores]
    gaussian = float(np.mean([row["gaussian"] for row in scores]))
    return [
        Claim(
            "Training with the exact trace beats Hutchinson's on the same net (held out, fine "
            "steps, worst seed)",
            value=min(gains),
            at_least=0.5,
            spread=measure.spread(gains),
            seeds=len(gains),
            unit="nats",
            reference="0.8 to 1.8 nats in plain JAX",
        ),
        Claim.over_seeds(
            "Scored with the coarse steps of training, the exact-trace flow looks better than it "
            "is by",
            [row["exact"][-1] - row["exact"][0] for row in scores],
            at_least=0.1,
            unit="nats",
            reference="0.4 to 0.9 nats in plain JAX",
        ),
        Claim.over_seeds(
            "One probe of Hutchinson's makes the score of one image noisy (standard deviation)",
            [row["noise"] for row in scores],
            at_least=3.0,
            unit="nats",
            reference="9 to 10 nats in plain JAX; 0 for the exact trace",
        ),
        Claim.over_seeds(
            f"The flow beats a fitted Gaussian ({gaussian:.2f} nats) by",
            [row["gaussian"] - value for row, value in zip(scores, exact, strict=True)],
            at_least=2.0,
            unit="nats",
            reference="full covariance, same images: 7 to 12 nats in plain JAX",
        ),
    ]


def _claims_of_roots(roots: dict[str, np.ndarray]) -> list[Claim]:
    after = min(5, roots["newton"].shape[1] - 1)
    return [
        Claim(
            f"On a stiff step Jacobi-Newton is at rounding after {after} iterations (largest "
            "residual, worst seed)",
            value=float(roots["jacobi_newton"][:, after].max()),
            at_most=1e-12,
            seeds=len(roots["newton"]),
            reference="6.9e-15 in plain JAX; full Newton 1e-16 after 3",
        ),
        Claim(
            "There, functional iteration diverges (growth of the residual an iteration, worst "
            "seed)",
            value=float((roots["functional"][:, 1:] / roots["functional"][:, :-1]).min()),
            at_least=10,
            seeds=len(roots["newton"]),
            reference="step times fastest rate: 50; 35 in plain JAX",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=2, width=16, features=2, inner=8, iterations=20, score_steps=(4, 8),
        dims=(4, 8), cost_batch=4, cost_turns=1, stiff_dim=6,
    ),
    "desk": Config(),
    "paper": Config(
        width=1024, features=32, inner=64, iterations=10_000, batch_size=128,
        learning_rate=1e-3, dims=(8, 32, 128, 512),
    ),
}  # fmt: skip

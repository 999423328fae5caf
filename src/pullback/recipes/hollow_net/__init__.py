"""HollowNet (arXiv 1912.03579): networks whose divergence costs no more than an evaluation.

How the cheap diagonal solves the equation of an implicit step, and teaches an equation with noise
from snapshots; what the divergence costs in each way; and what noise in it costs a continuous flow
on handwritten digits. Posteriors of an autoencoder are in `mnist.py`.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
from pullback.recipes._kit.checks import check_least, check_rising
from pullback.recipes._kit.gaussian import fitted_gaussian
from pullback.recipes._kit.stack import made
from pullback.recipes.hollow_net import equation, measure, show
from pullback.runs import Claim, Context, Headline
from pullback.sampling import StandardNormal
from pullback.train import fit

_LEVELS = 16  # of grey
_AT_ONCE = 150  # images that are scored
_DIVERGENCES: dict[str, AbstractDivergence] = {
    "exact": HollowDivergence(),
    "hutchinson": HutchinsonDivergence(),
}


@dataclass(frozen=True)
class Config(equation.Sizes):
    seeds: int = 3
    """How many equations are learned, stiff steps solved, and pairs of flows trained, each with its
    own split, weights and batches."""
    width: int = 128
    """Size of the hidden layer of each side of the conditioner."""
    features: int = 4
    """Numbers that a pixel's own net is told of the pixels before it; as many of those after it."""
    inner: int = 32
    """Size of each of the two hidden layers of the net that all pixels share."""
    solver_steps: int = 4
    """Midpoint steps of a training solve."""
    score_steps: tuple[int, ...] = (4, 16, 64)
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
        super().__post_init__()
        least = ("seeds", "iterations", "solver_steps", "cost_turns")
        check_least(self, **dict.fromkeys(least, 1), root_steps=2, held_out=10)
        check_rising(self, "score_steps", count=2, least=1)
        check_rising(self, "dims", count=2, least=1)


def run(config: Config, context: Context) -> list[Claim]:
    """Measure the costs, solve the stiff steps, learn the equations, train the flows."""
    seeds = context.seeds(config.seeds)
    costs = context.stage("cost", measure.cost, config.dims, config.cost_batch, config.cost_turns)
    roots = context.stage("roots", measure.root_finding, config.stiff_dim, config.root_steps, seeds)
    learned = [_equation(config, context, number, seed) for number, seed in enumerate(seeds)]
    scores = [_pair(config, context, number, seed) for number, seed in enumerate(seeds)]

    show.draw_cost(context, costs)
    show.draw_scores(context, config.score_steps, scores)
    show.draw_roots(context, roots)
    show.draw_equation(context, learned[0])
    return _claims(config, costs, scores, roots, learned)


def _equation(config: Config, context: Context, number: int, seed: int) -> dict[str, Any]:
    """What an equation that is learned from snapshots makes of other starts."""
    found = equation.learn(config, context, number, seed)
    row = context.stage(f"equation-{number}", equation.compare, config, found, seed)
    context.metrics({"number": number, "noise": row["noise"]} | row["auroc"])
    return row


# The flows on digits.


def _images(seed: int) -> tuple[Float[np.ndarray, "n 64"], Float[np.ndarray, "m 64"]]:
    """A split of the digits, with uniform noise that fills the gaps between grey levels.

    Images are rows of 64 real numbers, each pixel shifted and scaled.
    """
    rng = np.random.default_rng(seed)
    train, test = (
        part.x.reshape(len(part.x), -1) + rng.uniform(0, 1 / _LEVELS, (len(part.x), 64))
        for part in digits(seed=seed)
    )
    # Pixels that are always white would be scaled up to pure noise.
    mean, scale = train.mean(axis=0), train.std(axis=0) + 0.1
    return (train - mean) / scale, (test - mean) / scale


def _pair(config: Config, context: Context, number: int, seed: int) -> dict[str, Any]:
    """The scores of two flows that differ in the trace that they are trained with."""
    train, test = _images(seed)
    flows = [_train(config, context, name, number, seed, train) for name in _DIVERGENCES]
    scores = context.stage(f"scores-{number}", _scores, config, train, test, *flows)
    last = {name: scores[name][-1] for name in _DIVERGENCES}
    context.metrics({"number": number} | scores | last)
    return scores


def _train(
    config: Config,
    context: Context,
    name: str,
    number: int,
    seed: int,
    images: Float[np.ndarray, "n 64"],
) -> CNF:
    """A trained flow. Both kinds start alike and see the same batches."""
    conditioner_key, net_key, key = jr.split(jr.key(seed), 3)
    dim = images.shape[1]
    conditioner = made(TwoSidedConditioner, dim, config.features, config.width, key=conditioner_key)
    flow = CNF(
        made(HollowNet, conditioner, config.inner, depth=2, key=net_key),
        StandardNormal(dim),
        _DIVERGENCES[name],
        solver=diffrax.Midpoint(),
        steps=config.solver_steps,
    )
    flow, info = fit(
        flow,
        maximum_likelihood_loss,
        jnp.asarray(images, float),
        optimiser=optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.iterations)),
        steps=config.iterations,
        batch_size=min(config.batch_size, len(images)),
        log_every=20,
        **context.training(f"{name}-{number}"),
        key=key,
    )
    context.log(info.lines(), trace=name, number=number)
    return flow


def _scores(
    config: Config, train: np.ndarray, test: np.ndarray, exact: CNF, hutchinson: CNF
) -> dict[str, Any]:
    """Held-out scores by the exact trace."""
    x = jnp.asarray(test, float)

    def score(flow: CNF, steps: int) -> float:
        scoring = dataclasses.replace(flow, divergence=HollowDivergence(), steps=steps)
        return -float(jnp.mean(scoring.log_prob(x, batch_size=_AT_ONCE)))

    return {
        "exact": [score(exact, steps) for steps in config.score_steps],
        "hutchinson": [score(hutchinson, steps) for steps in config.score_steps],
        "gaussian": -float(fitted_gaussian(train, test).mean()),
    }


# What is claimed.


def _claims(
    config: Config,
    costs: Sequence[dict[str, Any]],
    scores: Sequence[dict[str, Any]],
    roots: dict[str, np.ndarray],
    learned: Sequence[dict[str, Any]],
) -> list[Claim]:
    exact, hutchinson = (
        np.array([row[name] for row in scores]) for name in ("exact", "hutchinson")
    )
    gaussian = np.array([row["gaussian"] for row in scores])
    auroc = {name: np.array([row["auroc"][name] for row in learned]) for name in show.EQUATIONS}
    gains = hutchinson[:, -1] - exact[:, -1]
    probe = max(measure.ratio(costs, "flops", "hutchinson", "field"))
    # From the first iteration on, which ends the stiffness, to the fourth, before rounding.
    last = min(4, config.root_steps)
    shrinks = (roots["jacobi_newton"][:, last] / roots["jacobi_newton"][:, 1]) ** (1 / (last - 1))
    growth = (roots["functional"][:, 1:] / roots["functional"][:, :-1]).min()
    return [
        Claim.over_seeds(
            "An equation with noise is learned from snapshots, by Fokker-Planck: a forest tells "
            "ends of its paths from held-out ones less well than those of the best linear equation "
            "(AUROC)",
            auroc["normal"] - auroc["learned"],
            at_least=0.2,
            reference=f"0.5 where they are alike; {auroc['learned'].mean():.3f} learned, "
            f"{auroc['true'].mean():.3f} by the true equation, {auroc['normal'].mean():.3f} linear",
            headline=Headline(no_effect=0.0),
        ),
        Claim.over_seeds(
            "On a stiff step Jacobi-Newton multiplies the largest residual in each iteration by",
            shrinks,
            at_most=0.05,
            reference="without the Jacobian's diagonal, functional iteration: by "
            f"{growth:.0f} or more",
            headline=Headline(no_effect=1.0),
        ),
        Claim(
            "Field and divergence need as few operations as the field (ratio, worst size)",
            value=max(measure.ratio(costs, "flops", "hollow", "field")),
            at_most=1.5,
            reference="counted by the compiler; with one of Hutchinson's probes, which only "
            f"estimates the divergence: {probe:.2g}",
        ),
        Claim(
            f"At d = {config.dims[-1]} the full trace takes longer than the hollow one (ratio of "
            "times)",
            value=measure.ratio(costs, "seconds", "exact", "hollow")[-1],
            at_least=100,
            reference="the full Jacobian, one evaluation for each entry of the state",
        ),
        Claim.over_seeds(
            "Training with the exact trace beats Hutchinson's on the same net (held out, fine "
            "steps)",
            gains,
            at_least=0.5,
            unit="nats",
            reference=f"the same start and batches; on the worst seed {gains.min():.2f}",
        ),
        Claim.over_seeds(
            f"The flow beats a fitted Gaussian ({gaussian.mean():.2f} nats) by",
            gaussian - exact[:, -1],
            at_least=2.0,
            unit="nats",
            reference="full covariance, same images",
        ),
        Claim.over_seeds(
            "When not to trust a score: by the coarse steps of training the exact-trace flow looks "
            "better than it is, by",
            exact[:, -1] - exact[:, 0],
            at_least=0.5,
            unit="nats",
            reference=f"{config.score_steps[0]} midpoint steps, and {config.score_steps[-1]}",
        ),
        Claim.over_seeds(
            "When not to ask for the equation itself: snapshots do not tell the noise, which is "
            "wrong by the factor",
            [row["noise"] for row in learned],
            at_least=2.0,
            reference="of its square, either way, on held-out ends; 1 would be right",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1, width=16, features=2, inner=8, iterations=4, batch_size=8, solver_steps=1,
        score_steps=(1, 2), dims=(2, 4), cost_batch=2, cost_turns=1, stiff_dim=4, root_steps=2,
        paths=20, held_out=10, components=2, equation_width=4, equation_steps=4, points=4,
    ),
    "desk": Config(),
    "long": Config(seeds=5, iterations=1500),
    "paper": Config(
        width=1024, features=32, inner=64, iterations=10_000, batch_size=128,
        learning_rate=1e-3, dims=(8, 32, 128, 512),
    ),
}  # fmt: skip

"""Scalable gradients for SDEs (arXiv 2001.01328): the latent SDE and the stochastic adjoint.

Five noisy points under an Ornstein-Uhlenbeck prior, whose posterior and evidence are known exactly.
"""

import functools
import statistics
from typing import Any

import jax.random as jr
import numpy as np

from pullback.recipes.latent_sde import gradients, points, show
from pullback.recipes.latent_sde.config import Config
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train the models, and measure what is claimed of them."""
    found = [_one_seed(config, context, i) for i in range(config.seeds)]
    errors = context.stage(
        "gradients", gradients.errors, context.seed, config.gradient_steps, config.gradient_draws
    )
    memory = context.stage("memory", gradients.memory, config.memory_steps)
    show.draw_bands(context, found[0])
    show.draw_bounds(context, config.importance, found)
    show.draw_gradients(context, config, errors, memory)
    show.table_posterior(context, found[0])
    show.table_bounds(context, found)
    show.table_gradients(context, config, errors, memory)
    return [
        *_claims_about_the_posterior(found),
        *_claims_about_the_evidence(config, found),
        *_claims_about_gradients(config, errors, memory),
    ]


def _one_seed(config: Config, context: Context, number: int) -> dict[str, Any]:
    """Both models trained on one draw of the five points, and what is measured of them."""
    seed = config.seeds * context.seed + number
    drawn = points.points(seed)
    keys = jr.split(jr.key(seed), 5)
    fit = functools.partial(
        points.trained,
        found=drawn,
        learning_rate=config.learning_rate,
        iterations=config.iterations,
        samples=config.paths,
        resume=context.resume,
        progress=None if context.progress else False,
    )
    models = {
        "sde": points.untrained_sde(points.STEPS[0], key=keys[0]),
        "ode": points.untrained_ode(key=keys[1]),
    }
    trained = {}
    for (name, model), key in zip(models.items(), keys[2:4], strict=True):
        folder = context.folder(f"{name}-{number}")
        trained[name], info = fit(model, key=key, folder=folder)
        context.log(info.lines(), model=name, seed=number)
    return context.stage(
        f"measures-{number}", points.measure, trained["sde"], trained["ode"], drawn,
        config.scored, config.importance, keys[4],
    )  # fmt: skip


def _claims_about_the_posterior(found: list[dict[str, Any]]) -> list[Claim]:
    at = [
        {name: points.at(f, name, points.ASKED) for name in ("exact", "sde", "ode")} for f in found
    ]
    worst = lambda which: [
        float(np.abs(moments["sde"][which] - moments["exact"][which]).max()) for moments in at
    ]
    asked = ", ".join(f"{t:g}" for t in points.ASKED)
    gap, seen = points.ASKED.index(1.0), points.ASKED.index(0.4)
    exact = at[0]["exact"][1]
    return [
        Claim.over_seeds(
            f"The posterior's mean is the exact one at t = {asked}: largest error",
            worst(0),
            at_most=0.02,
            reference="a Gaussian process's posterior, in closed form",
        ),
        Claim.over_seeds(
            "So is its standard deviation: largest error",
            worst(1),
            at_most=0.03,
            reference="the same",
        ),
        Claim.over_seeds(
            "It is less certain where nothing was seen: standard deviation at t = 1 over that at "
            "t = 0.4",
            [float(m["sde"][1][gap] / m["sde"][1][seen]) for m in at],
            at_least=1.5,
            reference=f"exact: {exact[gap] / exact[seen]:.2f}",
        ),
        Claim.over_seeds(
            "The latent ODE beside it is certain where it should not be: its standard deviation at "
            "t = 1 over the exact one",
            [float(m["ode"][1][gap] / m["exact"][1][gap]) for m in at],
            at_most=0.25,
            reference="1 would be right; without noise on the way, all spread is in the start",
        ),
    ]


def _claims_about_the_evidence(config: Config, found: list[dict[str, Any]]) -> list[Claim]:
    gaps = [f["evidence"] - f["elbo"]["trained"][0] for f in found]
    below = [f["elbo"]["exact"][0] - f["elbo"]["trained"][0] for f in found]
    exact = [
        [f["evidence"] - f["elbo"]["exact"][k] for f in found] for k in range(len(points.STEPS))
    ]
    first, last = points.STEPS[0], points.STEPS[-1]
    return [
        Claim.over_seeds(
            "The ELBO is below the exact log-evidence, by not much: gap",
            gaps,
            at_least=0.0,
            at_most=0.8,
            unit="nats",
            reference=f"log-evidence of the first five points: {found[0]['evidence']:.3f}",
        ),
        Claim.over_seeds(
            "Little of the gap is the net's: how far its ELBO is below that of the exact control "
            f"with the same {first} steps",
            below,
            at_most=0.15,
            unit="nats",
            reference="0 where the control is the best one",
        ),
        Claim.over_seeds(
            f"The rest is the steps': the exact control's gap at {last} steps over that at {first}",
            [b / a for a, b in zip(exact[0], exact[-1], strict=True)],
            at_most=0.5,
            reference=f"proportional to the step: {first / last:g}",
        ),
        Claim.over_seeds(
            f"The importance-weighted bound of {config.importance[-1]} paths and {last} steps "
            "meets the log-evidence: distance",
            [abs(f["iwae"][-1] - f["evidence"]) for f in found],
            at_most=0.15,
            unit="nats",
            reference="0, but for 0.04 that Euler's steps change the evidence by",
        ),
    ]


def _claims_about_gradients(
    config: Config, errors: dict[str, list], memory: dict[str, list]
) -> list[Claim]:
    first, last = config.gradient_steps[0], config.gradient_steps[-1]
    ours, replay = errors["stochastic adjoint"], errors["Replay"]
    closed = "Z(1) = Z(0) exp(a + b W(1)) on the same path; the paper, figure 5"
    few, many = config.memory_steps[0], config.memory_steps[-1]
    growth = {name: row[-1] / row[0] for name, row in memory.items()}
    return [
        Claim(
            "Gradients by the stochastic adjoint converge to the exact ones: least factor by which "
            f"the error in {', '.join(gradients.WANTED)} falls from {first} to {last} steps",
            value=min(a / b for a, b in zip(ours[0], ours[-1], strict=True)),
            at_least=0.4 * last / first,
            reference=closed,
        ),
        Claim(
            "The stochastic adjoint errs about as much as the gradient of the steps taken: their "
            f"mean errors' ratio at {last} steps",
            value=statistics.fmean(ours[-1]) / statistics.fmean(replay[-1]),
            at_most=2.0,
            reference="1",
        ),
        Claim(
            f"Memory of a gradient by the stochastic adjoint is flat from {few} to {many} steps: "
            "factor",
            value=growth["stochastic adjoint"],
            at_most=1.1,
            reference="compiled memory analysis; the paper, table 1: O(1)",
        ),
        Claim(
            f"Memory of back-propagation through a scan grows from {few} to {many} steps: factor",
            value=growth["plain scan"],
            at_least=0.6 * many / few,
            reference=f"the same: O(L), {many / few:g}",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=2,
        iterations=20,
        paths=4,
        scored=512,
        importance=(1, 64),
        gradient_steps=(16, 64),
        gradient_draws=2,
        memory_steps=(16, 64),
    ),
    "desk": Config(),
}

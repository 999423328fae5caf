"""Infinitely deep Bayesian neural networks (arXiv 2102.06559): calibration, and three gradients.

Classifiers with random weights learn from few digits, beside the deterministic network and an
ensemble of it. Then two posteriors that are known exactly: one with two modes, and a Gaussian one
in which the gradient of the paper loses its variance. Last, what did not work.
"""

import functools
from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

from pullback.data import Labelled, Split, digits
from pullback.models.bayes import (
    SDEBNN,
    OUPrior,
    SDEBNNLoss,
    conv_sde_bnn,
    laplace_log_likelihood,
    mlp_sde_bnn,
)
from pullback.models.ode_net import ODEBlock, ODENet, classification_loss
from pullback.recipes.sde_bnn import bimodal, estimators, gap, measure, show
from pullback.recipes.sde_bnn.config import Config
from pullback.recipes.sde_bnn.stack import Stacked, stacked, unstacked
from pullback.runs import Claim, Context
from pullback.train import fit


def run(config: Config, context: Context) -> list[Claim]:
    """Train and measure on the 8 x 8 digits that come with scikit-learn."""
    # A training set of its own for each seed; all others are the test set.
    some = lambda seed: digits(test_fraction=1 - config.examples / 1797, seed=seed)
    return on_images(config, context, some)


def on_images(config: Config, context: Context, images: Callable[[int], Split]) -> list[Claim]:
    """Train the classifiers on images, given a seed, and what does not need any; measure both."""
    splits = [images(_seed(context, number)) for number in range(config.seeds)]
    nets, twins, speeds = _classifiers(config, context, splits)
    found = context.stage("classifiers", measure.classifiers, nets, twins, splits, config.paths,
                          context.seed)  # fmt: skip
    main = config.sigmas.index(config.sigma)
    chosen = [unstacked(nets, number, main) for number in range(config.seeds)]
    precision = context.stage("precision", measure.precision, chosen, splits, config.test_steps,
                              config.paths, context.seed)  # fmt: skip
    processes = _bimodal(config, context)
    modes = context.stage("bimodal", bimodal.measure, processes, config.seeds, config.toy_steps,
                          config.toy_draws, context.seed)  # fmt: skip
    noise = context.stage("estimators", estimators.measure, config.estimator_steps,
                          config.estimator_draws, config.seeds, context.seed)  # fmt: skip
    lines = _regressions(config, context)
    spread = context.stage("gap", gap.measure, lines, config.seeds, context.seed)
    truth = bimodal.truth()
    _show_metrics(config, context, found)
    show.draw_bimodal(context, truth, modes)
    show.draw_calibration(context, found, config.sigmas, main)
    show.table_classifiers(context, found, config.sigmas, speeds, config.members)
    show.draw_precision(
        context,
        precision,
        config.test_steps,
        config.solver_steps,
        found["scores"][f"sigma {config.sigma:g}"],
    )
    show.draw_estimators(context, noise, config.estimator_steps)
    show.draw_gap(context, spread, _points(context, 0))
    show.table_bimodal(context, truth, modes)
    show.table_estimators(context, noise, config.estimator_steps)
    return [
        *_claims_about_calibration(config, found, precision, main),
        *_claims_about_the_modes(truth, modes),
        *_claims_about_estimators(config, noise),
    ]


# The experiments: data, networks, training.


def _seed(context: Context, number: int) -> int:
    return int(np.random.SeedSequence([context.seed, number]).generate_state(1)[0])


def _classifiers(
    config: Config, context: Context, splits: list[Split]
) -> tuple[SDEBNN, ODENet, dict[str, float]]:
    """All networks with random weights, all deterministic ones, and seconds a training step."""
    data = jax.tree.map(lambda *parts: np.stack(parts, axis=1), *[s.train for s in splits])
    size, pixels = len(data.x), data.x[0, 0].size
    loss = SDEBNNLoss(size, kappa=config.kappa)
    keys = jr.split(jr.fold_in(jr.key(context.seed), 0), config.seeds)
    make = functools.partial(_random_weights, config, pixels)
    nets = stacked(make, keys, jnp.asarray(config.sigmas))
    nets, slow = _train(config, context, "random-weights", nets, loss, data, config.iterations)
    keys = jr.split(jr.fold_in(jr.key(context.seed), 1), (config.seeds, config.members))
    twins = stacked(functools.partial(_fixed_weights, config, pixels), keys)
    twins, fast = _train(
        config, context, "fixed-weights", twins, classification_loss, data, config.iterations
    )
    return (
        nets,
        twins,
        {
            "random": slow / (config.seeds * len(config.sigmas)),
            "fixed": fast / (config.seeds * config.members),
        },
    )


def _random_weights(config: Config, pixels: int, key: jax.Array, sigma: jax.Array) -> SDEBNN:
    prior, steps = OUPrior(sigma=sigma), config.solver_steps
    if config.net == "conv":
        return conv_sde_bnn(channels=config.dim, prior=prior, steps=steps, key=key)
    return mlp_sde_bnn(
        pixels, prior=prior, dim=config.dim, width=config.width, steps=steps, key=key
    )


def _fixed_weights(config: Config, pixels: int, key: jax.Array) -> ODENet:
    """The same network as a plain ODE network, whose weights do not move in depth."""
    net = _random_weights(config, pixels, key, jnp.asarray(1.0))
    [block] = net.blocks
    field = block.field_at(block.process.start)
    return ODENet(
        net.stem, ODEBlock(field, solver=diffrax.Euler(), steps=config.solver_steps), net.head
    )


def _train(
    config: Config,
    context: Context,
    name: str,
    models: Any,
    loss: Callable[..., Any],
    data: Any,
    iterations: int,
    learning_rate: float | None = None,
) -> tuple[Any, float]:
    """Stacked networks, trained, and the seconds that a step of all took, once compiled."""
    rate = config.learning_rate if learning_rate is None else learning_rate
    size = len(jax.tree.leaves(data)[0])
    models, info = fit(
        models,
        Stacked(loss),
        data,
        optimiser=optax.adam(optax.cosine_decay_schedule(rate, iterations)),
        steps=iterations,
        batch_size=min(config.batch_size, size),
        log_every=max(1, iterations // 20),
        **context.training(name),
        key=jr.fold_in(jr.key(context.seed), 2),
    )
    return models, 1 / float(np.median([entry["steps_per_second"] for entry in info.lines()]))


def _bimodal(config: Config, context: Context) -> Any:
    keys = jr.split(jr.fold_in(jr.key(context.seed), 4), (config.seeds, 1))
    data = np.repeat(np.asarray(bimodal.DATA, np.float32)[:, None], config.seeds, axis=1)
    loss = bimodal.BimodalLoss(config.toy_paths, config.toy_steps[0], "sticking_the_landing")
    models = stacked(bimodal.process, keys)
    return _train(config, context, "two-modes", models, loss, data, config.toy_iterations, 5e-3)[0]


def _points(context: Context, number: int) -> Labelled:
    return gap.points(_seed(context, number))


def _regressions(config: Config, context: Context) -> SDEBNN:
    sets = [_points(context, number) for number in range(config.seeds)]
    data = jax.tree.map(lambda *parts: np.stack(parts, axis=1), *sets)
    keys = jr.split(jr.fold_in(jr.key(context.seed), 5), config.seeds)
    models = stacked(gap.network, keys, jnp.asarray(gap.SIGMAS))
    likelihood = functools.partial(laplace_log_likelihood, scale=gap.NOISE)
    loss = SDEBNNLoss(len(data.x), paths=2, log_likelihood=likelihood)
    return _train(config, context, "gap", models, loss, data, config.gap_iterations, 1e-2)[0]


def _show_metrics(config: Config, context: Context, found: dict[str, Any]) -> None:
    for name, scores in found["scores"].items():
        for number, row in enumerate(scores):
            context.metrics({"model": name, "seed": number, **row})


# What is claimed.


def _claims_about_calibration(
    config: Config, found: dict[str, Any], precision: dict[str, Any], main: int
) -> list[Claim]:
    scores = found["scores"]
    ours = scores[f"sigma {config.sigma:g}"]

    def against(model: str, name: str) -> list[float]:
        return [b[name] / a[name] for a, b in zip(ours, scores[model], strict=True)]

    nll = [[row["nll"] for row in scores[m]] for m in ("deterministic", "ensemble")]
    shares = [
        (plain - row["nll"]) / (plain - ensemble)
        for row, plain, ensemble in zip(ours, *nll, strict=True)
    ]
    errors = [[row["error"] for row in rows] for rows in (ours, scores["deterministic"])]
    tuned = precision["Euler-Maruyama"]["error"][:, 1:]
    return [
        Claim.over_seeds(
            f"Random weights (σ = {config.sigma:g}) have a lower test NLL than the deterministic "
            "network: the latter over the former",
            against("deterministic", "nll"),
            at_least=1.4,
            reference="a prototype of this experiment: 1.9",
        ),
        Claim.over_seeds(
            "They are better calibrated: the deterministic network's expected calibration error "
            "over theirs",
            against("deterministic", "ece"),
            at_least=1.5,
            reference="a prototype: 2.8; the paper found less, on CIFAR-10 8.7 % against 7.0 %",
        ),
        Claim.over_seeds(
            "They err no more often: their test error less the deterministic network's",
            [a - b for a, b in zip(*errors, strict=True)],
            at_most=0.5,
            unit="points",
            reference="a prototype: -2; the paper, CIFAR-10: -0.7",
        ),
        Claim.over_seeds(
            f"One network with random weights gains most of what an ensemble of {config.members} "
            "gains in NLL over the deterministic network: share",
            shares,
            at_least=0.5,
            reference="as good as the ensemble is 1",
        ),
        Claim.over_seeds(
            "The posterior stays near the prior, so the gain is mostly that of noise: KL",
            [float(kl) for kl in found["kl"][:, main]],
            at_most=3.0,
            unit="nats",
            reference="a prototype: 0 to 2",
        ),
        Claim(
            "Precision may be chosen at test time: largest change of the test error from "
            f"{config.test_steps[1]} to {config.test_steps[-1]} steps",
            value=float(np.max(np.ptp(tuned, axis=1))),
            at_most=2.0,
            seeds=len(tuned),
            unit="points",
            reference="none: 0",
        ),
    ]


def _claims_about_the_modes(truth: dict[str, Any], modes: dict[str, Any]) -> list[Claim]:
    gaps = [row[-1] for row in modes["gap"]]
    noise = np.array(modes["noise"])
    return [
        Claim.over_seeds(
            "An SDE posterior comes close to one with two modes: gap to the exact log evidence",
            gaps,
            at_most=0.2,
            unit="nats",
            reference=f"the best Gaussian: {truth['gaussian_gap']:.3f}; the least from its start: "
            f"{truth['least_gap']:.3f}",
        ),
        Claim.over_seeds(
            "Its total variation distance from the exact posterior",
            modes["tv"],
            at_most=0.25,
            reference=f"the best Gaussian: {truth['gaussian_tv']:.3f}",
        ),
        Claim.over_seeds(
            "Both modes have their mass: distance of P(z > 0) from a half",
            [abs(right - 0.5) for right in modes["right"]],
            at_most=0.1,
            reference="exact: 0",
        ),
        Claim.over_seeds(
            "Sticking the landing helps before the posterior is exact, too: its gradient noise "
            "over that of the analytic KL",
            [float(row[0] / row[1]) for row in noise],
            at_most=0.9,
            reference="a prototype: 0.6; the wider the gap, the nearer to 1",
        ),
    ]


def _claims_about_estimators(config: Config, noise: dict[str, Any]) -> list[Claim]:
    first, last = config.estimator_steps[0], config.estimator_steps[-1]
    analytic, _monte_carlo, sticking = np.moveaxis(noise["std"], 1, 0)
    fall = np.linalg.norm(sticking[:, 0], axis=-1) / np.linalg.norm(sticking[:, -1], axis=-1)
    means, stds = noise["mean_elsewhere"], noise["std_elsewhere"]
    errors = stds / np.sqrt(config.estimator_draws)
    apart = [
        np.abs(means[:, i] - means[:, j]) / np.hypot(errors[:, i], errors[:, j])
        for i in range(3)
        for j in range(i)
    ]
    evidence = noise["bound"][:, 2] - estimators.LOG_EVIDENCE
    return [
        Claim.over_seeds(
            f"At the true posterior the gradient's noise vanishes: analytic over sticking the "
            f"landing, {last} steps, the smaller ratio of two parameters",
            [float(ratio.min()) for ratio in analytic[:, -1] / sticking[:, -1]],
            at_least=50 * last / 400,
            reference="a prototype, 400 steps: 71 and 109",
        ),
        Claim.over_seeds(
            f"It falls in proportion to the step: exponent from {first} to {last} steps",
            [float(x) for x in np.log(fall) / np.log(last / first)],
            at_least=0.85,
            at_most=1.15,
            reference="1",
        ),
        Claim(
            "Away from it the three gradients have one mean: largest difference of two, in "
            "standard errors",
            value=float(np.max(apart)),
            at_most=4.5,
            seeds=config.seeds,
            reference="chance, in 18 comparisons: about 2.5",
        ),
        Claim.over_seeds(
            "The bound there is the exact log evidence: difference",
            [abs(float(x)) for x in evidence],
            at_most=4 / last,
            unit="nats",
            reference=f"exact: 0, {estimators.LOG_EVIDENCE:.5f} nats; Euler's bias is of the step",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=2,
        sigmas=(0.3,),
        members=2,
        iterations=30,
        test_steps=(2, 5),
        toy_iterations=20,
        toy_steps=(10, 20),
        toy_draws=256,
        estimator_steps=(25, 50),
        estimator_draws=200,
        gap_iterations=20,
    ),
    "desk": Config(),
}

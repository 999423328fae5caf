"""Neural Ordinary Differential Equations (arXiv 1806.07366), section 3: the image classifier.

An ODE network and a residual network read handwritten digits. Then the trained ODE networks are
measured: what a tolerance costs and buys, what a gradient costs, and where the adjoint goes wrong.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
import optax

from pullback.data import Labelled, Split, digits
from pullback.models.ode_net import (
    ODEBlock,
    classification_loss,
    conv_ode_net,
    conv_residual_net,
    mlp_ode_net,
    mlp_residual_net,
)
from pullback.recipes.neural_ode import measure as measures
from pullback.recipes.neural_ode import show
from pullback.runs import Claim, Context
from pullback.train import fit


@dataclass(frozen=True)
class Config:
    net: Literal["mlp", "conv"] = "mlp"
    """Fully connected, or the paper's convolutions."""
    channels: int = 64
    """Channels of the convolutional networks."""
    examples: int = 6000
    """The most training images used; 0 is all."""
    seeds: int = 10
    """How many networks of each kind are trained."""
    epochs: int = 30
    """Passes over the training images."""
    batch_size: int = 128
    """Images in a training step."""
    optimiser: Literal["adamw", "sgd"] = "adamw"
    """AdamW on a cosine, or the paper's SGD with momentum 0.9, its rate divided by ten after 3/8,
    5/8 and 7/8 of the steps."""
    learning_rate: float = 3e-3
    """The learning rate at the start."""
    weight_decay: float = 0.3
    """AdamW's weight decay."""
    crop: int = 0
    """Training images are shifted by up to so many pixels each way (conv only)."""
    tolerance: float = 1e-3
    """Relative and absolute tolerance of the ODE networks."""
    studied: int = 3
    """How many of the trained ODE networks are measured further."""
    probe: int = 450
    """The most test images on which the studied networks are measured."""
    tolerances: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
    """Tolerances at which the studied networks are measured, falling."""
    memory_steps: tuple[int, ...] = (16, 64, 256, 1024)
    """Numbers of steps at which the memory of a gradient is measured, rising."""

    def __post_init__(self):
        for name in ("channels", "seeds", "epochs", "batch_size", "studied", "probe"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if len(self.tolerances) < 2 or sorted(self.tolerances, reverse=True) != [*self.tolerances]:
            raise ValueError(f"tolerances must be two or more, falling, got {self.tolerances}")
        if len(self.memory_steps) < 2 or sorted(self.memory_steps) != [*self.memory_steps]:
            raise ValueError(f"memory_steps must be two or more, rising, got {self.memory_steps}")


def run(config: Config, context: Context) -> list[Claim]:
    """Train and measure on the 8 x 8 digits that come with scikit-learn."""
    return on_images(config, context, digits())


def on_images(config: Config, context: Context, data: Split) -> list[Claim]:
    """Train both kinds of network on images, and measure the ODE networks further."""
    most = config.examples or len(data.train.x)
    data = Split(Labelled(data.train.x[:most], data.train.y[:most]), data.test)
    probe = Labelled(data.test.x[: config.probe], data.test.y[: config.probe])
    kinds = ["ODE network", "residual network"]
    if config.net == "mlp":
        kinds.append("residual network, relu")
    optimiser = _optimiser(config, _steps_per_epoch(config, data) * config.epochs)
    trained = {
        kind: [_train(config, context, data, optimiser, kind, seed) for seed in range(config.seeds)]
        for kind in kinds
    }
    nets = [net for net, _ in trained["ODE network"][: config.studied]]
    runs = {kind: [history for _, history in trained[kind]] for kind in kinds}
    sizes = {kind: _size(trained[kind][0][0]) for kind in kinds}

    tolerances = config.tolerances

    def on_each_net(name: str, measure: Callable[..., Any]) -> list[Any]:
        return [
            context.stage(f"{name}-{seed}", measure, net, probe, tolerances)
            for seed, net in enumerate(nets)
        ]

    dials = on_each_net("dial", measures.dial)
    costs = on_each_net("cost", measures.cost)
    gaps = on_each_net("gradient-gap", measures.gradient_gap)
    trap = context.stage("trap", measures.trap)
    memory = context.stage("memory", measures.memory, config.memory_steps)
    paths = context.stage("paths", measures.paths, nets[0], probe)

    show.draw_paths(context, paths, probe.y)
    show.draw_training(context, runs)
    show.table_training(context, runs, sizes)
    show.draw_dial(context, tolerances, dials)
    show.draw_cost(context, tolerances, costs)
    show.draw_memory(context, config.memory_steps, memory)
    show.draw_gradients(context, tolerances, gaps, measures.STIFFNESS, trap)
    return [
        *_claims_about_training(config, runs, sizes),
        *_claims_about_tolerance(config, dials),
        *_claims_about_gradients(config, gaps, trap, memory),
    ]


# The experiment: data, networks, training.


def _steps_per_epoch(config: Config, data: Split) -> int:
    return math.ceil(len(data.train.x) / config.batch_size)


def _optimiser(config: Config, steps: int) -> optax.GradientTransformation:
    if config.optimiser == "adamw":
        schedule = optax.cosine_decay_schedule(config.learning_rate, steps)
        return optax.adamw(schedule, weight_decay=config.weight_decay)
    drops = {steps * eighths // 8: 0.1 for eighths in (3, 5, 7)}
    schedule = optax.piecewise_constant_schedule(config.learning_rate, drops)
    return optax.sgd(schedule, momentum=0.9)


def _train(
    config: Config,
    context: Context,
    data: Split,
    optimiser: optax.GradientTransformation,
    kind: str,
    seed: int,
) -> tuple[Any, dict[str, np.ndarray]]:
    """A trained network, and its log: one entry an epoch."""
    epoch = _steps_per_epoch(config, data)
    net_key, fit_key = jr.split(jr.fold_in(jr.key(context.seed), seed))
    net, info = fit(
        _network(config, data.train.x[0].size, kind, net_key),
        classification_loss,
        data.train,
        optimiser=optimiser,
        steps=epoch * config.epochs,
        batch_size=config.batch_size,
        validation=data.test,
        log_every=epoch,
        **context.training(f"{kind.replace(',', '').replace(' ', '-')}-{seed}"),
        key=fit_key,
    )
    for number, entry in enumerate(info.lines()):
        context.metrics({"network": kind, "seed": seed, "epoch": number + 1, **entry})
    return eqx.nn.inference_mode(net), info.history


def _network(config: Config, pixels: int, kind: str, key: jax.Array) -> Any:
    block = functools.partial(ODEBlock, rtol=config.tolerance, atol=config.tolerance)
    match config.net, kind:
        case "mlp", "ODE network":
            return mlp_ode_net(pixels, block=block, key=key)
        case "mlp", "residual network, relu":
            return mlp_residual_net(pixels, activation=jax.nn.relu, key=key)
        case "mlp", _:
            return mlp_residual_net(pixels, key=key)
        case _, "ODE network":
            return conv_ode_net(channels=config.channels, crop=config.crop, block=block, key=key)
    return conv_residual_net(channels=config.channels, crop=config.crop, key=key)


def _size(net: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(net, eqx.is_array)))


# What is claimed.


def _claims_about_training(
    config: Config, runs: dict[str, list[dict]], sizes: dict[str, int]
) -> list[Claim]:
    ode_runs, residual_runs = runs["ODE network"], runs["residual network"]
    errors = lambda histories: [100 * h["validation_error"][-1] for h in histories]
    gaps = [a - b for a, b in zip(errors(ode_runs), errors(residual_runs), strict=True)]
    share = sizes["ODE network"] / sizes["residual network"]
    return [
        Claim.over_seeds(
            "The ODE network makes at most 1.5 points more test errors than the residual network "
            "of six blocks",
            gaps,
            at_most=1.5,
            unit="points",
            reference="the paper, MNIST: 0.42 % against 0.41 %",
        ),
        Claim(
            "It has about a third of the residual network's parameters "
            f"({sizes['ODE network']:,} of {sizes['residual network']:,})",
            value=share,
            at_most=1 / 3 if config.net == "mlp" else 0.37,
            reference="the paper, MNIST: 0.22 M of 0.60 M, 0.37",
        ),
        Claim.over_seeds(
            "Training makes the dynamics harder: evaluations of a solve after the last epoch, over "
            "those after the first",
            [h["validation_nfe"][-1] / h["validation_nfe"][0] for h in ode_runs],
            at_least=1.05,
            reference="the paper, figure 3d: it rises throughout training",
        ),
    ]


def _claims_about_tolerance(config: Config, dials: list[dict]) -> list[Claim]:
    ends = f"from tolerance {config.tolerances[0]:g} to {config.tolerances[-1]:g}"
    decades = math.log10(config.tolerances[0] / config.tolerances[-1])
    return [
        Claim.over_seeds(
            f"Function evaluations grow as the tolerance falls: factor {ends}",
            [d["nfe"][-1] / d["nfe"][0] for d in dials],
            at_least=1.5,
            reference="the paper, figure 3a: they grow as the error falls",
        ),
        Claim.over_seeds(
            f"The largest error of a logit falls with the tolerance: decades {ends}",
            [math.log10(d["logit_error"][0] / d["logit_error"][-1]) for d in dials],
            at_least=0.35 * decades,
            unit="decades",
            reference=f"the tolerance falls by {decades:g}, but its loosest end is one good step",
        ),
        Claim(
            f"The answers do not change with it: largest change of the test error {ends}",
            value=max(max(d["wrong"]) - min(d["wrong"]) for d in dials),
            at_most=1.0,
            seeds=len(dials),
            unit="points",
            reference="none: 0",
        ),
    ]


def _claims_about_gradients(
    config: Config, gaps: list[list[float]], trap: dict[str, list], memory: dict[str, list]
) -> list[Claim]:
    first, last = config.memory_steps[0], config.memory_steps[-1]
    growth = {name: row[-1] / row[0] for name, row in memory.items()}
    ends = f"from {first} to {last} steps"
    decades = math.log10(config.tolerances[0] / config.tolerances[-1])
    compiled = "compiled memory analysis; the paper, table 1"
    return [
        Claim(
            f"Memory of a gradient by Backsolve does not grow {ends}: factor",
            value=growth["Backsolve"],
            at_most=1.0,
            reference=f"{compiled}: O(1)",
        ),
        Claim(
            f"Memory of a gradient by Replay stays bounded {ends}: factor",
            value=growth["Replay"],
            at_most=3.0,
            reference="its 32 + 16 states, and what one step needs",
        ),
        Claim(
            f"Memory of plain back-propagation through a scan grows {ends}: factor",
            value=growth["plain scan"],
            at_least=0.6 * last / first,
            reference=f"{compiled}: O(L), {last / first:g}",
        ),
        Claim.over_seeds(
            "Adjoint and discrete gradients agree as the tolerance falls: decades by which their "
            f"relative difference falls over {decades:g} decades of tolerance",
            [math.log10(gap[0] / gap[-1]) for gap in gaps],
            at_least=decades / 2,
            unit="decades",
            reference="both err in proportion to the tolerance",
        ),
        Claim(
            f"Where paths converge the adjoint is wrong: its error over Replay's at stiffness "
            f"{measures.STIFFNESS[-1]:g}",
            value=trap["Backsolve"][-1] / trap["Replay"][-1],
            at_least=3.0,
            reference="z' = -k (z - cos t), exact gradient in closed form",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=2,
        studied=1,
        tolerances=(1e-1, 1e-3, 1e-5),
        memory_steps=(16, 64),
    ),
    "desk": Config(),
}

"""TayNODE (arXiv 2007.04504): the image classifier, with dynamics that are easy to solve.

The state is the image itself. Networks are trained with and without the mean square of the
solution's K-th derivative in their loss. Then an adaptive solver runs them, and what is counted is
how often it evaluates the field.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array

from pullback import ode
from pullback.data import Split, digits
from pullback.models.ode_net import ODEBlock, ODENet
from pullback.nn import ConcatMLP
from pullback.recipes.taynode import measure, show
from pullback.runs import Claim, Context
from pullback.train import fit


@dataclass(frozen=True)
class Config:
    orders: tuple[int, ...] = (1, 2, 3)
    """The orders K of the derivative that is kept small; each trains networks of its own."""
    weights: tuple[float, ...] = (0.1, 0.1, 0.1)
    """The weight of the regulariser R_K in the loss, one for each order. R_K is a mean over the
    entries of the state."""
    seeds: int = 3
    """How many networks are trained with each regulariser, and without one."""
    width: int = 100
    """Hidden units of the field."""
    field: Literal["tanh", "logistic"] = "tanh"
    """The field: linear, tanh, linear; or the paper's, which takes the logistic function of the
    state first, and of the hidden units, and of what the head reads."""
    iterations: int = 840
    """Training steps."""
    batch_size: int = 100
    """Images in a training step."""
    optimiser: Literal["adam", "sgd"] = "adam"
    """Adam on a cosine, or the paper's SGD with momentum 0.9, its rate divided by ten after 6/16,
    10/16 and 14/16 of the steps."""
    learning_rate: float = 3e-3
    """The learning rate at the start."""
    solver_steps: int = 4
    """Equal Dopri5 steps in training; 0 is adaptive steps, at the last of the tolerances."""
    tolerances: tuple[float, ...] = (1e-6, 1.4e-8)
    """Relative and absolute tolerances at which trained networks are run, falling."""
    mode_orders: tuple[int, ...] = (2, 3, 4, 5, 6, 7)
    """Orders at which Taylor mode and nested Jacobian-vector products are compared."""

    def __post_init__(self):
        for name in ("seeds", "width", "iterations", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.orders or min(self.orders) < 1 or len(set(self.orders)) != len(self.orders):
            raise ValueError(f"orders must be different numbers from 1, got {self.orders}")
        if len(self.weights) != len(self.orders) or min(self.weights) <= 0:
            raise ValueError(
                f"weights must be positive, one for each of the {len(self.orders)} orders, got "
                f"{self.weights}"
            )
        if len(self.tolerances) < 2 or sorted(self.tolerances, reverse=True) != [*self.tolerances]:
            raise ValueError(f"tolerances must be two or more, falling, got {self.tolerances}")
        if not self.mode_orders or min(self.mode_orders) < 1:
            raise ValueError(f"mode_orders must be numbers from 1, got {self.mode_orders}")


def run(config: Config, context: Context) -> list[Claim]:
    """Train and measure on the 8 x 8 digits that come with scikit-learn."""
    return on_images(config, context, digits())


def on_images(config: Config, context: Context, data: Split) -> list[Claim]:
    """Train with and without the regulariser on images, and measure what solving costs."""
    optimiser = _optimiser(config)
    found, nets = {}, {}
    # Order 0 is the network without a regulariser.
    for order, weight in zip((0, *config.orders), (0.0, *config.weights), strict=True):
        loss = functools.partial(regularised_loss, order, weight)
        trained = [
            _train(config, context, data, optimiser, loss, order, seed)
            for seed in range(config.seeds)
        ]
        nets[order] = [net for net, _ in trained]
        found[order] = [
            context.stage(f"measure-{order}-{s}", measure.measure, net, data.test, config.orders,
                          config.tolerances) | {"seconds": seconds}
            for s, (net, seconds) in enumerate(trained)
        ]  # fmt: skip
        for seed, row in enumerate(found[order]):
            shown = {name: value for name, value in row.items() if name != "nfe"}
            counts = {f"nfe_{t:g}": n for t, n in zip(config.tolerances, row["nfe"], strict=True)}
            context.metrics({"order": order, "weight": weight, "seed": seed} | counts | shown)

    probe = data.test.x[:64]
    last = nets[config.orders[-1]][0]
    modes = context.stage("modes", measure.compare_modes, last, probe, config.mode_orders)
    gap = context.stage("deferred", measure.deferred_gap, last, probe, config.orders[-1])
    paths = context.stage("paths", measure.paths, nets[0][0], last, data.test.x[0])
    show.draw_cost_and_error(context, found, config.tolerances)
    show.draw_paths(context, paths, config.orders[-1])
    show.draw_evaluations(context, found, config.tolerances)
    show.draw_modes(context, modes)
    show.table_networks(context, found, config.weights, config.tolerances)
    show.table_modes(context, modes)
    context.note(
        f"An evaluation is one of the field for all {len(data.test.x):,} test images at once: they "
        "are solved as one system with one step size, so the count is that of a batch of this "
        "size. It is that of the plain dynamics, without the regulariser, in float64 with adaptive "
        "Dopri5: 2 to begin with, and 6 for each step tried."
    )
    return _claims(config, found, modes, gap)


# The experiment: data, networks, loss, training.


class LogisticField(eqx.Module):
    """The paper's field: a network on the logistic function of the state."""

    net: ConcatMLP

    def __call__(self, t: Array, y: Array, args: Any = None) -> Array:
        return self.net(t, jax.nn.sigmoid(y), args)


def _network(config: Config, pixels: int, key: jax.Array) -> ODENet:
    field_key, head_key = jr.split(key)
    logistic = config.field == "logistic"
    net = ConcatMLP(
        pixels,
        config.width,
        1,
        activation=jax.nn.sigmoid if logistic else jnp.tanh,
        zero_last=False,
        key=field_key,
    )
    head = eqx.nn.Linear(pixels, 10, key=head_key)
    return ODENet(
        stem=eqx.nn.Lambda(jnp.ravel),
        block=ODEBlock(
            LogisticField(net) if logistic else net,
            steps=config.solver_steps or None,
            rtol=config.tolerances[-1],
            atol=config.tolerances[-1],
        ),
        head=eqx.nn.Sequential([eqx.nn.Lambda(jax.nn.sigmoid), head]) if logistic else head,
    )


def regularised_loss(
    order: int, weight: float, net: ODENet, batch: tuple[Array, Array], *, key: jax.Array
) -> tuple[Array, dict[str, Array]]:
    """Cross-entropy plus `weight` times R_K, which is integrated in the backward pass alone.

    The number returned is the cross-entropy: the forward pass does not know R_K.
    """
    del key
    x, labels = batch
    penalties = (ode.TaylorEnergy(order),) if order else ()
    field = ode.Regularised(net.block.batched_field, penalties)
    solution = ode.solve(
        field,
        field.start(jax.vmap(net.stem)(x)),
        [net.block.t0, net.block.t1],
        rtol=net.block.rtol,
        atol=net.block.atol,
        steps=net.block.steps,
        adjoint=ode.DeferredPenalty(),
        norm=ode.state_norm,
        throw=False,
    )
    ys, integrals = solution.ys
    logits = jax.vmap(net.head)(ys[-1])
    loss = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))
    for integral in integrals:
        loss = loss + weight * integral[-1]
    wrong = jnp.argmax(logits, axis=-1) != labels
    metrics = {"error": jnp.mean(wrong, dtype=loss.dtype), "result": solution.result}
    return loss, metrics


def _optimiser(config: Config) -> optax.GradientTransformation:
    if config.optimiser == "adam":
        return optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.iterations))
    drops = {config.iterations * part // 16: 0.1 for part in (6, 10, 14)}
    schedule = optax.piecewise_constant_schedule(config.learning_rate, drops)
    return optax.sgd(schedule, momentum=0.9)


def _train(
    config: Config,
    context: Context,
    data: Split,
    optimiser: optax.GradientTransformation,
    loss: Callable[..., Any],
    order: int,
    seed: int,
) -> tuple[ODENet, float]:
    """A trained network, and the seconds that its steps took once they were compiled."""
    # The same start and the same batches, with and without the regulariser.
    net_key, fit_key = jr.split(jr.fold_in(jr.key(context.seed), seed))
    net, info = fit(
        _network(config, data.train.x[0].size, net_key),
        loss,
        data.train,
        optimiser=optimiser,
        steps=config.iterations,
        batch_size=config.batch_size,
        log_every=max(1, config.iterations // 20),
        **context.training(f"order-{order}-{seed}"),
        key=fit_key,
    )
    rate = float(np.median([entry["steps_per_second"] for entry in info.lines()]))
    return net, config.iterations / rate


# What is claimed.


def _claims(
    config: Config, found: dict[int, list[dict]], modes: dict[str, Any], gap: float
) -> list[Claim]:
    return [
        *(_claim_about_cost(config, found, order) for order in config.orders if order > 1),
        *_claims_about_networks(config, found),
        *_claims_about_derivatives(config, modes, gap),
    ]


def _claim_about_cost(config: Config, found: dict[int, list[dict]], order: int) -> Claim:
    factors = [a["nfe"][-1] / b["nfe"][-1] for a, b in zip(found[0], found[order], strict=True)]
    return Claim(
        f"With R_{order} in the loss fewer evaluations solve the test images at tolerance "
        f"{config.tolerances[-1]:g}: factor, the least over seeds",
        value=min(factors),
        spread=float(np.std(factors, ddof=1)) if len(factors) > 1 else None,
        at_least=1.7,
        seeds=len(factors),
        reference="the same network trained without, from the same start on the same batches",
    )


def _claims_about_networks(config: Config, found: dict[int, list[dict]]) -> list[Claim]:
    # For each seed, the networks with a regulariser, and the one without.
    seeds = [
        ({order: found[order][seed] for order in config.orders}, plain)
        for seed, plain in enumerate(found[0])
    ]
    error = [
        float(np.mean([run["error"] for run in runs.values()])) - plain["error"]
        for runs, plain in seeds
    ]
    share = [
        max(run[f"R_{order}"] / plain[f"R_{order}"] for order, run in runs.items())
        for runs, plain in seeds
    ]
    claims = [
        Claim.over_seeds(
            "The test error is no worse: with a regulariser (mean over K) less without",
            error,
            at_most=0.5,
            unit="points",
            reference="none: 0, and a standard error of the mean over 3 seeds on digits, 0.4",
        ),
        Claim.over_seeds(
            "R_K of the networks trained with it, over that of those without: largest over K",
            share,
            at_most=0.2,
            reference="the same network trained without; on test images",
        ),
    ]
    if config.solver_steps:
        claims.append(
            Claim.over_seeds(
                "The regularised networks have learned a flow, not its discretisation: rms error "
                f"of z(1) by the {config.solver_steps} steps of training, largest over K",
                [max(run["step_error"] for run in runs.values()) for runs, _ in seeds],
                at_most=1e-4,
                reference=f"adaptive steps at {config.tolerances[-1]:g}, float64",
            )
        )
    return claims


def _claims_about_derivatives(config: Config, modes: dict[str, Any], gap: float) -> list[Claim]:
    span = f"K = {min(config.mode_orders)} to {max(config.mode_orders)}"
    return [
        Claim(
            f"Taylor mode and nested Jacobian-vector products give one R_K, {span}: largest "
            "relative difference",
            value=max(modes["value_gap"]),
            at_most=1e-10,
            reference="the other of the two, float64",
        ),
        Claim(
            f"And one gradient of it with respect to the weights, {span}: largest relative "
            "difference",
            value=max(modes["gradient_gap"]),
            at_most=1e-10,
            reference="the other of the two, float64",
        ),
        Claim(
            "The gradient is exact though the forward pass never computes R_K: relative difference "
            f"at K = {config.orders[-1]}",
            value=gap,
            at_most=1e-10,
            reference="the same steps with R_K in the forward pass too, float64",
        ),
    ]


PRESETS = {
    "smoke": Config(orders=(2,), weights=(0.1,), seeds=1, mode_orders=(2, 3)),
    "desk": Config(),
}

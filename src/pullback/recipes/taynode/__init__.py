"""TayNODE (arXiv 2007.04504): the image classifier, with dynamics that are easy to solve.

The state is the image itself. Networks are trained with and without the mean square of the
solution's K-th derivative in their loss. Then an adaptive solver runs them, and what is counted is
how often it evaluates the field.
"""

import dataclasses
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
from pullback.recipes._kit.checks import check_above_zero, check_falling, check_least, check_rising
from pullback.recipes._kit.stack import made
from pullback.recipes.taynode import compare, measure, show
from pullback.runs import Claim, Context
from pullback.train import fit


@dataclass(frozen=True)
class Config:
    orders: tuple[int, ...] = (2, 3)
    """The orders K of the derivative that is kept small; each trains networks of its own."""
    weights: tuple[float, ...] = (0.1, 0.1)
    """The weight of the regulariser R_K in the loss, one for each order. R_K is a mean over the
    entries of the state."""
    seeds: int = 3
    """How many networks are trained with each regulariser, and without one."""
    width: int = 100
    """Hidden units of the field."""
    field: Literal["tanh", "logistic"] = "tanh"
    """The field: linear, tanh, linear; or the paper's, which takes the logistic function of the
    state first, and of the hidden units, and of what the head reads."""
    iterations: int = 600
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

    def __post_init__(self):
        check_above_zero(self, but=("solver_steps",))
        check_least(self, solver_steps=0)
        check_rising(self, "orders", least=1)
        check_falling(self, "tolerances", count=2, above=0)
        compare.check_weights(self)


def run(config: Config, context: Context) -> list[Claim]:
    """Train and measure on the 8 x 8 digits that come with scikit-learn."""
    return on_images(config, context, digits())


def on_images(config: Config, context: Context, data: Split) -> list[Claim]:
    """Train with and without the regulariser on images, and measure what solving costs."""

    def train(order: int, weight: float, seed: int) -> tuple[ODENet, float]:
        loss = functools.partial(regularised_loss, order, weight)
        return _train(config, context, data, loss, order, seed)

    def measured(net: ODENet, seed: int) -> dict[str, Any]:
        del seed  # all are scored on the same images
        return measure.measure(net, data.test, config.orders, config.tolerances)

    found, nets = compare.compare(config, context, train, measured)
    last = config.orders[-1]
    compared = {"without regulariser": nets[0], f"with $R_{last}$": nets[last]}
    paths = context.stage("paths", measure.paths, compared, data.test.x[0])
    show.draw_cost_and_error(context, found, config.tolerances, "error", "test error, %")
    show.draw_paths(context, paths)
    show.table_networks(context, found, config.weights, config.tolerances, "error", "test error, %")
    context.note(
        f"An evaluation is one of the field for all {len(data.test.x):,} test images at once: they "
        "are solved as one system with one step size, so the count is that of a batch of this "
        "size. It is that of the plain dynamics, without the regulariser, in float64 with adaptive "
        "Dopri5: 2 to begin with, and 6 for each step tried."
    )
    return _claims(config, found)


# Networks, loss, training.


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
    config: Config, context: Context, data: Split, loss: Callable[..., Any], order: int, seed: int
) -> tuple[ODENet, float]:
    """A trained network, and the seconds that its steps took once they were compiled."""
    # The same start and the same batches, with and without the regulariser.
    net_key, fit_key = jr.split(jr.fold_in(jr.key(context.seed), seed))
    net, info = fit(
        made(_network, config, data.train.x[0].size, net_key),
        loss,
        data.train,
        optimiser=_optimiser(config),
        steps=config.iterations,
        batch_size=config.batch_size,
        log_every=max(1, config.iterations // 20),
        **context.training(f"order-{order}-{seed}"),
        key=fit_key,
    )
    return net, compare.seconds_of(info, config.iterations)


# What is claimed.


def _claims(config: Config, found: compare.Found) -> list[Claim]:
    orders, tolerance = config.orders, config.tolerances[-1]
    regularised = lambda order: compare.over_plain(found, order, lambda row: row[f"R_{order}"])
    errors = np.array([[row["error"] for row in found[k]] for k in (0, *orders)])
    step_errors = np.array([[row["step_error"] for row in found[k]] for k in orders])
    fewer = lambda order: compare.fewer_evaluations(
        "Classification", found, order, tolerance, at_least=1.7
    )
    claims = [
        fewer(orders[-1]),
        Claim.over_seeds(
            "The test error is no worse: with a regulariser (mean over K) less without",
            errors[1:].mean(axis=0) - errors[0],
            at_most=0.5,
            unit="points",
            reference="none: 0, and a standard error of the mean over 3 seeds on digits, 0.4",
        ),
        *(dataclasses.replace(fewer(order), headline=None) for order in orders[:-1] if order > 1),
        Claim.over_seeds(
            "R_K of the networks trained with it, over that of those without: largest over K",
            np.max([regularised(order) for order in orders], axis=0),
            at_most=0.2,
            reference="the same network trained without; on test images",
        ),
    ]
    if config.solver_steps:
        claims.append(
            Claim.over_seeds(
                "The regularised networks have learned a flow, not its discretisation: rms error "
                f"of z(1) by the {config.solver_steps} steps of training, largest over K",
                step_errors.max(axis=0),
                at_most=1e-4,
                reference=f"adaptive steps at {tolerance:g}, float64",
            )
        )
    return [*claims, compare.longer_training(found, orders[-1])]


PRESETS = {
    "smoke": Config(
        orders=(2,), weights=(0.1,), seeds=1, width=16, iterations=4, batch_size=16, solver_steps=1,
        tolerances=(1e-2, 1e-3),
    ),
    "desk": Config(),
}  # fmt: skip

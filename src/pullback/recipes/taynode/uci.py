"""Densities of a table of UCI by continuous flows, with and without the regulariser."""

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float

from pullback import ode
from pullback.calculus import ExactDivergence, HutchinsonDivergence
from pullback.data import standardise, uci_regression
from pullback.models.flows import CNF
from pullback.nn import ConcatSquashMLP
from pullback.recipes._kit.checks import check_above_zero, check_falling, check_rising
from pullback.recipes._kit.double import double
from pullback.recipes._kit.stack import made
from pullback.recipes.taynode import compare, show
from pullback.runs import Claim, Context
from pullback.sampling import StandardNormal
from pullback.train import fit


@dataclass(frozen=True)
class Config:
    table: str = "protein-tertiary-structure"
    """UCI's table, by its name; its target is a column like the others."""
    orders: tuple[int, ...] = (2,)
    """The orders K of the derivative that is kept small; each trains flows of its own."""
    weights: tuple[float, ...] = (0.1,)
    """The weight of the regulariser R_K in the loss, one for each order. R_K is a mean over the
    entries of the state."""
    seeds: int = 3
    """How many flows are trained with each regulariser, and without one, each on a split of its
    own of those published."""
    width: int = 64
    """Hidden units of each of the two hidden layers of the field."""
    iterations: int = 600
    """Training steps."""
    batch_size: int = 128
    """Rows in a training step."""
    learning_rate: float = 1e-2
    """Adam's at the start; it falls to zero along a cosine."""
    solver_steps: int = 4
    """Equal Dopri5 steps in training."""
    tolerances: tuple[float, ...] = (1e-6, 1.4e-8)
    """Relative and absolute tolerances at which evaluations are counted, falling."""
    rows_scored: int = 1000
    """Rows that are scored, and solved as one system where evaluations are counted."""

    def __post_init__(self):
        check_above_zero(self)
        check_rising(self, "orders", least=1)
        check_falling(self, "tolerances", count=2, above=0)
        compare.check_weights(self)


def run(config: Config, context: Context) -> list[Claim]:
    """Train flows on the table, and count what it costs to score rows that they have not seen."""
    seeds = context.seeds(config.seeds)
    tables = [_table(config, context, split) for split in range(config.seeds)]

    def train(order: int, weight: float, seed: int) -> tuple[CNF, float]:
        net_key, fit_key = jr.split(jr.key(seeds[seed]))
        flow, info = fit(
            made(_flow, config, tables[seed][0].shape[1], net_key),
            functools.partial(regularised_loss, order, weight),
            jnp.asarray(tables[seed][0], float),
            optimiser=optax.adam(
                optax.cosine_decay_schedule(config.learning_rate, config.iterations)
            ),
            steps=config.iterations,
            batch_size=config.batch_size,
            log_every=max(1, config.iterations // 20),
            **context.training(f"order-{order}-{seed}"),
            key=fit_key,
        )
        return flow, compare.seconds_of(info, config.iterations)

    def measure(flow: CNF, seed: int) -> dict[str, Any]:
        return measured(flow, tables[seed][1], config.orders, config.tolerances)

    found, _ = compare.compare(config, context, train, measure)
    score = "held-out negative log-likelihood, nats"
    show.draw_cost_and_error(context, found, config.tolerances, "nll", score, from_zero=False)
    show.table_networks(context, found, config.weights, config.tolerances, "nll", score)
    context.note(
        f"Flows of {tables[0][0].shape[1]} columns, standardised, with Hutchinson's trace in "
        f"training. An evaluation is one of the field and its exact trace, for {len(tables[0][1])} "
        "held-out rows as one system, in float64 with adaptive Dopri5."
    )
    return _claims(config, found)


def _table(config: Config, context: Context, split: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on, and held-out rows, by a split that is published."""
    parts = uci_regression(config.table, split, folder=context.data)
    train, test = (np.column_stack([part.x, part.y]) for part in parts)
    (train, test), _ = standardise(train, test[: config.rows_scored])
    return train, test


def _flow(config: Config, dim: int, key: jax.Array) -> CNF:
    return CNF(
        ConcatSquashMLP(dim, config.width, 2, activation=jnp.tanh, key=key),
        StandardNormal(dim),
        HutchinsonDivergence(),
        steps=config.solver_steps,
        stepping="joint",
    )


def regularised_loss(
    order: int, weight: float, flow: CNF, batch: Float[Array, "n dim"], *, key: jax.Array
) -> tuple[Array, dict[str, Array]]:
    """The negative log-likelihood plus `weight` times R_K of the points alone."""
    penalties = (ode.TaylorEnergy(order),) if order else ()
    log_probs, metrics = flow.log_prob_in_training(batch, penalties=penalties, key=key)
    loss = -jnp.mean(log_probs)
    return loss + weight * metrics["penalty_0"] if order else loss, metrics


def measured(
    flow: CNF, test: np.ndarray, orders: tuple[int, ...], tolerances: tuple[float, ...]
) -> dict[str, Any]:
    """Cost, score, regularisers and error of the training's steps of one flow."""
    exact = dataclasses.replace(flow, divergence=ExactDivergence())
    with jax.enable_x64(True):
        rows, exact = double(test), double(exact)
        solved = [
            dataclasses.replace(exact, steps=None, rtol=each, atol=each) for each in tolerances
        ]
        nfe = [int(each.solve(rows, [each.t1, each.t0]).stats.nfe[0]) for each in solved]
        nll, penalties = _scores(solved[0], rows, orders)
        coarse, _ = _scores(exact, rows, ())
    return {
        "nfe": nfe,
        "nll": float(nll),
        "step_error": abs(float(coarse - nll)),
        **{f"R_{order}": float(each) for order, each in zip(orders, penalties, strict=True)},
    }


@eqx.filter_jit
def _scores(flow: CNF, rows: Array, orders: tuple[int, ...]) -> tuple[Array, list[Array]]:
    penalties = tuple(ode.TaylorEnergy(order) for order in orders)
    log_probs, metrics = flow.log_prob_in_training(rows, penalties=penalties, key=jr.key(0))
    return -jnp.mean(log_probs), [metrics[f"penalty_{k}"] for k in range(len(orders))]


def _claims(config: Config, found: compare.Found) -> list[Claim]:
    last = config.orders[-1]
    each = lambda order, name: np.array([row[name] for row in found[order]])
    return [
        compare.fewer_evaluations(
            f"Density estimation, {config.table}", found, last, config.tolerances[-1], at_least=1.3
        ),
        Claim.over_seeds(
            f"The density is nearly as good: held-out nats lost by R_{last}",
            each(last, "nll") - each(0, "nll"),
            at_most=0.1,
            unit="nats",
            reference=f"0: the same flow trained without, {each(0, 'nll').mean():.3f} nats",
        ),
        Claim.over_seeds(
            "The regularised flows are no product of their discretisation: held-out nats by the "
            f"{config.solver_steps} steps of training are off by",
            each(last, "step_error"),
            at_most=0.01,
            unit="nats",
            reference=f"adaptive steps at {config.tolerances[0]:g}, float64",
        ),
        compare.longer_training(found, last),
    ]


PRESETS = {
    "smoke": Config(
        table="yacht", seeds=1, width=8, iterations=4, batch_size=16, solver_steps=1,
        tolerances=(1e-2, 1e-3), rows_scored=16,
    ),
    "desk": Config(),
    # An hour: evaluations grow with training.
    "long": Config(width=128, iterations=15_000, batch_size=200),
    "paper": Config(
        width=860, iterations=15_000, batch_size=1000, learning_rate=1e-3, weights=(1e-2,),
        solver_steps=20,
    ),
}  # fmt: skip

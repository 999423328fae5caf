"""The settings of the recipe `cnf`, and the flow that it trains on the toys and on a table."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Float, PRNGKeyArray

from pullback import train
from pullback.calculus import ExactDivergence, HutchinsonDivergence
from pullback.models.flows import CNF, maximum_likelihood_loss
from pullback.nn import ConcatMLP, ConcatSquashMLP
from pullback.recipes._kit.checks import check_above_zero, check_least
from pullback.recipes._kit.stack import made
from pullback.runs import Context
from pullback.sampling import StandardNormal

Divergence = Literal["exact", "hutchinson"]
BATCH = 4096  # points that are scored at once
_FIELDS = {"concat": ConcatMLP, "concatsquash": ConcatSquashMLP}
_ACTIVATIONS = {"tanh": jnp.tanh, "softplus": jax.nn.softplus, "silu": jax.nn.silu}
_DIVERGENCES = {"exact": ExactDivergence(), "hutchinson": HutchinsonDivergence()}


@dataclass(frozen=True)
class Config:
    points: int = 4000
    """Points of each toy to train on."""
    held_out: int = 2000
    """Points of each toy to score."""
    noise: float = 0.08
    """Standard deviation of the noise on the two moons."""
    field: Literal["concat", "concatsquash"] = "concat"
    """The net: the time appended to every layer's input, or FFJORD's gated layers."""
    activation: Literal["tanh", "softplus", "silu"] = "tanh"
    """The function between the net's layers."""
    width: int = 64
    """Size of a hidden layer."""
    depth: int = 2
    """Number of hidden layers."""
    divergence: Divergence = "exact"
    """The trace in training, on a table of your own and on the eight Gaussians."""
    solver_steps: int = 4
    """Equal Dopri5 steps of a training solve; 0 for steps adapted to the tolerance."""
    tolerance: float = 1e-5
    """Relative and absolute tolerance of every adaptive solve; scores always adapt."""
    iterations: int = 1000
    """Training steps of a flow."""
    batch_size: int = 128
    """Points in a training step."""
    learning_rate: float = 1e-2
    """Adam's learning rate at the start; it falls to zero along a cosine."""
    seeds: int = 3
    """Flows of each kind, with their own data, weights and batches."""
    grid: int = 81
    """Points along each side of a picture of a density."""
    cost_dim: int = 64
    """Variables of a field whose operations are counted, without and with its trace."""

    def __post_init__(self):
        check_above_zero(self, but=("noise", "depth", "solver_steps"))
        check_least(self, grid=2, held_out=2, solver_steps=0, cost_dim=5)


def train_flow(
    config: Config,
    context: Context,
    name: str,
    points: Float[np.ndarray, "n dim"],
    seed: int,
    *,
    divergence: Divergence,
    validation: Float[np.ndarray, "m dim"] | None = None,
) -> tuple[CNF, list[dict[str, Any]]]:
    """A flow of `points`, set to score (adaptive steps for each point and the exact trace), and the
    lines of its training; with `validation`, of the weights that do best on it."""
    key, net_key = jr.split(jr.key(seed))
    dim = points.shape[1]
    flow = CNF(
        _field(config, dim, net_key),
        StandardNormal(dim),
        _DIVERGENCES[divergence],
        rtol=config.tolerance,
        atol=config.tolerance,
        steps=config.solver_steps or None,
        stepping="joint",
    )
    flow, info = train.fit(
        flow,
        maximum_likelihood_loss,
        jnp.asarray(points, float),
        optimiser=optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.iterations)),
        steps=config.iterations,
        batch_size=min(config.batch_size, len(points)),
        validation=None if validation is None else jnp.asarray(validation, float),
        patience=None if validation is None else 10,
        log_every=50,
        **context.training(name),
        key=key,
    )
    scoring = dataclasses.replace(flow, steps=None, divergence=None, stepping="per_sample")
    return scoring, info.lines()


def _field(config: Config, dim: int, key: PRNGKeyArray) -> Any:
    return made(
        _FIELDS[config.field],
        dim,
        config.width,
        config.depth,
        activation=_ACTIVATIONS[config.activation],
        key=key,
    )


def trace_costs(config: Config) -> dict[str, float]:
    """Operations of an evaluation of a field, alone and with its divergence found in each way."""
    y, net = jnp.ones(config.cost_dim), _field(config, config.cost_dim, jr.key(0))

    def operations(run: Any) -> float:
        program: Any = jax.jit(run).lower(y).compile()
        return float(program.cost_analysis()["flops"])

    field = lambda y: net(0.5, y, None)
    found = {"alone": operations(field)}
    ways: dict[str, Any] = _DIVERGENCES
    for name, way in ways.items():
        probe = way.probe(y, key=jr.key(1))
        found[name] = operations(lambda y, way=way, probe=probe: way(field, y, probe))
    return found


def log_prob(
    flow: CNF, x: Float[np.ndarray, "n dim"], *, key: PRNGKeyArray | None = None
) -> Float[np.ndarray, " n"]:
    """The log-density of NumPy rows."""
    found = flow.log_prob(jnp.asarray(x, float), batch_size=BATCH, key=key)
    return np.asarray(found, np.float64)

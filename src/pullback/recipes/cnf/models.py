"""The settings of the recipe `cnf`, and the flow that it trains on the toys and on a table."""

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback import train
from pullback.calculus import ExactDivergence, HutchinsonDivergence
from pullback.models.flows import CNF, maximum_likelihood_loss
from pullback.nn import ConcatMLP, ConcatSquashMLP
from pullback.runs import Claim, Context
from pullback.sampling import StandardNormal

Divergence = Literal["exact", "hutchinson"]
# Points are scored in batches of this size, the last one filled up: one program for all sets.
_BATCH = 4096

_FIELDS = {"concat": ConcatMLP, "concatsquash": ConcatSquashMLP}
_ACTIVATIONS = {"tanh": jnp.tanh, "softplus": jax.nn.softplus, "silu": jax.nn.silu}
_DIVERGENCES = {"exact": ExactDivergence(), "hutchinson": HutchinsonDivergence()}


@dataclass(frozen=True)
class Config:
    points: int = 4000
    """Points of each toy to train on."""
    held_out: int = 4000
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
    iterations: int = 1500
    """Training steps of a flow."""
    batch_size: int = 128
    """Points in a training step."""
    learning_rate: float = 1e-2
    """Adam's learning rate at the start; it falls to zero along a cosine."""
    seeds: int = 3
    """Flows of each kind, with their own data, weights and batches."""
    grid: int = 161
    """Points along each side of a picture of a density, and of the sum that gives its mass."""

    def __post_init__(self):
        for name, least in (("seeds", 1), ("grid", 2), ("held_out", 2), ("solver_steps", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")


class Trained(NamedTuple):
    """A trained flow, set to score: adaptive steps for each point, and the exact trace."""

    flow: CNF
    history: list[dict[str, Any]]


def _optimiser(learning_rate: float, iterations: int) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(learning_rate, iterations))


def train_flow(
    config: Config,
    context: Context,
    name: str,
    points: Float[np.ndarray, "n dim"],
    seed: int,
    *,
    divergence: Divergence,
    validation: Float[np.ndarray, "m dim"] | None = None,
) -> Trained:
    """Train a flow on `points`; with `validation`, keep the weights that do best on it."""
    key, net_key = jr.split(jr.key(seed))
    dim = points.shape[1]
    flow = CNF(
        _FIELDS[config.field](
            dim,
            config.width,
            config.depth,
            activation=_ACTIVATIONS[config.activation],
            key=net_key,
        ),
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
        optimiser=_optimiser(config.learning_rate, config.iterations),
        steps=config.iterations,
        batch_size=min(config.batch_size, len(points)),
        validation=None if validation is None else jnp.asarray(validation, float),
        patience=None if validation is None else 10,
        log_every=50,
        **context.training(name),
        key=key,
    )
    scoring = dataclasses.replace(flow, steps=None, divergence=None, stepping="per_sample")
    return Trained(scoring, info.lines())


def log_prob(
    flow: CNF, x: Float[np.ndarray, "n dim"], *, key: PRNGKeyArray | None = None
) -> Float[np.ndarray, " n"]:
    """The log-density of NumPy rows."""
    (found,) = _in_batches(lambda rows, key: (flow.log_prob(rows, key=key),), x, key=key)
    return found


def sample(flow: CNF, n: int, *, key: PRNGKeyArray) -> Float[np.ndarray, "n dim"]:
    """Draws of the flow."""
    z = np.asarray(flow.base.sample(key, (n,)))
    return _in_batches(lambda rows, _: flow.transform_and_log_det(rows), z)[0]


def mass(flow: CNF, points: int, half_width: float = 4.0) -> float:
    """The Riemann sum of a density in the plane over a square grid."""
    density, cell = np.exp(log_prob(flow, plane(points, half_width))), 2 * half_width / (points - 1)
    return float(density.sum() * cell**2)


def plane(points: int, half_width: float = 4.0) -> Float[np.ndarray, "n 2"]:
    """A square grid round the origin; the first coordinate runs fastest."""
    axis = np.linspace(-half_width, half_width, points)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


def round_trip(flow: CNF, x: Float[np.ndarray, "n dim"]) -> dict[str, float]:
    """Root-mean-square errors of going to the base and back: of points, and of log-determinants."""

    def there_and_back(start: Array, _: None) -> tuple[Array, Array]:
        z, inverse_log_det = flow.inverse_and_log_det(start)
        back, log_det = flow.transform_and_log_det(z)
        return back - start, log_det + inverse_log_det

    errors = _in_batches(there_and_back, x)
    points, log_dets = (float(np.sqrt(np.mean(error**2))) for error in errors)
    return {"round_trip": points / flow.rtol, "log_det": log_dets}


def _in_batches(
    function: Callable[..., tuple[Array, ...]],
    x: Float[np.ndarray, "n dim"],
    *,
    key: PRNGKeyArray | None = None,
) -> list[np.ndarray]:
    found = []
    for number, start in enumerate(range(0, len(x), _BATCH)):
        rows = np.resize(x[start : start + _BATCH], (_BATCH, x.shape[1]))
        batch_key = None if key is None else jr.fold_in(key, number)
        found.append(jax.device_get(function(jnp.asarray(rows, float), batch_key)))
    return [np.concatenate(part)[: len(x)].astype(np.float64) for part in zip(*found, strict=True)]


def mass_claim(masses: Sequence[float], *, at_most: float) -> Claim:
    """The claim that densities in the plane are densities."""
    return _worst(
        "The learned density integrates to 1 (how far the worst is off)",
        [abs(mass - 1) for mass in masses],
        at_most=at_most,
        reference="exact: 1; a Riemann sum over a grid",
    )


def round_trip_claims(measured: Sequence[dict[str, Any]]) -> list[Claim]:
    """The claims that the flow can be inverted."""
    return [
        _worst(
            "From the data to the base and back, points return (error over the solver's tolerance, "
            "root mean square, worst flow)",
            [row["round_trip"] for row in measured],
            at_most=10,
            reference="exact: 0; ten times the tolerance",
        ),
        _worst(
            "The log-determinants there and back cancel (root mean square, worst flow)",
            [row["log_det"] for row in measured],
            at_most=2e-3,
            unit="nats",
            reference="exact: 0",
        ),
    ]


def _worst(
    sentence: str, values: Sequence[float], *, at_most: float | int, unit: str = "", reference: str
) -> Claim:
    return Claim(
        sentence,
        value=max(values),
        at_most=at_most,
        spread=statistics.stdev(values) if len(values) > 1 else None,
        seeds=len(values),
        unit=unit,
        reference=reference,
    )

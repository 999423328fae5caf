"""Models trained with and without a regulariser, and what is claimed of the two."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import numpy as np

from pullback import ode
from pullback.runs import Claim, Context, Headline

# Of each order K, 0 for none, a row of figures for each seed.
Found = Mapping[int, Sequence[Mapping[str, Any]]]


@runtime_checkable
class Settings(Protocol):
    """What a comparison reads of an experiment's settings."""

    @property
    def orders(self) -> tuple[int, ...]: ...
    @property
    def weights(self) -> tuple[float, ...]: ...
    @property
    def seeds(self) -> int: ...
    @property
    def tolerances(self) -> tuple[float, ...]: ...


def check_weights(config: Settings) -> None:
    """Raise a `ValueError` unless there is a positive weight for each order."""
    if len(config.weights) != len(config.orders) or min(config.weights) <= 0:
        raise ValueError(
            f"weights must be positive, one for each of the {len(config.orders)} orders, got "
            f"{config.weights}"
        )


def compare(
    config: Settings,
    context: Context,
    train: Callable[[int, float, int], tuple[Any, float]],
    measure: Callable[[Any, int], Mapping[str, Any]],
) -> tuple[Found, dict[int, Any]]:
    """The figures of models of each order and seed, and of each order the first model.

    Args:
        config: The orders, their weights, and how many seeds.
        context: Of the run.
        train: From order, weight and seed to a model, and the seconds that its training took.
        measure: From a model and its seed to its figures, `nfe` among them, one a tolerance.
    """
    found, first = {}, {}
    for order, weight in zip((0, *config.orders), (0.0, *config.weights), strict=True):
        trained = [train(order, weight, seed) for seed in range(config.seeds)]
        first[order] = trained[0][0]
        found[order] = [
            context.stage(f"measure-{order}-{seed}", measure, model, seed) | {"seconds": seconds}
            for seed, (model, seconds) in enumerate(trained)
        ]
        for seed, row in enumerate(found[order]):
            shown = {name: value for name, value in row.items() if name != "nfe"}
            counts = {f"nfe_{t:g}": n for t, n in zip(config.tolerances, row["nfe"], strict=True)}
            context.metrics({"order": order, "weight": weight, "seed": seed} | counts | shown)
    return found, first


def seconds_of(info: Any, steps: int) -> float:
    """What the steps of a training took, once they were compiled."""
    rate = float(np.median([entry["steps_per_second"] for entry in info.lines()]))
    return steps / rate


@eqx.filter_jit
def evaluations(field: Any, start: jax.Array, end: float | int, tolerance: jax.Array) -> jax.Array:
    """Of a field, to solve for all rows of `start` as one system, from 0 to `end`."""
    each = lambda t, y, args: jax.vmap(lambda y: field(t, y, args))(y)
    solution = ode.solve(each, start, [0.0, float(end)], rtol=tolerance, atol=tolerance)
    return solution.stats.nfe


def over_plain(found: Found, order: int, value: Callable[[Any], float]) -> np.ndarray:
    """A figure of the models with a regulariser over that of those without, one a seed."""
    pairs = zip(found[order], found[0], strict=True)
    return np.array([value(row) / value(plain) for row, plain in pairs])


def fewer_evaluations(
    what: str, found: Found, order: int, tolerance: float, *, at_least: float
) -> Claim:
    """The headline: evaluations without the regulariser over those with it."""
    count = lambda order: np.mean([row["nfe"][-1] for row in found[order]])
    return Claim.over_seeds(
        f"{what}: R_{order} in the loss makes the solution cheaper, evaluations at tolerance "
        f"{tolerance:g} without over those with",
        1 / over_plain(found, order, lambda row: row["nfe"][-1]),
        at_least=at_least,
        reference="1: the same network trained without, from the same start on the same batches; "
        f"{count(0):.0f} and {count(order):.0f} evaluations",
        headline=Headline(no_effect=1.0),
    )


def longer_training(found: Found, order: int) -> Claim:
    """The price."""
    return Claim.over_seeds(
        "When not to use it: where training costs more than use. Training takes longer with "
        f"R_{order}: factor",
        over_plain(found, order, lambda row: row["seconds"]),
        at_least=1.3,
        reference="Pal et al., arXiv 2105.03918: up to an order of magnitude",
    )

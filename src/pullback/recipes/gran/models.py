"""The models that the experiments of `gran` fit, and what they draw from them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray

from pullback.data import Graph
from pullback.models.graphs import GRAN, fit_gran
from pullback.recipes._kit.checks import check_above_zero
from pullback.runs import Context


@dataclass(frozen=True)
class FitConfig:
    steps: int = 800
    """Steps of each training, by Adam."""
    rate: float = 3e-3
    """Learning rate at the start; it falls to 0 as a cosine."""
    mixtures: int = 8
    """Components of the mixture of Bernoullis."""
    width: int = 32
    """Size of a node's state."""
    layers: int = 3
    """Rounds of messages."""
    batch_size: int = 16
    """Graphs in a step of training."""
    prefixes: int = 2
    """Prefixes of each of these graphs in a step, drawn at random."""

    def __post_init__(self):
        check_above_zero(self)


def fitted(
    config: FitConfig, context: Context, name: str, graphs: Sequence[Graph], key: PRNGKeyArray,
    settings: Mapping[str, Any],
) -> tuple[GRAN, dict[str, np.ndarray]]:  # fmt: skip
    """A model of graphs, and how its loss fell; `settings` go before the configuration's."""
    given: dict[str, Any] = {
        "mixtures": config.mixtures, "width": config.width,
        "layers": config.layers, "steps": config.steps, "batch_size": config.batch_size,
        "prefixes": config.prefixes, "learning_rate": config.rate,
    }  # fmt: skip
    model, info = fit_gran(graphs, **{**given, **settings}, key=key, **context.training(name))
    context.log(info.lines(), model=name)
    return model, dict(info.history)


def drawn(
    model: GRAN, count: int, key: PRNGKeyArray, settings: Mapping[str, Any], timed: bool
) -> dict[str, Any]:
    """Graphs of a model, the steps they took, and the seconds of one: without compiling, if timed.

    `steps_off` is how far steps are from nodes over the stride, `steps` are those of the largest.
    """
    if timed:
        model.sample(count, **settings, key=key)
    start = time.process_time()
    found, steps = model.sample_with_steps(count, **settings, key=key)
    seconds = (time.process_time() - start) / count
    nodes = np.array([graph.nodes for graph in found.graphs])
    wanted = -(-nodes // settings.get("stride", model.block))
    return {
        "graphs": list(found.graphs), "seconds": seconds, "nodes": int(nodes.max()),
        "steps": int(steps.max()), "steps_off": int(np.abs(steps - wanted).max()),
    }  # fmt: skip


def nats(model: GRAN, graphs: Sequence[Graph], order: str) -> float:
    """The mean of -log p of graphs, each written in one order."""
    return -float(np.mean([model.log_prob(graph, order) for graph in graphs]))

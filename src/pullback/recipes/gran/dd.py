"""GRAN on the proteins of DD: the paper's 918 graphs of 100 to 500 amino acids."""

from dataclasses import dataclass

from pullback.data import tu_graphs
from pullback.recipes.gran import claims
from pullback.recipes.gran.sets import SetConfig, of_set
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config(SetConfig):
    least: int = 100
    """Nodes that a graph has at least."""
    most: int = 500
    """Nodes that it has at most."""


def run(config: Config, context: Context) -> list[Claim]:
    """A model of each block, samples of it, and held-out proteins."""
    graphs = tu_graphs("DD", folder=context.data).graphs
    used = [graph for graph in graphs if config.least <= graph.nodes <= config.most]
    curve = of_set(config, context, used, timed=False)
    found = curve[min(curve)]
    return [
        *claims.between(f"DD, {len(used)} proteins", found),
        claims.steps(curve),
        claims.copies(found),
        claims.when_not(found),
    ]


PRESETS = {
    "smoke": Config(
        least=30, most=60, blocks=(8,), strides=(8,), steps=3, mixtures=2, width=4, layers=1,
        batch_size=2, prefixes=1,
    ),
    "desk": Config(blocks=(8,), strides=(8,), steps=150, batch_size=4, held_out=0.1),
    "paper": Config(
        blocks=(1,), strides=(1,), steps=50_000, rate=1e-4, mixtures=20, width=512, layers=7,
        batch_size=16, prefixes=2,
    ),
}  # fmt: skip

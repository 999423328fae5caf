"""Claims about samples of a set of graphs, beside held-out ones."""

from collections.abc import Mapping
from typing import Any

from pullback.recipes.gran import measure
from pullback.recipes.gran.measure import CHANCE, OF_PAPER, SAMPLES, TRAINING
from pullback.runs import Claim

Found = Mapping[str, Any]
Curve = Mapping[tuple[int, int], Found]


def between(start: str, found: Found) -> list[Claim]:
    """Samples are nearer to held-out graphs than chance is, one claim a statistic."""
    mmd = found["mmd"]
    return [
        Claim(
            f"{start}: squared MMD of {of} between samples and held-out graphs, over that of "
            "Erdos-Renyi graphs of the same sizes and densities",
            value=ratio, at_most=1.0,
            reference=f"{mmd[TRAINING][of] / mmd[CHANCE][of]:.3f}: training graphs against "
            f"held-out ones; 1: Erdos-Renyi's {mmd[CHANCE][of]:.3g}",
        )
        for of, ratio in measure.over_chance(mmd).items()
    ]  # fmt: skip


def steps(curve: Curve) -> Claim:
    """As many passes of the network as there are strides."""
    pair = max(curve, key=lambda pair: pair[1])
    nodes, taken = curve[pair]["nodes"], curve[pair]["steps"]
    return Claim(
        "Steps to sample: nodes over the stride, which is at most the block, rounded up, for every "
        "graph (the greatest difference)",
        value=max(found["steps_off"] for found in curve.values()), at_most=0,
        reference=f"{taken} steps for {nodes:,} nodes, {pair[1]} rows each; edge by edge it is "
        f"{nodes * (nodes - 1) // 2:,}",
    )  # fmt: skip


def trade(curve: Curve) -> list[Claim]:
    """Larger blocks are quicker and worse; a stride below the block gives some of it back."""
    small, large = min(curve), max(curve)
    back = (large[0], small[1])
    ratio = lambda of, one, other: curve[one][of] / curve[other][of]
    return [
        Claim(
            f"A block of {large[0]} trades quality for time: seconds of a graph at block "
            f"{small[0]}, over its own",
            value=ratio("seconds", small, large), at_least=1.5,
            reference=f"{large[0] // small[0]}: as many fewer steps; the mean of squared MMD over "
            f"Erdos-Renyi's goes from {curve[small]['quality']:.3f} to "
            f"{curve[large]['quality']:.3f}",
        ),
        Claim(
            f"A stride of {back[1]} gives quality back to blocks of {large[0]}, for the time of "
            f"single rows (that mean, over the one at stride {large[1]})",
            value=ratio("quality", back, large), at_most=1.0,
            reference=f"1: no better; it takes {ratio('seconds', back, large):.1f} times as long",
        ),
    ]  # fmt: skip


def copies(found: Found) -> Claim:
    """Samples are new."""
    return Claim(
        "Samples are no copies of training graphs (share that is isomorphic to none)",
        value=found["novel"], at_least=0.95, reference="1: all new",
    )  # fmt: skip


def when_not(found: Found) -> Claim:
    """Where samples stand, seen from the data."""
    mmd = found["mmd"]
    ratios = {of: mmd[SAMPLES][of] / mmd[TRAINING][of] for of in OF_PAPER if mmd[TRAINING][of] > 0}
    worst = max(ratios, key=ratios.__getitem__)
    return Claim(
        "When not to take them for data: samples are further from held-out graphs than training "
        f"graphs are (ratio of squared MMD, the largest: {worst})",
        value=ratios[worst], at_least=1.5, reference="1: as near as data are to data",
    )  # fmt: skip

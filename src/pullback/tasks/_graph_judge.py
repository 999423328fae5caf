"""How good a generator of graphs is: samples beside graphs that it has not seen."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax.random as jr
import numpy as np
from jaxtyping import Int, PRNGKeyArray

from pullback.analysis import graph_report
from pullback.data import Graph

from ._graph_checks import FITTED, HELD, RANDOM, SAMPLES
from ._graph_input import hashes_of, statistics

if TYPE_CHECKING:
    from ._graph_generator import GraphGenerator

_JUDGED, _BESIDE = 100, 400  # graphs held out, and of the fit, whose statistics are compared


def judge(
    model: "GraphGenerator",
    graphs: Sequence[Graph],
    train: Int[np.ndarray, " n"],
    test: Int[np.ndarray, " m"],
    seed: int,
) -> dict[str, Any]:
    """Samples of a model beside graphs held out, and beside what one would take instead.

    Of many graphs some are compared; copies are sought among all that it was fitted to.

    Args:
        model: fitted, but for what is found here.
        graphs: all of them.
        train: the places of those that it was fitted to.
        test: of those held out.
        seed: of samples.
    """
    random = np.random.default_rng(seed)
    some = lambda places, most: [graphs[k] for k in random.permutation(places)[:most].tolist()]
    held, fitted = some(test, _JUDGED), some(train, _BESIDE)
    drawn = model.sample(len(held), random_state=seed)
    found = graph_report(drawn, held, train=fitted, key=jr.key(seed))
    sides = {SAMPLES: found.samples, RANDOM: found.erdos_renyi, FITTED: found.train}
    sets = {SAMPLES: drawn, HELD: held, FITTED: fitted}
    return {
        "rows": len(held),
        "mmd2": {
            name.removesuffix("_mmd2"): {side: getattr(of, name) for side, of in sides.items()}
            for name in found.samples._fields
        },
        "connected": {SAMPLES: found.connected, HELD: found.reference_connected},
        "unique": found.unique,
        "novel": novel(drawn, [graphs[k] for k in train.tolist()], jr.key(seed)),
        "means": {
            name: {column: float(np.mean(values)) for column, values in statistics(each).items()}
            for name, each in sets.items()
        },
    }


def novel(drawn: Sequence[Graph], known: Sequence[Graph], key: PRNGKeyArray) -> float:
    """The share of some graphs that are copies of none that are known.

    Args:
        drawn: some.
        known: any number, of which few are looked at closely.
        key: for the report that tells copies.
    """
    ours, theirs = hashes_of(drawn), hashes_of(known)
    alike = set(ours) & set(theirs)
    doubtful = [graph for graph, its in zip(drawn, ours, strict=True) if its in alike]
    if not doubtful:
        return 1.0
    near = [graph for graph, its in zip(known, theirs, strict=True) if its in alike]
    found = graph_report(doubtful, doubtful[:1], train=near, key=key)
    copies = round(len(doubtful) * (1 - found.novel))
    return (len(drawn) - copies) / len(drawn)

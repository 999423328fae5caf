"""What is measured of sequences, and of the ways in which they were made."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from pullback.analysis import sequence_report
from pullback.data import one_hot
from pullback.models.sequences import SequenceEnsemble

Groups = Mapping[str, Sequence[str]]
Found = dict[str, dict[str, Any]]
Score = Callable[[list[str]], Float[np.ndarray, " n"]]


def looks(groups: Groups, training: Sequence[str]) -> Found:
    """How near the 3-mers of each group are to training's, and how much its strings differ."""
    reports = {way: sequence_report(of, training, most=1) for way, of in groups.items()}
    return {
        way: {"distance": of.kmer_divergence, "unique": of.unique, "gc": of.gc}
        for way, of in reports.items()
    }


def edits(groups: Sequence[Sequence[str]], training: Sequence[str]) -> list[float]:
    """Edits between a string and the nearest of training: the mean of each group's first fifty."""
    return [float(sequence_report(of[:50], training).nearest.mean()) for of in groups]


def judged(groups: Groups, judge: Score, limit: float, predictor: SequenceEnsemble) -> Found:
    """The scores of each group by a judge, the share above a limit, and what the predictor says."""
    found = {}
    for name, strings in groups.items():
        scores = judge(list(strings))
        found[name] = {
            "scores": scores,
            "score": scores.mean(),
            "above": np.mean(scores > limit),
            "predicted": np.mean(predicted(predictor, strings)),
        }
    return found


def predicted(score: Any, strings: Sequence[str]) -> Float[np.ndarray, " n"]:
    """A model's score of each string."""
    return np.asarray(_all(score, jnp.asarray(one_hot(strings))))


@eqx.filter_jit
def _all(score: Any, x: jax.Array) -> jax.Array:
    return jax.vmap(score)(x)


def each(found: Sequence[Mapping[str, Any]], way: str, name: str) -> Float[np.ndarray, " seeds"]:
    """A number of a way, of each seed."""
    return np.array([float(row["ways"][way][name]) for row in found])


def mean(found: Sequence[Mapping[str, Any]], way: str, name: str) -> float:
    """Its mean over the seeds."""
    return float(np.mean(each(found, way, name)))


def letter_shares(strings: Sequence[str]) -> Float[np.ndarray, "length letters"]:
    """How often each letter stands at each place."""
    return one_hot(strings).mean(axis=0)

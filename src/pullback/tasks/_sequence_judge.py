"""How good a designer is: its predictor on sequences held out, and its samples and designs."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import pearsonr, spearmanr
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pullback.analysis import sequence_report
from pullback.data import from_one_hot, one_hot, reverse_complement

from . import _sequence_nets as nets
from ._held_out import lead
from ._sequence_goal import goal_of

if TYPE_CHECKING:
    from ._sequence_designer import SequenceDesigner

OURS, RIDGE = "ensemble of networks", "ridge on counts of k-mers"
HELD, SAMPLES, SHUFFLED = "sequences held out", "samples", "letters drawn place by place"
BEST, PLAIN, JOINT = "best sequences of the fit", "plain maximisation", "designs"
_DRAWN, _DESIGNED = 500, 32  # samples, and designs: the better half of as many climbs
_NEAR, _BESIDE = 32, 5000  # sequences of a set of which the nearest is looked for, and among which
_TEACH = 20_000  # sequences that a ridge is fitted to
_KMERS = 4
_FEW_LETTERS = 5  # of more, words of three are too many to count
_ALPHAS = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
Ridge = Callable[[Sequence[str]], Float[np.ndarray, " n"]]


def judge(
    model: "SequenceDesigner",
    train: Int[np.ndarray, " n"],
    test: Int[np.ndarray, " m"],
    seed: int,
) -> dict[str, Any]:
    """The predictor, samples and designs of a model that was fitted to some of its sequences.

    Args:
        model: fitted, but for what is found here.
        train: the places of the sequences that it was fitted to.
        test: of those held out.
        seed: of samples and designs.
    """
    letters = model.letters_
    known = [letters[place] for place in train.tolist()]
    random = np.random.default_rng(seed)
    shown = random.permutation(test)[:_DRAWN]
    x = one_hot(known, model.alphabet, ambiguous=model._averaged)
    drawn = from_one_hot(nets.sample(model.generator_, len(shown), seed), model.alphabet)
    by_place = _by_place(x.mean(axis=0, dtype=float), len(shown), model.alphabet, random)
    sets = {HELD: [letters[place] for place in shown.tolist()], SAMPLES: drawn, SHUFFLED: by_place}
    found: dict[str, Any] = {"rows": len(test), "predictor": None}
    ridge: Ridge | None = None
    if model.ensemble_ is not None and model.scores_ is not None:
        scores, seen = model.scores_, np.isfinite(model.scores_)
        taught, asked = train[seen[train]], test[seen[test]]
        ridge = fit_ridge([letters[p] for p in taught], scores[taught], model._both_strands)
        if len(asked) > 2:
            held = [letters[place] for place in asked.tolist()]
            rows = one_hot(held, model.alphabet, ambiguous=model._averaged)
            told = {OURS: nets.predict(model.ensemble_, rows)[0], RIDGE: ridge(held)}
            found["predictor"] = judge_predictor(scores[asked], told)
        best = taught[np.argsort(-scores[taught], kind="stable")[:_DESIGNED]]
        sets |= {BEST: [letters[p] for p in best.tolist()], **_designs(model, seed)}
    found["designs"] = sets.get(JOINT)
    beside = [known[place] for place in random.permutation(len(known))[:_BESIDE]]
    found["sets"] = {
        name: _likeness(each, beside, model.alphabet) | _predicted(model, each, ridge)
        for name, each in sets.items()
    }
    return found


def _designs(model: "SequenceDesigner", seed: int) -> dict[str, list[str]]:
    """As many of the joint method and of climbing the letters alone."""
    score = goal_of(None, None, None, model._own()).climbed
    plain = nets.climb_plainly(
        score, 2 * _DESIGNED, model.length_, alphabet=model.alphabet, seed=seed
    )
    joint = nets.climb(
        model.generator_, score, 2 * _DESIGNED, fixed=None, alphabet=model.alphabet,
        seed=seed,
    )  # fmt: skip
    return {name: _better(drawn) for name, drawn in ((PLAIN, plain), (JOINT, joint))}


def _better(drawn: nets.Drawn) -> list[str]:
    order = np.argsort(-drawn.goal, kind="stable")[:_DESIGNED]
    return [drawn.letters[place] for place in order.tolist()]


def _likeness(letters: Sequence[str], known: Sequence[str], alphabet: str) -> dict[str, Any]:
    """How like those of the fit sequences are."""
    words = 3 if len(alphabet) <= _FEW_LETTERS else 2
    found = sequence_report(letters, known, k=words, most=_NEAR)
    told = {
        "count": found.count,
        "kmers": found.kmer_divergence,
        "gc": found.gc,
        "unique": found.unique,
        "pairwise": found.hamming,
        "nearest": float(found.nearest.mean()),
    }
    return {name: None if np.isnan(value) else value for name, value in told.items()}


def _by_place(
    shares: Float[np.ndarray, "length letters"],
    count: int,
    alphabet: str,
    random: np.random.Generator,
) -> list[str]:
    """Sequences whose letters are drawn as often as they stand at each place, each by itself."""
    below = np.cumsum(shares, axis=1)
    dice = random.random((count, len(shares)))
    codes = (dice[:, :, None] > below[None]).sum(axis=2).clip(max=len(alphabet) - 1)
    return ["".join(alphabet[code] for code in row) for row in codes.tolist()]


def _predicted(
    model: "SequenceDesigner", letters: Sequence[str], ridge: Ridge | None
) -> dict[str, Any]:
    """What is predicted of a set, and how much of it is above all scores of the fit."""
    if model.ensemble_ is None or model.range_ is None or ridge is None:
        return {}
    x = one_hot(letters, model.alphabet, ambiguous=model._averaged)
    mean, sd = nets.predict(model.ensemble_, x)
    return {
        "mean": float(mean.mean()),
        "sd": float(sd.mean()),
        "above": float(np.mean(mean > model.range_.high)),
        "unsure": float(np.mean(sd > model.range_.sd)),
        "ridge": float(ridge(letters).mean()),
    }


def fit_ridge(letters: Sequence[str], y: Float[np.ndarray, " n"], both_strands: bool) -> Ridge:
    """What one would have taken: a ridge regression on how often each k-mer stands in a sequence.

    Args:
        letters: the sequences.
        y: their scores.
        both_strands: whether the k-mers of the other strand count too.
    """

    def words(each: str) -> list[str]:
        strands = [each, *reverse_complement([each])] if both_strands else [each]
        return [
            strand[start : start + k]
            for strand in strands
            for k in range(1, _KMERS + 1)
            for start in range(len(strand) - k + 1)
        ]

    model = make_pipeline(
        CountVectorizer(analyzer=words, dtype=np.float64),
        StandardScaler(with_mean=False),
        RidgeCV(_ALPHAS),
    )
    # From all over the sequences, which may be sorted by their scores.
    rows = np.linspace(0, len(y) - 1, min(len(y), _TEACH)).astype(int)
    model.fit([letters[row] for row in rows], y[rows])
    return lambda asked: np.asarray(model.predict(list(asked)), float)


def judge_predictor(
    y: Float[np.ndarray, " n"], told: dict[str, Float[np.ndarray, " n"]]
) -> dict[str, Any]:
    """Correlations and errors of predictions, on sequences held out.

    Args:
        y: what was measured.
        told: what each predictor says, that of the model first.
    """
    found: dict[str, Any] = {"rows": len(y), "sd": float(np.std(y))}
    for name, mean in told.items():
        flat = np.ptp(mean) == 0 or np.ptp(y) == 0
        found[name] = {
            "pearson": 0.0 if flat else float(pearsonr(mean, y).statistic),
            "spearman": 0.0 if flat else float(spearmanr(mean, y).statistic),
            "rmse": float(np.sqrt(np.mean((mean - y) ** 2))),
        }
    return found | lead(*((mean - y) ** 2 for mean in told.values()))

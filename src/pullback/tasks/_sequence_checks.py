"""What should be so of a designer, and what to do where it is not, in sentences."""

from typing import Any

from ._page import Check
from ._sequence_judge import BEST, HELD, JOINT, OURS, PLAIN, RIDGE, SAMPLES, SHUFFLED

_TELLS = 0.3  # correlation below which designs are guesses
_UNIQUE = 0.95
_STRAYS, _SMALL = 3.0, 0.01  # times what sequences held out have, and nats, that samples may have


def told(report: dict[str, Any] | None) -> list[str]:
    """What was held out and who wins, in sentences."""
    if report is None:
        return ["Too few different sequences to hold any out, so nothing says how good it is."]
    return [check.sentence for check in checks(report)]


def checks(report: dict[str, Any]) -> list[Check]:
    """What should be so, and what to do where it is not."""
    found = [] if report["predictor"] is None else _of_predictor(report["predictor"])
    return [*found, *_of_samples(report), *(_of_designs(report) if JOINT in report["sets"] else [])]


def _of_predictor(said: dict[str, Any]) -> list[Check]:
    rows, r = said["rows"], said[OURS]["pearson"]
    how = f"Predictions and scores of {rows} sequences held out correlate by {r:.2f}"
    found = [
        Check(True, f"{how} (Spearman {said[OURS]['spearman']:.2f}).")
        if r >= _TELLS
        else Check(
            False,
            f"{how}: designs by this predictor are guesses. More sequences, repeated measurements, "
            "or the logarithm of a score with a long tail would help.",
        )
    ]
    other = f"RMSE {said[OURS]['rmse']:.3g}, ridge {said[RIDGE]['rmse']:.3g}"
    gap, error = said["ahead"], said["ahead_error"]
    if abs(gap) <= 2 * error:
        sentence = (
            f"A ridge regression on counts of k-mers is no better and no worse for sure ({other})."
        )
    elif gap > 0:
        sentence = f"It predicts better than a ridge regression on counts of k-mers ({other})."
    else:
        sentence = (
            f"A ridge regression on counts of k-mers predicts better ({other}): the networks have "
            "learned too little; look at designs by both."
        )
    return [*found, Check(gap >= -2 * error, sentence)]


def _of_samples(report: dict[str, Any]) -> list[Check]:
    sets = report["sets"]
    far, chance, other = (sets[name]["kmers"] for name in (SAMPLES, HELD, SHUFFLED))
    how = f"divergence of k-mers {far:.3f}, of letters drawn place by place {other:.3f}, of " \
          f"sequences held out {chance:.3f}"  # fmt: skip
    near = far <= max(other, _STRAYS * chance + _SMALL)
    nearer = "" if far <= other else ", though letters drawn place by place look more like them"
    found = [
        Check(near, f"Samples look like the sequences{nearer} ({how}).")
        if near
        else Check(
            False,
            f"Letters drawn place by place look more like the sequences than samples do ({how}): "
            "train longer by `max_steps`, and believe designs the less.",
        )
    ]
    unique, held = sets[SAMPLES]["unique"], sets[HELD]["unique"]
    good = unique >= min(_UNIQUE, held)
    sentence = f"{100 * unique:.0f} % of samples are unique"
    remedy = ": the generator draws few sequences; fit again with another `random_state`"
    return [*found, Check(good, f"{sentence}{'' if good else remedy}.")]


def _of_designs(report: dict[str, Any]) -> list[Check]:
    best, plain, joint = (report["sets"][name] for name in (BEST, PLAIN, JOINT))
    gain = joint["mean"] - best["mean"]
    how = f"{joint['mean']:.3g}, best sequences of the fit {best['mean']:.3g}"
    found = [
        Check(
            True, f"Designs are predicted to be better than the best sequences of the fit ({how})."
        )
        if gain > 0
        else Check(
            False,
            f"Designs are predicted to be no better than the best sequences of the fit ({how}): "
            "take those.",
        )
    ]
    close = joint["kmers"] < plain["kmers"]
    how = f"divergence of k-mers {joint['kmers']:.3f}, {plain['kmers']:.3f}; predicted " \
          f"{joint['mean']:.3g}, {plain['mean']:.3g}"  # fmt: skip
    return [
        *found,
        Check(
            close,
            f"Designs look {'more' if close else 'no more'} like the sequences than what climbing "
            f"the letters alone gives ({how}).",
        ),
    ]

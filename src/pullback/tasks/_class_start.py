"""What a classifier starts from: classes told apart by lines, and a Gaussian around each."""

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

_STRENGTHS = (0.1, 1.0, 10.0)  # of logistic regression, the inverse of its penalty
_UNLABELLED = 0.1  # what a row without a class counts, beside one with it
_ROUNDS = 30  # of expectation and maximisation
_FOLDS = 5
_SPREAD = 0.5  # of the logarithm of a tempering, before it is fitted
_ENOUGH = 20_000  # rows, beyond which more make no better line

# Strengths of logistic regression and "gaussians", and by what their logits are multiplied.
Parts = dict[float | str, float]


class Start(NamedTuple):
    r"""Probabilities by lines, and a density of Gaussians of one covariance.

    $$ v = R z, \qquad p(y | z) = \mathrm{softmax}(W v + b)_y, \qquad
       p(z) = |R| \sum_y \pi_y N(v; m_y, I) $$

    Attributes:
        root: R, upper triangular.
        weight: W.
        bias: b.
        log_prior: the logarithms of $\pi$.
        mean: m.
    """

    root: Float[np.ndarray, "d d"]
    weight: Float[np.ndarray, "k d"]
    bias: Float[np.ndarray, " k"]
    log_prior: Float[np.ndarray, " k"]
    mean: Float[np.ndarray, "k d"]

    def whiten(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """v of rows, each the same to the bit whatever is beside it."""
        columns = [np.ascontiguousarray(column) for column in z.T]
        v = [
            sum(w * t for w, t in zip(row[j:], columns[j:], strict=True))
            for j, row in enumerate(self.root)
        ]
        return np.stack(v, axis=1)

    def log_probs(self, v: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        """The log-probabilities of the classes."""
        logits = np.broadcast_to(self.bias, (len(v), len(self.bias)))
        for column, weights in zip(v.T, self.weight.T, strict=True):
            logits = logits + column[:, None] * weights
        return np.asarray(log_softmax(logits, axis=1))

    def log_density(self, v: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """ln p(z) in nats."""
        squares = np.zeros((len(v), len(self.mean)))
        for column, means in zip(v.T, self.mean.T, strict=True):
            squares = squares + np.square(column[:, None] - means)
        norm = np.log(np.abs(np.diagonal(self.root))).sum() - v.shape[1] / 2 * np.log(2 * np.pi)
        return np.asarray(logsumexp(self.log_prior - squares / 2, axis=1)) + norm


def fit_start(
    z: Float[np.ndarray, "n d"],
    codes: Int[np.ndarray, " n"],
    classes: int,
    generator: np.random.RandomState,
) -> Start:
    """Logistic regression and Gaussians of one covariance, mixed, or what is better for sure.

    The Gaussians are fitted to rows without a class, too, by expectation and maximisation. What is
    taken is as sure of itself as it is right on rows that it has not seen, by cross-validation.

    Args:
        z: columns of mean 0 and scale 1.
        codes: classes from 0, -1 where it is not known.
        classes: how many.
        generator: of the folds.
    """
    if len(z) > _ENOUGH:
        few = generator.permutation(len(z))[:_ENOUGH]
        few = np.concatenate([few, *_one_of_each(codes, few, classes)])
        z, codes = z[few], codes[few]
    return start_of(z, codes, classes, choose_parts(z, codes, classes, generator))


def choose_parts(
    z: Float[np.ndarray, "n d"],
    codes: Int[np.ndarray, " n"],
    classes: int,
    generator: np.random.RandomState,
) -> Parts:
    """Of what `fit_start` is mixed, and by which factors: by cross-validation."""
    folds = list(cross_folds(codes, _FOLDS, generator))
    known = np.concatenate(folds) if folds else np.zeros(0, int)
    names = [*_STRENGTHS, "gaussians"]
    if not folds:
        return {1.0: 1.0}
    unseen = {name: np.zeros((len(z), classes)) for name in names}
    for fold in folds:
        hidden = codes.copy()
        hidden[fold] = -1
        for name in names:
            weight, bias = _lines(name, z, hidden, classes)
            unseen[name][fold] = z[fold] @ weight.T + bias
    y = codes[known]
    found = {name: temper(log_softmax(logits[known], axis=1), y) for name, logits in unseen.items()}
    line = min(_STRENGTHS, key=lambda name: found[name].loss.mean())
    both = {name: found[name].factor / 2 for name in (line, "gaussians")}
    mixed = sum(factor * unseen[name][known] for name, factor in both.items())
    last = temper(log_softmax(mixed, axis=1), y)
    best = min(names, key=lambda name: found[name].loss.mean())
    gain = last.loss - found[best].loss
    if gain.mean() > 2 * gain.std() / np.sqrt(len(gain)):
        return {best: found[best].factor}
    return {name: last.factor * f for name, f in both.items()}


def cross_folds(
    codes: Int[np.ndarray, " n"], count: int, generator: np.random.RandomState
) -> Iterator[Int[np.ndarray, " m"]]:
    """Places to hold out in turn, of each class alike; a class's only row is never held out."""
    dealt = []
    for name in range(codes.max() + 1):
        rows = generator.permutation(np.flatnonzero(codes == name))
        dealt += rows.tolist() if len(rows) > 1 else []
    count = min(count, len(dealt))
    for fold in range(count if len(dealt) > 1 else 0):
        yield np.asarray(dealt[fold::count])


class Temper(NamedTuple):
    """By what to multiply logits, and how far off they then are."""

    factor: float
    loss: Float[np.ndarray, " n"]


def temper(log_probs: Float[np.ndarray, "n k"], y: Int[np.ndarray, " n"]) -> Temper:
    r"""The factor a of log-probabilities that fits rows that were not seen.

    $$ \min_a \; -\sum_i \ln p_a(y_i) + \frac{(\ln a)^2}{2 \tau^2}, \qquad
       p_a \propto p^a, \quad \tau = 1/2 $$

    The second term keeps few rows that are all right from promising that all will be.

    Source: Guo et al., On Calibration of Modern Neural Networks, arXiv 1706.04599, section 4.2.
    """
    log_probs = np.maximum(log_probs, -1e3)

    def loss(log_factor: float) -> Float[np.ndarray, " n"]:
        found = log_softmax(np.exp(log_factor) * log_probs, axis=1)
        return -found[np.arange(len(y)), y]

    total = lambda log_factor: loss(log_factor).sum() + (log_factor / _SPREAD) ** 2 / 2
    best = minimize_scalar(total, bounds=(-4.0, 1.0), method="bounded").x
    return Temper(float(np.exp(best)), loss(best))


def start_of(
    z: Float[np.ndarray, "n d"], codes: Int[np.ndarray, " n"], classes: int, parts: Parts
) -> Start:
    """Fitted to rows, of parts that are known."""
    log_prior, mean, precision = _gaussians(z, codes, classes)
    root = np.linalg.cholesky(precision).T
    weight, bias = np.zeros((classes, z.shape[1])), np.zeros(classes)
    for name, factor in parts.items():
        more, shift = _lines(name, z, codes, classes)
        weight, bias = weight + factor * more, bias + factor * shift
    weight = np.linalg.solve(root.T, weight.T).T
    return Start(root, weight, bias, log_prior, mean @ root.T)


def _lines(
    name: float | str, z: Float[np.ndarray, "n d"], codes: Int[np.ndarray, " n"], classes: int
) -> tuple[Float[np.ndarray, "k d"], Float[np.ndarray, " k"]]:
    if name == "gaussians":
        log_prior, mean, precision = _gaussians(z, codes, classes)
        weight = mean @ precision
        return weight, log_prior - (weight * mean).sum(axis=1) / 2
    known = codes >= 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=name, max_iter=300).fit(z[known], codes[known])
    weight, bias = model.coef_, model.intercept_
    if classes == 2:
        return np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
    return weight, bias


def _gaussians(
    z: Float[np.ndarray, "n d"], codes: Int[np.ndarray, " n"], classes: int
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "k d"], Float[np.ndarray, "d d"]]:
    """Priors, means and the one precision; of rows without a class by their expectation."""
    known = codes >= 0
    shares = np.zeros((len(z), classes))
    shares[known, codes[known]] = 1
    found = _gaussians_of(z, shares, np.where(known, 1.0, 0.0))
    for _ in range(0 if known.all() else _ROUNDS):
        log_prior, mean, precision = found
        slopes = mean @ precision
        logits = z @ slopes.T + log_prior - (slopes * mean).sum(axis=1) / 2
        shares[~known] = softmax(logits[~known], axis=1)
        found = _gaussians_of(z, shares, np.where(known, 1.0, _UNLABELLED))
    return found


def _gaussians_of(
    z: Float[np.ndarray, "n d"], shares: Float[np.ndarray, "n k"], weights: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "k d"], Float[np.ndarray, "d d"]]:
    """Those of rows that belong to classes by shares, and count by weights."""
    count, width = z.shape
    counted = shares * weights[:, None]
    total = counted.sum(axis=0)
    mean = (counted.T @ z) / total[:, None]
    covariance = (z.T @ (weights[:, None] * z) - (mean.T * total) @ mean) / weights.sum()
    even, share = max(float(np.trace(covariance)) / width, 1e-6), min(1.0, width / count)
    covariance = (1 - share) * covariance + (share + 1e-6) * even * np.eye(width)
    precision = np.linalg.inv(covariance)
    return np.log((total + 1) / (total + 1).sum()), mean, (precision + precision.T) / 2


def _one_of_each(
    codes: Int[np.ndarray, " n"], few: Int[np.ndarray, " m"], classes: int
) -> Iterator[Int[np.ndarray, " one"]]:
    for name in set(range(classes)) - set(codes[few].tolist()):
        yield np.flatnonzero(codes == name)[:1]

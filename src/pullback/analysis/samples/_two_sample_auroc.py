"""Whether a classifier can tell samples from data."""

from typing import NamedTuple

import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Num, PRNGKeyArray

from pullback._key import checked_key

from ._rows import both_rows

_FOLDS, _TREES, _LEAF = 5, 100, 3
_FEWEST = 2 * _FOLDS


class TwoSampleAUROC(NamedTuple):
    """How well samples are told from data on rows that the classifier has not seen.

    Attributes:
        auroc: the chance that a sample seems more like one than a real row does: 0.5 where they
            cannot be told apart, 1 where each can.
        standard_error: of it, over the rows, and widened as the folds' forests share rows; 0 where
            each row is told rightly.
    """

    auroc: float
    standard_error: float


def two_sample_auroc(
    real: Num[Array | np.ndarray, "n d"],
    fake: Num[Array | np.ndarray, "m d"],
    *,
    key: PRNGKeyArray,
) -> TwoSampleAUROC:
    r"""The area under the ROC curve of a random forest that tells samples from data.

    $$ \mathrm{AUROC} = P(s(y) > s(x)) + \tfrac12 P(s(y) = s(x)) $$

    with s the share of trees that take a row for a sample, by cross-validation in five folds: each
    row is scored by a forest that has not seen it, and the area is the mean over folds. It is
    shown each number's rank in its column, among data and samples: columns need no like scales. It
    sees what columns do together too; what it does not find may be there all the same, so 0.5 is a
    good sign and no proof. Rows that occur twice among the samples are told by that alone,
    as they should be. An area far below 0.5 says that samples repeat rows of these data, which the
    forest then takes for the other kind: that is no good sign. On the host: not within `jax.jit`.

    Args:
        real: data that the samples were not fitted to, `[n, d]`.
        fake: samples, `[m, d]`; take as many as there are data.
        key: of the folds and the trees.

    Raises:
        ValueError: the rows are not finite numbers of the same columns, or fewer than ten of a
            kind.

    Example:
        >>> import jax, numpy as np
        >>> random = np.random.default_rng(0)
        >>> x, y = random.normal(size=(60, 2)), random.normal(size=(60, 2)) + 9
        >>> two_sample_auroc(x, y, key=jax.random.key(0))
        TwoSampleAUROC(auroc=1.0, standard_error=0.0)

    Source: Lopez-Paz and Oquab, Revisiting Classifier Two-Sample Tests, arXiv 1610.06545; the
        variance of a fold: DeLong et al., Comparing the areas under two or more correlated receiver
        operating characteristic curves, Biometrics 1988; that of their mean: Nadeau and Bengio,
        Inference for the generalization error, Machine Learning 2003.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold

    key = checked_key(key)
    real, fake = both_rows(real, fake)
    if min(len(real), len(fake)) < _FEWEST:
        raise ValueError(
            f"`real` and `fake` must have {_FEWEST} rows or more each, got {len(real)} and "
            f"{len(fake)}: fewer are not enough to hold any out."
        )
    random = np.random.RandomState(np.asarray(jr.key_data(key)).ravel())
    rows, is_fake = np.concatenate([real, fake]), np.repeat([0, 1], [len(real), len(fake)])
    # A forest rounds to single precision, and takes what is 1e-7 apart for equal.
    rows = np.stack([np.unique(column, return_inverse=True)[1] for column in rows.T], axis=1)
    areas, variances = [], []
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=random)
    for seen, held in folds.split(rows, is_fake):
        forest = RandomForestClassifier(_TREES, min_samples_leaf=_LEAF, random_state=random)
        score = forest.fit(rows[seen], is_fake[seen]).predict_proba(rows[held])[:, 1]
        area, variance = _area(score[is_fake[held] == 1], score[is_fake[held] == 0])
        areas.append(area)
        variances.append(variance)
    # Folds hang together: what a forest has not seen is what the others have.
    widened = 1 / _FOLDS + 1 / (_FOLDS - 1)
    return TwoSampleAUROC(float(np.mean(areas)), float(np.sqrt(np.mean(variances) * widened)))


def _area(fake: Float[np.ndarray, " m"], real: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """The share of pairs in the right order, and its variance by DeLong."""
    above = (fake[:, None] > real) + 0.5 * (fake[:, None] == real)
    of_fake, of_real = above.mean(axis=1), above.mean(axis=0)
    variance = of_fake.var(ddof=1) / len(fake) + of_real.var(ddof=1) / len(real)
    return float(above.mean()), float(variance)

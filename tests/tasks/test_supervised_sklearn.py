"""scikit-learn's contract, by its own checks, of the classifiers and the regression."""

from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from pullback.tasks import (
    BayesianNetClassifier,
    BayesianNetRegressor,
    ContinualClassifier,
    EnergyClassifier,
    RowTrust,
)

CLASSIFIERS = (EnergyClassifier(), BayesianNetClassifier(), RowTrust(max_steps=2))
CONTINUAL = ContinualClassifier(steps=50)
ALL = (*CLASSIFIERS, CONTINUAL, BayesianNetRegressor())
CORE = (
    "check_no_attributes_set_in_init",
    "check_n_features_in_after_fitting",
    "check_estimators_unfitted",
    "check_requires_y_none",
    "check_classifiers_one_label",
    "check_classifiers_classes",
    "check_supervised_y_no_nan",
    "check_regressors_int",
    "check_partial_fit_n_features",
    "check_estimators_pickle",
)


@parametrize_with_checks([*ALL])
@pytest.mark.slow
def test_all_checks(estimator, check):
    check(estimator)


def core():
    """The checks that find what breaks most often."""
    for task in (CLASSIFIERS[0], CLASSIFIERS[-1], CONTINUAL, ALL[-1]):
        pairs: Any = estimator_checks_generator(task)
        for estimator, check in pairs:
            name = getattr(check, "func", check).__name__
            if name in CORE:
                yield pytest.param(estimator, check, id=f"{type(task).__name__}-{name}")


@pytest.mark.parametrize(("estimator", "check"), list(core()))
def test_the_core_of_the_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_it_works_in_pipelines_and_searches(classifier):
    x = np.random.default_rng(0).normal(size=(45, 2))
    y = np.where(x[:, 0] > 0, "up", "down")
    model = classifier.set_params(random_state=0)
    assert cross_val_score(model, x, y, cv=2).min() > 0.7
    piped = make_pipeline(StandardScaler(), model).fit(x, y)
    assert set(piped.predict(x)) == {"up", "down"}
    search = GridSearchCV(model, {"max_steps": [0, 5]}, cv=2, scoring="neg_log_loss").fit(x, y)
    assert search.best_score_ > np.log(0.5)

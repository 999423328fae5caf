"""scikit-learn's own checks of an estimator."""

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from pullback.tasks import FlowDensity, TableGAN

CORE = (
    "check_estimator_cloneable",
    "check_no_attributes_set_in_init",
    "check_fit_score_takes_y",
    "check_n_features_in_after_fitting",
    "check_dict_unchanged",
    "check_fit2d_1sample",
    "check_methods_sample_order_invariance",
    "check_outlier_contamination",
)


@parametrize_with_checks([FlowDensity(), FlowDensity("spline-coupling"), TableGAN(max_steps=10)])
@pytest.mark.slow
def test_all_checks(estimator, check):
    check(estimator)


def core():
    """The checks that find what breaks most often."""
    for task in (FlowDensity(), TableGAN()):
        pairs: Any = estimator_checks_generator(task)
        for estimator, check in pairs:
            name = getattr(check, "func", check).__name__
            if name in CORE:
                yield pytest.param(estimator, check, id=f"{type(task).__name__}-{name}")


@pytest.mark.parametrize(("estimator", "check"), list(core()))
def test_the_core_of_the_checks(estimator, check):
    check(estimator)


def test_it_works_in_pipelines_and_searches():
    x = np.random.default_rng(0).normal(size=(60, 2))
    model = FlowDensity(random_state=0)
    scores = cross_val_score(model, x, cv=3)
    assert np.isfinite(scores).all()
    piped = make_pipeline(StandardScaler(), clone(model)).fit(x)
    assert set(piped.predict(x)) == {-1, 1}
    search = GridSearchCV(model, {"copula": [False, True]}, cv=2).fit(x)
    assert search.best_score_ == max(search.cv_results_["mean_test_score"])
    picked = ColumnTransformer([("two", StandardScaler(), [0, 1])])
    assert make_pipeline(picked, model).fit(x).score(x) < 0


def test_frames_files_and_arrays_are_the_same_table(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 2))
    frame = pd.DataFrame(x, columns=["a", "b"])
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    given = (x, frame, pl.DataFrame(frame), tmp_path / "t.csv", str(tmp_path / "t.parquet"))
    models = [FlowDensity(random_state=0).fit(each) for each in given]
    wanted = models[0].score_samples(x)
    for model, each in zip(models, given, strict=True):
        np.testing.assert_array_equal(model.score_samples(each), wanted)
    for model in models[1:]:
        assert model.feature_names_in_.tolist() == ["a", "b"]
        np.testing.assert_array_equal(model.score_samples(tmp_path / "t.csv"), wanted)
    # Of a file what is scored may be any frame that has the columns.
    wide = frame[["b", "a"]].assign(c=1.0)
    np.testing.assert_array_equal(models[3].score_samples(wide), wanted)

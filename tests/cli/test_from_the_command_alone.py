"""What a scientist does in a day, each step in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pullback import tasks

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("workplace")]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def pullback():
    def pullback(line):
        words = [sys.executable, "-m", "pullback.cli", *line.split()]
        path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
        # As a user's: float32, whatever this process has.
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(words, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return pullback


def test_a_density_scores_tomorrows_rows_to_the_bit_as_it_did(pullback):
    pullback("data fetch diabetes --out .")
    pullback("fit density diabetes.csv --out model --no-progress --no-report")
    random = np.random.default_rng(0)
    old = pd.read_csv("diabetes.csv")
    new = old.sample(500, replace=True, random_state=1).reset_index(drop=True)
    new["bmi"] += random.normal(size=500).round(1)
    new.to_csv("new.csv", index=False)
    assert "500 rows scored" in pullback("score model new.csv --out scores.csv")
    found = pd.read_csv("scores.csv")
    assert found.id.tolist() == new.id.tolist()
    # Fitted here, in five lines of Python, and fitted there.
    density = tasks.FlowDensity(random_state=0).fit("diabetes.csv")
    np.testing.assert_array_equal(found.log_density, density.score_samples("new.csv"))
    assert "FlowDensity('residual-flow') of diabetes.csv: 354 rows" in pullback("show model")


def test_classes_of_new_rows(pullback):
    pullback("data fetch wine --out .")
    wine = pd.read_csv("wine.csv")
    few = wine.groupby("kind").head(8).index
    wine.loc[~wine.index.isin(few), "kind"] = ""
    wine.to_csv("few.csv", index=False)
    pullback("fit classes few.csv --label kind --out model --no-progress --no-report")
    pullback("predict model wine-new.csv --out predicted.csv")
    new, found = pd.read_csv("wine-new.csv"), pd.read_csv("predicted.csv")
    assert found.id.tolist() == new.id.tolist()
    assert (found.predicted == new.kind).mean() > 0.85
    model = tasks.EnergyClassifier(label="kind", random_state=0).fit("few.csv")
    assert model.predict("wine-new.csv").tolist() == found.predicted.tolist()


def test_forecasts_of_new_patients_with_bands(pullback):
    random = np.random.default_rng(0)

    def ward(first, count):
        rows = []
        for patient in range(first, first + count):
            level = 70 + 10 * random.normal()
            for hour in np.arange(12) * 2 + random.uniform(0, 1.9, 12).round(2):
                rows.append((patient, hour, "pulse", level + random.normal()))
        return pd.DataFrame(rows, columns=["patient", "time", "variable", "value"])

    ward(0, 30).to_csv("ward.csv", index=False)
    ward(100, 4).to_csv("new.csv", index=False)
    pullback("fit series ward.csv --out model --no-progress --no-report")
    pullback("forecast model new.csv --until 26 --every 1 --level 0.8 --out forecast.csv")
    found = pd.read_csv("forecast.csv")
    assert set(found.patient) <= {100, 101, 102, 103}
    assert (found.lower < found["mean"]).all()
    assert (found["mean"] < found.upper).all()
    assert found.time.max() == 26
    last = pd.read_csv("new.csv").groupby("patient").value.last()
    first = found.groupby("patient")["mean"].first()
    assert np.abs(first - last[first.index]).max() < 5
    model = tasks.SeriesModel(random_state=0).fit("ward.csv")
    again = model.forecast("new.csv", until=26, every=1, level=0.8)
    np.testing.assert_allclose(again.mean, found["mean"], rtol=1e-5)

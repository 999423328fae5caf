"""Series filled in and continued: each row in its place, bands that hold, and what is refused."""

import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone

from pullback.data import IrregularSeries, irregular_series, read_long
from pullback.tasks import ModelError, SeriesModel, load, predict_file, write_report


def ward(patients, seed, *, first=0):
    """A ward: a pulse that swings, and half of the time a temperature against it."""
    random, rows = np.random.default_rng(seed), []
    for patient in range(first, first + patients):
        phase = random.uniform(0, 2 * np.pi)
        for t in np.unique(random.uniform(0, 10, 16).round(2)):
            wave = np.sin(1.5 * t + phase)
            rows.append((patient, t, "HR [1/min]", 70 + 10 * wave + random.normal()))
            if random.random() < 0.5:
                rows.append((patient, t, "T [degC]", 37 - 0.5 * wave + 0.05 * random.normal()))
    return pd.DataFrame(rows, columns=["patient", "time [h]", "what", "value"])


SETTINGS = {"variable": "what", "random_state": 0, "progress": False}


@pytest.fixture(scope="module")
def table():
    return ward(50, 0)


@pytest.fixture(scope="module")
def model(table):
    """Trained a little, and with outcomes: whether the mean pulse is high."""
    high = table[table.what.str.startswith("HR")].groupby("patient")["value"].mean() > 70
    outcome = {name: "high" if is_high else "low" for name, is_high in high.items()}
    return SeriesModel("ode-rnn", max_steps=150, **SETTINGS).fit(table, outcome)


@pytest.fixture(scope="module")
def new():
    return ward(6, 1, first=100)


def by_place(found):
    return found.to_frame().set_index(list(found.names))


def test_what_is_observed_stays_and_every_other_place_is_filled_in(model, new):
    found = model.impute(new, level=0.8)
    frame = by_place(found)
    times = new.groupby("patient")["time [h]"].nunique().sum()
    assert len(frame) == 2 * times
    assert not frame.index.has_duplicates
    known = new.set_index(["patient", "time [h]", "what"])["value"]
    observed = frame[frame.part == "observed"]
    for name in ("mean", "lower", "upper"):
        pd.testing.assert_series_equal(
            observed[name].sort_index(), known.sort_index(), check_names=False, rtol=1e-12
        )
    imputed = frame[frame.part == "imputed"]
    assert (imputed.lower < imputed["mean"]).all()
    assert (imputed["mean"] < imputed.upper).all()
    assert found.level == 0.8


def test_forecasts_lie_on_multiples_after_each_series_end(model, new):
    found = by_place(model.forecast(new, until=12, every=0.5))
    ends = new.groupby("patient")["time [h]"].max()
    for patient, end in ends.items():
        times = found.loc[patient].index.unique(level=0).to_numpy()
        np.testing.assert_allclose(times, np.arange(np.floor(end / 0.5) * 0.5 + 0.5, 12.1, 0.5))
    own = by_place(model.forecast(new, until="+2", every=0.5))
    spans = own.reset_index().groupby("patient")["time [h]"].max() - ends
    assert ((spans > 1.5) & (spans <= 2)).all()
    wide, narrow = (by_place(model.forecast(new, until=12, every=1, level=p)) for p in (0.95, 0.5))
    assert ((wide.upper - wide.lower) > (narrow.upper - narrow.lower)).all()
    np.testing.assert_array_equal(wide["mean"], narrow["mean"])
    with pytest.warns(UserWarning, match="farther ahead than"):
        far = model.forecast(new, until=100, every=5)
    # Where nothing was checked the network is silent: what is left is the mean.
    last = far.time == 100
    np.testing.assert_allclose(far.mean[last].reshape(6, 2), [model.scale_.mean] * 6, rtol=1e-3)
    with pytest.raises(ValueError, match="no series ends before `until`, 1"):
        model.forecast(new, until=1)


def test_a_series_of_its_own_is_told_the_same_as_among_others(model, new):
    alone = new[new.patient == 103]
    for ask in (model.impute, lambda X: model.forecast(X, until=12, every=1)):
        among = by_place(ask(new)).loc[103]
        pd.testing.assert_frame_equal(by_place(ask(alone)).loc[103], among)
    one = model.transform(alone)
    np.testing.assert_array_equal(one[0], model.transform(new)[3])
    assert model.series_names(new)[3] == "103"


def test_bands_of_new_series_hold_what_they_say(model):
    """Within four standard errors over series, of reconstructions and of forecasts."""
    fresh = ward(80, 7, first=300)
    for level in (0.5, 0.9):
        told = by_place(model.reconstruct(fresh, level=level))
        shares = _held(told, fresh)
        assert abs(shares.mean() - level) < 4 * shares.std(ddof=1) / np.sqrt(80) + 0.02
    past = fresh[fresh["time [h]"] < 7]
    grid = fresh.assign(value=fresh.value.where(fresh["time [h]"] < 7))
    told = by_place(model.impute(grid, level=0.9))
    shares = _held(told[told.part == "imputed"], fresh[fresh["time [h]"] >= 7])
    assert abs(shares.mean() - 0.9) < 4 * shares.std(ddof=1) / np.sqrt(len(shares)) + 0.02
    assert len(past) < len(fresh)


def _held(told, truth):
    """The share of each series' values that lie in their bands."""
    both = told.join(truth.set_index(["patient", "time [h]", "what"])["value"], how="inner")
    return ((both.lower <= both.value) & (both.value <= both.upper)).groupby("patient").mean()


def test_the_network_is_kept_where_it_gains_and_only_there(model):
    assert model.core_.kept[1].all()
    said = " ".join(model.notes_)
    assert "For forecasts the ode-rnn gains for sure on every variable." in said
    assert model.report_["forecast"]["the process"]["behind"] > 0
    assert model.report_["forecast"]["the last value carried on"]["sure"]
    random = np.random.default_rng(0)
    noise = [(np.arange(12.0), random.normal(size=(12, 1))) for _ in range(40)]
    plain = SeriesModel("ode-rnn", max_steps=40, **SETTINGS).fit(irregular_series(noise))
    assert not plain.core_.kept.any()
    found = plain.forecast(irregular_series(noise), until=13, every=1)
    assert np.abs(found.mean).max() < 0.6  # nothing is known of noise but its mean
    assert np.median(found.upper - found.lower) == pytest.approx(2 * 1.645, rel=0.15)


def test_files_frames_and_series_are_the_same_table(model, table, new, tmp_path):
    new.to_csv(tmp_path / "n.csv", index=False)
    new.to_parquet(tmp_path / "n.parquet")
    wanted = model.impute(new)
    series = read_long(new, variable="what")
    for given in (tmp_path / "n.csv", str(tmp_path / "n.parquet"), pl.DataFrame(new), series):
        found = model.impute(given)
        for got, want in zip(found[:7], wanted[:7], strict=True):
            np.testing.assert_array_equal(got, want)
    assert wanted.series.dtype.kind == "i"
    assert wanted.names == ("patient", "time [h]", "what")
    renamed = new.assign(patient=[f"p{k}" for k in new.patient])
    assert model.impute(renamed).series[0] == "p100"
    mixed = new.sample(frac=1, random_state=0)
    shuffled = by_place(model.impute(mixed)).sort_index()
    np.testing.assert_allclose(shuffled["mean"], by_place(wanted).sort_index()["mean"])


def test_dates_come_back_as_dates(table, new):
    start = pd.Timestamp("2024-02-28")
    dated = lambda frame: frame.drop(columns="time [h]").assign(
        time=start + pd.to_timedelta(frame["time [h]"], unit="h")
    )
    settings = {**SETTINGS, "max_steps": 0}
    numbers, dates = (SeriesModel(**settings).fit(t) for t in (table, dated(table)))
    assert dates.time_unit_ == "h since 1970-01-01"
    by_number = numbers.forecast(new, until=12, every=1)
    by_date = dates.forecast(dated(new), until="2024-02-28T12:00", every=1)
    wanted = start + pd.to_timedelta(by_number.time, unit="h")
    assert (pd.DatetimeIndex(by_date.time) == wanted).all()
    np.testing.assert_allclose(by_date.mean, by_number.mean, rtol=1e-6)


def test_zones_are_kept_apart():
    random = np.random.default_rng(0)
    hours = pd.date_range("2024-01-01", periods=8, freq="h", tz="Europe/Paris")
    zoned = pd.DataFrame({"id": np.repeat(np.arange(12), 8), "time": np.tile(hours, 12)})
    zoned = zoned.assign(variable="a", value=random.normal(size=96))
    model = SeriesModel(random_state=0).fit(zoned)
    found = model.forecast(zoned, until="2024-01-01T10:00+01:00", every=1).to_frame()
    times = found[found.id == 3].time
    assert [t.isoformat() for t in times.dt.tz_convert("Europe/Paris")] == [
        f"2024-01-01T{hour:02}:00:00+01:00" for hour in (8, 9, 10)
    ]
    with pytest.raises(ValueError, match="has no zone, and the times have one"):
        model.forecast(zoned, until="2024-01-01T10:00")
    with pytest.raises(ValueError, match="the times are dates, and 'noon' is none in ISO 8601"):
        model.forecast(zoned, until="noon")
    with pytest.raises(ValueError, match="the times are dates, and 12 is none"):
        model.forecast(zoned, until=12)


def test_series_of_one_point_of_no_value_and_of_a_variable_less(model, new):
    few = pd.DataFrame(
        [("a", 0.0, "HR [1/min]", 90.0), ("a", 2.0, "HR [1/min]", None),
         ("b", 1.0, "T [degC]", None), ("c", 1.0, "T [degC]", 36.0)],
        columns=new.columns,
    )  # fmt: skip
    found = by_place(model.impute(few))
    assert len(found) == 8
    assert np.isfinite(found[["mean", "lower", "upper"]].to_numpy(float)).all()
    assert found.loc[("a", 0.0, "HR [1/min]")].part == "observed"
    hidden, never = found.loc[("a", 2.0, "HR [1/min]")], found.loc[("c", 1.0, "HR [1/min]")]
    assert hidden.part == never.part == "imputed"
    assert 18 < never.upper - never.lower < 30
    assert model.transform(few).shape == (3, len(model.get_feature_names_out()))
    assert np.isfinite(model.predict_proba(few)).all()


def test_what_does_not_fit_is_refused_or_told(model, new, table):
    extra = pd.concat([new, pd.DataFrame([(100, 1.0, "lactate", 2.0)], columns=new.columns)])
    with pytest.warns(UserWarning, match="fitted without them: lactate"):
        found = model.impute(extra)
    assert set(found.variable) == {"HR [1/min]", "T [degC]"}
    with pytest.raises(ValueError, match="T is in degF, and the model was fitted to it in degC"):
        model.impute(new.assign(what=new.what.str.replace("degC", "degF")))
    none = new[new.what.str.startswith("HR")].assign(what="lactate")
    with (
        pytest.warns(UserWarning, match="fitted without them: lactate"),
        pytest.raises(ValueError, match="none of the variables of the model, HR, T, is in"),
    ):
        model.impute(none)
    with pytest.raises(ValueError, match="has a value of 'HR' at this time on row"):
        model.impute(pd.concat([new, new]))
    with pytest.raises(ValueError, match="`level` must be above 0 and below 1, got 1"):
        model.impute(new, level=1)
    with pytest.raises(ValueError, match="`every` must be above 0, got 0"):
        model.forecast(new, until=12, every=0)
    with pytest.raises(ValueError, match="'tomorrow' is none"):
        model.forecast(new, until="tomorrow")
    with pytest.raises(TypeError, match="got a list"):
        model.impute([1.0])
    with pytest.raises(ValueError, match=r"expected 6 series or more, .* got 5"):
        SeriesModel(**SETTINGS).fit(ward(5, 0))
    with pytest.raises(ValueError, match="`method` must be one of 'latent-ode', "):
        SeriesModel("arima").fit(table)
    with pytest.raises(ValueError, match="fitted without outcomes"):
        SeriesModel(**{**SETTINGS, "max_steps": 0}).fit(table).predict(new)
    with pytest.raises(ValueError, match=r"two or more outcomes; the series have \[1\]. Are the"):
        SeriesModel(**{**SETTINGS, "max_steps": 0}).fit(table, dict.fromkeys(range(50), 1))


def test_variables_that_cannot_be_learned_are_left_out_with_a_sentence(table):
    more = [(0, 99.0, "rare", 1.0)] + [(k, 99.0, "same", 3.0) for k in range(50)]
    whole = pd.concat([table, pd.DataFrame(more, columns=table.columns)])
    empty = pd.DataFrame([(77, 1.0, "HR [1/min]", None)], columns=table.columns)
    model = SeriesModel(**{**SETTINGS, "max_steps": 0}).fit(pd.concat([whole, empty]))
    assert model.variables_ == ("HR", "T")
    said = " ".join(model.notes_)
    assert "rare (it has 1 values); same (it is 3 wherever it is known)" in said
    assert "1 series have no value and were left out." in said


def test_outcomes_are_told_and_compared(model, new, table):
    prob = model.predict_proba(new)
    np.testing.assert_allclose(prob.sum(axis=1), 1)
    assert model.classes_ == ["high", "low"]
    pulse = new[new.what.str.startswith("HR")].groupby("patient")["value"].mean()
    right = np.where(pulse > 70, "high", "low") == model.predict(new)
    assert right.mean() >= 5 / 6
    assert model.outcome_report_["accuracy"] > model.outcome_report_["most_frequent"]
    assert "by a logistic regression on summaries" in model.notes_[-1]
    frame = pd.DataFrame({"patient": range(50), "died": [k % 2 for k in range(50)]})
    for given in (frame, dict(frame.itertuples(index=False)), frame.died):
        other = SeriesModel(**{**SETTINGS, "max_steps": 0}).fit(table, given)
        assert other.classes_ == [0, 1]
    with_targets = read_long(table, variable="what")._replace(targets=frame.died.to_numpy(float))
    assert isinstance(with_targets, IrregularSeries)
    same = SeriesModel(**{**SETTINGS, "max_steps": 0}).fit(with_targets)
    np.testing.assert_array_equal(same.predict_proba(new), other.predict_proba(new))


def test_outcomes_go_to_a_file(model, new, tmp_path):
    new.to_csv(tmp_path / "n.csv", index=False)
    assert predict_file(model, tmp_path / "n.csv", tmp_path / "o.csv") == 6
    found = pd.read_csv(tmp_path / "o.csv")
    assert list(found) == ["patient", "p_high", "p_low", "predicted"]
    assert found.patient.tolist() == list(range(100, 106))
    np.testing.assert_array_equal(found[["p_high", "p_low"]], model.predict_proba(new))
    assert found.predicted.tolist() == model.predict(new).tolist()


def test_forecasts_are_the_same_to_the_bit_in_another_process(model, new, tmp_path):
    model.save(tmp_path / "m")
    new.to_parquet(tmp_path / "n.parquet")
    script = (
        "import sys, numpy as np, pullback as pb; m = pb.tasks.load(sys.argv[1]);"
        "f = m.forecast(sys.argv[2], until=11, every=1);"
        "np.savez(sys.argv[3], *f[4:7], m.predict_proba(sys.argv[2]))"
    )
    names = [str(tmp_path / name) for name in ("m", "n.parquet", "f.npz")]
    subprocess.run([sys.executable, "-c", script, *names], check=True)
    here = model.forecast(tmp_path / "n.parquet", until=11, every=1)
    with np.load(tmp_path / "f.npz") as there:
        for k, own in enumerate([*here[4:7], model.predict_proba(tmp_path / "n.parquet")]):
            np.testing.assert_array_equal(there[f"arr_{k}"], own)
    again = load(tmp_path / "m")
    again.save(tmp_path / "again")
    for file in ("model.json", "model.safetensors"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "m" / file).read_bytes()
    weights = tmp_path / "m" / "model.safetensors"
    whole = bytearray(weights.read_bytes())
    whole[-3] ^= 1
    weights.write_bytes(whole)
    with pytest.raises(ModelError, match="is damaged"):
        load(tmp_path / "m")


def test_settings_are_kept_and_the_score_is_a_share_of_variance(model, new):
    assert clone(model).get_params() == model.get_params()
    told, known = by_place(model.reconstruct(new)), new.set_index(["patient", "time [h]", "what"])
    square = np.square((told["mean"] - known.value) / model.scale_.deviation[
        told.index.get_level_values("what").str.startswith("T").astype(int)
    ])  # fmt: skip
    assert model.score(new) == pytest.approx(1 - square.groupby("what").mean().mean())
    assert model.score(new) > 0.5


def test_the_page_and_the_card_say_who_wins(model, table, tmp_path):
    text = write_report(model, table, tmp_path).read_text()
    assert "<title>the DataFrame: series</title>" in text
    for word in ("linear interpolation", "the last value carried on", "winner", "90 % bands hold"):
        assert word in text
    assert text.count("data:image/png;base64,") == 2
    card = "\n".join(model._card())
    assert "variables: HR [1/min], T [degC]" in card
    assert "Forecasts were checked up to" in card


def test_a_neural_cde_says_the_same_after_it_was_saved(table, new, tmp_path):
    high = {name: "high" if name % 2 else "low" for name in table.patient.unique()}
    model = SeriesModel("neural-cde", max_steps=40, **SETTINGS).fit(table, high)
    assert model.n_steps_ == 40
    # Whether it gains or not, so that all that is told goes through it.
    model.core_ = model.core_._replace(kept=np.ones((2, 2), bool))
    assert model.transform(new).shape[1] == len(model.get_feature_names_out())
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    for ask in (
        lambda m: m.impute(new).mean,
        lambda m: m.forecast(new, until=12, every=1).upper,
        lambda m: m.predict_proba(new),
    ):
        np.testing.assert_array_equal(ask(model), ask(again))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["latent-ode", "latent-sde"])
def test_latent_models_continue_waves(method, tmp_path):
    model = SeriesModel(method, **SETTINGS).fit(ward(120, 0))
    assert model.n_steps_ > 0
    for task in (
        "impute",
        "forecast",
    ):  # kept only where it gains
        found = model.report_[task]["the process"]
        assert found["behind"] >= -3 * found["standard_error"]
    fresh = ward(40, 1)
    model.save(tmp_path / "m")
    ours, theirs = (m.forecast(fresh, until="+2", every=0.5) for m in (model, load(tmp_path / "m")))
    np.testing.assert_array_equal(ours.mean, theirs.mean)

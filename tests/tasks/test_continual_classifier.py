"""Classes learned table after table: saved between tasks, held in mind, and what is refused."""

import copy
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from pullback.tasks import ContinualClassifier, ModelError, card, load, write_report
from pullback.tasks import _continual_nets as continual_nets


def blobs(rows=70, seed=0, shift=(0.0, 0.0, 0.0), names=("high", "low")):
    """Two classes that the first column tells apart, anywhere in the two others."""
    random = np.random.default_rng(seed)
    kind = np.arange(rows) % 2
    x = random.normal(size=(rows, 3)) + np.asarray(shift)
    x[:, 0] += 6 * kind
    return x, np.asarray(names)[kind]


def other(rows=80, seed=1):
    """Rows far off, whose classes lie the other way round along the first column."""
    x, y = blobs(rows, seed, (0.0, 4.0, 0.0))
    return x * [-1, 1, 1] + [6, 0, 0], y


def model(**settings):
    return ContinualClassifier(random_state=0, **{"steps": 50, "progress": False, **settings})


def same(one, two, rows=None):
    rows = blobs(30, 9)[0] if rows is None else rows
    np.testing.assert_array_equal(one.predict_proba(rows), two.predict_proba(rows))
    for ours, theirs in zip(one.learned_, two.learned_, strict=True):
        for a, b in zip(ours, theirs, strict=True) if isinstance(ours, list) else [(ours, theirs)]:
            np.testing.assert_array_equal(a, b)


def test_a_model_that_was_saved_goes_on_bit_for_bit(tmp_path):
    tables = [blobs(), other(), blobs(60, 3, (0.0, 0.0, 5.0))]
    whole, parts = model(), model()
    for x, y in tables:
        whole.partial_fit(x, y)
        parts = load(parts.partial_fit(x, y).save(tmp_path / "m"))
    same(whole, parts)
    assert whole.tasks_ == parts.tasks_
    assert [task["rows"] for task in parts.tasks_] == [70, 80, 60]
    assert parts.data_ == whole.data_
    assert parts.data_["rows"] == 210
    assert int(parts.learned_.tasks) == 3
    assert parts.report_ == whole.report_
    assert any("of task 3 that took no part" in note for note in parts.notes_)
    for name in ("plain", "again"):
        first = tables[0]
        found = model().fit(*first) if name == "plain" else clone(whole).partial_fit(*first)
        same(found, model().partial_fit(*first))


def test_earlier_rows_are_kept_in_mind():
    (old, y), (new, z) = blobs(200, 0), other(200)
    kept = {}
    for strength in (0, 1.0):
        found = model(steps=300, strength=strength).partial_fit(old, y)
        assert found.score(old, y) > 0.95
        found.partial_fit(new, z)
        kept[strength] = found.score(old, y)
        assert found.score(new, z) > 0.9
    assert kept[1.0] > kept[0] + 0.15


def test_fit_begins_anew():
    found = model().partial_fit(*blobs()).partial_fit(*other())
    assert len(found.tasks_) == 2
    same(found.fit(*blobs()), model().fit(*blobs()))
    assert len(found.tasks_) == 1


def test_classes_that_come_later_are_named_up_front():
    x, y = blobs()
    late = np.where(y == "low", "late", y)
    found = model().partial_fit(x, y)
    with pytest.raises(
        ValueError,
        match=r"row 2 of the task is of class 'late', and the model has 'high', 'low'; name all",
    ):
        found.partial_fit(x, late)
    assert len(found.tasks_) == 1
    ready = model().partial_fit(x, y, classes=["low", "late", "high"])
    assert ready.classes_.tolist() == ["high", "late", "low"]
    ready.partial_fit(x, late, classes=["high", "low", "late"])
    assert ready.tasks_[1]["classes"] == ["high", "late"]
    assert any(
        note.startswith("Task 2 has no rows of low: such classes are soon forgotten")
        for note in ready.notes_
    )
    with pytest.raises(ValueError, match="cannot become"):
        ready.partial_fit(x, y, classes=["high", "low"])


def test_a_task_of_one_class_and_of_few_rows_is_learned():
    x, y = blobs()
    found = model().partial_fit(x[y == "low"], y[y == "low"], classes=["high", "low"])
    assert found.tasks_[0]["classes"] == ["low"]
    assert (found.predict(x[y == "low"]) == "low").all()
    found.partial_fit(x[:1], y[:1])
    assert found.tasks_[1] == {"rows": 1, "classes": ["high"], "steps": 50, "accuracy": None}
    assert found.report_ is None


def test_frames_and_files_with_holes_and_rows_without_a_class(tmp_path):
    x, y = blobs()
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    frame["kind"], frame["name"] = y, [f"r{k}" for k in range(len(x))]
    frame.loc[3, "b"] = np.nan
    frame.loc[4, "kind"] = None
    frame.to_csv(tmp_path / "one.csv", index=False)
    of_file = model(label="kind").partial_fit(tmp_path / "one.csv")
    of_file.partial_fit(tmp_path / "one.csv")
    of_frame = model(label="kind").partial_fit(frame).partial_fit(frame)
    same(of_frame, of_file, frame)
    assert of_file.columns_ == ("a", "b", "c")
    assert [task["rows"] for task in of_file.tasks_] == [69, 69]
    found = of_file.predict_proba(tmp_path / "one.csv")
    np.testing.assert_array_equal(found, of_frame.predict_proba(frame))
    with pytest.raises(ValueError, match="no row of the task has one"):
        of_frame.partial_fit(frame.assign(kind=None))
    with pytest.raises(ValueError, match="lacks columns"):
        of_frame.partial_fit(frame.drop(columns="b"))


def test_the_card_and_the_page(tmp_path):
    found = model().partial_fit(*blobs()).partial_fit(*other())
    folder = found.save(tmp_path / "m")
    told = card(load(folder), folder)
    assert told.startswith("ContinualClassifier of the array: 2 tasks, 150 rows, 150 with a class")
    assert f"pullback fit tasks NEXTFILE --label COLUMN --resume {folder} --out {folder}" in told
    page = write_report(found, other()[0], folder).read_text()
    assert "Tasks so far" in page
    assert "Which classes are taken for which" in page
    record = json.loads((folder / "model.json").read_text())
    assert record["fitted"]["tasks_"] == found.tasks_
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="damaged"):
        load(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "ewc"}, "`method` must be 'synaptic-intelligence', got 'ewc'"),
        ({"strength": -1.0}, "`strength` must be 0 or more"),
        ({"strength": float("nan")}, "`strength` must be 0 or more"),
        ({"damping": 0.0}, "`damping` must be above 0"),
        ({"steps": 0}, "`steps` must be 1 or more"),
        ({"steps": "3"}, "`steps` must be 1 or more, a whole number.*got '3'"),
        ({"steps": 2.5}, "`steps` must be 1 or more, a whole number"),
        ({"steps": True}, "`steps` must be 1 or more, a whole number"),
        ({"strength": "a"}, "`strength` must be 0 or more, a number and finite; got 'a'"),
        ({"strength": None}, "`strength` must be 0 or more"),
        ({"damping": None}, "`damping` must be above 0"),
    ],
)
def test_settings_that_do_not_fit(settings, message):
    with pytest.raises(ValueError, match=message):
        model().set_params(**settings).fit(*blobs())


def test_a_task_that_fails_leaves_all_as_it_was(monkeypatch):
    found = model().partial_fit(*blobs())
    before = copy.deepcopy(vars(found))

    def fails(*given, **settings):
        raise KeyboardInterrupt

    for learn in (found.partial_fit, found.fit):
        with monkeypatch.context() as patch:
            patch.setattr(continual_nets, "learn", fails)
            with pytest.raises(KeyboardInterrupt):
                learn(*other())
        assert repr(before) == repr(vars(found))
        with monkeypatch.context() as patch:  # what comes after the training
            patch.setattr(ContinualClassifier, "_remember", fails)
            with pytest.raises(KeyboardInterrupt):
                learn(*other())
        assert repr(before) == repr(vars(found))
    found.partial_fit(*other())
    never = model().partial_fit(*blobs()).partial_fit(*other())
    same(found, never)
    assert found.data_ == never.data_
    assert found.notes_ == never.notes_


def test_the_card_names_where_all_rows_came_from(tmp_path):
    x, y = blobs()
    frame = pd.DataFrame(x, columns=["a", "b", "c"]).assign(kind=y)
    found = model(label="kind")
    for name in ("may", "june", "may"):
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
        found.partial_fit(tmp_path / f"{name}.csv")
    assert card(found, tmp_path).startswith("ContinualClassifier of may.csv, june.csv: 3 tasks")
    assert found.partial_fit(frame).data_["source"] == "may.csv, june.csv, the DataFrame"


def test_fit_on_arrays_forgets_the_names_of_a_frame():
    x, y = blobs()
    found = model().fit(pd.DataFrame(x, columns=["a", "b", "c"]), y).fit(x, y)
    assert not hasattr(found, "feature_names_in_")


@pytest.mark.parametrize("classes", [[0, 1, None], [0.0, 1.0, np.nan], ["high", "low", None]])
def test_classes_are_not_those_of_rows_without_one(classes):
    with pytest.raises(ValueError, match="`classes` must name classes alone"):
        model().partial_fit(*blobs(), classes=classes)
    with pytest.raises(ValueError, match="`classes` must name classes alone"):
        model().partial_fit(*blobs()).partial_fit(*blobs(), classes=classes)


def test_classes_that_are_none():
    with pytest.raises(ValueError, match="two classes or more"):
        model().partial_fit(*blobs(), classes=["low"])
    with pytest.raises(ValueError, match="of class 'high'"):
        model().partial_fit(*blobs(), classes=["low", "other"])

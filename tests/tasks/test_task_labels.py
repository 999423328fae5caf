"""Classes as they are written: in a file, in a data frame, and what is a hole among them."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from pullback import data, tasks
from pullback.tasks._labels import labels_of, numbers_of, with_target
from pullback.tasks._series_rows import outcomes

CASES = [
    (["01", "1", "01"], ["01", "1", "01"]),
    (["1", "2", "NA"], [1.0, 2.0, np.nan]),
    (["1", "-1", "2.0"], [1, -1, 2]),
    (["mild", "", "severe"], ["mild", None, "severe"]),
    (["True", "False", "True"], ["True", "False", "True"]),
]


@pytest.mark.parametrize(("cells", "wanted"), CASES)
@pytest.mark.parametrize("kind", ["csv", "parquet", "pandas", "polars"])
def test_classes_are_read_alike_from_files_and_frames(kind, cells, wanted, tmp_path):
    bare = [None if cell == "" else cell for cell in cells]
    if {*cells} == {"True", "False"} and kind != "csv":
        bare = [cell == "True" for cell in cells]
    columns = {"a": [1.0, 2.0, 4.0], "kind": bare}
    table = {"pandas": pd.DataFrame, "polars": pl.DataFrame}.get(kind, tmp_path.joinpath)(
        f"t.{kind}" if kind in ("csv", "parquet") else columns
    )
    if kind == "csv":
        table.write_text("a,kind\n" + "".join(f"{k},{cell}\n" for k, cell in enumerate(cells)))
    elif kind == "parquet":
        pd.DataFrame(columns).to_parquet(table)
    rest, target = with_target(table, None, "kind", None, None, classes=True)
    assert rest.names == ("a",)
    texts = any(isinstance(cell, str) for cell in wanted)
    wanted = np.asarray(wanted, object if texts else None)
    assert target.dtype == wanted.dtype
    np.testing.assert_array_equal(target, wanted)


@pytest.mark.parametrize("kind", ["csv", "pandas", "polars"])
def test_a_label_that_may_be_a_hole_is_refused(kind, tmp_path):
    columns = {"a": [1.0, 2.0, 4.0], "kind": ["None", "mild", "severe"]}
    table = {"pandas": pd.DataFrame, "polars": pl.DataFrame}.get(kind, pd.DataFrame)(columns)
    if kind == "csv":
        table.to_csv(tmp_path / "t.csv", index=False)
        table = tmp_path / "t.csv"
    with pytest.raises(ValueError, match=r"the label 'None' \(1 such\) may be a class that is"):
        with_target(table, None, "kind", None, None, classes=True)
    if kind == "csv":
        read = data.read_mixed(table, labels=["kind"], na_labels="class")
        target = with_target(read, None, "kind", None, None, classes=True)[1]
        assert labels_of(target).classes.tolist() == ["None", "mild", "severe"]


@pytest.mark.parametrize(
    ("y", "codes"),
    [
        (["a", np.nan, "b"], [0, -1, 1]),
        (["a", None, "b"], [0, -1, 1]),
        (["a", "", "b"], [0, -1, 1]),
        (np.asarray(["a", " ", "b"]), [0, -1, 1]),
        (pd.Series(["a", None, "b"]), [0, -1, 1]),
        (pd.Categorical(["a", None, "b"]), [0, -1, 1]),
        ([1, None, 2], [0, -1, 1]),
        ([1.0, np.nan, 2.0], [0, -1, 1]),
        ([True, None, False], [1, -1, 0]),
        (np.asarray(["2020-01-01", "NaT", "2021-01-01"], "datetime64[D]"), [0, -1, 1]),
    ],
)
def test_a_hole_among_given_classes_is_none(y, codes):
    target = with_target(np.zeros((3, 1)), y, None, None, None, classes=True)[1]
    assert labels_of(target).codes.tolist() == codes


@pytest.mark.parametrize("word", ["nan", "NA", "None", "?", "<NA>"])
@pytest.mark.parametrize("make", [list, np.asarray, pd.Series])
def test_a_given_class_that_may_be_a_hole_is_refused(word, make):
    y = make(["a", "b", word])
    with pytest.raises(ValueError, match=r"row 3 of `y` is of class .*write None where a row"):
        with_target(np.zeros((3, 1)), y, None, None, None, classes=True)


def test_bytes_in_a_frame_are_refused():
    frame = pd.DataFrame({"a": [1.0, 2.0], "kind": [b"x", b"y"]})
    with pytest.raises(ValueError, match="'kind' holds bytes; decode them as text"):
        with_target(frame, None, "kind", None, None, classes=True)


def test_codes_are_classes_of_their_own():
    assert labels_of(np.asarray(["01", "1", None], object)).classes.tolist() == ["01", "1"]


@pytest.mark.parametrize("kind", ["csv", "pandas"])
def test_true_and_false_are_the_numbers_one_and_zero(kind, tmp_path):
    x = np.random.default_rng(0).normal(size=60)
    frame = pd.DataFrame({"a": x + 2 * (x > 0), "b": x > 0, "c": np.round(10 * x)})
    if kind == "csv":
        frame.to_csv(tmp_path / "t.csv", index=False)
        table = data.read_mixed(tmp_path / "t.csv")
        np.testing.assert_array_equal(table.column("b"), x > 0)
    given = frame if kind == "pandas" else tmp_path / "t.csv"
    model = tasks.FlowDensity(max_steps=0, random_state=0).fit(given)
    assert model.columns_ == ("a", "b", "c")
    first = model.score_samples(given)
    frame.to_csv(tmp_path / "new.csv", index=False)
    if kind == "csv":
        tasks.score_file(model, tmp_path / "new.csv", tmp_path / "s.csv")
        scored = pd.read_csv(tmp_path / "s.csv")["log_density"]
        np.testing.assert_allclose(scored, first, rtol=1e-12)


@pytest.mark.parametrize("kind", ["csv", "pandas"])
@pytest.mark.parametrize("columns", [["a", "b"], None])
def test_the_column_of_names_is_found_whichever_columns_are_taken(columns, kind, tmp_path):
    x = np.random.default_rng(0).normal(size=(30, 2))
    frame = pd.DataFrame(x, columns=["a", "b"])
    frame.insert(0, "name", [f"r{k}" for k in range(30)])
    frame["messy"] = ["?!", *range(29)]
    frame.to_csv(tmp_path / "t.csv", index=False)
    if columns is None:
        frame = frame.drop(columns="messy")
        frame.to_csv(tmp_path / "t.csv", index=False)
    given = frame if kind == "pandas" else tmp_path / "t.csv"
    model = tasks.FlowDensity(columns=columns, max_steps=0, random_state=0).fit(given)
    assert (model.id_column_, model.columns_) == ("name", ("a", "b"))


@pytest.mark.parametrize(
    "ask",
    [
        lambda file: tasks.FlowDensity(columns="ab").fit(file),
        lambda file: tasks.FlowDensity(columns="ab").fit(np.zeros((9, 2))),
        lambda file: tasks.EnergyClassifier(columns="ab", label="c").fit(file),
        lambda file: tasks.BayesianNetRegressor(columns="ab", label="c").fit(pd.read_csv(file)),
        lambda file: tasks.DynamicsModel(columns="ab").fit(file),
        lambda file: tasks.dependence(file, "ab", ["c"]),
        lambda file: tasks.goodness_of_fit(file, columns="ab"),
        lambda file: data.read_table(file, "ab"),
        lambda file: data.read_mixed(file, "ab"),
    ],
)
def test_text_where_a_list_of_names_belongs_is_refused(ask, tmp_path):
    (tmp_path / "t.csv").write_text("t,a,b,c\n" + "".join(f"{k},{k},2,3\n" for k in range(30)))
    with pytest.raises(ValueError, match=r"must be a list of names, got 'ab'; write \['ab'\]"):
        ask(tmp_path / "t.csv")


def test_rows_that_all_have_holes_have_no_score():
    rng = np.random.default_rng(0)
    model = tasks.FlowDensity(max_steps=0, random_state=0).fit(rng.normal(size=(30, 2)))
    bad = np.asarray([[np.nan, 1.0], [2.0, np.nan]])
    assert np.isnan(model.score_samples(bad)).all()
    with pytest.raises(ValueError, match="none of the 2 rows is whole"):
        model.score(bad)


def test_a_column_without_any_value_is_named(tmp_path):
    rows = "".join(f"{k},,{k % 5}\n" for k in range(30))
    (tmp_path / "t.csv").write_text("a,b,c\n" + rows)
    model = tasks.FlowDensity(columns=["a", "b"], max_steps=0, random_state=0)
    told = r"0 of 30 are whole \(b in 30; without any value is b\). Leave out columns without"
    with pytest.raises(ValueError, match=told):
        model.fit(tmp_path / "t.csv")
    assert model.set_params(columns=None).fit(tmp_path / "t.csv").left_out_["b"] == "it is empty"


@pytest.mark.parametrize("kind", ["csv", "pandas", "mapping", "list"])
def test_an_outcome_that_may_be_a_hole_is_refused(kind, tmp_path):
    (tmp_path / "s.csv").write_text(
        "series,time,variable,value\n"
        + "".join(f"p{k},{t},v,1\n" for k in range(3) for t in (0, 1))
    )
    given = data.long_table(tmp_path / "s.csv")
    frame = pd.DataFrame({"series": ["p0", "p1", "p2"], "end": ["x", "y", "NA"]})
    frame.to_csv(tmp_path / "o.csv", index=False)
    pairs = dict(zip(frame.series, frame.end, strict=True))
    y = {"csv": tmp_path / "o.csv", "pandas": frame, "mapping": pairs, "list": [*frame.end]}[kind]
    with pytest.raises(ValueError, match=r"'NA'.* may be a class that is called so"):
        outcomes(y, given, given.series.ids)
    known = [None if cell == "NA" else cell for cell in frame.end]
    frame["end"] = known
    frame.to_csv(tmp_path / "o.csv", index=False)
    pairs = dict(zip(frame.series, known, strict=True))
    y = {"csv": tmp_path / "o.csv", "pandas": frame, "mapping": pairs, "list": known}[kind]
    classes, codes = outcomes(y, given, given.series.ids)
    assert (classes, codes.tolist()) == (["x", "y"], [0, 1, -1])


@pytest.mark.parametrize("kind", ["csv", "pandas", "y"])
def test_what_is_to_be_predicted_must_be_numbers(tmp_path, kind):
    table = pd.DataFrame({"a": [1.0, 2.0, 3.0], "out": ["1.5", "b", "c"]})
    table.to_csv(tmp_path / "t.csv", index=False)
    row, what = (3, "column 'out' of t.csv") if kind == "csv" else (2, "column 'out' of the Data")
    told = f"{what}.*, and must be numbers; 2 cells are none, the first on row {row}: 'b'. Classes"
    given: dict = {"x": tmp_path / "t.csv" if kind == "csv" else table, "y": None, "label": "out"}
    if kind == "y":
        given = {"x": table[["a"]], "y": table["out"], "label": None}
        told = "`y` is to be predicted, and must be numbers; .* on row 2: 'b'"
    with pytest.raises(ValueError, match=told):
        numbers_of(with_target(**given, columns=None, id_column=None, classes=False)[1])

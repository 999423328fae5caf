"""Wrong labels of a table: found, saved, and weighed by gradients that retraining confirms."""

import csv
import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_softmax
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pullback.tasks import RowTrust, load, write_report
from pullback.tasks import _trust_learning as learning


def gaussians(rows, seed=0, apart=6.0):
    """Rows of two Gaussians, their labels of which a fifth is flipped, and which those are."""
    random = np.random.default_rng(seed)
    y = np.arange(rows) % 2
    x = random.normal(size=(rows, 2)) + apart * y[:, None]
    bad = np.zeros(rows, bool)
    bad[random.choice(rows, rows // 5, replace=False)] = True
    return x, np.where(bad, 1 - y, y), y, bad


def one_way(seed=0):
    """A real table, in which two fifths of a class have the other one's label."""
    x, y = load_breast_cancer(return_X_y=True)
    random = np.random.default_rng(seed)
    order = random.permutation(len(x))[:240]
    clean, rows = order[:50], order[50:]
    bad = (y[rows] == 0) & (random.uniform(size=len(rows)) < 0.4)
    return x[rows][:, :10], np.where(bad, 1, y[rows]), bad, x[clean][:, :10], y[clean]


@pytest.fixture(scope="module")
def told():
    """Weights of a table whose labels are wrong in one direction, with clean rows."""
    x, given, bad, sure, right = one_way()
    return RowTrust(random_state=0).fit(x, given, sure, right), x, given, bad


@pytest.mark.parametrize("clean", [False, True])
def test_every_flipped_label_of_separable_gaussians_is_found_and_no_other(clean):
    x, given, y, bad = gaussians(60)
    fresh, _, right, _ = gaussians(20, seed=1)
    trust = RowTrust(random_state=0).fit(x, given, *((fresh, right) if clean else ()))
    assert set(trust.suspects_) == set(np.flatnonzero(bad))
    np.testing.assert_array_equal(trust.probable_, y)
    assert trust.predict(fresh).tolist() == right.tolist()
    assert ((trust.weights_ > 0) & (trust.weights_ < 1)).all()
    assert (np.diff(trust.weights_[trust.suspects_]) >= 0).all()
    assert trust.report_["this model"]["accuracy"] > (0.97 if clean else 0.75)
    assert ("No clean rows were given" in " ".join(trust.notes_)) != clean


def test_labels_wrong_in_one_direction_are_found_by_hypergradients(told):
    trust, x, given, bad = told
    sure, right = one_way()[3:]
    start = RowTrust(max_steps=0, random_state=0).fit(x, given, sure, right)
    assert (start.n_steps_, start.gain_) == (0, (0.0, 0.0))
    aurocs = [roc_auc_score(bad, -model.weights_) for model in (start, trust)]
    lines = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    p = cross_val_predict(lines, x, given, method="predict_proba")
    assert trust.n_steps_ > 0
    assert aurocs[1] > aurocs[0] + 0.02
    assert aurocs[1] > roc_auc_score(bad, -p[np.arange(len(p)), given]) + 0.05
    behind = trust.report_["every label trusted"]
    assert behind["log_loss_behind"] > 2 * behind["log_loss_error"]
    assert f"that {trust.n_steps_} steps along hypergradients made of" in " ".join(trust.notes_)
    assert "this model is right in" in trust.notes_[-2]


def retrained(v, codes, weights, classes):
    """Lines at the minimum of the inner loss, by another way there: the classes' logits of rows."""
    width, count = v.shape[1] + 1, int((weights > 0).sum())
    right, ones = np.eye(classes)[codes], np.column_stack([v, np.ones(len(v))])
    first = int(classes == 2)  # of two classes the first has no lines of its own

    def logits(flat):
        lines = flat.reshape(classes - first, width)
        return ones @ np.concatenate([np.zeros((first, width)), lines]).T

    def loss(flat):
        logs, slopes = log_softmax(logits(flat), axis=1), flat.reshape(-1, width).copy()
        slopes[:, -1] = 0
        down = (weights / count * (np.exp(logs) - right).T) @ ones
        value = -(weights / count * logs[right > 0]).sum()
        penalty = learning.PENALTY / 2 * (slopes**2).sum()
        return value + penalty, (down[first:] + learning.PENALTY * slopes).ravel()

    start = np.zeros((classes - first) * width)
    found = minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-10})
    return log_softmax(logits(found.x), axis=1)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_hypergradient_of_a_weight_is_that_of_retraining(classes):
    x, given, _, _ = gaussians(40, apart=1.5)
    rows = np.arange(40)
    codes = given if classes == 2 else given + rows % 4 // 2
    part = learning.Part(rows < 28, rows >= 28, rows[:0])
    logits = np.random.default_rng(1).normal(size=40)
    pool = learning.Pool(x, x, codes, rows >= 28, classes)
    found = learning.slope(pool, learning.Device(pool), part, logits)

    def outer(logits):
        logs = retrained(x, codes, np.where(part.inner, expit(logits), 0), classes)
        return -logs[rows, codes][part.outer].mean()

    for row in (0, 3, 11):
        step = 1e-3 * (rows == row)
        wanted = (outer(logits + step) - outer(logits - step)) / 2e-3
        assert found[row] == pytest.approx(wanted, rel=1e-3)
    assert not found[28:].any()


def test_rows_that_judge_take_no_part_and_neither_do_their_copies():
    x, given, y, _ = gaussians(60)
    rows = np.arange(80)
    z, codes = np.concatenate([x, x[:20]]), np.concatenate([given, y[:20]])
    for clean in (rows >= 60, rows < 0):
        parts = list(
            learning.parts_of(learning.Pool(z, z, codes, clean, 2), np.random.RandomState(0))
        )
        judged = np.concatenate([part.judge for part in parts])
        assert sorted(judged) == (rows[clean] if clean.any() else rows).tolist()
        for part in parts:
            assert not (part.inner & part.outer).any()
            assert not (part.inner | part.outer)[part.judge].any()
            assert (part.outer <= clean).all() or not clean.any()
            if clean.any():
                assert not part.inner[part.judge - 60].any()
                assert part.inner.sum() == 60 - len(part.judge)


def test_the_same_seed_gives_the_same_bits(told):
    x, given, _, sure, right = one_way()
    again = RowTrust(random_state=0).fit(x, given, sure, right)
    np.testing.assert_array_equal(again.weights_, told[0].weights_)
    np.testing.assert_array_equal(again.predict_proba(x), told[0].predict_proba(x))
    assert again.notes_ == told[0].notes_


def test_a_saved_model_is_the_same_to_the_bit_in_another_process(told, tmp_path):
    trust, x, given, _ = told
    folder = trust.save(tmp_path / "model")
    np.save(tmp_path / "x.npy", x)
    script = (
        "import sys, numpy as np, pullback as pb; model = pb.tasks.load(sys.argv[1]);"
        "x = np.load(sys.argv[2]); np.save(sys.argv[3], np.column_stack("
        "[model.predict_proba(x), model.weights_, model.probable_]))"
    )
    names = [str(folder), str(tmp_path / "x.npy"), str(tmp_path / "found.npy")]
    subprocess.run([sys.executable, "-c", script, *names], check=True)
    wanted = np.column_stack([trust.predict_proba(x), trust.weights_, trust.probable_])
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), wanted)
    again = load(folder)
    np.testing.assert_array_equal(again.suspects_, trust.suspects_)
    assert again.get_params() == {**trust.get_params(), "progress": None}
    again.save(tmp_path / "again")
    for file in ("model.json", "model.safetensors", "suspects.csv"):
        assert (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes()
    rows = list(csv.DictReader(io.StringIO((folder / "suspects.csv").read_text())))
    assert [int(row["row"]) - 1 for row in rows] == trust.suspects_.tolist()
    assert all(int(row["given"]) == given[int(row["row"]) - 1] for row in rows)
    assert all(row["given"] != row["probable"] for row in rows)


def test_a_table_with_names_holes_and_rows_without_a_label(tmp_path):
    x, given, y, bad = gaussians(60)
    frame = pd.DataFrame(x, columns=["a", "b"])
    frame["kind"] = np.array(["lo", "hi"])[given]
    frame["name"] = [f"r{k}" for k in range(60)]
    frame.loc[4, "a"] = np.nan
    frame.loc[5, "kind"] = None
    frame.to_csv(tmp_path / "t.csv", index=False)
    sure = pd.DataFrame(gaussians(20, seed=1)[0], columns=["a", "b"])
    sure["kind"] = np.array(["lo", "hi"])[np.arange(20) % 2]
    sure.loc[0, "kind"] = None
    sure.to_csv(tmp_path / "c.csv", index=False)
    models = [
        RowTrust("kind", max_steps=2, random_state=0).fit(table, X_clean=clean)
        for table, clean in ((frame, sure), (tmp_path / "t.csv", tmp_path / "c.csv"))
    ]
    clean = sure[["a", "b"]].assign(name="n")
    given = frame["kind"]
    models.append(
        RowTrust(max_steps=2, random_state=0).fit(
            frame.drop(columns="kind"), given, clean, sure["kind"]
        )
    )
    for model in models:
        assert np.isnan(model.weights_).nonzero()[0].tolist() == [5]
        assert set(model.suspects_) == set(np.flatnonzero(bad)) - {5}
        assert model.probable_.tolist() == [("lo", "hi")[k] for k in y]
        assert "19 clean rows say which weights are good; 1 without" in " ".join(model.notes_)
        assert "1 of 60 rows have no class, and so no weight" in " ".join(model.notes_)
        np.testing.assert_array_equal(model.weights_, models[0].weights_)
    models[1].save(tmp_path / "m")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "m" / "suspects.csv").read_text())))
    assert list(rows[0]) == ["name", "row", "given", "probable", "weight"]
    # A file's rows are its lines, of which the first is the header.
    assert [row["name"] for row in rows] == [f"r{k}" for k in models[1].suspects_]
    assert [int(row["row"]) - 2 for row in rows] == models[1].suspects_.tolist()
    text = write_report(models[1], tmp_path / "t.csv", tmp_path / "m").read_text()
    assert "<title>t.csv: labels</title>" in text
    assert "Labels that are probably wrong" in text
    assert "suspects.csv" in text


@pytest.mark.parametrize(
    ("x", "y", "weights"),
    [
        ([[0.0], [1.0]], ["a", "b"], [0.5, 0.5]),
        ([[0.0], [0.1], [0.2], [0.3], [5.0]], [0, 0, 0, 0, 1], None),
        (np.random.default_rng(0).normal(size=(12, 40)), [0, 1, 2] * 4, None),
        ([[0.0], [0.1], [1.0], [1.1], [9.0]], [0, 0, 1, 1, -1], None),
    ],
)
def test_tables_of_few_rows_have_weights_all_the_same(x, y, weights):
    model = RowTrust(max_steps=2, random_state=0).fit(x, y)
    known = np.asarray([cell != -1 for cell in y])
    np.testing.assert_array_equal(np.isnan(model.weights_), ~known)
    assert ((model.weights_[known] > 0) & (model.weights_[known] < 1)).all()
    assert np.isfinite(model.predict_proba(x)).all()
    assert weights is None or model.weights_.tolist() == weights
    if list(y).count(1) == 1:  # of the only row of its class nothing can be said
        assert model.weights_[-1] == 0.5
        assert len(y) - 1 not in model.suspects_


def test_a_ring_that_no_line_tells_apart_starts_from_trees():
    random = np.random.default_rng(0)
    y = random.integers(2, size=400)
    radius, angle = 1 + 2 * y + 0.3 * random.normal(size=400), random.uniform(0, 7, 400)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    bad = random.uniform(size=400) < 0.2
    trust = RowTrust(random_state=0, max_steps=2).fit(x, np.where(bad, 1 - y, y))
    assert trust.start_name_ == "boosted trees"
    assert roc_auc_score(bad, -trust.weights_) > 0.9


@pytest.mark.parametrize(
    ("settings", "given", "message"),
    [
        ({"max_steps": -1}, ([[0.0], [1.0]], [0, 1]), "`max_steps` must be 0 or more, got -1"),
        ({}, ([[0.0], [1.0]], [1, 1]), "two classes or more; all that have one are of class 1"),
        ({}, ([[0.0]], [1]), "minimum of 2 is required"),
        ({}, ([[1.0], [1.0]], [0, 1]), "nothing tells the classes apart"),
        ({}, ([[0.0], [1.0]], None), "requires y to be passed"),
        ({}, ([[0.0], [1.0]], [0, 1], None, [1]), "`y_clean` was given without `X_clean`"),
        ({}, ([[0.0], [1.0]], [0, 1], [[1.0]]), "needs the labels of its rows: give `y_clean`"),
        ({}, ([[0.0], [1.0]], [0, 1], [[1.0]], [2]), "of class 2, and the table has 0, 1"),
        ({}, ([[0.0], [1.0]], [0, 1], [[1.0]], [None]), "none of `X_clean` has one"),
        ({}, ([[0.0], [1.0]], [0, 1], [[1.0, 2.0]], [1]), "2 features"),
        ({}, ([[0.0], [1.0]], [0, 1], [[1.0], [2.0]], [1]), "inconsistent numbers of samples"),
    ],
)
def test_what_does_not_fit_is_refused(settings, given, message):
    with pytest.raises(ValueError, match=message):
        RowTrust(**settings).fit(*given)

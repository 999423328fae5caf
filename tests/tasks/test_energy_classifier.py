"""The classes of a table: the right probabilities, from few labels, with holes, and saved."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from scipy.stats import multivariate_normal
from sklearn.linear_model import LogisticRegression

from pullback.tasks import EnergyClassifier, load, write_report
from pullback.tasks import _energy_nets as nets
from pullback.tasks._class_scores import calibration_error, class_verdict, judge
from pullback.tasks._class_start import cross_folds, fit_start, temper
from pullback.tasks._inputs import fit_inputs
from pullback.tasks._labels import labels_of

MEANS = np.array([[0.0, 0.0, 0.0], [2.0, 1.0, 0.0], [0.0, 2.0, 2.0]])
COVARIANCE = np.array([[1.0, 0.6, 0.0], [0.6, 1.0, 0.3], [0.0, 0.3, 0.5]])


def blobs(rows, seed):
    """Rows of three Gaussians of one covariance, their classes, and the classes' probabilities."""
    random = np.random.default_rng(seed)
    y = random.integers(3, size=rows)
    x = MEANS[y] + random.multivariate_normal(np.zeros(3), COVARIANCE, size=rows)
    logs = np.stack([multivariate_normal(mean, COVARIANCE).logpdf(x) for mean in MEANS], axis=1)
    return x, y, logs - np.log(3)


def rings(rows, seed):
    """Rows within and around a ring, which no line tells apart."""
    random = np.random.default_rng(seed)
    y = random.integers(2, size=rows)
    radius, angle = 1 + 1.5 * y + 0.3 * random.normal(size=rows), random.uniform(0, 7, rows)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), y


@pytest.fixture(scope="module")
def ringed():
    """A network, as no line will do."""
    return EnergyClassifier("supervised", max_steps=300, random_state=0).fit(*rings(700, 0))


def test_probabilities_and_density_are_those_of_gaussians_of_one_covariance():
    x, y, _ = blobs(3000, 0)
    fresh, seen, joint = blobs(2000, 1)
    model = EnergyClassifier(max_steps=0, random_state=0).fit(x, y)
    true = softmax(joint, axis=1)
    found = model.predict_proba(fresh)
    assert np.abs(found - true).mean() < 0.01
    assert model.score(fresh, seen) == pytest.approx(true.max(axis=1).mean(), abs=0.03)
    apart = model.score_samples(fresh) - np.logaddexp.reduce(joint, axis=1)
    assert np.std(apart) < 0.1  # the constant is that of the columns' scales
    assert apart.mean() == pytest.approx(np.log(x.std(axis=0)).sum(), abs=0.05)


def test_rows_without_a_class_teach_where_the_classes_part():
    gains = []
    for seed in range(5):
        x, y, _ = blobs(300, seed)
        fresh, seen, _ = blobs(2000, seed + 100)
        few = np.full(300, -1)
        for k in range(3):
            few[np.flatnonzero(y == k)[:3]] = k
        known = few >= 0
        all_rows = EnergyClassifier(random_state=0).fit(x, few)
        alone = EnergyClassifier(random_state=0).fit(x[known], few[known])
        lines = LogisticRegression().fit(x[known], few[known])
        gains.append([all_rows.score(fresh, seen) - m.score(fresh, seen) for m in (alone, lines)])
        assert "291 of 300 rows have no class" in " ".join(all_rows.notes_)
    mean, error = np.mean(gains, axis=0), np.std(gains, axis=0) / np.sqrt(5)
    assert (mean > 2 * error).all(), (mean, error)


def test_a_network_is_kept_where_no_line_will_do_and_says_so(ringed):
    x, y = rings(2000, 1)
    assert ringed.n_steps_ > 0
    assert ringed.score(x, y) > 0.97
    found = ringed.report_["logistic regression"]
    assert found["log_loss_behind"] > 4 * found["log_loss_error"]
    assert "logistic regression in" in ringed.notes_[-1]
    probs = ringed.predict_proba(x)
    assert calibration_error(probs, y) < 0.02 + 4 * np.sqrt(0.25 / 2000 / 10)
    # Its density is what it starts from: the method does not train it.
    v = ringed.start_.whiten(ringed.inputs_.to_line(x))
    np.testing.assert_array_equal(ringed.score_samples(x), ringed.start_.log_density(v))
    start = EnergyClassifier(max_steps=0, random_state=0).fit(*rings(700, 0))
    assert start.score(x, y) < 0.7
    assert start.n_steps_ == 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["jem", "vera"])
def test_a_density_that_is_trained_finds_the_hole_of_a_ring(method):
    model = EnergyClassifier(method, max_steps=1000, random_state=0).fit(*rings(700, 0))
    x, y = rings(2000, 1)
    assert model.n_steps_ > 0
    assert model.score(x, y) > 0.97
    start = EnergyClassifier(max_steps=0, random_state=0).fit(*rings(700, 0))
    above = [(m.score_samples(x) > m.score_samples([[0.0, 0.0]])).mean() for m in (start, model)]
    assert above[1] > above[0] + 0.2


def test_lines_are_kept_where_a_network_gains_nothing():
    x, y, _ = blobs(700, 0)
    model = EnergyClassifier("supervised", max_steps=60, random_state=0).fit(x, y)
    assert (model.n_steps_, model.net_) == (0, None)
    start = EnergyClassifier(max_steps=0, random_state=0).fit(x, y)
    assert np.abs(model.predict_proba(x) - start.predict_proba(x)).max() < 0.02
    assert "The model is the lines" in model.notes_[-1]


def test_the_network_starts_at_0_and_is_asked_as_it_was_trained():
    x, y, _ = blobs(60, 0)
    start = fit_start(x, y, 3, np.random.RandomState(0))
    v = start.whiten(x)
    state = nets._begin(nets._step("supervised"), nets.Lines.of(start), jax.random.key(0))
    logits = jax.vmap(state.model.logits)(jnp.asarray(v, jnp.float32))
    known = start.log_density(v) - np.log(np.abs(np.linalg.det(start.root)))
    # The energy leaves the constant of the normal density out.
    np.testing.assert_allclose(
        jax.nn.logsumexp(logits, axis=1), known + 1.5 * np.log(2 * np.pi), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(jax.nn.log_softmax(logits), start.log_probs(v), atol=1e-4)
    net = state.model.classifier.net
    pair = [[np.asarray(getattr(k, n)) for k in net.layers] for n in ("weight", "bias")]
    pair[0][-1] = np.random.default_rng(0).normal(size=pair[0][-1].shape).astype(np.float32)
    moved = jax.tree.map(jnp.asarray, nets.Net(*pair))
    h = v.astype(np.float32)
    for weight, bias in zip(pair[0][:-1], pair[1][:-1], strict=True):
        h = h @ weight.T + bias
        h = h / (1 + np.exp(-h))
    wanted = h @ pair[0][-1].T + pair[1][-1]
    np.testing.assert_allclose(nets.added(moved, v), wanted, rtol=1e-4, atol=1e-4)


def test_the_start_s_density_has_the_mass_one():
    x = blobs(200, 0)
    start = fit_start(x[0][:, :2], x[1], 3, np.random.RandomState(0))
    line = np.linspace(-8, 10, 300)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    total = np.exp(start.log_density(start.whiten(grid))).sum() * (line[1] - line[0]) ** 2
    assert total == pytest.approx(1, abs=1e-3)


def test_predictions_do_not_hang_on_what_is_beside_them(ringed):
    x = rings(1300, 3)[0]
    x[7, 0] = np.nan
    probs = ringed.predict_proba(x)
    order = np.random.default_rng(0).permutation(len(x))
    np.testing.assert_array_equal(ringed.predict_proba(x[order]), probs[order])
    parts = [ringed.predict_proba(x[k : k + 13]) for k in range(0, 130, 13)]
    np.testing.assert_array_equal(np.concatenate(parts), probs[:130])


def test_a_saved_model_is_the_same_to_the_bit_in_another_process(ringed, tmp_path):
    x = rings(300, 2)[0]
    folder = ringed.save(tmp_path / "model")
    np.save(tmp_path / "x.npy", x)
    script = (
        "import sys, numpy as np, pullback as pb; model = pb.tasks.load(sys.argv[1]);"
        "x = np.load(sys.argv[2]); np.save(sys.argv[3], np.column_stack("
        "[model.predict_proba(x), model.score_samples(x), model.predict(x)]))"
    )
    names = [str(folder), str(tmp_path / "x.npy"), str(tmp_path / "found.npy")]
    subprocess.run([sys.executable, "-c", script, *names], check=True)
    wanted = np.column_stack([ringed.predict_proba(x), ringed.score_samples(x), ringed.predict(x)])
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), wanted)
    again = load(folder)
    assert again.get_params() == {**ringed.get_params(), "progress": None}
    for name in ("classes_", "columns_", "notes_", "report_", "n_steps_", "temper_", "data_"):
        assert np.all(getattr(again, name) == getattr(ringed, name)), name
    again.save(tmp_path / "again")
    for file in ("model.json", "model.safetensors"):
        assert (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes()


def test_a_hole_is_filled_by_what_the_other_columns_make_of_it():
    x, y, _ = blobs(2000, 0)
    x[:, 0] = np.exp(x[:, 0])
    inputs = fit_inputs(x)
    assert inputs.log.tolist() == [True, False, False]
    t = (np.c_[np.log(x[:, :1]), x[:, 1:]] - inputs.mean) / inputs.scale
    np.testing.assert_allclose(inputs.to_line(x), t, atol=1e-12)
    holed = x[:4].copy()
    holed[0, 0] = holed[1, 1] = holed[1, 2] = np.nan
    holed[2] = np.nan
    found = inputs.to_line(holed)
    covariance = np.cov(t.T)
    first = covariance[0, 1:] @ np.linalg.solve(covariance[1:, 1:], t[0, 1:])
    np.testing.assert_allclose(found[0], [first, *t[0, 1:]], atol=0.03)
    np.testing.assert_allclose(found[1, 1:], t[1, 0] * covariance[1:, 0], atol=0.03)
    np.testing.assert_allclose(found[2], 0, atol=1e-12)
    np.testing.assert_array_equal(found[3], inputs.to_line(x)[3])
    few = x.copy()
    few[::3, 0] = np.nan
    model = EnergyClassifier(random_state=0, max_steps=0).fit(few, y)
    assert "667 of 2000 rows have holes (x1 in 667), which were filled" in " ".join(model.notes_)
    assert np.isfinite(model.predict_proba(few)).all()
    assert model.score(few, y) > 0.8


@pytest.mark.parametrize(
    ("y", "classes", "codes"),
    [
        ([0, 1, -1, 1], [0, 1], [0, 1, -1, 1]),
        ([-1, 1, -1, 1], [-1, 1], [0, 1, 0, 1]),
        ([0.0, np.nan, 1.0, 1.0], [0, 1], [0, -1, 1, 1]),
        (["b", None, "a", "a"], ["a", "b"], [1, -1, 0, 0]),
        (pd.Series([3, None, 1, 1], dtype="Int64"), [1, 3], [1, -1, 0, 0]),
        (np.array([True, False, True, True]), [False, True], [1, 0, 1, 1]),
    ],
)
def test_classes_of_any_kind_and_none(y, classes, codes):
    found = labels_of(np.asarray(y, None if not isinstance(y, list) or None not in y else object))
    assert found.classes.tolist() == classes
    assert [type(name) for name in found.classes.tolist()] == [type(name) for name in classes]
    assert found.codes.tolist() == codes
    assert bool(found.notes) == (classes[0] == -1)


def test_the_tempering_is_the_best_one_on_a_grid():
    random = np.random.default_rng(0)
    logits = 3 * random.normal(size=(40, 4))
    y = np.array([random.choice(4, p=softmax(row / 2)) for row in logits])
    grid = np.linspace(-3, 1, 4001)
    log_p = lambda a: np.log(softmax(np.exp(a) * logits, axis=1)[np.arange(40), y]).sum()
    best = max(grid, key=lambda a: log_p(a) - 2 * a**2)
    assert temper(logits, y).factor == pytest.approx(np.exp(best), rel=2e-3)
    sure = np.where(np.eye(4)[y] > 0, 5.0, -5.0)  # all right: no promise of the largest factor
    assert temper(sure, y).factor < 2


def test_folds_leave_a_row_of_every_class():
    codes = np.array([0] * 7 + [1] * 2 + [2] + [-1] * 5)
    folds = list(cross_folds(codes, 5, np.random.RandomState(0)))
    assert sorted(np.concatenate(folds).tolist()) == list(range(9))
    for fold in folds:
        assert set(np.delete(codes, fold).tolist()) == {0, 1, 2, -1}
    assert not list(cross_folds(np.array([0, 1, -1]), 5, np.random.RandomState(0)))
    model = EnergyClassifier().fit([[0.0], [1.0], [0.4]], ["a", "b", None])
    assert model.predict([[0.1], [0.9]]).tolist() == ["a", "b"]
    assert model.report_ is None
    assert "nothing says how good" in " ".join(model.notes_)


def test_scores_beside_others_are_those_of_their_definitions():
    y = np.array([0, 1, 1, 0])
    ours = np.array([[0.8, 0.2], [0.4, 0.6], [0.3, 0.7], [0.9, 0.1]])
    other = np.array([[0.6, 0.4], [0.6, 0.4], [0.3, 0.7], [0.9, 0.1]])
    found = judge({"this model": ours, "lines": other}, y)
    assert found["this model"]["accuracy"] == 1
    assert found["this model"]["log_loss"] == pytest.approx(-np.log([0.8, 0.6, 0.7, 0.9]).mean())
    assert found["this model"]["brier"] == pytest.approx(2 * (0.04 + 0.16 + 0.09 + 0.01) / 4)
    assert found["this model"]["ece"] == pytest.approx(0.25)
    gap = np.log([0.8 / 0.6, 0.6 / 0.4, 1, 1])
    assert found["lines"]["log_loss_behind"] == pytest.approx(gap.mean())
    assert found["lines"]["log_loss_error"] == pytest.approx(gap.std(ddof=1) / 2)
    said = class_verdict(found, 4, "that took no part")
    assert said.startswith("On 4 rows that took no part this model is right in 100 % (log loss 0.2")
    assert "lines in 75 % (log loss 0.472, behind by 0.17 +- 0.1, which is no difference" in said


def test_a_table_with_a_column_of_classes(tmp_path):
    x, y, _ = blobs(80, 0)
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    frame.insert(1, "kind", np.array(["lo", "mid", "hi"])[y])
    frame.loc[::4, "kind"] = None
    frame["same"] = 1.0
    frame["patient_id"] = [f"p{k}" for k in range(80)]
    frame.to_csv(tmp_path / "t.csv", index=False)
    whole = EnergyClassifier(label="kind", random_state=0)
    models = [whole.fit(given) for given in (frame, tmp_path / "t.csv")]
    models.append(EnergyClassifier(random_state=0).fit(frame.drop(columns="kind"), frame["kind"]))
    for model in models:
        assert model.columns_ == ("a", "b", "c")
        assert model.id_column_ == "patient_id"
        assert model.classes_.tolist() == ["hi", "lo", "mid"]
        assert model.data_["labelled"] == 60
        assert "same (the same in all rows)" in " ".join(model.notes_)
        given = tmp_path / "t.csv" if model.data_["file"] else frame.drop(columns="kind")
        np.testing.assert_array_equal(
            model.predict_proba(given), models[0].predict_proba(tmp_path / "t.csv")
        )
    text = write_report(whole, tmp_path / "t.csv", tmp_path).read_text()
    assert "<title>t.csv: classes</title>" in text
    assert "predicted hi" in text
    assert "Which classes are taken for which" in text


@pytest.mark.parametrize(
    ("settings", "given", "message"),
    [
        ({"method": "gan"}, ([[0.0], [1.0]], [0, 1]), "`method` must be one of 'vera', 'jem', "),
        ({"max_steps": -1}, ([[0.0], [1.0]], [0, 1]), "`max_steps` must be 0 or more, got -1"),
        ({}, ([[0.0], [1.0]], [1, 1]), "two classes or more; all that have one are of class 1"),
        ({}, ([[0.0], [1.0]], [None, None]), "two classes or more; no row has a class"),
        ({}, ([[1.0], [1.0]], [0, 1]), "nothing tells the classes apart"),
        ({}, ([[0.0], [1.0]], None), "requires y to be passed.*--label"),
        ({"label": "k"}, ([[0.0], [1.0]], None), "an array has no 'k'"),
        ({"label": "k"}, ([[0.0], [1.0]], [0, 1]), "either `y` or `label`, not both"),
        ({"label": "k"}, (pd.DataFrame({"a": [0.0, 1.0]}), None), "there is no column 'k'"),
    ],
)
def test_what_does_not_fit_is_refused(settings, given, message):
    with pytest.raises(ValueError, match=message):
        EnergyClassifier(**settings).fit(*given)

"""Tables learned one after another, from the command alone."""

import csv
import io

import numpy as np
import pytest

from pullback import tasks

pytestmark = pytest.mark.usefixtures("workplace")


def write(path, rows, seed, shift=0.0):
    random = np.random.default_rng(seed)
    kind = random.integers(2, size=rows)
    x = random.normal(size=(rows, 2)) + np.stack([6 * kind, np.full(rows, shift)], axis=1)
    lines = ["name,a,kind,b"]
    for k, ((a, b), name) in enumerate(zip(x.tolist(), kind, strict=True)):
        lines.append(f"r{k},{a!r},{('low', 'high')[name]},{b!r}")
    path.write_text("\n".join(lines) + "\n")


def test_the_next_file_goes_on_with_a_saved_model(pullback, tmp_path):
    write(tmp_path / "one.csv", 70, 0)
    write(tmp_path / "two.csv", 80, 1, 5.0)
    flags = ["--label", "kind", "--out", "m", "--no-progress"]
    status, out, _ = pullback("fit", "tasks", "one.csv", "--classes", "low", "high", *flags)
    assert status == 0
    assert "ContinualClassifier of one.csv: 1 tasks, 70 rows, 70 with a class" in out
    assert "pullback fit tasks NEXTFILE --label kind --resume m --out m" in out
    status, out, _ = pullback("fit", "tasks", "two.csv", "--resume", "m", *flags)
    assert status == 0
    assert "2 tasks, 150 rows, 150 with a class" in out
    assert "Tasks so far" in (tmp_path / "m" / "report.html").read_text()
    assert pullback("predict", "m", "two.csv", "--out", "p.csv")[0] == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "p.csv").read_text())))
    assert list(rows[0]) == ["name", "row", "p_high", "p_low", "predicted"]
    apart = tasks.ContinualClassifier(label="kind", random_state=0, progress=False)
    apart.partial_fit("one.csv").partial_fit("two.csv")
    probs = [[float(row["p_high"]), float(row["p_low"])] for row in rows]
    np.testing.assert_array_equal(probs, apart.predict_proba("two.csv"))


def test_what_is_refused(pullback, tmp_path):
    write(tmp_path / "one.csv", 40, 0)
    flags = ["--label", "kind", "--out", "m", "--no-progress", "--no-report"]
    resumed = pullback("fit", "tasks", "one.csv", *flags, "--resume", "m", "--seed", "3")
    assert resumed[0] == 2
    assert "are those of the model that --resume names" in resumed[2]
    for flag in (["--strength", "0.3"], ["--seed", "0"], ["--id", "name"]):  # as by default, too
        told = pullback("fit", "tasks", "one.csv", *flags, "--resume", "m", *flag)
        assert (told[0], "leave them out" in " ".join(told[2].split())) == (2, True)
    rows = np.random.default_rng(0).normal(size=(50, 2))
    tasks.FlowDensity(random_state=0, max_steps=0).fit(rows).save("d")
    status, _, told = pullback("fit", "tasks", "one.csv", *flags, "--resume", "d")
    assert status != 0
    assert "holds a FlowDensity, which learns once" in told
    assert pullback("fit", "tasks", "one.csv", *flags)[0] == 0
    text = (tmp_path / "one.csv").read_text().replace(",low,", ",late,")
    (tmp_path / "late.csv").write_text(text)
    status, _, told = pullback("fit", "tasks", "late.csv", *flags, "--resume", "m")
    assert status != 0
    assert "is of class 'late', and the model has 'high', 'low'; name all classes" in told


def test_a_model_is_not_lost_where_resume_is_forgotten(pullback, tmp_path):
    write(tmp_path / "one.csv", 40, 0)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.safetensors").write_text("{}")
    status, _, told = pullback("fit", "tasks", "one.csv", "--label", "kind", "--out", "m")
    assert status == 2
    assert "m holds a model already" in told
    assert "--resume m" in told
    assert (tmp_path / "m" / "model.safetensors").read_text() == "{}"

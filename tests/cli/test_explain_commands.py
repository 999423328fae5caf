"""`pullback explain`: pictures and series, by a Python file with a model of any library."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imsave

from pullback import tasks

WHY = ("--no-progress", "--out", "why")
PICTURES = """
import numpy as np

def bright(x):  # whether the left half is brighter than the right
    odds = 6 * (x[:, :, :, :3].mean((1, 2, 3)) - x[:, :, :, 3:].mean((1, 2, 3)))
    p = 1 / (1 + np.exp(-odds))
    return np.stack([1 - p, p], axis=1)

def odds(x):
    return bright(x) * 5

from sklearn.linear_model import LogisticRegression
random = np.random.default_rng(0)
rows = random.uniform(size=(40, 1, 4, 6))
model = LogisticRegression().fit(rows.reshape(40, -1), bright(rows).argmax(1))

import jax.numpy as jnp

def traced(x):
    odds = 6 * (jnp.mean(x[:, :, :3]) - jnp.mean(x[:, :, 3:]))
    return jnp.stack([1 / (1 + jnp.exp(odds)), 1 / (1 + jnp.exp(-odds))])
"""
SERIES = """
import numpy as np

def risk(x):  # of the last breath alone
    p = 1 / (1 + np.exp(-2 * np.nan_to_num(x[:, -1, 1])))
    return np.stack([1 - p, p], axis=1)
"""


@pytest.fixture(autouse=True)
def files(workplace, x32, tmp_path):
    (tmp_path / "pictures.py").write_text(PICTURES)
    (tmp_path / "series.py").write_text(SERIES)
    random = np.random.default_rng(0)
    (tmp_path / "seen").mkdir()
    for name in ("a", "b"):
        grey = random.uniform(0, 0.3, (4, 6))
        grey[1:3, 1] = 1
        imsave(tmp_path / "seen" / f"{name}.png", np.repeat(grey[..., None], 3, axis=2))
    rows = [
        (f"p{k}", t, name, random.normal())
        for k in range(8) for t in range(5) for name in ("heart", "breath")
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["patient", "time", "variable", "value"])
    frame.to_csv(tmp_path / "ward.csv", index=False)


def rows_of(path):
    with open(path) as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["bright", "model", "traced"])
def test_pictures_by_a_function_a_model_of_scikit_learn_and_one_of_jax(pullback, tmp_path, name):
    words = ("explain", "seen", "--model", f"pictures.py:{name}", "--steps", "40")
    if name == "model":  # which is of grey pictures
        grey = np.stack([tasks._pictures.read_pictures("seen").x[:, 0]])[0]
        np.save("grey.npy", grey)
        words = ("explain", "grey.npy", *words[2:])
    status, told, err = pullback(*words, *WHY)
    assert (status, err) == (0, "")
    assert "2 pictures explained: why/saliency.csv, why/maps.npz, why/curves.csv" in told
    assert "report: why/report.html" in told
    rows = rows_of("why/saliency.csv")
    assert [row["class"] for row in rows] == ["1", "1"]
    with np.load("why/maps.npz") as maps:
        assert maps["map"].shape == (2, 4, 6)
        assert maps["map"][:, :, :3].mean() > maps["map"][:, :, 3:].mean()
    assert len(list((tmp_path / "why" / "overlays").iterdir())) == 2
    assert len(rows_of("why/curves.csv")) == 22


def test_series_and_then_new_ones_by_the_explainer_that_was_kept(pullback):
    words = ("--model", "series.py:risk", "--no-progress")
    status, told, err = pullback(
        "explain", "ward.csv", *words, "--max-steps", "5", "--samples", "3", "--out", "why"
    )
    assert (status, err) == (0, "")
    assert "8 series explained: why/importance.csv, why/top.csv" in told
    assert {row["variable"] for row in rows_of("why/top.csv") if row["rank"] == "1"} == {"breath"}
    status, told, err = pullback("explain", "why", "ward.csv", *words, "--no-report", "--out", "n")
    assert (status, err) == (0, "")
    assert rows_of("n/importance.csv") == rows_of("why/importance.csv")
    more = ("--no-report", "--samples", "4", "--out", "n2")
    assert pullback("explain", "why", "ward.csv", *words, *more)[::2] == (0, "")
    assert (tasks.load("why").samples, tasks.load("n2").samples) == (3, 4)
    for flag in ("--max-steps", "--step", "--variables", "--background"):
        status, _, err = pullback("explain", "why", "ward.csv", *words, flag, "1", "--out", "n3")
        assert (status, f"{flag} is of what is learned" in err) == (2, True)
    assert "variables: heart, breath" in pullback("show", "why")[1]


def test_flags_beside_a_kept_explainer_of_pictures_are_heeded_or_refused(pullback):
    words = ("--model", "pictures.py:bright", "--no-progress", "--no-report")
    first = ("--steps", "9", "--objective", "ssr", "--seed", "3", "--out", "why")
    assert pullback("explain", "seen", *words, *first)[::2] == (0, "")
    given = {"steps": 7, "objective": "sdr", "target": "0", "size_weight": 0.25, "grid": 2,
             "samples": 5, "batch_size": 2, "outputs": "probabilities"}  # fmt: skip
    flags = [w for name, v in given.items() for w in (f"--{name.replace('_', '-')}", str(v))]
    assert pullback("explain", "why", "seen", *words, *flags, "--out", "new")[::2] == (0, "")
    kept, new = tasks.load("why"), tasks.load("new")
    assert {name: getattr(new, name) for name in given} == given
    assert (kept.steps, kept.objective, kept.seed_) == (9, "ssr", new.seed_)
    assert {row["class"] for row in rows_of("new/saliency.csv")} == {"0"}
    assert {row["size_weight"] for row in rows_of("new/saliency.csv")} == {"0.25"}
    # What is not said stays as it was.
    assert pullback("explain", "why", "seen", *words, "--out", "same")[::2] == (0, "")
    assert rows_of("same/saliency.csv") == rows_of("why/saliency.csv")
    for flag, value in (("--infill", "mean"), ("--seed", "0"), ("--background", "seen")):
        status, _, err = pullback("explain", "why", "seen", *words, flag, value, "--out", "no")
        assert status == 2
        assert f"{flag} is of what is learned, and why keeps what was learned" in err
    status, _, err = pullback("explain", "why", "seen", *words, "--steps", "0", "--out", "no")
    assert (status, "steps must be 1 or more" in err) == (2, True)
    # What fails as it explains leaves nothing behind.
    status, _, err = pullback("explain", "seen", *words, "--target", "9", "--out", "none")
    assert (status, "target must be one of the classes" in err) == (2, True)
    assert not Path("none/model.json").exists()


def test_outcomes_of_a_saved_model_of_series_are_explained(pullback):
    labels = {f"p{k}": "ill" if k % 2 else "well" for k in range(8)}
    tasks.SeriesModel(max_steps=0, random_state=0).fit("ward.csv", labels).save("ward")
    words = ("explain", "ward", "ward.csv", "--max-steps", "5", "--samples", "2")
    status, _, err = pullback(*words, "--no-report", *WHY)
    assert (status, err) == (0, "")
    assert {row["output"] for row in rows_of("why/top.csv")} <= {"ill", "well"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("seen",), "say which model, --model my.py:predict"),
        (("seen", "--model", "pictures.py"), "pictures.py: say which function of it, as "
         "pictures.py:model; the file has bright, odds, random, rows, model, traced"),
        (("seen", "--model", "m.pkl"), "two lines, `import pickle` and `model = pickle.load"),
        (("seen", "--model", "pictures.py:odds"), "pictures.py, line 9: the model gave"),
        (("seen", "--model", "pictures.py:odds"), "--outputs logits"),
        (("seen", "--model", "pictures.py:bright", "--kind", "gaussian"), "--kind is of series"),
        (("ward.csv", "--model", "series.py:risk", "--infill", "blur"), "--infill is of pictures"),
        (("no.npy", "--model", "pictures.py:bright"), "no.npy: there is no such file or folder"),
        (("why", "seen", "--model", "pictures.py:bright"), "why holds no saved model"),
        (("a", "b", "c", "--model", "pictures.py:bright"), "got 3 paths"),
        (("seen", "--model", "pictures.py:bright", "--target", "7"), "--target must be one of"),
    ],
)  # fmt: skip
def test_what_cannot_be_explained_is_said_in_a_line(pullback, words, message):
    status, _, err = pullback("explain", *words, *WHY)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1

"""A recommender of a file, from the command alone: fitted, asked and shown."""

import shutil

import numpy as np
import pandas as pd
import pytest

from pullback import tasks

pytestmark = pytest.mark.usefixtures("workplace")


def write(path, users=30, items=20, seed=0):
    rng = np.random.default_rng(seed)
    full = 3 + np.outer(rng.normal(size=users), rng.normal(size=items)).round(1)
    who, what = np.nonzero(rng.random((users, items)) < 0.6)
    frame = pd.DataFrame({"user": who, "film": what, "stars": full[who, what]})
    frame = frame.assign(user="u" + frame.user.astype(str), film="i" + frame.film.astype(str))
    frame.to_csv(path, index=False)
    return frame


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    return tmp_path_factory.mktemp("once") / "fitted"


@pytest.fixture
def model(once, tmp_path, pullback):
    """What the fit says; the folder is that of the first test, copied."""
    if once.exists():
        shutil.copytree(once, tmp_path, dirs_exist_ok=True)
        return (tmp_path / "said.txt").read_text()
    write(tmp_path / "films.csv")
    argv = ("fit", "ratings", "films.csv", "--item", "film", "--method", "als", "--out", "m")
    status, out, err = pullback(*argv, "--no-progress")
    assert (status, err) == (0, "")
    (tmp_path / "said.txt").write_text(out)
    shutil.copytree(tmp_path, once)
    return out


def test_fit_recommend_and_show(model, pullback, tmp_path):
    assert "Recommender of films.csv: " in model
    assert "least squares (ALS) wins" in model
    assert model.endswith("report: m/report.html\n")
    page = (tmp_path / "m" / "report.html").read_text()
    assert "<title>films.csv: a recommender</title>" in page
    assert page.count("data:image/png") == 2
    assert "How good the first items are" in page
    assert len(pd.read_csv(tmp_path / "m" / "scores.csv")) > 0
    assert pullback("show", "m") == (0, model[: model.index("report: ")], "")

    (tmp_path / "new.csv").write_text("user,film,stars\nzoe,i1,5\nzoe,i2,5\nu3,i4,1\n")
    assert pullback("recommend", "m", "new.csv", "-k", "4") == (
        0, "8 items for 2 users: recommendations.csv\n", ""
    )  # fmt: skip
    found = pd.read_csv(tmp_path / "recommendations.csv")
    assert list(found) == ["user", "rank", "item", "predicted", "because"]
    assert found.user.tolist() == ["zoe"] * 4 + ["u3"] * 4
    assert not set(found[found.user == "zoe"]["item"]) & {"i1", "i2"}
    known = tasks.load(tmp_path / "m").add(tmp_path / "new.csv")
    want = known.recommend(["zoe", "u3"], 4)
    assert found["item"].tolist() == [each.item for each in want]
    np.testing.assert_allclose(found.predicted, [each.predicted for each in want])

    out = pullback("recommend", "m", "--users", "u1", "u2", "--out", "-", "-k", "2")[1]
    assert [line.split(",")[0] for line in out.splitlines()] == ["user", "u1", "u1", "u2", "u2"]


def test_the_columns_of_newcomers_may_have_other_names(model, pullback, tmp_path):
    (tmp_path / "new.csv").write_text("who,what,stars\nzoe,i1,5\nzoe,i1,3\n")
    argv = ["recommend", "m", "new.csv", "--out", "-", "-k", "1"]
    assert "which is it: --user" in pullback(*argv)[2] + pullback(*argv, "--item", "what")[2]
    argv += ["--user", "who", "--item", "what"]
    assert "--on-duplicate" in pullback(*argv)[2]
    status, out, err = pullback(*argv, "--on-duplicate", "last")
    assert status == 0, err
    assert "zoe,1," in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("recommend m -k 0", "-k must be 1 or more, got 0"),
        ("recommend m bad.csv", "line 2: the item 'i99' is not known"),
        ("recommend m films.csv --out films.csv", "is the file that is read"),
        ("fit ratings films.csv --out x", "name for the item; which is it: --item"),
        ("fit ratings films.csv --item film --out x --max-steps 0", "--max-steps must be 1 or"),
        ("fit ratings same.csv --out x --method als", "every rating is 5, so"),
        ("fit ratings films.csv --item film --out x --held-out time", "name the column by --time"),
        ("score m films.csv --out s.csv", "a Recommender is asked in another way"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(argv, message, model, pullback, tmp_path):
    (tmp_path / "bad.csv").write_text("user,film,stars\nzoe,i99,5\n")
    (tmp_path / "same.csv").write_text("user,item,rating\na,x,5\nb,x,5\n")
    status, out, err = pullback(*argv.split())
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.filterwarnings("default")
def test_a_newcomer_with_no_rating_is_told(model, pullback):
    status, out, err = pullback("recommend", "m", "--users", "nobody", "--out", "-", "-k", "1")
    assert status == 0
    assert "no rating yet: what anyone would like" in out
    assert "no rating is known of 'nobody'" in err

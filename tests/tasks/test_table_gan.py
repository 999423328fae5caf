"""New rows of a table: values that can be, a report that tells, scores of planted rows."""

from html import escape

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from pullback.analysis.samples import _two_sample_auroc
from pullback.tasks import TableGAN, _gan, _gan_report, load, score_file, write_report
from pullback.tasks._gan_report import COPULA, OURS, REAL, checks, is_lost


def mixed(rows, seed=0):
    """Numbers, zeros, counts and kinds."""
    random = np.random.RandomState(seed)
    kind = random.choice(["red", "green", "blue"], rows, p=[0.5, 0.3, 0.2])
    a = random.normal(size=rows) + 2 * (kind == "red")
    zeros = np.where(random.rand(rows) < 0.5, 0, random.gamma(2, size=rows))
    return pd.DataFrame(
        {"a": a, "zeros": zeros, "kind": kind, "count": random.poisson(3, rows), "same": 1.0}
    )


@pytest.fixture(scope="module", autouse=True)
def few_trees():
    """Forests that are quick: how well they tell is proved where they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_two_sample_auroc, "_TREES", 10)
        yield


@pytest.fixture(scope="module")
def small():
    """A model without a training step: the copula."""
    return TableGAN(random_state=0).fit(mixed(90))


def test_draws_are_values_that_can_be(small):
    table = mixed(90)
    drawn = pd.DataFrame(small.sample(2000, random_state=0), columns=small.columns_)
    assert small.columns_ == ("a", "zeros", "kind", "count")
    assert small.kinds_ == {"kind": ["blue", "green", "red"]}
    assert set(drawn["kind"]) == {"red", "green", "blue"}
    for name in ("a", "zeros", "count"):
        assert table[name].min() <= drawn[name].min() <= drawn[name].max() <= table[name].max()
    assert set(drawn["count"]) <= set(np.arange(20.0))
    # All rows are fitted, once a quarter of them has judged.
    assert abs((drawn["zeros"] == 0).mean() - (table["zeros"] == 0).mean()) < 0.05
    assert "It was judged so, and then fitted to all rows." in small.notes_
    near = drawn.groupby("kind")["a"].mean()
    # Kinds lie one beside the other along the numbers, so the one between is drawn to both.
    assert near["red"] > near["green"] + 0.7
    assert near["red"] > near["blue"] + 0.3
    np.testing.assert_array_equal(drawn[:7], small.sample(7, random_state=0))
    with pytest.raises(ValueError, match="`n_samples` must be 1 or more, got 0"):
        small.sample(0)


def test_numbers_alone_are_an_array_in_the_tables_units():
    x = np.random.default_rng(0).normal(size=(60, 3)) * [1, 100, 1e-3] + [0, 5000, 0]
    drawn = TableGAN(random_state=0).fit(x).sample(1000, random_state=1)
    assert drawn.dtype == float
    np.testing.assert_allclose(
        drawn.mean(axis=0) / x.std(axis=0), x.mean(axis=0) / x.std(axis=0), atol=0.4
    )
    np.testing.assert_allclose(drawn.std(axis=0), x.std(axis=0), rtol=0.3)


def test_planted_rows_are_the_least_usual():
    """Each column of a planted row is usual; two that hang together do not."""
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 4)) @ np.linalg.cholesky(0.2 * np.eye(4) + 0.8).T
    odd = x[np.abs(x[:, 0]) > 1.2][:30] * [-1, 1, 1, 1]
    for steps in (0, 50):
        model = TableGAN(max_steps=steps, random_state=0).fit(x)
        score = model.score_samples(np.concatenate([x[100:], odd]))
        assert roc_auc_score(np.arange(len(score)) < 300, score) > 0.95
        far = model.score_samples([[30.0, 0, 0, 0]])[0]
        assert far < score.min()
        assert model.predict([[30.0, 0, 0, 0], [0, 0, 0, 0]]).tolist() == [-1, 1]


def test_the_threshold_is_the_share_that_was_asked_for(small):
    table = mixed(90)
    for share in (0.1, 0.5):
        model = TableGAN(contamination=share, random_state=0).fit(table)
        assert (model.predict(table) == -1).mean() == pytest.approx(share, abs=2 / 90)
    below = small.share_below(small.score_samples(table))
    assert below.min() >= 0
    assert below.max() <= 1
    np.testing.assert_array_equal(
        small.decision_function(table), small.score_samples(table) - small.offset_
    )


def test_holes_and_kinds_that_were_not_seen_keep_their_place(small):
    table = mixed(90)
    table.loc[3, "a"] = np.nan
    table.loc[8, "kind"] = None
    model = TableGAN(random_state=0).fit(table)
    score = model.score_samples(table)
    assert np.flatnonzero(np.isnan(score)).tolist() == [3, 8]
    assert model.predict(table)[[3, 8]].tolist() == [1, 1]
    assert model.score(table) == np.nanmean(score)
    note = "2 of 90 rows have holes and were left out (a in 1, kind in 1); the first are rows 4, 9."
    assert model.notes_[0] == note
    table["kind"] = "pink"
    fresh = model.score_samples(table)
    assert np.isneginf(np.delete(fresh, [3])).all()
    with pytest.raises(ValueError, match="lacks columns of which the model is: kind"):
        model.score_samples(table[["a", "zeros", "count"]])
    with pytest.raises(ValueError, match="none of the 1 rows is whole"):
        model.score(table[3:4])


def test_what_is_saved_is_read_to_the_same_bits(tmp_path):
    table = mixed(120)
    for steps in (0, 20):
        model = TableGAN(max_steps=steps, random_state=0).fit(table)
        again = load(model.save(tmp_path / "m"))
        np.testing.assert_array_equal(again.score_samples(table), model.score_samples(table))
        np.testing.assert_array_equal(
            again.sample(20, random_state=5), model.sample(20, random_state=5)
        )
        assert again.report_ == model.report_
        assert again.kinds_ == model.kinds_
        assert again.n_steps_ == steps


def test_a_file_and_a_frame_are_the_same_table(tmp_path):
    table = mixed(60)
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet")
    found = [
        TableGAN(random_state=0).fit(each)
        for each in (table, tmp_path / "t.csv", str(tmp_path / "t.parquet"))
    ]
    wanted = found[0].score_samples(table)
    for model in found:
        for given in (table, tmp_path / "t.csv"):
            np.testing.assert_allclose(model.score_samples(given), wanted, rtol=1e-6)
    picked = TableGAN(columns=["kind", "count"], random_state=0).fit(tmp_path / "t.csv")
    assert picked.columns_ == ("kind", "count")


def test_columns_that_cannot_be_taken_are_left_out_with_a_sentence():
    table = mixed(60).assign(word=[f"w{k % 25}" for k in range(60)], item_id=range(60))
    model = TableGAN(random_state=0).fit(table)
    assert model.left_out_ == {
        "word": "text of 25 kinds, and may be of 20",
        "item_id": "it only names the rows",
        "same": "the same in all rows",
    }
    assert "word (text of 25 kinds, and may be of 20)" in " ".join(model.notes_)
    with pytest.raises(ValueError, match="column 'word' of the DataFrame is text of 25 kinds"):
        TableGAN(columns=["a", "word"]).fit(table)
    with pytest.raises(ValueError, match="every column is the same in all rows"):
        TableGAN().fit(np.ones((20, 2)))
    kinds = TableGAN(columns=["kind"], random_state=0).fit(table)
    assert set(kinds.sample(50, random_state=0)[:, 0]) == {"red", "green", "blue"}


def test_few_rows_are_a_copula_and_fewer_have_no_report(small):
    assert small.n_steps_ == 0
    assert "the model is the Gaussian copula" in " ".join(small.notes_)
    assert small.report_[OURS] == small.report_[COPULA]
    assert small.report_["rows"] == 22
    few = TableGAN(random_state=0).fit(mixed(30))
    assert few.report_ is None
    assert "nothing says whether to believe" in few.notes_[-1]
    for rows in (2, 3):
        found = TableGAN(random_state=0).fit(np.random.default_rng(0).normal(size=(rows, 3)))
        assert np.isfinite(found.sample(20, random_state=0)).all()


def test_a_generator_whose_samples_are_all_alike_is_told(monkeypatch):
    x = np.random.default_rng(0).normal(size=(200, 2))
    alike = lambda self, count, seed: np.repeat(x[:1], count, axis=0)
    monkeypatch.setattr(TableGAN, "_draws", alike)
    monkeypatch.setattr(_gan.nets, "train", lambda model, *rest, **others: (model, 1))
    model = TableGAN(random_state=0).fit(x)
    said = " ".join(model.notes_)
    assert "The samples are all alike: they reach" in said
    assert "`random_state`" in said
    assert "A classifier tells samples from 50 rows held out (AUROC 1.00" in said
    assert "A Gaussian copula is better" in said
    assert is_lost(model.report_)
    commands = model._commands("m")
    assert commands[0] == "pullback fit gan FILE --max-steps 0 --out copula"
    assert commands[1].startswith("pullback fit density")
    assert abs(model.report_[REAL]["auroc"] - 0.5) < 4 * model.report_[REAL]["standard_error"]


def test_the_page_names_the_planted_row_and_says_whether_to_believe(tmp_path):
    table = mixed(80).assign(patient_id=[f"p{k}" for k in range(80)])
    table["<b>"] = np.random.RandomState(1).normal(size=80)
    table.loc[33, "<b>"] = 30.0
    table.loc[5, "a"] = np.nan
    model = TableGAN(random_state=0).fit(table)
    text = write_report(model, table, tmp_path).read_text()
    assert "<title>the DataFrame: a GAN</title>" in text
    assert "<b>" not in text
    usual = text[text.index("The least usual rows") :]
    assert usual.index("p33") < usual.index("</tr>", usual.index("<tbody>"))
    assert "p5<" not in usual
    for sentence in model.notes_:
        assert escape(sentence) in text
    for name in ("this model", "Gaussian copula", "as good as it gets", "green", "AUROC"):
        assert name in text
    numbers = table[["a"]].dropna()
    assert write_report(TableGAN(random_state=0).fit(numbers), numbers, tmp_path).is_file()
    kinds = table[["kind"]]
    assert write_report(TableGAN(random_state=0).fit(kinds), kinds, tmp_path).is_file()
    array = np.random.default_rng(0).normal(size=(30, 2))
    assert write_report(TableGAN(random_state=0).fit(array), array, tmp_path).is_file()


def report(**ours):
    plain = {"auroc": 0.5, "standard_error": 0.05, "density": 1.0, "coverage": 0.97}
    plain["expected_coverage"] = 0.97
    return {"rows": 100, OURS: plain | ours, COPULA: plain, REAL: plain}


@pytest.mark.parametrize(
    ("ours", "good", "said"),
    [
        ({}, [True] * 4, "does not tell samples from 100 rows held out (AUROC 0.50 ± 0.05)"),
        ({"auroc": 0.62}, [False, True, True, True], "tells samples from 100 rows"),
        ({"auroc": 0.7}, [False, True, True, False], "A Gaussian copula is better (AUROC 0.50, "),
        ({"coverage": 0.8}, [True, False, True, True], "leave out a part of the table"),
        ({"coverage": 0.2}, [True, False, True, True], "The samples are all alike"),
        ({"density": 0.5}, [True, True, False, True], "lie beside the rows (density 0.50)"),
        ({"density": 2.0}, [True, True, False, True], "crowd in the midst of the rows"),
        ({"auroc": 0.3}, [True] * 4, "better than those of a Gaussian copula"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_else(ours, good, said):
    found = checks(report(**ours))
    assert [check.good for check in found] == good
    assert said in " ".join(check.sentence for check in found)


def test_the_judge_knows_real_rows_from_others():
    random = np.random.default_rng(0)
    rows = [random.normal(size=(100, 2)) for _ in range(2)]
    found = _gan_report.judge(rows[0], {"real": rows[1], "far": rows[1] + 9}, 0)
    assert found["rows"] == 100
    assert abs(found["real"]["auroc"] - 0.5) < 4 * found["real"]["standard_error"]
    assert found["far"] == {
        "auroc": 1, "standard_error": 0, "density": 0, "coverage": 0,
        "expected_coverage": found["real"]["expected_coverage"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"contamination": 0.7}, r"`contamination` must be in \(0, 0.5\], got 0.7"),
        ({"max_steps": -1}, "`max_steps` must be 0 or more, got -1"),
        ({"columns": [5]}, "places from 0 to 1, got .5."),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TableGAN(**settings).fit(np.random.default_rng(0).normal(size=(30, 2)))


@pytest.mark.parametrize(
    "kinds",
    [["0.1", "0.3", "x"], ["0.50", "01", "x"], [True, False, "maybe"], [1, 2.5, "x"]],
)
def test_a_row_scores_the_same_whichever_rows_are_beside_it(kinds, tmp_path):
    """Of some rows all kinds happen to be numbers."""
    table = mixed(60)[["a"]].assign(k=np.resize(np.asarray(kinds, object), 60))
    model = TableGAN(max_steps=0, random_state=0).fit(table)
    wanted = model.score_samples(table)
    assert np.isfinite(wanted).all()
    some = table["k"] != kinds[2]
    np.testing.assert_array_equal(model.score_samples(table[some]), wanted[some])
    np.testing.assert_array_equal(model.score_samples(table[:1]), wanted[:1])
    typed = table[some].infer_objects()
    np.testing.assert_array_equal(model.score_samples(typed), wanted[some])
    table[some].to_csv(tmp_path / "some.csv", index=False)
    np.testing.assert_allclose(model.score_samples(tmp_path / "some.csv"), wanted[some], rtol=1e-6)
    score_file(model, tmp_path / "some.csv", tmp_path / "scores.csv")
    found = pd.read_csv(tmp_path / "scores.csv")["score"]
    np.testing.assert_allclose(found, wanted[some], rtol=1e-6)
    page = write_report(model, tmp_path / "some.csv", tmp_path).read_text()
    assert "-inf" not in page


def test_the_page_of_rows_of_an_unseen_kind_names_no_other(tmp_path):
    table = mixed(60)[["a", "kind"]]
    model = TableGAN(max_steps=0, random_state=0).fit(table)
    text = write_report(model, table.assign(kind="pink"), tmp_path).read_text()
    assert "not seen" in text[text.index("The least usual rows") :]


def test_durations_are_days():
    days = np.resize([1.5, 2.0, 4.0, 8.0], 60)
    table = mixed(60)[["a"]].assign(wait=pd.to_timedelta(days, unit="D"))
    table.loc[3, "wait"] = pd.NaT
    model = TableGAN(max_steps=0, random_state=0).fit(table)
    assert model.kinds_ == {}
    assert "3" not in model.notes_[0].split()[0]
    assert set(model.sample(200, random_state=0)[:, 1]) == {1.5, 2.0, 4.0, 8.0}
    assert np.flatnonzero(np.isnan(model.score_samples(table))).tolist() == [3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": ["a", "a"]}, "`columns` has 'a' more than once"),
        ({"columns": ["a", "kind"], "id_column": "a"}, "'a' is in `columns`, and only names"),
        ({"columns": ["a", "kind"], "id_column": "zz"}, "no column 'zz'.* are a, .*zeros, .*count"),
        ({"columns": ["zz"]}, "no column 'zz'.* are a, .*zeros, .*count"),
        ({"contamination": "a"}, "must be in .0, 0.5., got 'a'"),
        (
            {"max_steps": "a"},
            "`max_steps` must be a whole number or None, got 'a'",
        ),
        (
            {"max_steps": 1.5},
            "`max_steps` must be a whole number or None, got 1.5",
        ),
        ({"max_steps": True}, "`max_steps` must be a whole number or None, got True"),
    ],
)
def test_names_that_do_not_fit_are_told_of_a_frame_and_of_a_file(settings, message, tmp_path):
    table = mixed(40)
    table.to_csv(tmp_path / "t.csv", index=False)
    for given in (table, tmp_path / "t.csv"):
        with pytest.raises((ValueError, TypeError), match=message):
            TableGAN().set_params(**settings).fit(given)


def test_what_is_no_number_is_told_by_name(small):
    for count in ("a", 2.5, None):
        with pytest.raises(TypeError, match=r"`n_samples` must be a whole|parameter .n_samples."):
            small.sample(count)
    x = np.random.default_rng(0).normal(size=(30, 2))
    for columns in (["a"], [0.5], [True]):
        with pytest.raises(ValueError, match="must be places from 0 to 1, got"):
            TableGAN().set_params(columns=columns).fit(x)
    with pytest.raises(ValueError, match="`columns` has 0 more than once"):
        TableGAN(columns=[0, 0]).fit(x)
    with pytest.raises(ValueError, match=r"1 of 1 are whole\.$"):
        TableGAN().fit(mixed(1))


@pytest.mark.slow
def test_the_game_finds_what_a_copula_cannot_say():
    """Two columns on a ring: each alone and their correlation say nothing of it."""
    random = np.random.default_rng(0)
    angle = random.uniform(0, 2 * np.pi, 800)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.1 * random.normal(size=(800, 2))
    model = TableGAN(max_steps=4000, random_state=0, progress=False).fit(x)
    ours, other = model.report_[OURS], model.report_[COPULA]
    assert other["auroc"] - ours["auroc"] > 0.1
    assert ours["density"] > other["density"] + 0.2
    assert ours["coverage"] > 0.85
    radius = np.linalg.norm(model.sample(2000, random_state=0), axis=1)
    assert radius.std() < 0.15
    assert "better than those of a Gaussian copula" in " ".join(model.notes_)

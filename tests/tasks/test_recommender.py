"""A recommender of ratings: newcomers without a new fit, reasons that add up, saved and read."""

import inspect

import jax
import numpy as np
import pandas as pd
import pytest

from pullback import tasks
from pullback.analysis import ranking
from pullback.data import Ratings
from pullback.tasks import _recommender_core as core
from pullback.tasks import _recommender_held as held_out
from pullback.tasks import _recommender_report as report


def films(users=30, items=20, density=0.6, seed=0):
    """Ratings of rank one with biases, in which ALS is at home."""
    rng = np.random.default_rng(seed)
    full = 3 + np.outer(rng.normal(size=users), rng.normal(size=items))
    full += 0.3 * rng.normal(size=items) + 0.1 * rng.normal(size=(users, items))
    who, what = np.nonzero(rng.random((users, items)) < density)
    return pd.DataFrame(
        {
            "user": [f"u{k}" for k in who],
            "item": [f"i{k}" for k in what],
            "rating": full[who, what].round(2),
            "time": rng.permutation(len(who)).astype(float),
        }
    )


@pytest.fixture(scope="module")
def als():
    return tasks.Recommender(method="als", random_state=0).fit(films())


@pytest.fixture(scope="module")
def chains():
    settings = {"max_steps": 20, "random_state": 0, "progress": False}
    return tasks.Recommender(held_out="random", **settings).fit(films())


@pytest.fixture(params=["als", "chains"])
def model(request):
    return request.getfixturevalue(request.param)


def copy(model, folder):
    return tasks.load(model.save(folder))


def parameters(model):
    return [np.asarray(x) for x in jax.tree.leaves(model.core_.parameters) if hasattr(x, "shape")]


def not_a_prototype(model):
    taken = getattr(model.core_.parameters, "users", None)
    codes = set(np.asarray(taken.codes).tolist()) if hasattr(taken, "codes") else set()
    return next(n for c, n in enumerate(model.ratings_.user_names) if c not in codes)


def test_a_newcomer_is_known_by_ratings_and_no_parameter_changes(model, tmp_path):
    model = copy(model, tmp_path)
    before, old = parameters(model), not_a_prototype(model)
    table = films()
    model.add(table[table.user == old].assign(user="new"))
    every = list(model.ratings_.item_names)
    new, known = (model.predict([name] * len(every), every) for name in ("new", old))
    # A newcomer is read with the others, whose items know of one rating more.
    np.testing.assert_allclose(new, known, atol=1e-4 if model.method == "als" else 0.3)
    for was, now in zip(before, parameters(model), strict=True):
        assert np.array_equal(was, now)
    assert "new" in model.ratings_.user_names


def test_reasons_add_up_and_are_the_users_own_ratings(model):
    most = model.ratings_.user_names[int(np.argmax(model.ratings_.counts[0]))]
    table = films()
    for user in (most, not_a_prototype(model)):
        why = model.why(user, "i3")
        np.testing.assert_allclose(why.base + why.contributions.sum(), why.predicted, atol=1e-4)
        np.testing.assert_allclose(why.predicted, model.predict(user, "i3")[0], atol=1e-6)
        own = table[table.user == user]
        assert dict(zip(why.items, why.ratings, strict=True)) == dict(
            zip(own["item"], own.rating, strict=True)
        )


def test_why_is_of_one_user_and_one_item(als):
    for user, item in ((["0", "1"], "1"), ([], "1"), ("0", ["1", "2"]), ("0", [])):
        with pytest.raises(ValueError, match="one name each"):
            inspect.unwrap(type(als).why)(als, user, item)


def test_without_the_users_ratings_a_prediction_is_what_anyone_would_give(model):
    with pytest.warns(UserWarning, match="no rating is known"):
        anyone = model.predict("nobody", "i3")[0]
    why = model.why(not_a_prototype(model), "i3")
    assert abs(why.contributions).max() > 0.01
    np.testing.assert_allclose(why.base, anyone, atol=1e-4)


def test_a_contribution_is_what_a_rating_changes(als, tmp_path):
    # Of least squares a prediction is linear in what a user gave.
    model = copy(als, tmp_path)
    why = model.why("u3", "i5")
    item, rating = why.items[2], why.ratings[2]
    above = model.core_.base[model._item_at[item]]
    halved = above + (rating - above) / 2
    model.add(pd.DataFrame({"user": ["u3"], "item": [item], "rating": [halved], "time": [99.0]}))
    fall = why.predicted - model.predict("u3", "i5")[0]
    np.testing.assert_allclose(fall, why.contributions[2] / 2, atol=1e-5)


def test_recommendations_are_the_best_of_what_is_left(model):
    found = model.recommend(["u0", "u7"], 3)
    table = films()
    for name in ("u0", "u7"):
        own = [each for each in found if each.user == name]
        left = sorted(set(table["item"]) - set(table[table.user == name]["item"]))
        scores = model.predict([name] * len(left), left)
        want = [left[k] for k in np.argsort(-scores)[:3]]
        assert [each.item for each in own] == want
        assert [each.rank for each in own] == [1, 2, 3]
        np.testing.assert_allclose([e.predicted for e in own], np.sort(scores)[::-1][:3], atol=1e-5)
        why = model.why(name, own[0].item)
        best = int(np.argmax(why.contributions))
        if core.is_prototype(model.core_, model._user_at[name]):
            assert own[0].because == "what was learned of this user as a whole"
        elif why.contributions[best] > 0:
            assert own[0].because.startswith(f"{why.items[best]} ({why.ratings[best]:g})")


def test_one_who_has_rated_nothing_gets_what_anyone_would_and_it_is_said(model):
    with pytest.warns(UserWarning, match="no rating is known of 'nobody'.*biases"):
        found = model.recommend("nobody", 2)
    anyone = core.vectors(model.core_.model, [np.zeros(0, int)], [np.zeros(0)])
    np.testing.assert_allclose(found[0].predicted, model.core_.scores(anyone).max(), atol=1e-5)
    assert found[0].because == "no rating yet: what anyone would like"
    with pytest.warns(UserWarning, match="'U0'; did you mean 'u0'"):
        model.predict("U0", "i3")


def test_a_saved_model_says_the_same_to_the_bit(model, tmp_path):
    model = copy(model, tmp_path / "first")
    model.add(pd.DataFrame({"user": ["zoë"], "item": ["i1"], "rating": [5.0], "time": [99.0]}))
    again = copy(model, tmp_path / "second")
    assert again.recommend(None, 3) == model.recommend(None, 3)
    assert again.report_ == model.report_
    assert again.ratings_.user_names == model.ratings_.user_names
    table = pd.read_csv(tmp_path / "second" / "scores.csv")
    assert list(table)[:4] == ["model", "users", "rmse", "k"]
    assert set(table.users) <= {"warm", "cold"}


def test_the_report_is_what_ratings_and_rankings_held_out_say(als):
    held = held_out.hold_out(als.ratings_, "time", 0)
    assert held.train.times.max() < held.warm.times.min()
    assert not set(held.cold.users) & set(held.train.users)
    random = held_out.hold_out(als.ratings_, "random", 0)
    hidden = set(random.cold.users)
    assert len(hidden) == 3
    assert not hidden & set(random.train.users)
    shown = np.bincount(random.shown.users, minlength=30)
    assert shown[list(hidden)].max() <= 10
    assert als.report_["by"] == "time"
    assert als.report_["rows"] == len(held.warm.values)
    biases, ours = (als.report_["models"][key] for key in ("biases", "als"))
    assert ours["rmse"] < biases["rmse"]
    assert any("least squares (ALS) wins (RMSE" in note for note in als.notes_)


def test_rankings_hide_what_was_rated_before(als):
    held = held_out.hold_out(als.ratings_, "random", 0)
    asked = report._relevant(held, True, 0)
    popular = report.rivals(held.train, "explicit")["popularity"]
    said = report.judge(held, {"popularity": popular, "biases": popular}, "implicit", 0)
    scores = np.broadcast_to(popular.base, asked.relevant.shape)
    found = report._relevant(held, False, 0)
    scores = np.where(found.hidden, -np.inf, popular.base[None])
    want = ranking(scores, found.relevant, found.k, cold=found.cold)
    assert said["models"]["popularity"]["ndcg"] == want.warm.ndcg.tolist()
    assert said["models"]["popularity"]["cold_recall"] == want.cold.recall.tolist()
    for row, user in enumerate(asked.users):
        before = held.shown if asked.cold[row] else held.train
        assert set(np.flatnonzero(asked.hidden[row])) == set(before.items[before.users == user])


def test_where_another_wins_the_remedy_is_said():
    models = {"chains": {"rmse": 1.0}, "als": {"rmse": 0.9}, "biases": {"rmse": 1.1}}
    lost = {"models": models, "rows": 9, "behind": {"best": "als", "gap": 0.2, "error": 0.01}}
    (check,) = report.checks(lost)
    assert not check.good
    assert check.sentence.endswith("RMSE evidence chains 1.000, least squares (ALS) 0.900): take "
                                   "it by method='als'.")  # fmt: skip
    (even,) = report.checks({**lost, "behind": {"best": "als", "gap": 0.01, "error": 0.01}})
    assert even.good
    assert "no better and no worse for sure" in even.sentence


def test_implicit_feedback_needs_no_ratings():
    table = films()[["user", "item"]]
    model = tasks.Recommender(method="als", feedback="implicit", random_state=0).fit(table)
    found = model.report_ or {}
    assert set(found["models"]) == {"als", "popularity"}
    assert "behind" not in found
    assert len(model.recommend("u1", 4)) == 4


def test_few_ratings_are_fitted_and_nothing_is_held_out():
    model = tasks.Recommender(method="als", random_state=0).fit(films(6, 6))
    assert model.report_ is None
    assert "Too few ratings to hold any out" in model.notes_[0]
    assert "Recommender of the DataFrame: " in model._card()[0]


BAD = [
    ({"values": np.array([np.nan])}, "1 ratings are no finite number"),
    ({"users": np.array([-1])}, "`users` must be rows of the 1 names, 0 to 0; got -1"),
    ({"users": np.array([5])}, "`users` must be rows of the 1 names, 0 to 0; got 5"),
    (
        {"users": np.zeros(2, int), "items": np.zeros(2, int), "values": np.ones(2)},
        "user 'zed' has rated item 'i1' twice",
    ),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_ratings_that_are_refused_leave_the_model_as_it_was(model, changes, message, tmp_path):
    model = copy(model, tmp_path / "first")
    good = Ratings(np.array([0]), np.array([0]), np.array([4.0]), ("zed",), ("i1",))
    before = model.recommend("u1", 2)
    for take in (model.add, model.read):
        with pytest.raises(ValueError, match=message):
            take(good._replace(**changes))
    assert "zed" not in model.ratings_.user_names
    assert copy(model, tmp_path / "second").recommend("u1", 2) == before


def test_a_model_that_fails_as_it_reads_is_left_as_it_was(als, tmp_path, monkeypatch):
    model = copy(als, tmp_path)
    ratings, before = model.ratings_, model.recommend("u1", 2)

    def fail(*args):
        raise RuntimeError("no memory")

    monkeypatch.setattr(core, "read", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        model.add(pd.DataFrame({"user": ["zed"], "item": ["i1"], "rating": [4.0]}))
    assert model.ratings_ is ratings
    assert model.recommend("u1", 2) == before


def test_implicit_feedback_that_is_added_is_above_nothing():
    table = films(8, 8)[["user", "item"]]
    model = tasks.Recommender(method="als", feedback="implicit", random_state=0).fit(table)
    more = Ratings(np.array([0]), np.array([0]), np.array([-5.0]), ("zed",), ("i1",))
    with pytest.raises(ValueError, match="how often or how much, above 0; got -5"):
        model.add(more)


def late_newcomers():
    """All ratings of the last fifth are of users who have no other."""
    table = films()
    late = table.user.isin([f"u{k}" for k in range(24, 30)])
    return table.assign(time=np.where(late, 1000.0, table.time))


@pytest.mark.parametrize("held", ["time", None])
def test_where_all_that_comes_late_is_of_newcomers_no_winner_is_named(held):
    model = tasks.Recommender(method="als", held_out=held, random_state=0)
    model.fit(late_newcomers())
    found = model.report_ or {}
    said = found["models"]["als"]
    assert np.isfinite(said["cold_rmse"])
    assert not any("nan" in note for note in model.notes_)
    if held == "time":
        assert (found["rows"], "rmse" in said, "behind" in found) == (0, False, False)
        assert any("nothing says how good it is for known users" in note for note in model.notes_)
        assert not any(" wins (" in note for note in model.notes_)
        assert model._report(None).quality is not None
    else:
        assert found["by"] == "random"
        assert "are of users who have no other, so it is held out at random" in model.notes_[0]


def test_what_is_held_out_leaves_something_to_learn_from():
    table = films()
    late = table.time >= table.time.quantile(0.5)
    table["rating"] = np.where(late, table.rating, 3.0)
    table["time"] = late + 0.0
    model = tasks.Recommender(method="als", random_state=0).fit(table)
    assert (model.report_ or {})["by"] == "random"
    assert model.notes_[0] == (
        "What is held out by time leaves ratings to learn from that are all 3, so it is held out "
        "at random."
    )
    with pytest.raises(ValueError, match=r"that are all 3; take held_out='random'"):
        tasks.Recommender(method="als", held_out="time", random_state=0).fit(table)
    table["time"] = (np.arange(len(table)) > 4) + 0.0
    model.fit(table)
    assert model.notes_[0].startswith("What is held out by time leaves 5 ratings to learn from")
    table["rating"] = np.where(np.arange(len(table)) == 7, 4.0, 3.0)
    seeds = [tasks.Recommender(method="als", random_state=seed).fit(table) for seed in range(9)]
    none = [model for model in seeds if model.report_ is None]
    assert none
    assert none[0].notes_[-1].endswith("all 3, so nothing says how good it is.")


def test_new_items_are_refused_as_slips_unless_they_are_meant(als, tmp_path):
    model = copy(als, tmp_path)
    more = pd.DataFrame({"user": ["u1", "u2"], "item": ["i3", "ii4"], "rating": [1.0, 2.0]})
    with pytest.raises(ValueError, match="row 2: the item 'ii4' is not known; did you mean 'i4'"):
        model.add(more)
    given = Ratings(np.array([0]), np.array([0]), np.array([2.0]), ("u1",), ("ii4",))
    with pytest.raises(ValueError, match=r"no item 'ii4' among .* did you mean 'i4'"):
        model.add(given)
    model.add(more, new_items=True)
    assert model.predict("u1", "ii4").shape == (1,)
    with pytest.raises(ValueError, match="there is no item 'j3' among the 21"):
        model.predict("u1", "j3")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "svd"}, "`method` must be 'chains' or 'als', got 'svd'"),
        ({"held_out": "users"}, "`held_out` must be 'time', 'random' or None"),
        ({"max_steps": 0}, "`max_steps` must be 1 or more; method='als' takes none"),
        ({"held_out": "time", "method": "als"}, "no times for held_out='time'; name the column"),
        ({"feedback": "both"}, "`feedback` must be one of explicit, implicit"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        tasks.Recommender(**settings).fit(films()[["user", "item", "rating"]])


def test_predictions_are_pair_by_pair(als):
    with pytest.raises(ValueError, match="must be as many, got 2 and 1"):
        als.predict(["u1", "u2"], ["i1"])
    assert als.predict([], []).shape == (0,)


def test_numbers_are_names_as_in_a_file():
    table = films(8, 8)
    table["user"], table["item"] = table.user.str[1:].astype(int), table["item"].str[1:].astype(int)
    model = tasks.Recommender(method="als", random_state=0).fit(table)
    assert model.recommend(5, 2) == model.recommend("5", 2) == model.recommend([5], 2)
    assert model.predict(0, 3) == model.predict("0", "3")
    assert model.why(5, 3).predicted == model.why("5", "3").predicted


def test_a_known_name_without_a_rating_is_told(als, tmp_path):
    model = copy(als, tmp_path)
    more = Ratings([0], [0], [4.0], ("zed", "idle"), ("i1",))
    model.add(more)
    with pytest.warns(UserWarning, match="no rating is known of 'idle'"):
        model.recommend("idle", 1)


def test_of_a_prototype_no_rating_is_named_as_a_reason(chains):
    codes = set(np.asarray(chains.core_.parameters.users.codes).tolist())
    for code, name in enumerate(chains.ratings_.user_names[:12]):
        said = {each.because for each in chains.recommend(name, 3)}
        assert (said == {"what was learned of this user as a whole"}) == (code in codes)

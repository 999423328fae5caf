"""Ratings: what is checked of them, and how they are split."""

import inspect

import numpy as np
import pytest

from pullback.data import Ratings

USERS, ITEMS = tuple("abcdefgh"), tuple("uvwxyz")


def some(**changes):
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((8, 6)) < 0.7)
    values = rng.integers(1, 6, len(users)).astype(float)
    return Ratings(
        users, items, values, USERS, ITEMS, times=rng.integers(0, 9, len(users)).astype(float)
    )._replace(**changes)


def rows(ratings):
    return set(zip(ratings.users.tolist(), ratings.items.tolist(), strict=True))


@pytest.mark.parametrize("by", ["random", "time", "users"])
def test_a_split_deals_every_rating_out_once(by):
    ratings = some()
    train, test = ratings.split(by, test=0.3)
    assert rows(train) | rows(test) == rows(ratings)
    assert not rows(train) & rows(test)
    assert train.user_names == test.user_names == USERS
    assert test.item_names == ITEMS
    assert len(train.values) == len(train.times)
    assert len(test.values) == len(test.times)


def test_a_split_at_random_has_the_share_and_hangs_on_the_seed():
    ratings = some()
    first, again, other = (rows(ratings.split(seed=seed).test) for seed in (0, 0, 1))
    assert len(first) == round(0.2 * len(ratings.values))
    assert first == again != other


def test_a_split_by_time_has_one_date_for_all():
    train, test = some().split("time", test=0.3)
    assert train.times.max() < test.times.min()
    # The share is the nearest that ties allow.
    times = np.sort(some().times)
    shares = [(times >= date).mean() for date in np.unique(times)[1:]]
    assert abs((len(test.times) / len(times)) - 0.3) == min(abs(s - 0.3) for s in shares)


def test_a_split_by_users_leaves_none_in_both():
    train, test = some().split("users", test=0.25)
    assert not set(train.users) & set(test.users)
    assert len(set(test.users)) == 2


def test_counts_have_users_and_items_without_a_rating():
    users, items = some().take(np.array([0, 1])).counts
    assert users.tolist() == [2, 0, 0, 0, 0, 0, 0, 0]
    assert len(items) == 6
    assert items.sum() == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: some().split("date"), r"`by` must be one of 'random', .* got 'date'"),
        (lambda: some().split(test=1.0), r"`test` must be a share above 0 and below 1, got 1"),
        (lambda: some(times=None).split("time"), "no times, so there is no by='time'; read the"),
        (lambda: some(times=np.zeros(len(some().values))).split("time"), "all .* have one time"),
        (lambda: some(times=np.full(len(some().values), np.nan)).split("time"), "not known"),
        (lambda: some().split(test=0.001), "leave none to be judged by; take another share"),
        (lambda: some().take(np.array([0])).split("users", test=0.9), "none to learn from"),
        (lambda: some().take(np.zeros(0, int)).checked(), "there is no rating"),
        (lambda: some(users=np.zeros(2, int)).checked(), "`users` and `values` must be as long"),
        (lambda: some(item_names=ITEMS[:3]).checked(), "`items` must be rows of the 3 names"),
        (lambda: some(values=some().values * np.nan).checked(), "no finite number, the first in"),
        (lambda: some(values=np.ones(len(some().values))).checked(), "every rating is 1, .*impl"),
        (lambda: some(values=some().values - 1).checked("implicit"), "above 0; got 0"),
        (lambda: some().checked("both"), "`feedback` must be 'explicit' or 'implicit'"),
        (
            lambda: some().take(np.array([0, 1, 5, 0])).checked(),
            "user 'a' has rated item 'u' twice, in places 0 and 3; keep one",
        ),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_one_value_only_is_fine_of_implicit_feedback():
    ratings = some(values=np.ones(len(some().values)))
    assert rows(ratings.checked("implicit")) == rows(ratings)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"times": np.zeros(3)}, ValueError, "`times` and `values` must be as long, got 3 and"),
        ({"users": some().users.astype(float)}, TypeError, "`users` must be rows .*got float64"),
        ({"values": some().values[:, None]}, ValueError, "`values` must have one axis"),
        ({"values": some().values.astype(str)}, TypeError, "`values` must be numbers, got <U"),
        ({"item_names": (*"uvwxu", "z")}, ValueError, "'u' is there twice among those of `items`"),
        ({"values": some().values * np.inf}, ValueError, "no finite number"),
    ],
)
def test_what_is_not_well_formed(changes, error, message):
    for check in (some(**changes).well_formed, some(**changes).checked):
        with pytest.raises(error, match=message):
            check()


def test_few_ratings_and_lists_are_well_formed():
    one = Ratings([0], [1], [3.0], ("ann",), ("Alien", "Brazil"), [7.0]).well_formed()
    assert one.take(np.array([0])).times.tolist() == [7]
    assert some().take(np.zeros(0, int)).well_formed().values.shape == (0,)
    with pytest.raises(ValueError, match="above 0; got 0"):
        one._replace(values=np.zeros(1)).well_formed("implicit")


@pytest.mark.parametrize("given", [{"test": "a"}, {"seed": -1}, {"seed": "a"}, {"seed": 0.5}])
def test_shares_and_seeds_are_numbers(given):
    with pytest.raises(ValueError, match=f"`{next(iter(given))}` must be"):
        inspect.unwrap(Ratings.split)(some(), **given)

"""What is held out of ratings, to judge a recommender by."""

from typing import NamedTuple

import numpy as np

from pullback.data import Ratings

_FEWEST_RATINGS, _FEWEST_USERS = 100, 10
_FEWEST_LEARNED = 10  # ratings, that chains are fitted to
_NEWCOMERS, _TEST = 0.1, 0.2
_SHOWN = 10  # ratings of a newcomer that are shown, at most; and no more than half


class Held(NamedTuple):
    """Ratings to learn from, and those to be judged by.

    Attributes:
        train: of users who are known.
        warm: held out, of the same users.
        shown: what is shown of newcomers, who take no part in the fit.
        cold: held out, of these.
    """

    train: Ratings
    warm: Ratings
    shown: Ratings
    cold: Ratings


def hold_out(ratings: Ratings, by: str, seed: int) -> Held | None:
    """Hold ratings out, and users; None where there are too few."""
    users = np.unique(ratings.users)
    if len(ratings.values) < _FEWEST_RATINGS or len(users) < _FEWEST_USERS:
        return None
    random = np.random.default_rng(seed)
    if by == "time" and ratings.times is not None:
        late = ratings.split("time", test=_TEST)
        new = ~np.isin(ratings.users, late.train.users)
        train, warm = late.train, late.test.take(np.isin(late.test.users, late.train.users))
        order = np.lexsort((ratings.times, ratings.users))
    else:
        chosen = random.permutation(users)[: max(1, round(_NEWCOMERS * len(users)))]
        new = np.isin(ratings.users, chosen)
        train, warm = ratings.take(~new).split("random", test=_TEST, seed=seed)
        order = np.lexsort((random.random(len(new)), ratings.users))
    order = order[new[order]]
    of = ratings.users[order]
    place = np.arange(len(of)) - np.searchsorted(of, of)
    count = np.searchsorted(of, of, side="right") - np.searchsorted(of, of)
    shown = place < np.minimum(_SHOWN, count // 2)
    return Held(train, warm, ratings.take(order[shown]), ratings.take(order[~shown]))


def choose_held(
    ratings: Ratings, by: str | None, feedback: str, seed: int
) -> tuple[Held | None, str, list[str]]:
    """What is held out, by which way, and notes on it.

    Args:
        ratings: of which.
        by: "time" or "random"; None takes time where that leaves enough on both sides.
        feedback: as of the task.
        seed: of what is drawn.

    Raises:
        ValueError: nothing can be learned of what the way that was asked for leaves.
    """
    ways = [by] if by else ["random"]
    if by is None and ratings.times is not None and np.isfinite(ratings.times).all():
        ways = ["time"] * (len(np.unique(ratings.times)) > 1) + ways
    notes: list[str] = []
    for way in ways:
        held = hold_out(ratings, way, seed)
        if held is None:
            return None, way, ["Too few ratings to hold any out, so nothing says how good it is."]
        lacks = _lacks(held, feedback, way, by is None)
        if lacks is None:
            return held, way, notes
        if by is not None:
            other = "random" if by == "time" else None
            raise ValueError(f"{ratings.source}: {lacks}; take held_out={other!r}.")
        rest = "it is held out at random" if way == "time" else "nothing says how good it is"
        notes.append(f"{lacks[0].upper()}{lacks[1:]}, so {rest}.")
    return None, "random", notes


def _lacks(held: Held, feedback: str, by: str, judged: bool) -> str | None:
    """Why nothing can be learned of what is left, or, if that is asked, judged by what is not."""
    values = held.train.values
    if len(values) < _FEWEST_LEARNED:
        return f"what is held out by {by} leaves {len(values)} ratings to learn from"
    if feedback == "explicit" and values.min() == values.max():
        return f"what is held out by {by} leaves ratings to learn from that are all {values[0]:g}"
    if judged and not len(held.warm.values):
        return f"all ratings held out by {by} are of users who have no other"
    return None

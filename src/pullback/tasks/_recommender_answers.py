"""What a recommender answers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

_NAMED = 2  # ratings, with a recommendation


class Recommendation(NamedTuple):
    """An item for a user.

    Attributes:
        user: its name.
        rank: from 1.
        item: its name.
        predicted: the rating; of implicit feedback a score that is higher for what comes earlier.
        because: the user's own ratings that speak most for it.
    """

    user: str
    rank: int
    item: str
    predicted: float
    because: str


class Explanation(NamedTuple):
    """What a prediction is made of: `base` and the contributions add up to `predicted`.

    Attributes:
        base: what anyone would give; of a prototype also what its own parameters add.
        items: what the user has rated.
        ratings: and how.
        contributions: what each of these ratings adds.
        predicted: the prediction.
    """

    base: float
    items: list[str]
    ratings: list[float]
    contributions: Float[np.ndarray, " n"]
    predicted: float


def because_of(
    names: Sequence[str],
    items: Int[np.ndarray, " n"],
    values: Float[np.ndarray, " n"],
    shares: Float[np.ndarray, " n"],
) -> str:
    """The ratings that speak most for an item, in words.

    Args:
        names: of all items.
        items: that the user has rated.
        values: and how.
        shares: what each adds to the prediction.
    """
    if not len(items):
        return "no rating yet: what anyone would like"
    most = [place for place in np.argsort(-shares)[:_NAMED] if shares[place] > 0]
    return ", ".join(f"{names[items[place]]} ({values[place]:g})" for place in most)

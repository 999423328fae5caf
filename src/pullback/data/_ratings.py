"""Ratings of items by users."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer


class Ratings(NamedTuple):
    """Who rated what, and how: one row a rating.

    Args:
        users: Of each rating, the row of its user in `user_names`, from 0.
        items: Of each rating, the row of its item in `item_names`, from 0.
        values: The ratings; of implicit feedback, how often or how much, above 0.
        user_names: Of each user.
        item_names: Of each item.
        times: Of each rating, in seconds since 1970 or any unit that grows; None where not known.
        source: Where they came from, for messages.
    """

    users: Integer[np.ndarray, " ratings"]
    items: Integer[np.ndarray, " ratings"]
    values: Float[np.ndarray, " ratings"]
    user_names: tuple[str, ...]
    item_names: tuple[str, ...]
    times: Float[np.ndarray, " ratings"] | None = None
    source: str = "the ratings"

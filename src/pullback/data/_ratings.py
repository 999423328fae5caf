"""Ratings of items by users."""

from collections import Counter
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from pullback.data._growing import by_users

_BY = ("random", "time", "users")


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

    @property
    def counts(self) -> tuple[Int[np.ndarray, " users"], Int[np.ndarray, " items"]]:
        """How many ratings each user has, and each item."""
        return (
            np.bincount(self.users, minlength=len(self.user_names)),
            np.bincount(self.items, minlength=len(self.item_names)),
        )

    def take(self, index: Int[np.ndarray, " chosen"] | Bool[np.ndarray, " ratings"]) -> "Ratings":
        """The ratings at these places, of the same users and items by the same rows.

        Args:
            index: places, or True for the ratings to take.
        """
        return self._replace(
            users=self.users[index],
            items=self.items[index],
            values=self.values[index],
            times=None if self.times is None else self.times[index],
        )

    def checked(self, feedback: str = "explicit") -> "Ratings":
        """These ratings, if a recommender can be fitted to them.

        Args:
            feedback: "explicit": values are ratings; "implicit": how often or how much, above 0.

        Raises:
            ValueError: there is none, or all values are the same; or as by `well_formed`.
            TypeError: as by `well_formed`.

        Example:
            >>> import numpy as np
            >>> both = Ratings(np.array([0, 0]), np.array([1, 1]), np.array([4.0, 5.0]),
            ...                ("ann",), ("Alien", "Brazil"))
            >>> both.checked()
            Traceback (most recent call last):
            ValueError: the ratings: user 'ann' has rated item 'Brazil' twice, ...
        """
        found = self.well_formed(feedback)
        if not len(found.values):
            raise ValueError(f"{self.source}: there is no rating; at least two are wanted.")
        if feedback == "explicit" and found.values.min() == found.values.max():
            raise ValueError(
                f"{self.source}: every rating is {found.values[0]:g}, so there is nothing to tell "
                "items apart by; if a row only says that a user took an item, feedback='implicit'."
            )
        return found

    def well_formed(self, feedback: str = "explicit") -> "Ratings":
        """These ratings, if a recommender can read them, few or none as they may be.

        Args:
            feedback: as for `checked`.

        Returns:
            The ratings, their fields as arrays of NumPy.

        Raises:
            ValueError: a field has another length, or more than one axis; a row of a user or an
                item is out of range; a name is there twice; a value is no finite number, or one of
                implicit feedback not above 0; a user has rated an item twice.
            TypeError: rows are no whole numbers, or values or times no numbers.

        Example:
            >>> import numpy as np
            >>> Ratings([0, 1], [0, 0], [4.0, np.nan], ("ann", "bob"), ("Alien",)).well_formed()
            Traceback (most recent call last):
            ValueError: the ratings: 1 ratings are no finite number, the first in place 1 ...
        """
        if feedback not in ("explicit", "implicit"):
            raise ValueError(f"`feedback` must be 'explicit' or 'implicit', got {feedback!r}.")
        values = _column(self, "values", self.values, None)
        found = self._replace(
            users=_codes(self, "users", self.user_names, len(values)),
            items=_codes(self, "items", self.item_names, len(values)),
            values=values,
            times=None if self.times is None else _column(self, "times", self.times, len(values)),
        )
        if len(values):
            _check_values(found, feedback)
            _check_once(found)
        return found

    def split(
        self,
        by: str = "random",
        *,
        test: float = 0.2,
        seed: int = 0,
    ) -> "RatingsSplit":
        """Deal the ratings out to a set to learn from and a set to be judged by.

        Both keep the rows of users and items. Splits at random flatter: what a recommender is asked
        in use is what comes after, by `by="time"`, and of users that are new, by `by="users"`.

        Args:
            by: "random": ratings, whosever they are; "time": those from one date on, the same for
                all users; "users": all ratings of some users.
            test: the share of ratings (of users, by users) to be judged by.
            seed: of the draw.

        Returns:
            The two sets, neither without a rating.

        Raises:
            ValueError: `by`, `test` or `seed` is not as above; there are no times, or all are the
                same; or a set would have no rating.

        Example:
            >>> import numpy as np
            >>> six = Ratings(np.arange(6) // 2, np.arange(6) % 2, np.arange(1.0, 7.0),
            ...               ("a", "b", "c"), ("x", "y"), times=np.array([9.0, 1, 2, 3, 8, 7]))
            >>> six.split("time", test=0.5).test.times
            array([9., 8., 7.])
            >>> six.split("users", test=0.4).test.users
            array([2, 2])
        """
        if by not in _BY:
            raise ValueError(f"`by` must be one of {', '.join(map(repr, _BY))}; got {by!r}.")
        if not isinstance(test, Real) or not 0 < test < 1:
            raise ValueError(f"`test` must be a share above 0 and below 1, got {test!r}.")
        if not isinstance(seed, Integral) or seed < 0:
            raise ValueError(f"`seed` must be a whole number, 0 or more, got {seed!r}.")
        if by == "time":
            held = _late(self, test)
        elif by == "users":
            rated = np.unique(self.users)
            held = np.isin(self.users, _drawn(rated, test, seed))
        else:
            held = np.zeros(len(self.values), bool)
            held[_drawn(np.arange(len(held)), test, seed)] = True
        if held.all() or not held.any():
            raise ValueError(
                f"{self.source}: {len(held)} ratings by {by} at test={test} leave none to "
                f"{'learn from' if held.any() else 'be judged by'}; take another share."
            )
        return RatingsSplit(self.take(~held), self.take(held))


class RatingsSplit(NamedTuple):
    """Ratings to learn from, and ratings to be judged by."""

    train: Ratings
    test: Ratings


def _drawn(rows: Int[np.ndarray, " n"], share: float, seed: int) -> Int[np.ndarray, " k"]:
    order = np.random.default_rng(seed).permutation(len(rows))
    return rows[order[: round(share * len(rows))]]


def _late(ratings: Ratings, share: float) -> Bool[np.ndarray, " ratings"]:
    """Ratings from the date on that leaves nearest to this share of them."""
    times = ratings.times
    if times is None:
        raise ValueError(
            f"{ratings.source}: there are no times, so there is no by='time'; read the file with "
            "its column of times, or take by='random' or by='users'."
        )
    if np.isnan(times).any():
        raise ValueError(f"{ratings.source}: {np.isnan(times).sum()} times are not known (NaN).")
    dates, before = np.unique(times, return_counts=True)
    if len(dates) < 2:
        raise ValueError(f"{ratings.source}: all ratings have one time, so none is later.")
    left = np.cumsum(before[:-1])  # before each date but the first
    return times >= dates[1 + np.argmin(np.abs(left - (1 - share) * len(times)))]


def _column(ratings: Ratings, field: str, given: Any, length: int | None) -> np.ndarray:
    """One number a rating; lists become arrays."""
    column = np.asarray(given)
    if column.ndim != 1:
        raise ValueError(
            f"{ratings.source}: `{field}` must have one axis, a cell a rating; got {column.shape}."
        )
    if length is not None and len(column) != length:
        raise ValueError(
            f"{ratings.source}: `{field}` and `values` must be as long, got {len(column)} and "
            f"{length}."
        )
    if not len(column) or column.dtype.kind in "iuf":
        return column
    raise TypeError(f"{ratings.source}: `{field}` must be numbers, got {column.dtype}.")


def _codes(ratings: Ratings, field: str, names: Sequence[str], length: int) -> np.ndarray:
    codes = _column(ratings, field, getattr(ratings, field), length)
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise ValueError(
            f"{ratings.source}: the name {twice!r} is there twice among those of `{field}`; each "
            "row of the names is another one."
        )
    if not len(codes):
        return codes.astype(np.int32)
    if codes.dtype.kind == "f":
        raise TypeError(
            f"{ratings.source}: `{field}` must be rows of the names, whole numbers, got "
            f"{codes.dtype}."
        )
    if codes.min() < 0 or codes.max() >= len(names):
        raise ValueError(
            f"{ratings.source}: `{field}` must be rows of the {len(names)} names, 0 to "
            f"{len(names) - 1}; got {codes.min()} to {codes.max()}."
        )
    return codes


def _check_values(ratings: Ratings, feedback: str) -> None:
    values = ratings.values
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise ValueError(
            f"{ratings.source}: {len(bad)} ratings are no finite number, the first in place "
            f"{bad[0]} ({values[bad[0]]}); take them out."
        )
    if feedback == "implicit" and values.min() <= 0:
        raise ValueError(
            f"{ratings.source}: implicit feedback says how often or how much, above 0; got "
            f"{values.min():g}. Take such rows out, or feedback='explicit'."
        )


def _check_once(ratings: Ratings) -> None:
    for some in by_users(ratings.users):
        pairs = ratings.users[some].astype(np.int64) * len(ratings.item_names) + ratings.items[some]
        order = np.argsort(pairs, kind="stable")
        twice = np.flatnonzero(np.diff(pairs[order]) == 0)
        if not len(twice):
            continue
        place, again = some[order[twice[0] : twice[0] + 2]]
        user, item = (
            ratings.user_names[ratings.users[place]],
            ratings.item_names[ratings.items[place]],
        )
        raise ValueError(
            f"{ratings.source}: user {user!r} has rated item {item!r} twice, in places {place} and "
            f"{again}; keep one, such as the last, or their mean."
        )

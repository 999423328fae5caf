"""`Recommender`: what users would give to items, for users who have come since, and why."""

import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from pullback._inputs import positive
from pullback._names import did_you_mean
from pullback.data import Ratings, read_ratings

from . import _recommender_core as core
from ._outputs import table_writer
from ._page import Report
from ._recommender_answers import Explanation, Recommendation, because_of
from ._recommender_held import choose_held
from ._recommender_ratings import arrays_of, digest, from_arrays, joined, names_of
from ._recommender_report import NAMES, checks, judge, rivals, scores_table, told
from ._settings import check_max_steps
from ._task import AbstractTask

_STEPS, _SEEN = (200, 1000), 30_000_000  # fewest and most steps, and ratings seen in all
_AT_ONCE = 256  # users for whom the scores of all items are held
_FILE = "scores.csv"
# Of a prototype the ratings add one bias to all items, which is no reason for one of them.
_OWN = "what was learned of this user as a whole"
_HELD_OUT = ("time", "random")
_Name = str | int | np.integer


class Recommender(AbstractTask):
    r"""What users would give to items, for users who came after the fit too, and why.

    $$ \hat r_{ij} = \mu + b_i + b_j + u_i \cdot v_j $$

    A user's bias and vector are computed from the ratings that the user has given, by what was
    fitted once: `add` takes ratings of newcomers, and they are known from then on, with no
    parameter changed. Each rating has its part in a prediction, which `why` tells.
    `report_` says how good it is on ratings and on users held out, beside biases, popularity and
    least squares (ALS), and `notes_` who wins. The parameters stay those that were fitted without
    what was held out, so that the report is of them; vectors are computed of all ratings. Least
    squares is often as good: take it by `method="als"`.

    Args:
        user, item, rating, time: the columns of the file or frame; None takes those with usual
            names.
        time_format: how dates are written, a pattern such as "%d.%m.%Y"; None: ISO 8601.
        decimal: the sign before fractions, "." or ","; None: as the file shows it.
        feedback: "explicit" where values are ratings, "implicit" where they say how often or how
            much, or nothing but that a user took an item.
        on_duplicate: of a user twice on one item, as for `pullback.data.read_ratings`.
        method: "chains", evidence chains; or "als", least squares with fold-in.
        held_out: "time", what is held out are the latest ratings, one date for all; "random"; None
            takes time where it is known and leaves enough to learn from and to be judged by, and
            else random; `notes_` says which.
        max_steps: training steps of evidence chains; None chooses.
        random_state: seed, generator or None, as everywhere in scikit-learn.
        progress: show a bar on stderr; None: where stderr is a terminal.

    Attributes:
        ratings_: all that have been read, of the fit and since.
        report_: errors and rankings on ratings held out, of this model and of others; None of
            fewer than 100 ratings or 10 users.
        notes_: what was held out and who wins, in sentences.
        data_: where the ratings came from, their number, that of users and of items, and the
            digest of those fitted.

    Raises:
        ValueError: a setting or the ratings do not fit; the message says which and how.
        TypeError: what is given as ratings is no file, frame or `Ratings`.

    Example:
        >>> import numpy as np, pandas as pd, pullback as pb
        >>> who, what = np.divmod(np.arange(240), 12)
        >>> table = pd.DataFrame({"user": who, "item": what, "rating": 3.0 + (who + what) % 2})
        >>> seen = table[(who * 5 + what * 3) % 4 > 0]
        >>> films = pb.tasks.Recommender(method="als", random_state=0).fit(seen)
        >>> films = films.add(pd.DataFrame({"user": ["new"], "item": [1], "rating": [4.0]}))
        >>> {int(each.item) % 2 for each in films.recommend("new", 3)}
        {1}
        >>> why = films.why("new", "3")
        >>> bool(np.isclose(why.base + why.contributions.sum(), why.predicted))
        True

    Source: evidence chains: arXiv 1807.02150; least squares: see `fit_als`.
    """

    report_: dict[str, Any] | None

    _files = (*AbstractTask._files, _FILE)
    _found = ("notes_", "data_", "report_", "n_steps_", "parameters_", "source_")

    def __init__(
        self,
        *,
        user: str | None = None,
        item: str | None = None,
        rating: str | None = None,
        time: str | None = None,
        time_format: str | None = None,
        decimal: str | None = None,
        feedback: str = "explicit",
        on_duplicate: str = "error",
        method: str = "chains",
        held_out: str | None = None,
        max_steps: int | None = None,
        random_state: Any = None,
        progress: bool | None = None,
    ):
        self.user, self.item, self.rating = user, item, rating
        self.time, self.time_format, self.decimal = time, time_format, decimal
        self.feedback = feedback
        self.on_duplicate = on_duplicate
        self.method = method
        self.held_out = held_out
        self.max_steps = max_steps
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> "Recommender":
        """Fit ratings.

        Args:
            X: the path of a file, a data frame, or `pullback.data.Ratings`; see
                `pullback.data.read_ratings`.
            y: not used.
        """
        self._check_settings()
        ratings = self._ratings(X).checked(self.feedback)
        if self.held_out == "time" and ratings.times is None:
            raise ValueError(
                f"{ratings.source}: there are no times for held_out='time'; name the column by "
                "`time`, or take held_out='random'."
            )
        seed = int(check_random_state(self.random_state).randint(2**31))
        chosen = int(np.clip(_SEEN // len(ratings.values), *_STEPS))
        steps = chosen if self.max_steps is None else self.max_steps
        held, by, notes = choose_held(ratings, self.held_out, self.feedback, seed)
        train = ratings if held is None else held.train
        fitted = core.fit_core(train, self.method, self.feedback, steps, seed, self.progress)
        judged = None
        if held is not None:
            models = {self.method: core.read(fitted, train)}
            if self.method == core.CHAINS:
                least = core.fit_core(train, core.ALS, self.feedback, 0, seed, False)
                models[core.ALS] = core.read(least, train)
            models |= rivals(train, self.feedback)
            judged = {"by": by, **judge(held, models, self.feedback, seed)}
            notes = [*notes, *told(judged)]
        self._take(fitted, ratings)
        self.n_steps_ = steps if self.method == core.CHAINS else 0
        self.report_, self.notes_ = judged, notes
        self.data_ = {
            "source": ratings.source,
            "rows": len(ratings.values),
            "users": len(ratings.user_names),
            "items": len(ratings.item_names),
            "file": isinstance(X, str | os.PathLike),
            "sha256": digest(ratings),
        }
        return self

    def predict(
        self, users: _Name | Iterable[_Name], items: _Name | Iterable[_Name]
    ) -> Float[np.ndarray, " n"]:
        """What these users would give to these items, pair by pair.

        Args:
            users: names; of a user who has rated nothing the prediction is what anyone would give,
                and a warning says so.
            items: as many names.

        Raises:
            ValueError: an item is not known (the message has the nearest name), or there are more
                of one than of the other.
        """
        check_is_fitted(self)
        users, items = names_of(users), names_of(items)
        if len(users) != len(items):
            raise ValueError(
                f"`users` and `items` must be as many, got {len(users)} and {len(items)}."
            )
        if not users:
            return np.zeros(0)
        return self.core_.rated(self._vectors(users), self._items(items))

    def recommend(
        self, users: _Name | Iterable[_Name] | None = None, k: int = 10
    ) -> list[Recommendation]:
        """The items that users would like most, of those that they have not rated.

        Args:
            users: names; None takes all. One who has rated nothing gets what anyone would like, and
                a warning says so.
            k: how many for each user; fewer where fewer are left.

        Returns:
            User by user and from the best on; `pandas.DataFrame` makes a table of them.
        """
        check_is_fitted(self)
        positive(k=k)
        names = list(self.ratings_.user_names) if users is None else names_of(users)
        found: list[Recommendation] = []
        for start in range(0, len(names), _AT_ONCE):
            found += self._recommend(names[start : start + _AT_ONCE], k)
        return found

    def add(self, X: Any, *, new_items: bool = False) -> "Recommender":
        """Take in ratings, of users known or new; no parameter changes.

        Args:
            X: as for `fit`; where a user has rated an item before, this rating stands.
            new_items: whether items may be new; else one that is not known is an error, with the
                nearest name, for it may be a slip.
        """
        check_is_fitted(self)
        more = self.read(X, new_items=new_items)
        self._take(self.core_.parameters, joined(self.ratings_, more))
        return self

    def read(self, X: Any, *, new_items: bool = False) -> Ratings:
        """Read ratings as `add` does, and take none of them in.

        Args:
            X: as for `fit`.
            new_items: whether items may be new.
        """
        check_is_fitted(self)
        return self._ratings(X, None if new_items else self._item_at)

    def why(self, user: _Name, item: _Name) -> Explanation:
        """What each of a user's ratings adds to a prediction: exact, and adds up.

        Args:
            user: a name.
            item: a name.
        """
        check_is_fitted(self)
        whose, what = names_of(user), names_of(item)
        if len(whose) != 1 or len(what) != 1:
            raise ValueError(
                f"`user` and `item` must be one name each, got {len(whose)} and {len(what)}; "
                "of several ask for each."
            )
        code = self._items(what)
        vector = self._vectors(whose)
        items, values = self._own(whose)
        parts = self._pieces(whose, items, values)[0]
        base, shares = self._shares(vector, parts, code)
        return Explanation(
            float(base[0]),
            [self.ratings_.item_names[each] for each in items[0]],
            values[0].tolist(),
            shares[:, 0],
            float(self.core_.rated(vector, code)[0]),
        )

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the fitted model with its ratings, and `scores.csv`: how good each model is by k.

        Args:
            folder: for `model.safetensors`, `model.json` and, where any were held out,
                `scores.csv`.

        Raises:
            ModelError: there are files of such names in it that are no model's.
        """
        folder = super().save(folder)
        (folder / _FILE).unlink(missing_ok=True)
        if self.report_ is not None:
            with table_writer(folder / _FILE) as write:
                write(scores_table(self.report_))
        return folder

    def _recommend(self, names: list[str], k: int) -> list[Recommendation]:
        vectors, (items, values) = self._vectors(names), self._own(names)
        scores = self.core_.scores(vectors)
        for row, own in zip(scores, items, strict=True):
            row[own] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        known = self.ratings_.item_names
        pieces = self._pieces(names, items, values)
        found = []
        for row, name in enumerate(names):
            chosen = best[row][scores[row, best[row]] > -np.inf]
            own = core.is_prototype(self.core_, self._user_at.get(name))
            shares = self._shares(vectors[row : row + 1], pieces[row], chosen)[1]
            for rank, item in enumerate(chosen.tolist()):
                because = (
                    _OWN if own else because_of(known, items[row], values[row], shares[:, rank])
                )
                predicted = float(scores[row, item])
                found.append(Recommendation(name, rank + 1, known[item], predicted, because))
        return found

    def _shares(
        self, vector: np.ndarray, pieces: np.ndarray, items: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The base of each item, and what each rating adds to it: a rating is affine in a user."""
        slopes = self.core_.slopes[:, items]
        rest = vector[0] - pieces.sum(axis=0)
        return rest @ slopes + self.core_.base[items], pieces @ slopes

    def _pieces(
        self, names: list[str], items: list[np.ndarray], values: list[np.ndarray]
    ) -> list[np.ndarray]:
        found = core.pieces(self.core_.model, items, values)
        for name, parts in zip(names, found, strict=True):
            core.without_own(self.core_, self._user_at.get(name), parts)
        return found

    def _own(self, names: list[str]) -> core.Own:
        codes = np.array([self._user_at.get(name, -1) for name in names])
        return core.own_ratings(self.ratings_, codes)

    def _vectors(self, names: Sequence[str]) -> Float[np.ndarray, "n size"]:
        """The vectors of users; those who have rated nothing are told."""
        codes = np.array([self._user_at.get(name, -1) for name in names])
        rated = self.ratings_.counts[0]
        none = (codes < 0) | (rated[np.maximum(codes, 0)] == 0)
        new = sorted({name for name, bare in zip(names, none, strict=True) if bare})
        if new:
            near = did_you_mean(new[0], self._user_at)
            told = ", ".join(map(repr, new[:3])) + (f" and {len(new) - 3} more" * (len(new) > 3))
            warnings.warn(
                f"no rating is known of {told}{near or ';'} what anyone would give is what is told "
                "(biases); `add` takes ratings.",
                stacklevel=3,
            )
        anyone = core.vectors(self.core_.model, [np.zeros(0, int)], [np.zeros(0)])
        known = self.core_.users[np.maximum(codes, 0)]
        return np.where((codes < 0)[:, None], anyone, known)

    def _items(self, names: Sequence[str]) -> np.ndarray:
        for name in names:
            if name not in self._item_at:
                hint = did_you_mean(name, self._item_at) or "."
                raise ValueError(
                    f"there is no item {name!r} among the {len(self._item_at)} of "
                    f"{self.data_['source']}{hint}"
                )
        return np.array([self._item_at[name] for name in names], np.int32)

    def _ratings(self, X: Any, known: Any = None) -> Ratings:
        if isinstance(X, Ratings):
            unknown = () if known is None else [name for name in X.item_names if name not in known]
            if unknown:
                self._items(unknown)
            return X.well_formed(self.feedback)
        return read_ratings(
            X, user=self.user, item=self.item, rating=self.rating, time=self.time,
            time_format=self.time_format, decimal=self.decimal, feedback=self.feedback,
            on_duplicate=self.on_duplicate, known_items=known,
        )  # fmt: skip

    def _take(self, parameters: Any, ratings: Ratings) -> None:
        found = core.read(parameters, ratings)  # may fail, and must then leave what was
        self.core_, self.ratings_, self.source_ = found, ratings, ratings.source
        self._user_at = {name: code for code, name in enumerate(ratings.user_names)}
        self._item_at = {name: code for code, name in enumerate(ratings.item_names)}
        self.parameters_ = core.settings_of(parameters)

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = arrays_of(self.ratings_)
        return arrays | core.arrays_of(self.core_.parameters)

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        ratings = from_arrays(arrays, self.source_)
        parameters = core.from_arrays(self.method, self.feedback, self.parameters_, arrays, ratings)
        self._take(parameters, ratings)

    def _card(self) -> list[str]:
        data = self.data_
        return [
            f"Recommender of {data['source']}: {data['rows']} ratings of {data['items']} items by "
            f"{data['users']} users, {NAMES[self.method]}",
            *self.notes_,
        ]

    def _commands(self, name: str) -> list[str]:
        lost = self.report_ is not None and not all(check.good for check in checks(self.report_))
        better = ["pullback fit ratings FILE --method als --out als"] * (
            lost and self.method == core.CHAINS
        )
        return [*better, f"pullback recommend {name} FILE --out recommendations.csv"]

    def _report(self, given: Any) -> Report:
        from ._recommender_page import recommender_page

        return recommender_page(self)

    def _check_settings(self) -> None:
        check_max_steps(self.max_steps)
        if self.max_steps == 0:
            raise ValueError("`max_steps` must be 1 or more; method='als' takes none.")
        if self.method not in (core.CHAINS, core.ALS):
            raise ValueError(f"`method` must be 'chains' or 'als', got {self.method!r}.")
        if self.held_out is not None and self.held_out not in _HELD_OUT:
            raise ValueError(f"`held_out` must be 'time', 'random' or None, got {self.held_out!r}.")

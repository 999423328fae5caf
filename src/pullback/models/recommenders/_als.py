"""Alternating least squares, with fold-in of newcomers."""

from collections.abc import Callable
from numbers import Real

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key
from pullback.data import Ratings

from ._recommender import AbstractRecommender, weights_of

_RIDGES = 0.3, 1.0, 3.0, 10.0, 30.0
_FEWEST = 50  # ratings from which on a tenth of them can say which is best
_RIDGE = 10.0  # where none can be chosen so
_ROWS = 4096  # users solved at once: their normal matrices are all that grows


class RatingFactors(AbstractRecommender):
    r"""Ratings as biases and an inner product of factors, of least squares.

    $$ \hat r_{ij} = \mu + b_i + b_j + u_i \cdot v_j, \qquad
       \min \sum_{ij} (r_{ij} - \hat r_{ij})^2
       + \lambda \Big(\sum_i b_i^2 + |u_i|^2 + \sum_j b_j^2 + |v_j|^2\Big) $$

    A user's vector is $(b_i, u_i)$, `[1 + rank]`; that of a newcomer is one solve, the same as a
    half-sweep of the fit (fold-in). Made by `fit_als`.

    Args:
        mean: of all ratings.
        users: of each user the bias, and then the factors.
        items: of each item the bias, and then the factors.
        regularisation: $\lambda$.
    """

    mean: Float[Array, ""]
    users: Float[Array, "users size"]
    items: Float[Array, "items size"]
    regularisation: float = eqx.field(static=True)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Users, items, and the bias and the factors."""
        return len(self.users), len(self.items), self.items.shape[1]

    def _embed(
        self, items: Int[Array, " k"], values: Float[Array, " k"], known: Bool[Array, " k"] | None
    ) -> Float[Array, " size"]:
        """The vector that fits these ratings best, with the items' factors as they are."""
        return self._pieces(items, values, known).sum(axis=0)

    def _pieces(
        self, items: Int[Array, " k"], values: Float[Array, " k"], known: Bool[Array, " k"] | None
    ) -> Float[Array, "k size"]:
        """The solve is linear in the ratings: that of each alone, beside all items."""
        weights, values = weights_of(values, known)
        rows = weights[:, None] * self.items[items].at[:, 0].set(1)
        target = weights * (values - self.mean - self.items[items, 0])
        return _ridge(rows.T @ rows, rows.T * target[None], self.regularisation).T

    def _rate(self, user: Float[Array, " size"], items: Int[Array, " n"]) -> Float[Array, " n"]:
        """The mean, both biases and the inner products."""
        rows = self.items[items]
        return self.mean + user[0] + rows[:, 0] + rows[:, 1:] @ user[1:]

    def _predict(self, users: Int[Array, " n"], items: Int[Array, " n"]) -> Float[Array, " n"]:
        """The mean, both biases and the inner products."""
        return jax.vmap(lambda user, item: self._rate(user, item[None])[0])(
            self.users[users], items
        )


class PreferenceFactors(AbstractRecommender):
    r"""Whether users take items, as an inner product of factors, of weighted least squares.

    $$ \min \sum_{ij} (1 + \alpha r_{ij}) (p_{ij} - u_i \cdot v_j)^2
       + \lambda \Big(\sum_i |u_i|^2 + \sum_j |v_j|^2\Big) $$

    over all pairs, with $p_{ij} = 1$ where there is feedback, and else $p_{ij} = r_{ij} = 0$. The
    vector of a newcomer is one solve, the same as a half-sweep of the fit. Made by `fit_als`.

    Args:
        users: the factors of each user.
        items: the factors of each item.
        regularisation: $\lambda$.
        confidence: $\alpha$.
    """

    users: Float[Array, "users size"]
    items: Float[Array, "items size"]
    regularisation: float = eqx.field(static=True)
    confidence: float = eqx.field(static=True)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Users, items, and factors."""
        return len(self.users), len(self.items), self.items.shape[1]

    @property
    def counts(self) -> bool:
        """They do."""
        return True

    def _embed(
        self, items: Int[Array, " k"], values: Float[Array, " k"], known: Bool[Array, " k"] | None
    ) -> Float[Array, " size"]:
        """The vector that fits this feedback best, with the items' factors as they are."""
        return self._pieces(items, values, known).sum(axis=0)

    def _pieces(
        self, items: Int[Array, " k"], values: Float[Array, " k"], known: Bool[Array, " k"] | None
    ) -> Float[Array, "k size"]:
        """The solve is linear in what is wanted: that of each alone, beside all items."""
        weights, values = weights_of(values, known)
        rows, extra = self.items[items], self.confidence * values
        gram = self.items.T @ self.items + rows.T @ (extra[:, None] * rows)
        return _ridge(gram, rows.T * (weights + extra)[None], self.regularisation).T

    def _rate(self, user: Float[Array, " size"], items: Int[Array, " n"]) -> Float[Array, " n"]:
        """The inner products: about 1 for what they would take, and 0 for what they would not."""
        return self.items[items] @ user

    def _predict(self, users: Int[Array, " n"], items: Int[Array, " n"]) -> Float[Array, " n"]:
        """The inner products: about 1 for what they would take, and 0 for what they would not."""
        return jnp.sum(self.users[users] * self.items[items], axis=-1)


def fit_als(
    ratings: Ratings,
    *,
    rank: int = 10,
    regularisation: float | None = None,
    feedback: str = "explicit",
    confidence: float = 1.0,
    sweeps: int = 15,
    key: PRNGKeyArray,
) -> RatingFactors | PreferenceFactors:
    r"""Factors of users and items by alternating least squares.

    Each sweep solves for all users with items as they are, and then the reverse; the last are the
    users, so that a newcomer with the ratings of one of them has the same vector.

    Args:
        ratings: to fit.
        rank: how many factors.
        regularisation: $\lambda$ of the two losses; None: of ratings, whichever of 0.3, 1, 3, 10
            and 30 does best on a tenth of them held out; 10 of fewer than 50, and for implicit
            feedback.
        feedback: "explicit" where values are ratings, "implicit": how often or how much.
        confidence: $\alpha$ of implicit feedback: by how much one more is believed more.
        sweeps: over users and items.
        key: for the factors at the start.

    Raises:
        ValueError: a setting is not above 0 or not finite, values are too large to solve for, or
            ratings as by `Ratings.checked`.

    Example:
        >>> import jax, jax.numpy as jnp, numpy as np
        >>> from pullback.data import Ratings
        >>> who, what = np.divmod(np.arange(12), 4)
        >>> table = Ratings(who, what, 3 + np.outer([1.0, 2, -1], [1.0, 0, -1, 0.5]).ravel(),
        ...                 tuple("abc"), tuple("wxyz"))
        >>> factors = fit_als(table, rank=1, regularisation=0.01, key=jax.random.key(0))
        >>> newcomer = factors.embed(jnp.array([0, 1]), jnp.array([5.0, 3.0]))
        >>> print(factors.rate(newcomer, jnp.array([2, 3])).round())
        [1. 4.]

    Source: Zhou et al., Large-scale Parallel Collaborative Filtering for the Netflix Prize, 2008;
        implicit: Hu, Koren and Volinsky, Collaborative Filtering for Implicit Feedback, ICDM 2008.
    """
    key = checked_key(key)
    positive(rank=rank, sweeps=sweeps)
    for name, value in (("regularisation", regularisation), ("confidence", confidence)):
        if value is not None and not (isinstance(value, Real) and 0 < value < np.inf):
            raise ValueError(f"`{name}` must be above 0 and finite, got {value!r}.")
    ratings = ratings.checked(feedback)
    draws = 0.1 * np.asarray(jr.normal(key, (len(ratings.item_names), rank)), np.float64)
    if feedback == "implicit":
        ridge = _RIDGE if regularisation is None else float(regularisation)
        step = _preference_step(ridge, confidence)
        users, items = _alternate(_table(ratings, 0.0), draws, step, sweeps)
        return PreferenceFactors(jnp.asarray(users), jnp.asarray(items), ridge, float(confidence))
    start = np.concatenate([np.zeros((len(draws), 1)), draws], axis=1)
    ridge = _chosen(ratings, start, sweeps) if regularisation is None else float(regularisation)
    mean = ratings.values.mean(dtype=np.float64)
    users, items = _alternate(_table(ratings, mean), start, _rating_step(ridge), sweeps)
    return RatingFactors(jnp.asarray(mean), jnp.asarray(users), jnp.asarray(items), ridge)


def _chosen(ratings: Ratings, start: np.ndarray, sweeps: int) -> float:
    """The regularisation that does best on a tenth of the ratings held out."""
    if len(ratings.values) < _FEWEST:
        return _RIDGE
    train, test = ratings.split(test=0.1)
    mean = train.values.mean(dtype=np.float64)
    table, errors = _table(train, mean), []
    for ridge in _RIDGES:
        users, items = _alternate(table, start, _rating_step(ridge), sweeps)
        left, right = users[test.users], items[test.items]
        biases = mean + left[:, 0] + right[:, 0]
        found = biases + np.einsum("nk,nk->n", left[:, 1:], right[:, 1:])
        errors.append(np.mean((found - test.values) ** 2))
    return _RIDGES[int(np.argmin(errors))]


def _table(ratings: Ratings, mean: float) -> sp.csr_array:
    shape = len(ratings.user_names), len(ratings.item_names)
    values = ratings.values.astype(np.float64) - mean
    return sp.csr_array((values, (ratings.users, ratings.items)), shape)


# From the rows of some users, and the factors of all items, to the factors of those users.
Step = Callable[[sp.csr_array, np.ndarray], np.ndarray]


def _alternate(
    table: sp.csr_array, items: np.ndarray, step: Step, sweeps: int
) -> tuple[np.ndarray, np.ndarray]:
    """On the host: XLA has no product of sparse rows with a matrix that a CPU is quick at."""
    turned = sp.csr_array(table.T)
    users = _by_rows(table, items, step)
    for _ in range(sweeps - 1):
        items = _by_rows(turned, users, step)
        users = _by_rows(table, items, step)
    return users, items


def _by_rows(table: sp.csr_array, others: np.ndarray, step: Step) -> np.ndarray:
    parts = [
        step(sp.csr_array(table[start : start + _ROWS]), others)
        for start in range(0, len(table.indptr) - 1, _ROWS)
    ]
    return np.concatenate(parts)


def _rating_step(regularisation: float) -> Step:
    def step(table: sp.csr_array, others: np.ndarray) -> np.ndarray:
        rows = np.concatenate([np.ones((len(others), 1)), others[:, 1:]], axis=1)
        left = table.copy()
        left.data = left.data - others[left.indices, 0]
        ones = left.copy()
        ones.data = np.ones_like(left.data)
        return _solve(_moments(ones, rows), left @ rows, regularisation)

    return step


def _preference_step(regularisation: float, confidence: float) -> Step:
    def step(table: sp.csr_array, others: np.ndarray) -> np.ndarray:
        extra = confidence * table
        weights = extra.copy()
        weights.data = 1 + weights.data
        return _solve(others.T @ others + _moments(extra, others), weights @ others, regularisation)

    return step


def _moments(weights: sp.csr_array, rows: np.ndarray) -> np.ndarray:
    """Of each user the weighted sum of the outer products of items' rows, `[users, size, size]`."""
    size = rows.shape[1]
    above = np.triu_indices(size)
    sums = weights @ (rows[:, above[0]] * rows[:, above[1]])
    found = np.empty((len(sums), size, size))
    found[:, above[0], above[1]] = sums
    found[:, above[1], above[0]] = sums
    return found


def _solve(grams: np.ndarray, sides: np.ndarray, regularisation: float) -> np.ndarray:
    ridge = regularisation * np.eye(grams.shape[-1])
    try:
        return np.linalg.solve(grams + ridge, sides[..., None])[..., 0]
    except np.linalg.LinAlgError:
        raise ValueError(
            f"the values are too large for regularisation={regularisation:g}, which is lost in "
            "rounding; scale them, or take their logarithm."
        ) from None


def _ridge(
    gram: Float[Array, "size size"], sides: Float[Array, "size k"], regularisation: float
) -> Float[Array, "size k"]:
    ridge = regularisation * jnp.eye(len(gram), dtype=gram.dtype)
    return jax.scipy.linalg.solve(gram + ridge, sides, assume_a="pos")

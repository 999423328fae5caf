"""Biases: what an item gets above the mean, and what a user gives above that."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pullback._inputs import positive
from pullback.data import Ratings

from ._recommender import AbstractRecommender, weights_of


class Biases(AbstractRecommender):
    r"""A rating is the mean, what the item gets above it, and what the user gives above that.

    $$ \hat r_{ij} = \mu + b_i + b_j, \qquad
       b_i = \frac{\sum_{j} (r_{ij} - \mu - b_j)}{n_i + \lambda} $$

    The least that a recommender must beat, and what there is to say of a user who has rated
    nothing. A user's vector is $b_i$ alone, `[1]`. Made by `fit_biases`.

    Args:
        mean: of all ratings.
        users: of each user, what they give above the rest.
        items: of each item, what it gets above the mean.
        shrinkage: how many ratings of 0 a user is taken to have beside their own.
    """

    mean: Float[Array, ""]
    users: Float[Array, " users"]
    items: Float[Array, " items"]
    shrinkage: float = eqx.field(static=True)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Users, items, and one bias."""
        return len(self.users), len(self.items), 1

    def _embed(
        self, items: Int[Array, " k"], values: Float[Array, " k"], known: Bool[Array, " k"] | None
    ) -> Float[Array, " 1"]:
        """The mean of what they gave above others, shrunk to 0, as in the fit."""
        return self._pieces(items, values, known).sum(axis=0)

    def _pieces(
        self, items: Int[Array, " k"], values: Float[Array, " k"], known: Bool[Array, " k"] | None
    ) -> Float[Array, "k 1"]:
        """What each was above the mean and the item's bias, over their number and the shrinkage."""
        weights, values = weights_of(values, known)
        above = weights * (values - self.mean - self.items[items])
        return (above / (weights.sum() + self.shrinkage))[:, None]

    def _rate(self, user: Float[Array, " 1"], items: Int[Array, " n"]) -> Float[Array, " n"]:
        """The mean and both biases."""
        return self.mean + user + self.items[items]

    def _predict(self, users: Int[Array, " n"], items: Int[Array, " n"]) -> Float[Array, " n"]:
        """The mean and both biases."""
        return self.mean + self.users[users] + self.items[items]


def fit_biases(
    ratings: Ratings,
    *,
    user_shrinkage: float = 15.0,
    item_shrinkage: float = 10.0,
    sweeps: int = 10,
) -> Biases:
    """Biases of items and of users, each the shrunk mean of what the others leave.

    Args:
        ratings: to fit.
        user_shrinkage: ratings of nothing special that a user is taken to have beside their own.
        item_shrinkage: of an item.
        sweeps: how often items and then users are computed; one takes items alone as they are.

    Raises:
        ValueError: a shrinkage is not above 0, or ratings as by `Ratings.checked`.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from pullback.data import Ratings
        >>> table = Ratings(np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([5.0, 3.0, 4.0]),
        ...                 ("ann", "bob"), ("Alien", "Brazil"))
        >>> biases = fit_biases(table)
        >>> newcomer = biases.embed(jnp.array([1]), jnp.array([2.0]))
        >>> [round(float(x), 2) for x in biases.rate(newcomer, jnp.array([0, 1]))]
        [3.97, 3.8]

    Source: Koren, Factor in the Neighbors, ACM TKDD 4(1), 2010, section 2.1; shrinkage and sweeps
        as in Surprise.
    """
    positive(sweeps=sweeps)
    for name, value in (("user_shrinkage", user_shrinkage), ("item_shrinkage", item_shrinkage)):
        if not value > 0:
            raise ValueError(f"`{name}` must be above 0, got {value}.")
    ratings = ratings.checked()
    n_users, n_items = ratings.counts
    mean = float(ratings.values.mean(dtype=np.float64))
    above = ratings.values.astype(np.float64) - mean
    users, items = np.zeros(len(n_users)), np.zeros(len(n_items))
    for _ in range(sweeps):
        left = np.bincount(ratings.items, above - users[ratings.users], len(n_items))
        items = left / (n_items + item_shrinkage)
        left = np.bincount(ratings.users, above - items[ratings.items], len(n_users))
        users = left / (n_users + user_shrinkage)
    return Biases(jnp.asarray(mean), jnp.asarray(users), jnp.asarray(items), float(user_shrinkage))

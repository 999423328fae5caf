"""Popularity: the share of users who have taken an item."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from pullback.data import Ratings

from ._recommender import AbstractRecommender


class Popularity(AbstractRecommender):
    """An item ranks by the share of users who have rated it, for all users alike.

    The least that a ranking must beat. A user's vector is empty, `[0]`. Made by `fit_popularity`.

    Args:
        shares: of each item.
        n_users: how many users there are.
    """

    shares: Float[Array, " items"]
    n_users: int = eqx.field(static=True)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Users, items, and nothing."""
        return self.n_users, len(self.shares), 0

    def _embed(
        self, items: Int[Array, " k"], values: Float[Array, " k"], known: Bool[Array, " k"] | None
    ) -> Float[Array, " 0"]:
        """Nothing: all users are alike."""
        return jnp.zeros(0, self.shares.dtype)

    def _pieces(
        self, items: Int[Array, " k"], values: Float[Array, " k"], known: Bool[Array, " k"] | None
    ) -> Float[Array, "k 0"]:
        """Nothing."""
        return jnp.zeros((len(items), 0), self.shares.dtype)

    def _rate(self, user: Float[Array, " 0"], items: Int[Array, " n"]) -> Float[Array, " n"]:
        """The shares of users; no ratings."""
        return self.shares[items]

    def _predict(self, users: Int[Array, " n"], items: Int[Array, " n"]) -> Float[Array, " n"]:
        """The shares of users; no ratings."""
        return self.shares[items]


def fit_popularity(ratings: Ratings) -> Popularity:
    """Count who has rated what.

    Args:
        ratings: to fit; their values do not count.

    Raises:
        ValueError: there is no rating, or as by `Ratings.well_formed`.

    Example:
        >>> import numpy as np
        >>> from pullback.data import Ratings
        >>> table = Ratings(np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([5.0, 3.0, 4.0]),
        ...                 ("ann", "bob"), ("Alien", "Brazil"))
        >>> print(fit_popularity(table).shares)
        [0.5 1. ]
    """
    ratings = ratings.well_formed()
    users, items = ratings.counts
    if not len(ratings.values):
        raise ValueError(f"{ratings.source}: there is no rating to count.")
    return Popularity(jnp.asarray(items / (users > 0).sum()), len(users))

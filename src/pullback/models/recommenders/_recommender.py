"""What a recommender offers."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class AbstractRecommender(eqx.Module):
    """Predicts how users take to items, and knows a newcomer from ratings by a forward pass.

    Users and items are rows, those of `pullback.data.Ratings`. A user is known by a vector; that of
    a newcomer is computed from what they have rated, and no parameter changes.
    """

    @abc.abstractmethod
    def embed(
        self,
        items: Int[Array, " k"],
        values: Float[Array, " k"],
        known: Bool[Array, " k"] | None = None,
    ) -> Float[Array, " size"]:
        """The vector of a user who has rated these; of one who has rated none, that of anyone.

        Args:
            items: the rows of the items, each at most once.
            values: the ratings, or how often or how much.
            known: False for padding, which has no weight; None takes all. With it `jax.vmap` takes
                users who have rated more and fewer.
        """

    @abc.abstractmethod
    def pieces(
        self,
        items: Int[Array, " k"],
        values: Float[Array, " k"],
        known: Bool[Array, " k"] | None = None,
    ) -> Float[Array, "k size"]:
        """What each rating brings to the vector: they add up to it, but for what all users share.

        What a user would give is affine in the vector, so that each piece has its part in a
        prediction. Arguments as for `embed`; padding brings nothing.
        """

    @abc.abstractmethod
    def rate(self, user: Float[Array, " size"], items: Int[Array, " n"]) -> Float[Array, " n"]:
        """What a user of this vector would give to these items, or how they rank."""

    @abc.abstractmethod
    def predict(self, users: Int[Array, " n"], items: Int[Array, " n"]) -> Float[Array, " n"]:
        """What these users would give to these items, pair by pair; users of the fit, by row."""


def weights_of(
    values: Float[Array, " k"], known: Bool[Array, " k"] | None
) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    """Weights 1 and 0 of ratings and padding, and the ratings with 0 for padding."""
    if known is None:
        return jnp.ones_like(values), values
    return known.astype(values.dtype), jnp.where(known, values, 0)

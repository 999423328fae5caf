"""The models of a `Recommender`: what fitting finds, and what it says once it has read ratings."""

import dataclasses
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from pullback._on_device import on_device
from pullback.data import Ratings
from pullback.models.recommenders import (
    AbstractRecommender,
    EvidenceChains,
    PreferenceFactors,
    RatingFactors,
    fit_als,
    fit_evidence_chains,
    untrained_chains,
)

CHAINS, ALS = "chains", "als"
LATENT, RANK = 16, 10
_PROTOTYPES = 4, 50  # the fewest and the most; in between a quarter of users, and of items
_USERS = 256  # taken at once
_NARROW = 16  # the fewest ratings of a user that a program is compiled for

Parameters = EvidenceChains | RatingFactors | PreferenceFactors


class Core(NamedTuple):
    """A model that has read ratings.

    What a user would give is affine in the user's vector: `users @ slopes + base`.

    Attributes:
        parameters: what was fitted; no rating that is read later changes them.
        model: what they make of the ratings read.
        users: the vector of each user.
        slopes: of each item.
        base: of each item.
    """

    parameters: Any
    model: AbstractRecommender
    users: Float[np.ndarray, "users size"]
    slopes: Float[np.ndarray, "size items"]
    base: Float[np.ndarray, " items"]

    def scores(self, users: Float[np.ndarray, "n size"]) -> Float[np.ndarray, "n items"]:
        """What users of these vectors would give to each item."""
        return users @ self.slopes + self.base

    def rated(
        self, users: Float[np.ndarray, "n size"], items: Int[np.ndarray, " n"]
    ) -> Float[np.ndarray, " n"]:
        """What users of these vectors would give to these items, pair by pair."""
        return np.einsum("nk,kn->n", users, self.slopes[:, items]) + self.base[items]


def core_of(parameters: Any, model: AbstractRecommender, users: Any, n_items: int) -> Core:
    """A model with its slopes: what it says of vectors with a single 1, and of none."""
    size = users.shape[1]
    found = np.asarray(_rate(model, jnp.eye(size + 1, size), n_items))
    return Core(parameters, model, np.asarray(users), found[:-1] - found[-1], found[-1])


@eqx.filter_jit
def _rate(model: AbstractRecommender, users: Array, n_items: int) -> Array:
    return jax.vmap(model.rate, (0, None))(users, jnp.arange(n_items))


def fit_core(
    ratings: Ratings, method: str, feedback: str, steps: int, seed: int, progress: bool | None
) -> Parameters:
    """Fit parameters to ratings."""
    key = jr.wrap_key_data(on_device(np.asarray([0, seed], np.uint32)))
    if method == ALS:
        return fit_als(ratings, rank=RANK, feedback=feedback, key=key)
    return fit_evidence_chains(
        ratings, latent=LATENT, prototypes=_prototypes(ratings), feedback=feedback, steps=steps,
        progress=progress, key=key,
    )[0]  # fmt: skip


def _prototypes(ratings: Ratings) -> tuple[int, int]:
    users, items = (int(np.clip((count > 0).sum() // 4, *_PROTOTYPES)) for count in ratings.counts)
    return users, items


def read(parameters: Parameters, ratings: Ratings) -> Core:
    """What parameters make of ratings, of users and items that may be new."""
    if isinstance(parameters, EvidenceChains):
        model = parameters.embed(_roomy(ratings))
        users = model.users[: len(ratings.user_names)]
        return core_of(parameters, model, users, len(ratings.item_names))
    more = len(ratings.item_names) - len(parameters.items)
    items = jnp.pad(parameters.items, ((0, max(more, 0)), (0, 0)))
    model = eqx.tree_at(lambda model: model.items, parameters, items)
    users = vectors(model, *own_ratings(ratings, np.arange(len(ratings.user_names))))
    return core_of(parameters, model, users, len(items))


def _roomy(ratings: Ratings) -> Ratings:
    """The ratings with room for more, so that a program is compiled for sizes and not for each.

    What fills the room are ratings of items that nobody else has rated, by users who have rated
    nothing else: no chain leads from them to the others.
    """
    count = len(ratings.values)
    rows = _room(count) - count
    side = math.isqrt(_step(count)) + 1
    users, items = (
        (*each, *(f"\0{place}" for place in range(_room(len(each) + side) - len(each))))
        for each in (ratings.user_names, ratings.item_names)
    )
    user, item = np.divmod(np.arange(rows), side)
    fill = lambda codes, more: np.concatenate([codes, more.astype(codes.dtype)])
    return Ratings(
        fill(ratings.users, len(ratings.user_names) + user),
        fill(ratings.items, len(ratings.item_names) + item),
        fill(ratings.values, np.full(rows, ratings.values[0])),
        users,
        items,
    )


def _room(size: int) -> int:
    """The next size of those that are at most a quarter apart."""
    step = _step(size)
    return -(-size // step) * step


def _step(size: int) -> int:
    return max(16, 2 ** (size.bit_length() - 3))


Own = tuple[list[np.ndarray], list[np.ndarray]]


def own_ratings(ratings: Ratings, users: Int[np.ndarray, " n"]) -> Own:
    """Of each of these users the items and the values."""
    order = np.argsort(ratings.users, kind="stable")
    of = ratings.users[order]
    starts, ends = np.searchsorted(of, users), np.searchsorted(of, users, side="right")
    places = [order[start:end] for start, end in zip(starts, ends, strict=True)]
    return [ratings.items[place] for place in places], [ratings.values[place] for place in places]


def vectors(
    model: AbstractRecommender, items: list[np.ndarray], values: list[np.ndarray]
) -> Float[np.ndarray, "n size"]:
    """The vectors of users who have rated these."""
    return np.concatenate(_by_width(_embed, model, items, values))


def pieces(
    model: AbstractRecommender, items: list[np.ndarray], values: list[np.ndarray]
) -> list[Float[np.ndarray, "k size"]]:
    """What each rating of each user brings to the user's vector."""
    found = _by_width(_pieces, model, items, values)
    return [part[0, : len(own)].copy() for part, own in zip(found, items, strict=True)]


def _by_width(
    program: Any, model: AbstractRecommender, items: list[np.ndarray], values: list[np.ndarray]
) -> list[np.ndarray]:
    """A program's rows for each user, who are taken together with those who have rated as many."""
    widths = np.array([max(_NARROW, 1 << (max(len(own), 1) - 1).bit_length()) for own in items])
    rows: list[Any] = [None] * len(items)
    for width in np.unique(widths):
        chosen = np.flatnonzero(widths == width)
        for start in range(0, len(chosen), _USERS):
            part = chosen[start : start + _USERS]
            # Few users are taken as one or as `_USERS`, so that two programs serve each width.
            size = 1 if len(part) == 1 else _USERS
            codes, given = np.zeros((size, width), np.int32), np.zeros((size, width))
            known = np.zeros((size, width), bool)
            for row, user in enumerate(part):
                count = len(items[user])
                codes[row, :count], given[row, :count] = items[user], values[user]
                known[row, :count] = True
            found = program(model, on_device(codes), jnp.asarray(given), on_device(known))
            for row, user in enumerate(part):
                rows[user] = np.asarray(found[row])[None]
    return rows


@eqx.filter_jit
def _embed(model: AbstractRecommender, items: Array, values: Array, known: Array) -> Array:
    return jax.vmap(model.embed)(items, values, known)


@eqx.filter_jit
def _pieces(model: AbstractRecommender, items: Array, values: Array, known: Array) -> Array:
    return jax.vmap(model.pieces)(items, values, known)


def arrays_of(parameters: Parameters) -> dict[str, np.ndarray]:
    """The arrays of parameters, by their place."""
    leaves = jax.tree.leaves(eqx.filter(parameters, eqx.is_array))
    return {f"parameters.{place}": np.asarray(leaf) for place, leaf in enumerate(leaves)}


def settings_of(parameters: Parameters) -> dict[str, Any]:
    """What else there is of them, for JSON."""
    if isinstance(parameters, EvidenceChains):
        return {"levels": parameters.levels}
    if isinstance(parameters, PreferenceFactors):
        return {
            "regularisation": parameters.regularisation,
            "confidence": parameters.confidence,
        }
    return {"regularisation": parameters.regularisation}


def from_arrays(
    method: str,
    feedback: str,
    settings: dict[str, Any],
    arrays: dict[str, np.ndarray],
    ratings: Ratings,
) -> Parameters:
    """The parameters that had these arrays."""
    places = range(sum(name.startswith("parameters.") for name in arrays))
    leaves = [on_device(arrays[f"parameters.{place}"]) for place in places]
    if method == ALS:
        if feedback == "explicit":
            return RatingFactors(leaves[0], leaves[1], leaves[2], settings["regularisation"])
        return PreferenceFactors(
            leaves[0], leaves[1], settings["regularisation"], settings["confidence"]
        )
    bare = untrained_chains(
        ratings, latent=LATENT, prototypes=_prototypes(ratings), feedback=feedback, key=jr.key(0)
    )
    bare = dataclasses.replace(bare, levels=tuple(settings["levels"]))
    old, rest = eqx.partition(bare, eqx.is_array)
    return eqx.combine(jax.tree.unflatten(jax.tree.structure(old), leaves), rest)


def is_prototype(core: Core, user: int | None) -> bool:
    """Whether the vector of a user is a parameter, and not made of ratings."""
    parameters = core.parameters
    chains = isinstance(parameters, EvidenceChains)
    return chains and user in set(parameters.users.codes.tolist())


def without_own(core: Core, user: int | None, pieces: Float[np.ndarray, "k size"]) -> None:
    """Take out what ratings would bring to a vector that is a parameter: of a prototype."""
    if is_prototype(core, user):
        pieces[:, : core.parameters.latent] = 0

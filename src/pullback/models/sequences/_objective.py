"""Scores of sequences, and scores made of them."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike

from pullback._floating import as_floating
from pullback._numbers import check_number

Score = Callable[[Float[Array, "length letters"]], Float[Array, ""]]


def weighted(parts: Sequence[tuple[Score, ScalarLike]]) -> Score:
    r"""Several scores as one: bind this protein, avoid that one.

    $$ s(x) = \sum_i w_i s_i(x) $$

    Args:
        parts: scores, each with its weight; one to avoid has a negative weight.

    Returns:
        A score, any callable from `(L, V)` to a scalar.

    Raises:
        TypeError: it is no sequence of pairs, a score cannot be called, or a weight is no number.
        ValueError: there is none, or a weight is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> rich, first = lambda x: x[:, 1:3].sum(), lambda x: x[0, 1]
        >>> score = weighted([(rich, 1.0), (first, -2.0)])
        >>> float(score(jnp.eye(4)[jnp.asarray([1, 2, 0])]))  # CGA
        0.0

    Source: Killoran et al., arXiv 1712.06148, section 4.3.
    """
    try:
        pairs = [(score, weight) for score, weight in parts]
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"`parts` must be pairs of a score and its weight, as in [(bound, 1.0), (avoided, "
            f"-1.0)]; got {parts!r}."
        ) from error
    if not pairs:
        raise ValueError("`parts` must hold at least one score with its weight.")
    for score, weight in pairs:
        check_callable(score, "parts")
        check_number("parts", weight, "pairs of a score and a finite number")
    return _Weighted(
        tuple(score for score, _ in pairs), jnp.asarray([weight for _, weight in pairs], float)
    )


def near_target(score: Score, value: ScalarLike) -> Score:
    r"""A score that is highest, 0, where another one has a given value.

    $$ t(x) = -\tfrac12 (s(x) - v)^2 $$

    Its mean over a batch is the paper's: minus half the squared distance of the mean, less half the
    variance.

    Args:
        score: any callable from `(L, V)` to a scalar.
        value: v, the value that is wanted.

    Returns:
        A score.

    Raises:
        TypeError: `score` cannot be called, or `value` is no number.
        ValueError: `value` is not finite.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> score = near_target(lambda x: x[:, 1:3].sum(), 2.0)
        >>> x = jnp.eye(4)[jnp.asarray([1, 2, 0])]  # CGA
        >>> float(score(x)) == 0, float(jnp.abs(jax.grad(score)(x)).max())
        (True, 0.0)

    Source: Killoran et al., arXiv 1712.06148, the scripts that go with it.
    """
    check_callable(score, "score")
    check_number("value", value)
    return _NearTarget(score, jnp.asarray(value, float))


class _Weighted(eqx.Module):
    scores: tuple[Score, ...]
    weights: Float[Array, " parts"]

    def __call__(self, x: Float[Array, "length letters"]) -> Float[Array, ""]:
        return _total([score(x) for score in self.scores], self.weights)


class _NearTarget(eqx.Module):
    score: Score
    value: Float[Array, ""]

    def __call__(self, x: Float[Array, "length letters"]) -> Float[Array, ""]:
        return _nearness(self.score(x), self.value)


def _total(values: Sequence[Any], weights: Float[Array, " parts"]) -> Array:
    parts = []
    for weight, value in zip(weights, values, strict=True):
        value = as_floating(jnp.asarray(value), weight.dtype)
        parts.append(weight.astype(value.dtype) * value)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _nearness(found: Any, value: Array) -> Array:
    found = as_floating(jnp.asarray(found), value.dtype)
    return -0.5 * (found - value.astype(found.dtype)) ** 2


def members_of(score: Score) -> Callable[[Array], Float[Array, " members"]] | None:
    """What each member of an ensemble says, where a score is one or is made of some.

    An ensemble has a method `members`, from `(L, V)` to a value of each.
    """
    if isinstance(score, _NearTarget):
        inner = members_of(score.score)
        return None if inner is None else lambda x: _nearness(inner(x), score.value)
    if not isinstance(score, _Weighted):
        found = getattr(score, "members", None)
        return found if callable(found) else None
    inners = [members_of(part) for part in score.scores]
    if all(inner is None for inner in inners):
        return None

    def members(x: Array) -> Array:
        values = [
            jnp.asarray(part(x))[None] if inner is None else inner(x)
            for part, inner in zip(score.scores, inners, strict=True)
        ]
        most = max(len(value) for value in values)
        if any(len(value) not in (1, most) for value in values):
            sizes = [len(value) for value in values]
            raise ValueError(
                f"`score` is made of ensembles of {sizes} members: give all as many, or one."
            )
        return _total([jnp.broadcast_to(value, (most,)) for value in values], score.weights)

    return members


def check_score(score: Any, length: int, letters: int, dtype: Any) -> None:
    """Refuse what gives no floating scalar of a sequence."""
    check_callable(score, "score")
    found = eqx.filter_eval_shape(score, jax.ShapeDtypeStruct((length, letters), dtype))
    scalar = isinstance(found, jax.ShapeDtypeStruct) and found.shape == ()
    if not (scalar and jnp.issubdtype(found.dtype, jnp.floating)):
        raise TypeError(
            f"`score` must give a floating scalar of a sequence of the shape ({length}, "
            f"{letters}); it gave {found}. One that is given a batch takes `lambda x: "
            "score(x[None])[0]`."
        )


def check_callable(
    score: Any, name: str, kind: str = "a sequence (L, V) to a scalar, such as a `MotifScore`"
) -> None:
    if not callable(score):
        raise TypeError(f"`{name}` must be callable, from {kind}; got {score!r}.")

"""Hypernetworks that answer a value of the hyperparameters with the weights it leads to."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from pullback._inputs import positive
from pullback._key import checked_key
from pullback.bilevel._checks import as_arrays, check_hyper
from pullback.bilevel._coordinates import coordinates


class AbstractResponse(eqx.Module):
    r"""A function from hyperparameters to a model, which learns the best response

    $$ w^*(\lambda) = \arg\min_w L_\text{inner}(w, \lambda). $$

    A response of one's own is a frozen `eqx.Module` with the field and the two methods below. All
    its real floating arrays but those of `centre` are trained, by `fit_response` and
    `tune_with_response`; whatever it makes of them must have a gradient.

    Attributes:
        centre: the hyperparameters round which it is trained; a PyTree as every `hyper`. It is
            where the hyperparameters stand, too, while `tune_with_response` moves them. It is not
            trained, so `__call__` passes its arrays through `jax.lax.stop_gradient`.
    """

    centre: eqx.AbstractVar[PyTree]

    @abc.abstractmethod
    def __call__(self, hyper: PyTree) -> PyTree:
        """The model that `hyper` leads to.

        Args:
            hyper: one value of the hyperparameters, of the structure, shapes and dtypes of
                `centre`. The caller maps it over many: `eqx.filter_vmap(response)(hypers)`.

        Returns:
            A model of the same structure, shapes and dtypes for every `hyper`, with weights that
            are differentiable in `hyper`.
        """

    @abc.abstractmethod
    def recentred(self, hyper: PyTree) -> "AbstractResponse":
        """The same function of the hyperparameters, with its centre at `hyper`.

        What changes is where it learns best, and nothing that it answers: for every `other`,
        `response.recentred(hyper)(other)` has the weights of `response(other)`, up to rounding.
        """


class LinearResponse(AbstractResponse):
    r"""A response whose weights are linear in the hyperparameters.

    $$ w(\lambda) = b + J (\lambda - \bar\lambda), \qquad \text{with a rank: } J = V U $$

    At the start $b$ has the weights of `model` and $J$ is zero. On a small neighbourhood of the
    centre $\bar\lambda$ this is enough: $J$ learns $dw^*/d\lambda$. Where `inner` is jointly
    quadratic in $w$ and $\lambda$ it is exact everywhere. Without a rank $J$ has H times as many
    entries as the model; with one it is small, and leaves out most directions of a large $\lambda$:
    for a decay of every weight take `DiagonalResponse`.

    Args:
        model: any PyTree; its real floating arrays, D numbers in all, are the weights.
        hyper: the centre, H numbers in all.
        rank: of $V U$, from 1 to H; None: $J$ is dense, `[D, H]`.
        key: for $U$; needed with a rank.

    Raises:
        ValueError: `rank` is below 1 or above H, or comes without `key`.
        TypeError: `model` has no floating arrays or complex ones; a leaf of `hyper` is an array of
            whole numbers, of bools, or complex.

    Example:
        >>> import jax.numpy as jnp
        >>> response = LinearResponse({"w": jnp.ones(7_850)}, jnp.asarray(0.0))
        >>> sum(leaf.size for leaf in (response.model["w"], response.slope["w"]))
        15700
        >>> response(jnp.asarray(2.0))["w"].shape
        (7850,)

    Source: Lorraine and Duvenaud, "Stochastic Hyperparameter Optimization through Hypernetworks",
    arXiv 1802.09419, sections 2.3 (linear) and 4.3 (the factored form). Centring is ours: without
    it $b$ and $J$ are badly conditioned where $\lambda$ is large.
    """

    model: PyTree
    centre: PyTree
    slope: PyTree
    inwards: Float[Array, "rank hyper"] | None

    def __init__(
        self,
        model: PyTree,
        hyper: PyTree,
        rank: int | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ):
        self.model, weights = _weights(model)
        self.centre = checked_hyper(hyper)
        count = coordinates(self.centre).size
        self.inwards = None
        if rank is not None:
            if not 1 <= rank <= count:
                raise ValueError(
                    f"`rank` must be between 1 and the {count} numbers in `hyper`, got {rank}: a "
                    "Jacobian of that many columns has no higher rank. Leave `rank` out for a "
                    "dense one."
                )
            if key is None:
                raise ValueError(
                    "`key` is needed with a `rank`, for the factor next to `hyper`: "
                    "LinearResponse(model, hyper, rank, key=jax.random.key(0))."
                )
            dtype = coordinates(self.centre).dtype
            self.inwards = jr.normal(checked_key(key), (rank, count), dtype) / count**0.5
        inner = count if rank is None else rank
        self.slope = jax.tree.map(lambda w: jnp.zeros((*w.shape, inner), w.dtype), weights)

    def __call__(self, hyper: PyTree) -> PyTree:
        """The model at `hyper`."""
        offset = coordinates_like(self.centre, hyper) - jax.lax.stop_gradient(
            coordinates(self.centre)
        )
        inner = offset if self.inwards is None else self.inwards @ offset
        return _moved(self.model, _times(self.slope, inner))

    def recentred(self, hyper: PyTree) -> "LinearResponse":
        """The same function, with its centre at `hyper`."""
        new = (self(hyper), checked_hyper(hyper))
        return eqx.tree_at(lambda r: (r.model, r.centre), self, new)


class DiagonalResponse(AbstractResponse):
    r"""A response in which each weight answers to its own hyperparameter alone.

    $$ w_i(\lambda) = b_i + a_i (\lambda_{k(i)} - \bar\lambda_{k(i)}) $$

    For a decay of every weight, or of every array of weights: twice as many parameters as the
    model, however many hyperparameters. It leaves out how the decay of one weight moves another,
    which a factored Jacobian does not find either.

    At the start $b$ has the weights of `model` and $a$ is zero.

    Args:
        model: any PyTree; its real floating arrays are the weights.
        hyper: the centre. It has the structure of the weights, `eqx.filter(model,
            eqx.is_inexact_array)`, with one floating array at each, or a record of one such as
            `Positive`. The array has the shape of the weights or one that broadcasts to it: `()`
            for a decay of all, `[rows, 1]` for one of every row.

    Raises:
        ValueError: the structure or a shape of `hyper` is another.
        TypeError: as for `LinearResponse`.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> model = eqx.nn.Linear(64, 10, key=jax.random.key(0))
        >>> weights = eqx.filter(model, eqx.is_inexact_array)
        >>> log_decays = jax.tree.map(lambda w: jnp.full(w.shape, -1.0), weights)
        >>> response = DiagonalResponse(model, log_decays)
        >>> bool(jnp.all(response(log_decays).weight == model.weight))
        True

    Source: the structure is ours; Lorraine and Duvenaud, "Stochastic Hyperparameter Optimization
    through Hypernetworks", arXiv 1802.09419, section 4.3, tune as many decays by a factored form.
    """

    model: PyTree
    centre: PyTree
    slope: PyTree

    def __init__(self, model: PyTree, hyper: PyTree):
        self.model, weights = _weights(model)
        self.centre = checked_hyper(hyper)
        for weight, of in zip(jax.tree.leaves(weights), _by_weight(weights, hyper), strict=True):
            if not _broadcasts(of.shape, weight.shape):
                raise ValueError(
                    f"`hyper` has the shape {of.shape} at weights of the shape {weight.shape}: it "
                    "must broadcast to theirs, such as `()` for one value for all of them."
                )
        self.slope = jax.tree.map(jnp.zeros_like, weights)

    def __call__(self, hyper: PyTree) -> PyTree:
        """The model at `hyper`."""
        coordinates_like(self.centre, hyper)
        slopes, structure = jax.tree.flatten(self.slope)
        moved = [
            slope * (to - jax.lax.stop_gradient(of)).astype(slope.dtype).reshape(
                (1,) * (slope.ndim - of.ndim) + of.shape
            )
            for slope, to, of in zip(slopes, _floats(hyper), _floats(self.centre), strict=True)
        ]  # fmt: skip
        return _moved(self.model, jax.tree.unflatten(structure, moved))

    def recentred(self, hyper: PyTree) -> "DiagonalResponse":
        """The same function, with its centre at `hyper`."""
        new = (self(hyper), checked_hyper(hyper))
        return eqx.tree_at(lambda r: (r.model, r.centre), self, new)


class MLPResponse(AbstractResponse):
    r"""A response by a network: for a whole range of few hyperparameters.

    $$ w(\lambda) = b + V h\big((\lambda - \bar\lambda) / s\big) $$

    where $h$ are `depth` hidden layers of `width` ReLU units. One training answers for the whole
    range, so that a regularisation path costs one call for each of its points. At the start $b$ has
    the weights of `model` and $V$ is zero.

    Args:
        model: any PyTree; its real floating arrays are the weights.
        hyper: the centre of the range, H numbers in all.
        width: hidden units.
        depth: hidden layers.
        scale: $s$, the half-width of the range: networks learn from inputs between -1 and 1.
        key: for the hidden layers.

    Raises:
        ValueError: `width` or `depth` is below 1, or `scale` is not above 0.
        TypeError: as for `LinearResponse`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> response = MLPResponse(
        ...     {"w": jnp.ones(7_850)}, jnp.asarray(0.0), scale=4.0, key=jax.random.key(0))
        >>> import equinox as eqx
        >>> trained = eqx.filter((response.hidden, response.outwards, response.model), eqx.is_array)
        >>> sum(leaf.size for leaf in jax.tree.leaves(trained))
        400450

    Source: Lorraine and Duvenaud, "Stochastic Hyperparameter Optimization through Hypernetworks",
    arXiv 1802.09419, section 2.2.
    """

    model: PyTree
    centre: PyTree
    hidden: tuple[eqx.nn.Linear, ...]
    outwards: PyTree
    scale: float = eqx.field(static=True)

    def __init__(
        self,
        model: PyTree,
        hyper: PyTree,
        width: int = 50,
        depth: int = 1,
        *,
        scale: float | int = 1.0,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(width=width, depth=depth)
        if not scale > 0:
            raise ValueError(
                f"`scale` must be above 0, got {scale}: give half the width of the range of "
                "`hyper` that the response is trained on."
            )
        self.model, weights = _weights(model)
        self.centre = checked_hyper(hyper)
        self.scale = float(scale)
        centre = coordinates(self.centre)
        sizes = [centre.size] + [width] * (depth - 1)
        self.hidden = tuple(
            eqx.nn.Linear(size, width, dtype=centre.dtype, key=key)
            for size, key in zip(sizes, jr.split(key, depth), strict=True)
        )
        self.outwards = jax.tree.map(lambda w: jnp.zeros((*w.shape, width), w.dtype), weights)

    def __call__(self, hyper: PyTree) -> PyTree:
        """The model at `hyper`."""
        offset = coordinates_like(self.centre, hyper) - jax.lax.stop_gradient(
            coordinates(self.centre)
        )
        units = offset / self.scale
        for layer in self.hidden:
            units = jax.nn.relu(layer(units))
        return _moved(self.model, _times(self.outwards, units))

    def recentred(self, hyper: PyTree) -> "MLPResponse":
        """The same function, with its centre at `hyper`."""
        first = self.hidden[0]
        step = (coordinates_like(self.centre, hyper) - coordinates(self.centre)) / self.scale
        new = (first(step), checked_hyper(hyper))
        return eqx.tree_at(lambda r: (r.hidden[0].bias, r.centre), self, new)


def coordinates_like(centre: PyTree, hyper: PyTree) -> Float[Array, " hyper"]:
    """The coordinates of `hyper`, once they have proved to fit to those of a centre."""
    floats, wanted = (eqx.filter(tree, eqx.is_inexact_array) for tree in (hyper, centre))
    kind = lambda tree: (jax.tree.structure(tree), [leaf.shape for leaf in jax.tree.leaves(tree)])
    if kind(floats) != kind(wanted):
        raise ValueError(
            "`hyper` must have the structure and the shapes of the response's centre, "
            f"{_described(wanted)}; got {_described(floats)}."
        )
    return coordinates(hyper)


def _described(tree: PyTree) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def _floats(tree: PyTree) -> list[Array]:
    return jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))


def _weights(model: PyTree) -> tuple[PyTree, PyTree]:
    """The model with arrays of JAX's, and its floating arrays alone."""
    weights, rest = eqx.partition(model, eqx.is_inexact_array)
    if not jax.tree.leaves(weights):
        raise TypeError("`model` has no weights: no leaf of it is a floating array.")
    if any(jnp.iscomplexobj(leaf) for leaf in jax.tree.leaves(weights)):
        raise TypeError("`model` has complex weights; store real and imaginary parts apart.")
    weights = jax.tree.map(jnp.asarray, weights)
    return eqx.combine(weights, rest), weights


def _by_weight(weights: PyTree, hyper: PyTree) -> list[Array]:
    """The floating array of `hyper` at each of the weights."""
    structure = jax.tree.structure(weights)
    try:
        parts = structure.flatten_up_to(hyper)
    except ValueError as error:
        raise ValueError(
            "`hyper` must have the structure of the weights, `eqx.filter(model, "
            f"eqx.is_inexact_array)`, {structure}; got {jax.tree.structure(hyper)}. Make it by "
            "`jax.tree.map(lambda w: ..., weights)`, or take a `LinearResponse`."
        ) from error
    found = [_floats(part) for part in parts]
    if any(len(arrays) != 1 for arrays in found):
        raise ValueError(
            "`hyper` must have one floating array at each array of weights; got "
            f"{[len(arrays) for arrays in found]}."
        )
    return [array for (array,) in found]


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    return len(shape) <= len(to) and all(
        a in (1, b) for a, b in zip(reversed(shape), reversed(to), strict=False)
    )


def _times(matrices: PyTree, row: Float[Array, " n"]) -> PyTree:
    """Each matrix, whose last axis is n, times the row."""
    return jax.tree.map(lambda m: jnp.tensordot(m, row.astype(m.dtype), 1), matrices)


def _moved(model: PyTree, by: PyTree) -> PyTree:
    weights, rest = eqx.partition(model, eqx.is_inexact_array)
    return eqx.combine(jax.tree.map(jnp.add, weights, by), rest)


def check_response(response: object) -> None:
    """Raise a TypeError for what is no response, such as the class of one."""
    if not isinstance(response, AbstractResponse):
        raise TypeError(
            "`response` must be an `AbstractResponse`, such as `DiagonalResponse(model, hyper)`; "
            f"got {type(response).__name__}."
        )


def checked_hyper(hyper: PyTree, *, name: str = "hyper") -> PyTree:
    """`hyper` with arrays of JAX's alone, once it has proved to be what can be tuned."""
    check_hyper(hyper, name=name)
    # With its dtype: one that is weak would change along a training.
    array = lambda leaf: jnp.asarray(leaf, leaf.dtype)
    return jax.tree.map(lambda leaf: array(leaf) if eqx.is_array(leaf) else leaf, as_arrays(hyper))

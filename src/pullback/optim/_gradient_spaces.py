"""Gradients as points with distances: by their Gram matrix, or by their factors."""

import abc
from typing import Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pullback._floating import at_least_float32
from pullback._in_batches import over_rows
from pullback.nn import Factors, LayerFactors

C = TypeVar("C")

# How many rows of distances to centres are in memory at once, where they are made by factors.
_ROWS = 1024


class AbstractSpace(eqx.Module, Generic[C]):
    """Points whose squared distances are known, from each other and from centres, `C`."""

    squares: eqx.AbstractVar[Float[Array, " n"]]

    @abc.abstractmethod
    def to_row(self, row: Int[Array, ""]) -> Float[Array, " n"]:
        """The squared distance of every point from one of them, 0 where rounding says nothing."""

    @abc.abstractmethod
    def start(self, rows: Int[Array, " k"]) -> C:
        """Centres that are these points."""

    @abc.abstractmethod
    def place(self, centres: C, cluster: Int[Array, ""], row: Int[Array, ""]) -> C:
        """The centres, one of them moved to a point."""

    @abc.abstractmethod
    def means(self, centres: C, assignment: Int[Array, " n"]) -> C:
        """The centres of clusters of which none is empty, from what they were before."""

    @abc.abstractmethod
    def distances(self, centres: C) -> Float[Array, "n k"]:
        """The squared distance of every point from every centre."""


class GramSpace(AbstractSpace[Float[Array, "n k"]]):
    """Points by their scalar products. A centre is its weights of the points, and exact."""

    gram: Float[Array, "n n"]
    squares: Float[Array, " n"]

    def __init__(self, factors: Factors) -> None:
        gram = factors.gram()
        self.gram = gram.astype(at_least_float32(gram.dtype))
        self.squares = jnp.diagonal(self.gram)

    def to_row(self, row: Int[Array, ""]) -> Float[Array, " n"]:
        return _beyond_rounding(self.squares, self.squares[row], self.gram[row])

    def start(self, rows: Int[Array, " k"]) -> Float[Array, "n k"]:
        return jax.nn.one_hot(rows, len(self.squares), axis=0, dtype=self.gram.dtype)

    def place(
        self, centres: Float[Array, "n k"], cluster: Int[Array, ""], row: Int[Array, ""]
    ) -> Float[Array, "n k"]:
        return centres  # means are not made from them

    def means(
        self, centres: Float[Array, "n k"], assignment: Int[Array, " n"]
    ) -> Float[Array, "n k"]:
        members = jax.nn.one_hot(assignment, centres.shape[1], dtype=self.gram.dtype)
        return members / members.sum(axis=0, keepdims=True)

    def distances(self, centres: Float[Array, "n k"]) -> Float[Array, "n k"]:
        products = self.gram @ centres
        sizes = (centres * products).sum(axis=0, keepdims=True)
        return jnp.maximum(self.squares[:, None] - 2 * products + sizes, 0)

    def moved(self, assignment: Int[Array, " n"], clusters: int, sweeps: int) -> Int[Array, " n"]:
        r"""One row at a time, to the cluster where it adds the least to the weighted objective.

        That is the sum over clusters of the squared distances of all pairs in them, so that a row
        adds those to its fellows, $N_k |g_i|^2 + \sum_j |g_j|^2 - 2 \sum_j g_i \cdot g_j$. No move
        raises it. It ends with a sweep over the rows that lowers it by less than a hundredth.
        """
        n = len(assignment)
        members = jax.nn.one_hot(assignment, clusters, axis=0, dtype=self.gram.dtype)
        sums = (members.sum(axis=1), members @ self.squares, members @ self.gram)
        margin = 16 * jnp.finfo(self.gram.dtype).eps * self.squares.sum()

        def visit(i: Array, state: tuple) -> tuple:
            assignment, (sizes, squares, products), gain = state
            here, old = self.squares[i], assignment[i]
            adds = sizes * here + squares - 2 * products[:, i]
            new = jnp.argmin(adds)
            moves = (adds[new] < adds[old] - margin) & (sizes[old] > 1)
            new = jnp.where(moves, new, old)
            put = lambda part, row: part.at[old].add(-row).at[new].add(row)
            sums = (
                put(sizes, jnp.ones_like(here)),
                put(squares, here),
                put(products, self.gram[i]),
            )
            return assignment.at[i].set(new), sums, gain + adds[old] - adds[new]

        def sweep(state: tuple) -> tuple:
            number, assignment, sums, _, _ = state
            nothing = jnp.zeros_like(margin)
            assignment, sums, gain = jax.lax.fori_loop(0, n, visit, (assignment, sums, nothing))
            sizes, squares, products = sums
            left = sizes @ squares - products[assignment, jnp.arange(n)].sum()
            return number + 1, assignment, sums, gain, left

        def go_on(state: tuple) -> Array:
            number, _, _, gain, left = state
            return (number < sweeps) & (gain > 0.01 * left)

        start = (0, assignment, sums, jnp.ones_like(margin), jnp.zeros_like(margin))
        return jax.lax.while_loop(go_on, sweep, start)[1]


class Centres(eqx.Module):
    """Centres of gradients: an outer product a layer, and means of what was formed.

    Attributes:
        inputs: c of each layer, [k, j].
        signals: e of each layer, [k, o].
        others: means of the other parameters' gradients, [k, p] each.
    """

    inputs: list[Float[Array, "k _"]]
    signals: list[Float[Array, "k _"]]
    others: list[Float[Array, "k _"]]


class FactorSpace(AbstractSpace[Centres]):
    """Points by their factors, of which none is formed. A centre is of rank one in each layer."""

    inputs: list[Float[Array, "n _ _"]]
    signals: list[Float[Array, "n _ _"]]
    others: list[Float[Array, "n _"]]
    squares: Float[Array, " n"]

    def __init__(self, factors: Factors) -> None:
        dtype = at_least_float32(factors.losses.dtype)
        by_position = lambda part: (part[:, None] if part.ndim == 2 else part).astype(dtype)
        layers: list[LayerFactors] = list(factors.layers.values())
        self.inputs = [by_position(layer.whole_input()) for layer in layers]
        self.signals = [by_position(layer.signal) for layer in layers]
        self.others = [
            part.reshape(part.shape[0], -1).astype(dtype) for part in factors.others.values()
        ]
        self.squares = jnp.square(factors.norms().astype(dtype))

    def to_row(self, row: Int[Array, ""]) -> Float[Array, " n"]:
        centre = self.start(row[None])
        return _beyond_rounding(self.squares, _sizes(centre)[0], self._products(centre)[:, 0])

    def start(self, rows: Int[Array, " k"]) -> Centres:
        inputs, signals = [], []
        for a, s in zip(self.inputs, self.signals, strict=True):
            c, e = jax.vmap(_rank_one)(a[rows], s[rows])
            inputs.append(c)
            signals.append(e)
        return Centres(inputs, signals, [part[rows] for part in self.others])

    def place(self, centres: Centres, cluster: Int[Array, ""], row: Int[Array, ""]) -> Centres:
        put = lambda whole, one: whole.at[cluster].set(one[0])
        return jax.tree.map(put, centres, self.start(row[None]))

    def means(self, centres: Centres, assignment: Int[Array, " n"]) -> Centres:
        clusters = jax.tree.leaves(centres)[0].shape[0]
        summed = lambda part: jax.ops.segment_sum(part, assignment, clusters)
        sizes = summed(jnp.ones_like(self.squares))[:, None]
        inputs, signals = [], []
        for a, s, c in zip(self.inputs, self.signals, centres.inputs, strict=True):
            # One power iteration with the members' mean M: e = M c / |c|^2, c = M' e / |e|^2.
            seen = jnp.einsum("ntj,nj->nt", a, c[assignment])
            e = _over(summed(jnp.einsum("nto,nt->no", s, seen)) / sizes, c)
            heard = jnp.einsum("nto,no->nt", s, e[assignment])
            turned = _over(summed(jnp.einsum("ntj,nt->nj", a, heard)) / sizes, e)
            signals.append(e)
            inputs.append(jnp.where(jnp.any(e != 0, axis=1, keepdims=True), turned, c))
        return Centres(inputs, signals, [summed(part) / sizes for part in self.others])

    def distances(self, centres: Centres) -> Float[Array, "n k"]:
        far = self.squares[:, None] - 2 * self._products(centres) + _sizes(centres)[None]
        return jnp.maximum(far, 0)

    def _products(self, centres: Centres) -> Float[Array, "n k"]:
        def of_row(row: tuple[list[Array], list[Array], list[Array]]) -> Float[Array, " k"]:
            inputs, signals, others = row
            layers = zip(inputs, signals, centres.inputs, centres.signals, strict=True)
            found = [((a @ c.T) * (s @ e.T)).sum(axis=0) for a, s, c, e in layers]
            found += [mean @ one for one, mean in zip(others, centres.others, strict=True)]
            return jnp.stack(found).sum(axis=0)

        return over_rows(of_row, (self.inputs, self.signals, self.others), _ROWS)


def _rank_one(a: Float[Array, "t j"], s: Float[Array, "t o"]) -> tuple[Array, Array]:
    """One example's gradient, or where it has several positions what is near to it in rank one."""
    strongest = jnp.argmax(jnp.square(a).sum(axis=1) * jnp.square(s).sum(axis=1))
    c = a[strongest]
    e = _over(s.T @ (a @ c), c)
    return jnp.where(jnp.any(e != 0), _over(a.T @ (s @ e), e), c), e


def _over(product: Float[Array, "*k j"], vector: Float[Array, "*k i"]) -> Float[Array, "*k j"]:
    """A product with a vector over its square; 0 where the vector is."""
    size = jnp.square(vector).sum(axis=-1, keepdims=True)
    return jnp.where(size > 0, product / jnp.where(size > 0, size, 1), 0)


def _sizes(centres: Centres) -> Float[Array, " k"]:
    squared = lambda part: jnp.square(part).sum(axis=1)
    layers = zip(centres.inputs, centres.signals, strict=True)
    sizes = [squared(c) * squared(e) for c, e in layers] + [squared(o) for o in centres.others]
    return jnp.stack(sizes).sum(axis=0)


def _beyond_rounding(
    squares: Float[Array, " n"], one: Float[Array, ""], products: Float[Array, " n"]
) -> Float[Array, " n"]:
    far = squares - 2 * products + one
    return jnp.where(far > 16 * jnp.finfo(far.dtype).eps * (squares + one), far, 0)

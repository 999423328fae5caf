"""Where the chains of an energy-based model start."""

import abc
from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._key import checked_key


class AbstractStart(eqx.Module):
    """A distribution of first points, which may depend on a class."""

    shape: eqx.AbstractVar[tuple[int, ...]]

    @abc.abstractmethod
    def sample(
        self, n: int, *, labels: Int[Array, " n"] | None = None, key: PRNGKeyArray
    ) -> Float[Array, "n ..."]:
        """Points `[n, *shape]`; of the classes `labels`, where the distribution knows classes."""


class BoxStart(AbstractStart):
    """Uniform noise in a box, for every class alike.

    Args:
        shape: of a point.
        low: the least value of an entry.
        high: the largest.
        dtype: of the points; JAX's default float if None.

    Raises:
        ValueError: `low` is not below `high`.

    Example:
        >>> import jax
        >>> BoxStart((8, 8), low=0.0).sample(5, key=jax.random.key(0)).shape
        (5, 8, 8)
    """

    shape: tuple[int, ...] = eqx.field(static=True)
    _: KW_ONLY
    low: float = eqx.field(default=-1.0, static=True)
    high: float = eqx.field(default=1.0, static=True)
    dtype: Any = eqx.field(default=None, static=True)

    def __check_init__(self):
        if not self.low < self.high:
            raise ValueError(f"`low` must be below `high`, got {self.low} and {self.high}.")

    def sample(
        self, n: int, *, labels: Int[Array, " n"] | None = None, key: PRNGKeyArray
    ) -> Float[Array, "n ..."]:
        """Points `[n, *shape]`; labels change nothing."""
        key = checked_key(key)
        return jr.uniform(key, (n, *self.shape), self.dtype, self.low, self.high)


class GaussianStart(AbstractStart):
    r"""A Gaussian for each class: a picture of the data that is rough, and near it.

    $$ y \sim w, \qquad x \sim N(m_y, R_y R_y^\top) $$

    Chains that start there have less far to go than from noise, and do not get lost outside of
    the data. Without classes there is one Gaussian.

    Args:
        mean: m, of points laid flat, `[classes, dim]`.
        root: R, lower triangular, `[classes, dim, dim]`.
        weights: w, shares of the classes, `[classes]`.
        shape: of a point; its entries number `dim`.

    Example:
        >>> import jax, numpy as np
        >>> x = np.random.default_rng(0).normal(size=(300, 2)) + np.array([5.0, 0.0])
        >>> start = GaussianStart.fit(x)
        >>> start.sample(1000, key=jax.random.key(0)).mean(axis=0).round(0).tolist()
        [5.0, 0.0]

    Source: the informative initialisation of Yang and Ji, JEM++, arXiv 2109.09032, section 3.2.
    """

    mean: Float[Array, "classes dim"]
    root: Float[Array, "classes dim dim"]
    weights: Float[Array, " classes"]
    shape: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def fit(
        cls,
        x: Float[Array | np.ndarray, "n ..."],
        y: Int[Array | np.ndarray, " n"] | None = None,
        *,
        ridge: float = 1e-3,
    ) -> "GaussianStart":
        """The Gaussian of each class of the data.

        Args:
            x: the data, `[n, ...]`.
            y: its classes, from 0, each of them there at least once; None: one Gaussian of all.
            ridge: added to the variances, as a share of their mean over the data; the covariance
                of pixels that do not vary, or of few images, has no root without it.

        Raises:
            ValueError: a class has no example, or `ridge` is not above 0.
        """
        if not ridge > 0:
            raise ValueError(f"`ridge` must be above 0, got {ridge}.")
        flat = np.asarray(x, np.float64).reshape(len(x), -1)
        labels = np.zeros(len(flat), int) if y is None else np.asarray(y)
        counts = np.bincount(labels)
        if not counts.all():
            raise ValueError(
                f"`y` must have an example of each class from 0 to {len(counts) - 1}, and has none "
                f"of class {int(np.argmin(counts))}."
            )
        spread = ridge * max(float(flat.var(axis=0).mean()), np.finfo(np.float32).tiny)
        means, roots = [], []
        for label in range(len(counts)):
            rows = flat[labels == label]
            centred = rows - rows.mean(axis=0)
            covariance = centred.T @ centred / len(rows) + spread * np.eye(flat.shape[1])
            means.append(rows.mean(axis=0))
            roots.append(np.linalg.cholesky(covariance))
        dtype = jnp.result_type(jnp.asarray(x).dtype, float)
        as_float = lambda a: jnp.asarray(np.asarray(a), dtype)
        return cls(
            mean=as_float(means),
            root=as_float(roots),
            weights=as_float(counts / len(flat)),
            shape=tuple(x.shape[1:]),
        )

    def sample(
        self, n: int, *, labels: Int[Array, " n"] | None = None, key: PRNGKeyArray
    ) -> Float[Array, "n ..."]:
        """Points `[n, *shape]`; without labels, of classes by their shares in the data."""
        key = checked_key(key)
        which, noise = jr.split(key)
        if labels is None:
            labels = jr.categorical(which, jnp.log(self.weights), shape=(n,))
        elif len(self.weights) == 1:
            labels = jnp.zeros_like(labels)
        normal = jr.normal(noise, (n, self.mean.shape[1]), self.mean.dtype)
        moved = jnp.einsum("nij,nj->ni", self.root[labels], normal)
        return (self.mean[labels] + moved).reshape(n, *self.shape)

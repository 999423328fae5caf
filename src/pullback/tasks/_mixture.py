"""The mixture of Gaussians that a flow starts from, and is compared with."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from pullback._on_device import on_device

_COMPONENTS = (1, 2, 3, 5, 8, 12, 16)
_ROWS_EACH, _FEWEST = 5, 2.5  # of a component, on average and at least
_ENOUGH = 20_000  # rows, for which more make no better mixture of so few components
_TO_CHOOSE = 3000  # rows, by which the number of components is chosen
_TO_TELL = 10_000  # other rows, on which they are compared
_WORK = 10**9  # products in a round of a fit, of which there are up to 200
MOST = max(_COMPONENTS)
_NONE = -1e30  # the logarithm of the weight of a component that is not there


class Mixture(NamedTuple):
    r"""$\sum_k w_k N(\mu_k, \Sigma_k)$ in double precision.

    Attributes:
        log_weight: of the components that are there.
        mean: their means.
        root: R with $R^\top R = \Sigma^{-1}$, lower triangular.
    """

    log_weight: Float[np.ndarray, " k"]
    mean: Float[np.ndarray, "k d"]
    root: Float[np.ndarray, "k d d"]

    def log_prob(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """The log-density of rows."""
        squares = [
            np.square((z - mean) @ root.T).sum(axis=1)
            for mean, root in zip(self.mean, self.root, strict=True)
        ]
        return np.asarray(logsumexp(self._log_norm() - 0.5 * np.stack(squares, axis=1), axis=1))

    def base(self, dim: int) -> "MixtureBase":
        """The same for a flow, with components and columns filled up."""
        count, own = self.mean.shape
        log_weight, mean = np.full(MOST, _NONE), np.zeros((MOST, dim))
        root = np.zeros((MOST, dim, dim))
        log_weight[:count], mean[:count, :own] = self.log_weight, self.mean
        root[:, :own, :own] = np.eye(own)
        root[:count, :own, :own] = self.root
        found = (log_weight, mean, root)
        return MixtureBase(*(on_device(part.astype(np.float32)) for part in found))

    def _log_norm(self) -> Float[np.ndarray, " k"]:
        diagonals = np.diagonal(self.root, axis1=1, axis2=2)
        log_dets = np.log(diagonals).sum(axis=1)
        return self.log_weight + log_dets - self.mean.shape[1] / 2 * math.log(2 * math.pi)


class MixtureBase(eqx.Module):
    r"""A mixture of Gaussians as the base of a flow, of a fixed number of components and columns.

    $$ p(z) = \sum_k w_k N(z; \mu_k, (R_k^\top R_k)^{-1}) $$

    Components that are not there have the weight 0, and columns that are not there a root of 0:
    they have no part in the density or in a gradient, and draws are 0 in them. So one program
    serves every number of both.

    Attributes:
        log_weight: of the components, up to a constant.
        mean: their means.
        root: R, lower triangular; what is above the diagonal is not read.
    """

    log_weight: Float[Array, " k"]
    mean: Float[Array, "k d"]
    root: Float[Array, "k d d"]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one point."""
        return self.mean.shape[1:]

    def log_prob(self, z: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
        """The log-density in nats."""
        diagonal = jnp.abs(jnp.diagonal(self.root, axis1=1, axis2=2))
        here = diagonal > 0
        columns = jnp.sum(here[0]).astype(z.dtype)
        log_det = jnp.sum(jnp.log(jnp.where(here, diagonal, 1)), axis=1)
        log_weight = jax.nn.log_softmax(self.log_weight)
        log_norm = log_weight + log_det - columns / 2 * math.log(2 * math.pi)
        root = jnp.tril(self.root)

        def one(z: Array) -> Array:
            apart = jnp.einsum("kij,kj->ki", root, z[None] - self.mean)
            return jax.nn.logsumexp(log_norm - jnp.sum(apart * apart, axis=1) / 2)

        return jax.vmap(one)(z.reshape(-1, *self.shape)).reshape(z.shape[:-1])

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Float[Array, "*all"]:
        """Draws of shape `[*shape, d]`."""
        which, noise = jr.split(key)
        chosen = jr.categorical(which, self.log_weight, shape=shape)
        normal = jr.normal(noise, (*shape, *self.shape), self.mean.dtype)
        diagonal = jnp.diagonal(self.root, axis1=1, axis2=2)
        there = (diagonal != 0).astype(self.mean.dtype)
        root = jnp.tril(self.root) + jax.vmap(jnp.diag)(1 - there)

        def one(k: Array, normal: Array) -> Array:
            apart = jax.scipy.linalg.solve_triangular(root[k], there[k] * normal, lower=True)
            return self.mean[k] + apart

        flat = jax.vmap(one)(chosen.reshape(-1), normal.reshape(-1, *self.shape))
        return flat.reshape(normal.shape)


class Kind(NamedTuple):
    """Which mixture of Gaussians.

    Attributes:
        components: how many; 0 is the standard normal, which whitened rows have.
        covariance: of each, "full" or "diag".
    """

    components: int
    covariance: Literal["full", "diag"]

    def rows(self, dim: int) -> int:
        """How many rows a fit takes at most, such that it takes seconds."""
        each = self.components * dim ** (2 if self.covariance == "full" else 1)
        return min(_ENOUGH, _WORK // max(each, 1))

    def fit(self, rows: Float[np.ndarray, "n d"], seed: int) -> Mixture:
        """scikit-learn's mixture of rows.

        Args:
            rows: brought to mean 0 and covariance I.
            seed: of the starts.
        """
        dim = rows.shape[1]
        if not self.components:
            return Mixture(np.zeros(1), np.zeros((1, dim)), np.eye(dim)[None])
        rows = rows[: self.rows(dim)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            found: Any = GaussianMixture(
                self.components, covariance_type=self.covariance, reg_covar=1e-6,
                random_state=seed, max_iter=200,
            ).fit(rows)  # fmt: skip
        # A component of one or two rows is a peak on them: an anomaly that has one is never found.
        kept = found.weights_ * len(rows) > _FEWEST
        weights = found.weights_[kept] / found.weights_[kept].sum()
        half = found.precisions_cholesky_[kept]
        # scikit-learn's precision is the product of an upper triangle and its transpose.
        full = self.covariance == "full"
        root = np.swapaxes(half, 1, 2) if full else half[:, :, None] * np.eye(dim)
        return Mixture(np.log(weights), found.means_[kept], root)


def choose_kind(
    z: Float[np.ndarray, "n d"], folds: Sequence[tuple[np.ndarray, np.ndarray]], seed: int
) -> tuple[Kind, float]:
    """The mixture that does best on rows that it was not fitted to, and its mean log-density there.

    Args:
        z: rows.
        folds: places of rows to fit, of which no more than some thousand are used, and of others.
        seed: of the starts.
    """
    rows = min(len(fit) for fit, _ in folds)
    most = min(rows, _TO_CHOOSE) // max(_ROWS_EACH, z.shape[1] + 1)
    numbers = [k for k in _COMPONENTS if k <= most]

    def score(kind: Kind) -> float:
        told = [
            kind.fit(z[fit[:_TO_CHOOSE]], seed).log_prob(z[other[:_TO_TELL]])
            for fit, other in folds
        ]
        return float(np.concatenate(told).mean())

    # Threads of these small products wait for each other for most of the time.
    with threadpool_limits(1):
        return _best(score, numbers, rows, z.shape[1])


def _best(
    score: Callable[[Kind], float], numbers: Sequence[int], rows: int, dim: int
) -> tuple[Kind, float]:
    """The kind with the highest score, and it."""
    plain = Kind(0, "full")
    found = [(score(plain), plain)]
    for covariance in ("full", "diag"):
        before = []
        for kind in (Kind(number, covariance) for number in numbers):
            if kind.components > 1 and kind.rows(dim) < min(rows, _TO_CHOOSE):
                break  # it would take minutes
            before.append(score(kind))
            found.append((before[-1], kind))
            # Two that are no better than a smaller one: the larger ones will not be.
            if len(before) > 2 and max(before[-2:]) < max(before[:-2]):
                break
    highest, best = max(found, key=lambda pair: pair[0])
    return best, highest

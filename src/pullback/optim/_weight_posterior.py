"""A posterior over the weights of a user's network: drawn from, asked, and kept."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray, PyTree

from pullback._checked_data import check_rows
from pullback._in_batches import over_rows
from pullback._inputs import positive
from pullback._key import checked_key
from pullback._leading_axis import leading_axis
from pullback._traced import compiled
from pullback.optim._curvature import AbstractCurvature
from pullback.optim._kronecker import Kronecker
from pullback.optim._likelihood import Likelihood, log_prob_of
from pullback.optim._natural_step import Weighing, as_inferred, factors_of
from pullback.train import CheckpointError, load_checkpoint, read_header, save_checkpoint

M = TypeVar("M")

_FILE = "posterior.safetensors"
_AT_ONCE = 32

Described = tuple[tuple[int, ...], str]


class FittedOn(NamedTuple):
    """What a posterior was fitted on: shape and dtype of a row, and what no layer was made of."""

    x: Described
    y: Described
    exclude: tuple[str, ...]


class WeightPosterior(eqx.Module, Generic[M]):
    r"""A Gaussian posterior over a network's weights, $q(w) = N(\mu, \Sigma)$.

    Attributes:
        mean: the network with the weights $\mu$, in inference mode.
        likelihood: from an output to a distribution.
        curvature: the structure of $\Sigma$.
        prepared: what it is drawn by.
        fitted_on: shapes of its data.

    Example:
        See `fit_posterior`.
    """

    mean: M
    likelihood: Callable[[Any], Any]
    curvature: AbstractCurvature
    prepared: PyTree
    fitted_on: FittedOn = eqx.field(static=True)

    def sample(self, *, key: PRNGKeyArray) -> M:
        """A network whose weights are drawn."""
        key = checked_key(key)
        return self.curvature.draw(self.prepared, self.mean, key=key)

    def predict(self, x: Array | np.ndarray, *, draws: int = 100, key: PRNGKeyArray) -> PyTree:
        """What networks that are drawn say of each row.

        Args:
            x: rows, along the leading axis.
            draws: how many networks.
            key: a random key; the same gives the same networks, whatever the rows.

        Returns:
            Their outputs, with axes [draws, rows] in front.

        Raises:
            ValueError: the rows are of another shape than those of the fit, or there is none.
        """
        key = checked_key(key)
        positive(draws=draws)
        x = _rows_like(x, self.fitted_on.x, name="x")
        leading_axis(x, name="x")
        return compiled(_predict)(self, x, jr.split(key, draws))

    def log_prob(
        self, x: Array | np.ndarray, y: Array | np.ndarray, *, draws: int = 100, key: PRNGKeyArray
    ) -> Float[Array, " n"]:
        r"""The predictive log-density of each row, $\log \frac1S \sum_s p(y | x, w_s)$.

        Args:
            x: rows, along the leading axis.
            y: what was measured there.
            draws: S, how many networks are averaged over.
            key: a random key.

        Raises:
            ValueError: as for `predict`, of either; or a row of `y` is not finite.
        """
        key = checked_key(key)
        positive(draws=draws)
        x = _rows_like(x, self.fitted_on.x, name="x")
        y = _rows_like(y, self.fitted_on.y, name="y")
        leading_axis((x, y), name="x and y")
        if jnp.issubdtype(y.dtype, jnp.inexact):
            check_rows(y, name="y")
        return compiled(_log_prob)(self, x, y, jr.split(key, draws))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the posterior to a folder, for `load_posterior`: one file, and no pickle."""
        header = {"fitted_on": self.fitted_on._asdict()}
        save_checkpoint(Path(folder) / _FILE, self._kept(), header)

    def _kept(self) -> PyTree:
        return self.mean, self.curvature, self.prepared


def load_posterior(
    folder: str | os.PathLike[str],
    model: M,
    likelihood: Callable[[Any], Any],
    *,
    curvature: AbstractCurvature | None = None,
) -> WeightPosterior[M]:
    """The posterior that `WeightPosterior.save` wrote in a folder.

    Args:
        folder: that folder.
        model: a network of the same structure and settings, for instance a new one.
        likelihood: the one that the posterior was fitted with: it is a function, of which nothing
            is kept that could tell another one.
        curvature: with the settings that it was fitted with. None: `Kronecker()`.

    Raises:
        CheckpointError: the file is missing or damaged, or `model` or `curvature` is another one.

    Example:
        >>> import tempfile, jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> x, y = jnp.linspace(-1, 1, 20)[:, None], jnp.linspace(-1, 1, 20)
        >>> normal = lambda mean: dist.Normal(mean, 0.1)
        >>> net = eqx.nn.Linear(1, "scalar", key=jax.random.key(0))
        >>> from pullback.optim import fit_posterior
        >>> posterior, _ = fit_posterior(net, normal, x, y, steps=20, key=jax.random.key(1))
        >>> folder = tempfile.mkdtemp()
        >>> posterior.save(folder)
        >>> again = load_posterior(folder, net, normal)
        >>> bool(eqx.tree_equal(again.mean, posterior.mean))
        True
    """
    file = Path(folder) / _FILE
    found = read_header(file).get("fitted_on")
    if found is None:
        raise CheckpointError(f"{file}: no posterior; it was written by something else.")
    try:
        x, y = ((tuple(shape), str(dtype)) for shape, dtype in (found["x"], found["y"]))
        fitted_on = FittedOn(x, y, tuple(found["exclude"]))
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{file}: was not written by `WeightPosterior.save`.") from None
    curvature = Kronecker() if curvature is None else curvature
    like = eqx.filter_eval_shape(_like, model, likelihood, curvature, fitted_on)
    mean, curvature, prepared = load_checkpoint(file, like)[0]
    return WeightPosterior(mean, likelihood, curvature, prepared, fitted_on)


def _like(
    model: M, likelihood: Callable[[Any], Any], curvature: AbstractCurvature, fitted_on: FittedOn
) -> PyTree:
    """Something of the structure and the shapes of what is kept."""
    x, y = (jnp.zeros((1, *shape), dtype) for shape, dtype in fitted_on[:2])
    model, key = as_inferred(model), jr.key(0)
    factors = factors_of(Likelihood(likelihood), model, (x, y), fitted_on.exclude, key)
    prepared = Weighing.of(1, prior_variance=1.0, kl_weight=1.0, damping=0.0).prepare(
        curvature, curvature.start(factors)
    )
    return model, curvature, prepared


def _rows_like(rows: Array | np.ndarray, fitted: Described, *, name: str) -> Array:
    """As an array, of rows of the shape of those of the fit."""
    rows, (shape, _) = jnp.asarray(rows), fitted
    if rows.ndim == 0 or rows.shape[1:] != shape:
        hint = f" Of one row give `{name}[None]`." if rows.shape == shape else ""
        raise ValueError(
            f"`{name}` must hold rows of the shape {shape}, as those that the posterior was fitted "
            f"on, along its leading axis; got an array of the shape {rows.shape}.{hint}"
        )
    return rows


def _predict(posterior: WeightPosterior, x: PyTree, keys: Key[Array, " draws"]) -> PyTree:
    of_one = lambda key: jax.vmap(posterior.sample(key=key))(x)
    return over_rows(of_one, keys, _AT_ONCE)


def _log_prob(posterior: WeightPosterior, x: PyTree, y: Array, keys: Key[Array, " draws"]) -> Array:
    def of_one(key: PRNGKeyArray) -> Array:
        outputs = jax.vmap(posterior.sample(key=key))(x)
        of_row = lambda output, y: log_prob_of(posterior.likelihood, output, y)
        return jax.vmap(of_row)(outputs, y)

    found = over_rows(of_one, keys, _AT_ONCE)
    return jax.nn.logsumexp(found, axis=0) - jnp.log(jnp.asarray(len(keys), found.dtype))

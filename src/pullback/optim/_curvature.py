"""What a curvature is: an average that is learned, and what is made of it."""

import abc
from typing import Any, TypeVar

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from pullback.nn import AbstractWeightNoise, Factors

M = TypeVar("M")

Scalar = float | Float[Array, ""]


class AbstractCurvature(eqx.Module):
    r"""The structure of the Fisher matrix F, and so of a posterior over weights.

    $$ q(w) = N\big(\mu,\; \tfrac{\lambda}{N} (F + \gamma_\mathrm{in} I)^{-1}\big), \qquad
       \gamma_\mathrm{in} = \frac{\lambda}{N \eta} $$

    for N rows, a weight $\lambda$ of the KL and a prior of variance $\eta$. To write one of your
    own, say what is averaged over training (`start`, `measure`) and what is made of it (`prepare`,
    `solve`, `draw`, `noise`); `fit_posterior` does the rest. All methods are pure and are compiled.

    Attributes:
        rate: of the moving average. Each measurement has this share in it, or, of the first ones,
            $1 / t$, where that is more.

    Source: Zhang et al., Noisy Natural Gradient as Variational Inference, arXiv 1712.02390.
    """

    rate: eqx.AbstractVar[float]

    @abc.abstractmethod
    def start(self, factors: Factors) -> PyTree:
        """What stands for the average before the first measurement: the identity, or near it.

        Noise is then small. Steps are taken by an average that it counts in as one measurement; the
        posterior is that of the measurements.

        Args:
            factors: of a batch; the shapes in it are to be read, and no number.

        Raises:
            ValueError: this curvature is none for such a model.
        """

    @abc.abstractmethod
    def measure(self, factors: Factors) -> PyTree:
        """What a batch says of the curvature, in the structure of `start`.

        Args:
            factors: of each example the gradient of its own negative log-likelihood, with a label
                that was drawn from the model: the mean of their outer products is the Fisher matrix
                of one example.
        """

    @abc.abstractmethod
    def prepare(
        self, statistics: PyTree, *, intrinsic: Scalar, damping: float, scale: Scalar
    ) -> PyTree:
        r"""What `solve`, `draw` and `noise` need, made once in many steps.

        Args:
            statistics: the average.
            intrinsic: $\gamma_\mathrm{in}$, with which weights are drawn.
            damping: what comes to it where steps are taken, and only there.
            scale: $\sqrt{\lambda / N}$, of the deviation of the weights.
        """

    @abc.abstractmethod
    def solve(self, prepared: PyTree, gradient: M) -> M:
        r"""$(F + \gamma_\mathrm{in} I + \mathrm{damping}\, I)^{-1} g$, in the structure of g."""

    @abc.abstractmethod
    def draw(self, prepared: PyTree, model: M, *, key: PRNGKeyArray) -> M:
        """A model whose weights are drawn from the posterior around those of `model`."""

    @abc.abstractmethod
    def noise(
        self, prepared: PyTree, *, exact: bool, key: PRNGKeyArray
    ) -> dict[str, AbstractWeightNoise] | None:
        """What `draw` adds to the weights of dense layers, for one example, without a matrix.

        Args:
            prepared: of `prepare`.
            exact: whether `backward` must have its whole law, for a measurement of the curvature,
                or may be its mean, for a gradient, which is then less noisy.
            key: a random key.

        Returns:
            By place, such as ".layers[0]": the weights that are in none of these are drawn once a
            batch. None where there is no such way: each example then gets a model of its own.
        """


def moving_average(old: PyTree, new: PyTree, share: Any) -> PyTree:
    """`(1 - share) old + share new`."""
    return jax.tree.map(lambda a, b: a + share.astype(a.dtype) * (b - a), old, new)

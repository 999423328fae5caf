"""`fit_posterior`: weights with their uncertainty, at the price of an optimiser."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray, PyTree

from pullback._checked_data import check_rows
from pullback._inputs import positive
from pullback._key import checked_key
from pullback._leading_axis import leading_axis
from pullback._traced import compiled
from pullback.optim._check_numbers import check_numbers
from pullback.optim._curvature import AbstractCurvature
from pullback.optim._kronecker import Kronecker
from pullback.optim._likelihood import Likelihood, label_of, log_prob_of
from pullback.optim._natural_step import Draws, NaturalStep, Weighing, as_inferred, factors_of
from pullback.optim._weight_posterior import FittedOn, WeightPosterior
from pullback.train import Stream, TrainingInfo, iterate

M = TypeVar("M")


@dataclasses.dataclass(frozen=True)
class PosteriorInfo:
    """How a posterior was fitted.

    Attributes:
        training: as `pullback.train.iterate` tells it; its history has the `loss`, the mean
            negative log-likelihood at weights drawn.
        layers: the places of the layers that the curvature has the factors of.
        others: the places of all other parameters, which `Kronecker` gives the diagonal.
    """

    training: TrainingInfo
    layers: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def history(self) -> dict[str, np.ndarray]:
        """That of `training`."""
        return self.training.history


def fit_posterior(
    model: M,
    likelihood: Callable[[Any], Any],
    x: Array | np.ndarray,
    y: Array | np.ndarray,
    *,
    curvature: AbstractCurvature | None = None,
    prior_variance: float | int = 1.0,
    kl_weight: float | int = 1.0,
    damping: float | int = 0.0,
    optimiser: optax.GradientTransformation | None = None,
    steps: int,
    batch_size: int | None = None,
    statistics_every: int = 10,
    inverse_every: int = 100,
    draws: Draws = "example",
    exclude: Sequence[str] = (),
    rollbacks: int = 0,
    log_every: int = 100,
    checkpoint_every: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    mesh: jax.sharding.Mesh | None = None,
    key: PRNGKeyArray,
) -> tuple[WeightPosterior[M], PosteriorInfo]:
    r"""A Gaussian posterior over the weights of a network, by natural-gradient steps.

    $$ \max_q\; E_q\Big[\sum_n \log p(y_n | x_n, w)\Big] - \lambda\, KL(q \| N(0, \eta I)) $$

    $$ \mu \leftarrow \mu + \alpha\, (F + \gamma_\mathrm{in} I + \mathrm{damping}\, I)^{-1}
       (g - \gamma_\mathrm{in} \mu), \qquad
       q = N\big(\mu, \tfrac{\lambda}{N} (F + \gamma_\mathrm{in} I)^{-1}\big), \qquad
       \gamma_\mathrm{in} = \frac{\lambda}{N \eta} $$

    g is the mean gradient of the log-likelihood at weights drawn from q, and F the Fisher matrix
    there, of labels drawn from the model's own predictions, each example's for itself. It is held
    in the structure that `curvature` says, and that is the structure of the posterior. All of them
    understate the variance of predictions; `Kronecker` tells where it is large, and `Diagonal` much
    less.

    Args:
        model: any PyTree that maps one row of `x` to an output: a network of `eqx.nn.Linear` and
            `eqx.nn.Conv2d`, and whatever else. Its real floating arrays are inferred. It is in
            inference mode (`eqx.nn.inference_mode`) in fitting and predicting, so that dropout does
            nothing: the noise in the weights is the posterior's.
        likelihood: from the output for one row to a distribution, which has `log_prob(y)`, one
            number, and `sample(key)`, as those of NumPyro have. The scale of the noise may be one
            of the network's outputs, or a parameter of a model of yours that returns it beside.
        x: rows, [n, ...], standardised as for any network.
        y: what was measured of each, [n, ...].
        curvature: `Diagonal`, `Kronecker`, `Full` or one of your own. None: `Kronecker()`.
        prior_variance: $\eta$, of each weight.
        kl_weight: $\lambda$; 1 is Bayes' rule, less is a colder posterior.
        damping: of the steps alone: weights are drawn without it.
        optimiser: takes the direction as it would a gradient. None: a rate $\alpha$ of 0.01, and a
            tenth of it in the second half, with momentum 0.9. Its own preconditioner should be
            none: `optax.sgd`, not `optax.adam`.
        steps: how many: so many that `loss` in the history no longer falls; 2,000 and more for
            small networks at the default rate, for the mean may be the last to arrive.
        batch_size: rows of a step. None: 64, or all where there are fewer.
        statistics_every: steps between two measurements of the curvature.
        inverse_every: steps between two of its inverses; 20 or fewer for small networks.
        draws: whether weights are drawn for each row of a batch, or once a batch, which is noisier
            and agrees with it on average. For each row noise is drawn in the outputs of the dense
            layers, and no matrix; all other weights are drawn once a batch.
        exclude: places of layers, such as ".layers[0]", that are taken like other parameters: those
            that one row passes more than once.
        rollbacks: as for `pullback.train.iterate`, as is all that follows.
        log_every: steps between two points of the history.
        checkpoint_every: steps between checkpoints; default `log_every`.
        folder: where the log and the checkpoint are written. None: nowhere.
        resume: go on from the checkpoint in `folder`; with the optimiser that is not given, to as
            many `steps` as at first.
        progress: show a bar on stderr. None: where stderr is a terminal.
        mesh: spread each batch over these devices.
        key: a random key.

    Returns:
        The posterior, and a `PosteriorInfo`.

    Raises:
        ValueError: a number is out of range, a row is not finite, `batch_size` is more than there
            are rows, `log_prob` is not one number an example, a layer is passed several times,
            `exclude` names what is no layer, or the curvature is none for this model.
        TypeError: `model` is not callable or has no floating array, an array stands for a number,
            `exclude` holds what is no text, or `likelihood` gives no distribution.
        TrainingError: as for `pullback.train.iterate`: take smaller steps, or more `damping`.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> x = jnp.linspace(-2, 2, 40)[:, None]
        >>> y = jnp.sin(2 * x[:, 0])
        >>> net = eqx.nn.MLP(1, "scalar", 10, 1, jnp.tanh, key=jax.random.key(0))
        >>> posterior, info = fit_posterior(
        ...     net, lambda mean: dist.Normal(mean, 0.2), x, y, steps=200, key=jax.random.key(1))
        >>> outputs = posterior.predict(jnp.array([[0.0], [4.0]]), draws=50, key=jax.random.key(2))
        >>> near, far = outputs.std(axis=0)
        >>> outputs.shape, bool(near < far), info.layers
        ((50, 2), True, ('.layers[0]', '.layers[1]'))

    Source: Zhang et al., Noisy Natural Gradient as Variational Inference, arXiv 1712.02390.
    """
    key = checked_key(key)
    x, y = jnp.asarray(x), jnp.asarray(y)
    rows = leading_axis((x, y), name="x and y")
    batch_size = min(64, rows) if batch_size is None else batch_size
    positive(
        steps=steps, batch_size=batch_size, statistics_every=statistics_every,
        inverse_every=inverse_every,
    )  # fmt: skip
    check_numbers(prior_variance=prior_variance, kl_weight=kl_weight, damping=damping)
    if batch_size > rows:
        raise ValueError(f"`batch_size` must be at most {rows}, the rows; got {batch_size}.")
    if draws not in ("example", "batch"):
        raise ValueError(f'`draws` must be "example" or "batch", got {draws!r}.')
    check_rows(x, name="x")
    if jnp.issubdtype(y.dtype, jnp.inexact):
        check_rows(y, name="y")
    curvature = Kronecker() if curvature is None else curvature
    _check_model(model)
    model = as_inferred(model)
    exclude = (exclude,) if isinstance(exclude, str) else tuple(exclude)
    if wrong := [each for each in exclude if not isinstance(each, str)]:
        raise TypeError(
            "`exclude` must name layers by their places, such as '.layers[0]'; got "
            f"{type(wrong[0]).__name__}."
        )
    _check_likelihood(model, likelihood, x, y)
    step = NaturalStep(
        likelihood,
        curvature,
        _default_optimiser(steps) if optimiser is None else optimiser,
        Weighing.of(
            rows,
            prior_variance=float(prior_variance),
            kl_weight=float(kl_weight),
            damping=float(damping),
        ),
        statistics_every,
        inverse_every,
        draws,
        exclude,
    )
    first, key = jr.split(key)
    batch = (x[:2], y[:2])
    layers, others = eqx.filter_eval_shape(_places, likelihood, model, batch, exclude, first)
    state = compiled(_start)(step, model, batch, first)
    state, training = iterate(
        step, state, Stream((x, y), batch_size), steps=steps, rollbacks=rollbacks,
        log_every=min(log_every, steps), checkpoint_every=checkpoint_every, folder=folder,
        resume=resume, progress=progress, mesh=mesh, key=key,
    )  # fmt: skip
    prepared = compiled(_prepared)(step, state.settled)
    fitted_on = FittedOn((x.shape[1:], str(x.dtype)), (y.shape[1:], str(y.dtype)), exclude)
    posterior = WeightPosterior(state.model, likelihood, curvature, prepared, fitted_on)
    return posterior, PosteriorInfo(training, layers, others)


def _places(
    likelihood: Any, model: PyTree, batch: PyTree, exclude: tuple[str, ...], key: PRNGKeyArray
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of layers with factors, and of all other parameters."""
    factors = factors_of(Likelihood(likelihood), model, batch, exclude, key)
    return tuple(factors.layers), tuple(factors.others)


def _start(step: NaturalStep, model: PyTree, batch: PyTree, key: PRNGKeyArray) -> PyTree:
    return step.start(model, batch, key)


def _prepared(step: NaturalStep, statistics: PyTree) -> PyTree:
    """What the posterior is drawn by, of the last average."""
    return step.weighing.prepare(step.curvature, statistics)


def _default_optimiser(steps: int) -> optax.GradientTransformation:
    rate = optax.piecewise_constant_schedule(0.01, {max(1, steps // 2): 0.1})
    return optax.chain(optax.ema(0.9), optax.scale_by_learning_rate(rate))


def _check_model(model: Any) -> None:
    if not callable(model):
        raise TypeError(
            "`model` must be callable, from a row of `x` to an output; got "
            f"{type(model).__name__}: put it into an `eqx.Module` with a `__call__`."
        )
    arrays = [leaf for leaf in jax.tree.leaves(model) if isinstance(leaf, jax.Array | np.ndarray)]
    if not any(jnp.issubdtype(array.dtype, jnp.inexact) for array in arrays):
        raise TypeError("`model` has no parameters: no leaf of it is a floating array.")


def _check_likelihood(model: PyTree, likelihood: Callable[[Any], Any], x: Array, y: Array) -> None:
    """Raise where what a distribution gives of one example is not one number and one label."""

    def of_one(model: PyTree, x: Array, y: Array) -> tuple[Array, Array]:
        output = model(x)
        law = likelihood(output)
        for name in ("log_prob", "sample"):
            if not callable(getattr(law, name, None)):
                raise TypeError(
                    "`likelihood` must give a distribution with `log_prob` and `sample`, as those "
                    f"of NumPyro are; got {type(law).__name__}."
                )
        return log_prob_of(likelihood, output, y), label_of(likelihood, output, key=jr.key(0))

    _, label = eqx.filter_eval_shape(of_one, model, x[0], y[0])
    if jnp.shape(label) != y.shape[1:]:
        raise ValueError(
            f"`likelihood` must draw labels of the shape of those in `y`, {y.shape[1:]}; it draws "
            f"{label.shape}."
        )

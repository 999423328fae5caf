"""Hyperparameters tuned within one training, by a network that knows how it would respond."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PRNGKeyArray, PyTree

from pullback._in_batches import over_rows
from pullback._key import checked_key_or_keys
from pullback._leading_axis import leading_axis
from pullback._traced import compiled
from pullback.bilevel._checks import as_arrays, check_apart, check_hyper, check_losses, value_of
from pullback.bilevel._coordinates import coordinates, from_history, numbers_by_name
from pullback.bilevel._schedule import Schedule, recorded
from pullback.bilevel._self_tuning_step import SelfTuned, SelfTuningStep, at_hyper
from pullback.nn import AbstractHyperLayer, respond, self_tuning
from pullback.train import Stream, TrainingInfo, iterate

M = TypeVar("M")
H = TypeVar("H")

_FOR_EVER = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class SelfTuningInfo:
    """How a self-tuning run went.

    Attributes:
        schedule: the hyperparameters at the start and at every evaluation: to be drawn, saved, or
            replayed by another training. Of several runs each array has their axis after that of
            the steps.
        scale: of the perturbations, where the returned hyperparameters are, in their order.
        training: as `pullback.train.iterate` tells it. Its history has the `loss` and the metrics
            of `inner`, the `response_loss` under perturbations, and of each evaluation
            `validation_loss`, the metrics of `outer`, `validation_hyper_NAME` and
            `validation_scale_NAME`; `best_step` is that of what is returned.
    """

    schedule: Schedule
    scale: Float[np.ndarray, "*runs count"]
    training: TrainingInfo


def fit_self_tuning(
    model: M,
    hyper: H,
    inner: Callable[..., Any],
    outer: Callable[..., Any],
    train: Any,
    validation: PyTree,
    *,
    optimiser: optax.GradientTransformation,
    hyper_optimiser: optax.GradientTransformation,
    steps: int,
    batch_size: int,
    inner_steps: int = 2,
    warmup: int = 0,
    scale: float = 0.5,
    entropy: float | None = 1e-3,
    linearised: bool = True,
    patience: int | None = None,
    rollbacks: int = 0,
    log_every: int = 100,
    evaluate_every: int | None = None,
    checkpoint_every: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    mesh: jax.sharding.Mesh | None = None,
    sequential: bool = False,
    key: Key[Array, "*runs"],
) -> tuple[M, H, SelfTuningInfo]:
    r"""Train a network and tune its regularisation in the same run.

    $$ \min_\phi\; E_\epsilon\big[L_T(\lambda + \epsilon, w_\phi(\lambda + \epsilon))\big], \qquad
       \min_{\lambda, \sigma}\; E_\epsilon\big[L_V(\lambda + \epsilon, w_\phi(\lambda + \epsilon))
       \big] - \tau H(\sigma), \qquad \epsilon \sim N(0, \mathrm{diag}(\sigma^2)) $$

    Each layer learns, beside its weights, how they would move if the coordinates $\lambda$ of the
    hyperparameters did (`pullback.nn.self_tuning`), and the held-out loss is differentiated through
    that alone. The training loss is never differentiated by a hyperparameter. So those that no
    gradient comes through are tuned too: whole numbers, dropout rates, the strength of an
    augmentation. Those that are in no loss, such as a learning rate, are not.

    Every `inner_steps` steps of training are followed by one of the hyperparameters. By default
    these are the rules of Delta-STN: weights are trained at $\lambda$ itself, and the responses
    by perturbations around it and to first order.

    Args:
        model: any PyTree with an `eqx.nn.Linear` or an `eqx.nn.Conv2d`, which is made to respond
            and comes back plain; or what `pullback.nn.self_tuning` gave, with as many entries in a
            gate as `hyper` has numbers, which comes back as such.
        hyper: any PyTree of real floating arrays and of records such as `Bounded`.
        inner: `inner(model, hyper, batch, *, key) -> (scalar, dict of scalar metrics)`, the
            training loss, a mean over its batch. It is given single examples, each with
            hyperparameters of its own, but where all of `hyper` is `per_batch`. A penalty on the
            weights reads them of `pullback.nn.freeze_response(model)`, of a model that is not
            `centred`, with `linearised=False`.
        outer: the same for held-out examples: without dropout, augmentation and penalties. The
            model is in inference mode.
        train: what `inner` is given batches of, as the `data` of `pullback.train.fit`.
        validation: held-out arrays, other rows than those of `train`.
        optimiser: of the weights, an Optax transformation.
        hyper_optimiser: of the coordinates of `hyper`, and of the scale.
        steps: of training, in all.
        batch_size: examples of a step; of `validation` as many, or all that there are.
        inner_steps: steps of training between two of `hyper`.
        warmup: steps of training before the first of `hyper`.
        scale: $\sigma$ at the start: how far around $\lambda$ responses are learned.
        entropy: $\tau$. Too small, and the scale falls to where responses learn nothing; too large,
            and they are learned too far off. None: the scale stays, and `hyper` is stepped along at
            $\lambda$ itself.
        linearised: whether outputs move along a line under perturbations, one product of a Jacobian
            more; for `centred` networks.
        patience: stop after so many evaluations in a row without a lower held-out loss. None: no
            early stop.
        rollbacks: as for `pullback.train.iterate`, as is all that follows.
        log_every: steps between two points of the history.
        evaluate_every: steps between evaluations, and between the points of the schedule; default
            `log_every`.
        checkpoint_every: steps between checkpoints; default `log_every`.
        folder: where the log and the checkpoint are written. None: nowhere.
        resume: go on from the checkpoint in `folder`.
        progress: show a bar on stderr. None: where stderr is a terminal.
        mesh: spread each batch over these devices.
        sequential: of several runs, one after another.
        key: a random key; or several, for runs in one program: `model` and `hyper` then have an
            axis for them in front.

    Returns:
        The model and `hyper` of the evaluation with the lowest held-out loss, and a
        `SelfTuningInfo`.

    Raises:
        ValueError: an argument does not fit: `scale` is 0, `inner` is `outer`, rows of `validation`
            are rows of `train`, the network normalises over a batch, or has another count.
        TypeError: a leaf of `hyper` is not real and floating, or a loss returns something else.
        TrainingError: as for `pullback.train.iterate`.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from pullback.bilevel import Positive
        >>> def error(net, x, y):
        ...     return jnp.mean((jax.vmap(net)(x)[:, 0] - y) ** 2)
        >>> def inner(net, hyper, batch, *, key):  # noise on the inputs, of a scale to be found
        ...     x, y = batch
        ...     x = x + hyper["noise"].value * jax.random.normal(key, x.shape)
        ...     return error(net, x, y), {}
        >>> def outer(net, hyper, batch, *, key):
        ...     return error(net, *batch), {}
        >>> x = jax.random.normal(jax.random.key(0), (40, 3))
        >>> y = jnp.sin(x[:, 0])
        >>> net, hyper, info = fit_self_tuning(
        ...     eqx.nn.MLP(3, 1, 8, 1, key=jax.random.key(1)), {"noise": Positive(0.1)}, inner,
        ...     outer, (x[:20], y[:20]), (x[20:], y[20:]), steps=20, batch_size=10, log_every=10,
        ...     optimiser=optax.sgd(0.1), hyper_optimiser=optax.adam(0.1), key=jax.random.key(2))
        >>> net(x[0]).shape, info.schedule.steps.tolist(), info.training.step
        ((1,), [0, 10, 20], 20)

    Source: MacKay et al., Self-Tuning Networks, arXiv 1903.03088, algorithm 1; Bae and Grosse,
        Delta-STN, arXiv 2010.13514, for the centre and the linearisation.
    """
    key = checked_key_or_keys(key)
    check_losses(inner, outer)
    check_hyper(hyper)
    check_apart(train, validation)
    model, hyper, validation = as_arrays((model, hyper, validation))
    rows = leading_axis(validation, name="validation")
    _check_numbers(inner_steps=inner_steps, warmup=warmup, scale=scale, entropy=entropy)
    one_hyper = hyper if key.ndim == 0 else _first(hyper)
    count = sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(one_hyper, eqx.is_inexact_array)))
    given = _layers(model)
    centred = all(layer.centred for layer in given)
    _check_layers(given, count, linearised=linearised)
    step = SelfTuningStep(
        inner, outer, optimiser, hyper_optimiser, centred, linearised, inner_steps, warmup, entropy
    )

    def start(model: PyTree, hyper: PyTree, key: PRNGKeyArray) -> SelfTuned:
        responding = model if given else self_tuning(model, count, key=key)
        here = coordinates(hyper)
        return step.start(responding, hyper, jnp.full_like(here, scale))

    split = jr.split if key.ndim == 0 else jax.vmap(jr.split, out_axes=1)
    start_key, key = split(key)
    begin: Any = start if key.ndim == 0 else eqx.filter_vmap(start, out_axes=eqx.if_array(0))
    first = compiled(begin)(model, hyper, start_key)
    evaluate_every = log_every if evaluate_every is None else evaluate_every
    streams = {
        "train": Stream(train, batch_size),
        "validation": Stream(validation, min(batch_size, rows)),
    }
    state, training = iterate(
        step, first, streams, steps=steps,
        validation=_held_out(outer, validation, batch_size, centred),
        # The best of all evaluations is kept either way.
        patience=_FOR_EVER if patience is None else patience,
        rollbacks=rollbacks, log_every=log_every, evaluate_every=evaluate_every,
        checkpoint_every=checkpoint_every, folder=folder, resume=resume, progress=progress,
        mesh=mesh, sequential=sequential, key=key,
    )  # fmt: skip
    info = SelfTuningInfo(
        _schedule(hyper, one_hyper, training.history),
        np.logaddexp(0, np.asarray(state.width)),
        training,
    )
    back = lambda model, hyper: _given_back(model, hyper, centred=centred, plain=not given)
    back = back if key.ndim == 0 else eqx.filter_vmap(back, out_axes=eqx.if_array(0))
    return back(state.model, state.hyper), state.hyper, info


def _held_out(outer: Callable[..., Any], data: PyTree, batch_size: int, centred: bool) -> Any:
    """The held-out loss where hyperparameters stand, and where they stand."""

    def validation(now: SelfTuned, *, key: PRNGKeyArray) -> dict[str, Array]:
        model = eqx.nn.inference_mode(at_hyper(now.model, now.hyper, centred=centred))

        def one(numbered: tuple[Array, PyTree]) -> tuple[Array, dict[str, Array]]:
            number, row = numbered
            row = jax.tree.map(lambda x: x[None], row)
            at = jr.fold_in(key, number)
            return value_of("outer", outer, model, now.hyper, row, key=at)

        numbers = jnp.arange(leading_axis(data, name="validation"))
        losses, metrics = over_rows(one, (numbers, data), batch_size)
        means = {name: jnp.mean(metric, axis=0) for name, metric in metrics.items()}
        scale = jax.nn.softplus(now.width)
        names = numbers_by_name(now.hyper)
        return {
            **means,
            **{f"hyper_{name}": value for name, value in names.items()},
            **{f"scale_{name}": scale[place] for place, name in enumerate(names)},
            "loss": jnp.mean(losses),
        }

    return validation


def _schedule(hyper: PyTree, one: PyTree, history: dict[str, np.ndarray]) -> Schedule:
    """The hyperparameters at the start and at every evaluation."""
    losses = history["validation_loss"]
    measured = ~np.isnan(losses).reshape(len(losses), -1).all(axis=1)
    later = from_history(one, {n: v[measured] for n, v in history.items()}, "validation_hyper_")
    joined = lambda first, later: np.concatenate([np.asarray(first)[None], later])
    steps = [0, *history["step"][measured].tolist()]
    return Schedule(steps, jax.tree.map(joined, recorded(hyper), later))


def _check_numbers(
    *, inner_steps: int, warmup: int, scale: float | int, entropy: float | int | None
) -> None:
    if not 0 < scale < np.inf:
        raise ValueError(
            f"`scale` must be above 0, got {scale}: a network learns to respond from perturbations "
            "alone, and without them no gradient comes to `hyper`. Start with 0.5."
        )
    if inner_steps < 1 or warmup < 0:
        raise ValueError(
            f"`inner_steps` must be 1 or more and `warmup` 0 or more; got {inner_steps} and "
            f"{warmup}."
        )
    if entropy is not None and not 0 <= entropy < np.inf:
        raise ValueError(f"`entropy` must be None, 0 or more; got {entropy}.")


def _layers(model: PyTree) -> list[AbstractHyperLayer]:
    is_layer = lambda node: isinstance(node, AbstractHyperLayer)
    return list(filter(is_layer, jax.tree.leaves(model, is_leaf=is_layer)))


def _check_layers(layers: list[AbstractHyperLayer], count: int, *, linearised: bool) -> None:
    counts, kinds = ({of(layer) for layer in layers} for of in (_count_of, lambda at: at.centred))
    if counts - {count}:
        raise ValueError(
            f"`hyper` has {count} numbers, and layers of `model` respond to {sorted(counts)}: "
            f"make it by `self_tuning(model, {count}, key=key)`."
        )
    if len(kinds) > 1:
        raise ValueError("all layers of `model` must be `centred`, or none.")
    if linearised and False in kinds:
        raise ValueError(
            "`linearised` needs a network that is plain where hyperparameters stand: make it by "
            "`self_tuning(..., centred=True)`, or give `linearised=False`."
        )


def _count_of(layer: AbstractHyperLayer) -> int:
    return layer.gate.shape[-1]


def _given_back(model: PyTree, hyper: PyTree, *, centred: bool, plain: bool) -> PyTree:
    """The network as it was given: a plain one, or one that responds."""
    if plain:
        return at_hyper(model, hyper, centred=centred)
    return model if centred else respond(model, coordinates(hyper))


def _first(tree: PyTree) -> PyTree:
    """The part of the first run."""
    return jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, tree)

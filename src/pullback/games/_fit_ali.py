"""`fit_ali`: an encoder, a decoder, a discriminator of pairs and data in; a model out."""

import os
import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key

from pullback._checked_data import check_labels, check_rows
from pullback._key import checked_key_or_keys
from pullback.games._ali import ALI
from pullback.games._ali_game import ALIGame, examples
from pullback.games._fit_gan import fit_gan
from pullback.games._joint_losses import check_whole_labels
from pullback.games._step import GANStep
from pullback.train import TrainingInfo

# Columns much larger than this saturate what a network has at its start.
_LARGE = 10.0


def fit_ali(
    model: ALI,
    data: Any,
    *,
    generator_optimiser: optax.GradientTransformation,
    discriminator_optimiser: optax.GradientTransformation,
    steps: int,
    batch_size: int | None = None,
    cycle_weight: float | int | Array = 0.0,
    unroll: int = 0,
    log_every: int = 100,
    checkpoint_every: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    mesh: jax.sharding.Mesh | None = None,
    sequential: bool = False,
    key: Key[Array, "*runs"],
) -> tuple[ALI, TrainingInfo]:
    r"""Train an encoder and a decoder together against a discriminator of pairs.

    $$ \min_{q, p} \max_D\; \mathrm{E}_{q(x) q(z|x)}\big[\log D(x, z)\big] + \mathrm{E}_{p(z)
       p(x|z)}\big[\log(1 - D(x, z))\big] $$

    A game has no loss that falls: look at what the model gives. Accuracies near 1 that stay there
    say that the discriminator has won, and a `z_std` far from 1 that the encoder does not fill the
    prior. Learning rates that fall to 0 at the end make samples sharper.

    Args:
        model: the three parts. For several runs its arrays have a leading axis.
        data: examples, `[n, ...]`, floating; or with labels, a pair of examples and classes `[n]`,
            such as `pullback.data.Labelled`, -1 where a class is not known. Or a function that
            draws a batch of either, `draw(key)`. Standardise columns first.
        generator_optimiser: of the encoder and the decoder; Adam with `b1=0.5` at 1e-4 to 1e-3.
        discriminator_optimiser: of the discriminator, the same.
        steps: of both players.
        batch_size: examples of a step; None for a function.
        cycle_weight: as of `ALIGame`.
        unroll: as of `GANStep`.
        log_every: steps between two points of the history.
        checkpoint_every: as for `pullback.train.iterate`, as is all that follows.
        folder: where the log and the checkpoint are written. None: nowhere.
        resume: go on from the checkpoint in `folder`.
        progress: show a bar on stderr. None: where stderr is a terminal.
        mesh: spread each batch over these devices.
        sequential: of several runs, one after another.
        key: a random key; or several, for runs in one program.

    Returns:
        The model after the last step, and a `TrainingInfo`, whose history has `discriminator_loss`,
        `generator_loss` and the metrics of `ALI.losses`.

    Raises:
        ValueError: the parts do not fit each other or the data; a row is not finite; the data are
            whole numbers, or a label is no class.
        TrainingError: as for `pullback.train.iterate`.

    Warns:
        UserWarning: a column is much larger than 1.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, optax
        >>> from pullback.games import ALI, Deterministic, GaussianConditional, JointDiscriminator
        >>> net = lambda i, o: eqx.nn.MLP(i, o, 8, 1, key=jax.random.key(0))
        >>> model = ALI(
        ...     GaussianConditional(net(2, 2)), Deterministic(net(1, 2)),
        ...     JointDiscriminator(eqx.nn.Identity(), eqx.nn.Identity(), net(3, "scalar")),
        ...     prior_dim=1)
        >>> adam = optax.adam(1e-3, b1=0.5)
        >>> model, info = fit_ali(
        ...     model, jax.random.normal(jax.random.key(1), (40, 2)), generator_optimiser=adam,
        ...     discriminator_optimiser=adam, steps=20, batch_size=10, log_every=10,
        ...     key=jax.random.key(2))
        >>> model.sample(3, key=jax.random.key(3)).shape, info.step
        ((3, 2), 20)

    Source: Dumoulin et al., Adversarially Learned Inference, arXiv 1606.00704.
    """
    key = checked_key_or_keys(key)
    game = ALIGame(model.prior_dim, cycle_weight)
    _check(model if key.ndim == 0 else _first(model), data)
    (encoder, decoder), discriminator, info = fit_gan(
        (model.encoder, model.decoder), model.discriminator, data,
        GANStep(generator_optimiser, discriminator_optimiser, game, unroll=unroll), steps=steps,
        batch_size=batch_size, log_every=log_every, checkpoint_every=checkpoint_every,
        folder=folder, resume=resume, progress=progress, mesh=mesh, sequential=sequential, key=key,
    )  # fmt: skip
    return ALI(encoder, decoder, discriminator, model.prior_dim), info


def _check(model: ALI, data: Any) -> None:
    """Raise where parts and data do not fit, before anything is compiled."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    if callable(data):
        batch = jax.eval_shape(data, key)
    else:
        x, labels = data if isinstance(data, tuple) else (data, None)
        x = examples(x)
        check_rows(x)
        if labels is not None:
            check_whole_labels(labels)
        _tell_scale(np.asarray(x))
        batch = x[:1] if labels is None else (x[:1], jnp.asarray(labels)[:1])
    x, labels = batch if isinstance(batch, tuple) else (batch, None)
    one = jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
    z = jax.ShapeDtypeStruct((model.prior_dim,), x.dtype)
    _takes("encoder", model.encoder.sample, "an example", one, key=key)
    _takes("decoder", model.decoder.sample, "a latent", z, key=key)
    logits = _takes(
        "discriminator", model.discriminator, "an example and a latent", one, z, key=key
    )
    loss = lambda model, x, labels, key: model.losses(x, labels, key=key)
    eqx.filter_eval_shape(loss, model, x, labels, key)
    if labels is not None and not callable(data):
        labels = np.asarray(data[1])
        check_labels(labels[labels != -1], logits.shape[-1] - 1)


def _takes(name: str, part: Any, what: str, *inputs: Any, key: Any) -> Any:
    """The shape that a part gives of one input; an error with its name where it takes none such."""
    try:
        return eqx.filter_eval_shape(part, *inputs, key=key)
    except (TypeError, ValueError) as error:
        shapes = " and ".join(str(each.shape) for each in inputs)
        error.add_note(f"`{name}` was given {what} of shape {shapes}, called with a `key`.")
        raise


def _tell_scale(x: np.ndarray) -> None:
    """Warn where a column is far larger than what networks and the prior have."""
    columns = x.reshape(len(x), -1)
    size = np.sqrt(np.mean(columns.astype(float) ** 2, axis=0))
    if np.max(size) > _LARGE:
        worst = int(np.argmax(size))
        warnings.warn(
            f"column {worst} of `data` has a size of {size[worst]:.3g}, and what networks give at "
            "their start has one of 1 or less: standardise the columns, as "
            "pullback.data.standardise does.",
            stacklevel=3,
        )


def _first(tree: Any) -> Any:
    """The part of the first run."""
    return jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, tree)

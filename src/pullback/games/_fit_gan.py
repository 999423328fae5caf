"""`fit_gan`: a generator, a discriminator and data in; both, trained, out."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Key

from pullback._checked_data import check_rows
from pullback._key import checked_key_or_keys
from pullback._traced import compiled
from pullback.games._step import GANStep
from pullback.train import Stream, TrainingInfo, iterate

G = TypeVar("G")
D = TypeVar("D")


def fit_gan(
    generator: G,
    discriminator: D,
    data: Any,
    step: GANStep,
    *,
    steps: int,
    batch_size: int | None = None,
    validation: Callable[..., dict[str, Any]] | None = None,
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
) -> tuple[G, D, TrainingInfo]:
    r"""Train a generator against a discriminator.

    $$ \theta_G \leftarrow \theta_G + \text{update}(\nabla L_G), \qquad
       \theta_D \leftarrow \theta_D + \text{update}(\nabla L_D) $$

    Neither loss tells whether samples are good: both are measured against the other player. Look at
    samples by `pullback.analysis.samples`: `mode_coverage`, `density_and_coverage` and
    `two_sample_auroc`; the last two say of a file's rows whether to believe them.

    Args:
        generator: any PyTree; for `GANGame`, a function of what is drawn to one sample.
        discriminator: any PyTree; for `GANGame`, a function of a row to its logit.
        data: rows, `[n, ...]`, best of a scale of about 1; or a function that draws a batch; or a
            source on the host, as the `data` of `pullback.train.fit`.
        step: the optimisers, the game, and how far is looked ahead.
        steps: how many.
        batch_size: rows a step, and samples. None: for a function that draws.
        validation: `validation(state, *, key) -> dict of scalar metrics`, with the players as
            `state.generator` and `state.discriminator`; in the history as `validation_NAME`.
        rollbacks: as for `pullback.train.iterate`, as is all that follows.
        log_every: steps between two points of the history.
        evaluate_every: steps between evaluations.
        checkpoint_every: steps between checkpoints.
        folder: where the log and the checkpoint are written. None: nowhere.
        resume: go on from the checkpoint in `folder`.
        progress: show a bar on stderr. None: where stderr is a terminal.
        mesh: spread each batch over these devices.
        sequential: of several runs, one after another.
        key: a random key; or several, for runs in one program: the players then have an axis for
            them in front.

    Returns:
        The generator, the discriminator, and a `TrainingInfo`, whose history has the losses
        `generator_loss`, `discriminator_loss` and with unrolling `unrolled_loss`: where that is not
        above `generator_loss`, the steps of the discriminator are too large.

    Raises:
        TypeError: `step` is none, or `data` is a table with names: give its numbers.
        ValueError: shapes do not fit, there are no rows or one is not finite, or see `GANStep`.
        TrainingError: as for `pullback.train.iterate`.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, numpy as np, optax
        >>> from pullback.games import GANGame, non_saturating
        >>> x = np.random.default_rng(0).normal(3.0, 0.5, (400, 1)).astype(np.float32)
        >>> game = GANGame(2, non_saturating, "plug_in")
        >>> net = eqx.nn.MLP(1, "scalar", 16, 1, jnp.tanh, key=jax.random.key(1))
        >>> generator, _, info = fit_gan(
        ...     eqx.nn.Linear(2, 1, key=jax.random.key(0)), net, x,
        ...     GANStep(optax.adam(0.02, b1=0.5), optax.adam(0.02, b1=0.5), game), steps=400,
        ...     batch_size=50, key=jax.random.key(2))
        >>> print(f"{generator.bias[0]:.0f}", info.step)
        3 400

    Source: Goodfellow et al., Generative Adversarial Nets, arXiv 1406.2661; Metz et al., Unrolled
        Generative Adversarial Networks, arXiv 1611.02163.
    """
    key = checked_key_or_keys(key)
    if not isinstance(step, GANStep):
        raise TypeError(
            "`step` must be a `GANStep`, such as GANStep(optax.adam(1e-4), optax.adam(1e-4), "
            f"GANGame(latent=16)); got {type(step).__name__}."
        )
    data = _checked(data, generator)
    init = step.init if key.ndim == 0 else eqx.filter_vmap(step.init, out_axes=eqx.if_array(0))
    several = step.discriminator_steps if step.discriminator_steps > 1 else None
    state, info = iterate(
        step, compiled(init)(generator, discriminator),
        Stream(data, batch_size, batches=several), steps=steps, validation=validation,
        rollbacks=rollbacks, log_every=log_every, evaluate_every=evaluate_every,
        checkpoint_every=checkpoint_every, folder=folder, resume=resume, progress=progress,
        mesh=mesh, sequential=sequential, key=key,
    )  # fmt: skip
    return state.generator, state.discriminator, info


def _checked(data: Any, generator: Any) -> Any:
    """Rows in the dtype of the generator, once they have proved to be finite; other sources as
    they are."""
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(generator) if eqx.is_inexact_array(leaf)]

    def of(leaf: Any) -> Any:
        if hasattr(leaf, "columns") and hasattr(leaf, "to_numpy"):
            raise TypeError(
                f"`data` must be rows of numbers, got a {type(leaf).__name__}: use "
                "data.to_numpy(), with columns of a scale of about 1."
            )
        if not isinstance(leaf, np.ndarray | Array) or isinstance(leaf, np.memmap | Tracer):
            return leaf
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        if leaf.ndim == 0 or len(leaf) == 0:
            raise ValueError(
                f"`data` must be rows, [n, ...], one or more; got the shape {leaf.shape}."
            )
        check_rows(leaf)
        return jnp.asarray(leaf, dtypes[0]) if dtypes else leaf

    return jax.tree.map(of, data)

"""`fit_sequence_gan`: sequences in; a generator and a critic, trained, out."""

import os
from typing import Any

import jax
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key
from pullback._numbers import check_number
from pullback.games import GANState, GANStep, WassersteinGame, fit_gan, wasserstein_estimate
from pullback.models.sequences._climb import check_rate
from pullback.models.sequences._gan_nets import SequenceCritic, SequenceGenerator
from pullback.models.sequences._rows import checked_sequences, split_rows
from pullback.train import TrainingInfo


def fit_sequence_gan(
    data: Float[Array | np.ndarray, "n length letters"],
    *,
    latent: int = 32,
    width: int = 24,
    blocks: int = 3,
    steps: int = 1000,
    batch_size: int = 64,
    critic_steps: int = 5,
    penalty: float | int = 10.0,
    learning_rate: float = 1e-3,
    held_out: int | None = None,
    log_every: int = 20,
    rollbacks: int = 0,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    mesh: jax.sharding.Mesh | None = None,
    key: PRNGKeyArray,
) -> tuple[SequenceGenerator, SequenceCritic, TrainingInfo]:
    r"""A Wasserstein GAN with a gradient penalty, of sequences of one length.

    $$ \min_G \max_D\; E_p[D(x)] - E_z[D(G(z))] - \lambda\, E (\|\nabla D\|_2 - 1)^2 $$

    The critic takes `critic_steps` steps for each of the generator, by Adam (0.5, 0.9), in one
    compiled program. Look at the history's `validation_wasserstein`: the distance of samples to
    sequences that neither player has seen, which falls while training helps and can be compared
    from step to step, as `pullback.games.wasserstein_estimate` has it. Where `validation_slope` is
    far from 1, the critic is not trained well enough to be asked.

    Args:
        data: sequences one-hot, as `pullback.data.one_hot` makes them of strings: each row of each
            sums to 1. Those of half precision are taken as float32.
        latent: the size of the generator's code.
        width: channels of both players.
        blocks: of both.
        steps: of the generator.
        batch_size: sequences a step of either, or all there are.
        critic_steps: for each step of the generator.
        penalty: $\lambda$.
        learning_rate: of both.
        held_out: sequences kept apart; None: a tenth of them, or 1024 if that is less.
        log_every: steps between two points of the history.
        rollbacks: as for `pullback.train.iterate`, as is all that follows.
        folder: where the log and the checkpoint are written. None: nowhere.
        resume: go on from the checkpoint in `folder`.
        progress: show a bar on stderr. None: where stderr is a terminal.
        mesh: spread each batch over these devices.
        key: for the weights, what is held out, the batches and the noise.

    Returns:
        The generator, the critic, and a `TrainingInfo`.

    Raises:
        ValueError: `data` are not sequences one-hot, or are too few; or a number does not fit.
        TypeError: `data` is no array, or what should be a number is none.
        TrainingError: as for `pullback.train.iterate`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> data = jax.nn.one_hot(jax.random.randint(jax.random.key(0), (64, 6), 0, 2), 4)
        >>> generator, critic, info = fit_sequence_gan(
        ...     data, latent=4, width=4, blocks=1, steps=2, batch_size=8, log_every=1,
        ...     key=jax.random.key(1))
        >>> jax.vmap(generator)(jax.random.normal(jax.random.key(2), (3, 4))).shape
        (3, 6, 4)
        >>> info.history["validation_wasserstein"].shape
        (2,)

    Source: Killoran et al., Generating and designing DNA with deep generative models,
        arXiv 1712.06148, section 2.1; Gulrajani et al., arXiv 1704.00028, algorithm 1.
    """
    key = checked_key(key)
    positive(
        latent=latent, width=width, blocks=blocks, steps=steps, batch_size=batch_size,
        critic_steps=critic_steps,
    )  # fmt: skip
    check_rate(learning_rate)
    check_number("penalty", penalty, "a number, 0 or more", lambda value: value >= 0)
    x = checked_sequences(data)
    split_key, generator_key, critic_key, key = jr.split(key, 4)
    train, test = split_rows(len(x), held_out, most=1024, key=split_key)
    held = x[test]
    _, length, letters = x.shape
    game = WassersteinGame(latent, penalty)
    adam = optax.adam(learning_rate, b1=0.5, b2=0.9)

    def validation(state: GANState, *, key: PRNGKeyArray) -> dict[str, Any]:
        show_key, key = jr.split(key)
        shown = game.show(state.generator, held, key=show_key)
        found = wasserstein_estimate(state.discriminator, *shown, key=key)
        return {"wasserstein": found.distance, "slope": found.slope}

    return fit_gan(
        SequenceGenerator(length, letters, latent, width, blocks, dtype=x.dtype, key=generator_key),
        SequenceCritic(length, letters, width, blocks, dtype=x.dtype, key=critic_key),
        x[train], GANStep(adam, adam, game, discriminator_steps=critic_steps), steps=steps,
        batch_size=min(batch_size, len(train)), validation=validation, rollbacks=rollbacks,
        log_every=log_every, folder=folder, resume=resume, progress=progress, mesh=mesh, key=key,
    )  # fmt: skip

"""What two players play: what is shown to the one, and what either of them makes small."""

import abc
import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Shaped

from pullback._floating import require_floating
from pullback._inputs import positive
from pullback._key import checked_key
from pullback.games._divergence import FDivergence, jensen_shannon
from pullback.games._objectives import (
    Estimator,
    check_clip,
    check_estimator,
    clipped,
    discriminator_loss,
    generator_loss,
    log_mean_ratio,
)


class AbstractGame(eqx.Module):
    """A game of a generator, which shows something, and a discriminator, which judges it.

    What is shown is made once a step, however often the discriminator looks at it: `GANStep`
    differentiates `losses` by the discriminator and by what is shown, and goes on through `show` to
    the generator.
    """

    @abc.abstractmethod
    def show(self, generator: PyTree, batch: PyTree, *, key: PRNGKeyArray) -> PyTree:
        """What the discriminator is to judge.

        Args:
            generator: any PyTree, such as an encoder and a decoder.
            batch: of data.
            key: for the noise of samples.

        Returns:
            Any PyTree: data and samples, or pairs of them with codes.
        """

    @abc.abstractmethod
    def losses(
        self, discriminator: PyTree, shown: PyTree, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Float[Array, ""], dict[str, Array]]:
        """The losses of both, of one look.

        Args:
            discriminator: any PyTree.
            shown: what `show` returned.
            key: the same in every step that is looked ahead.

        Returns:
            What the discriminator makes small, what the generator makes small, and metrics.
        """


class GANGame(AbstractGame):
    r"""Samples against data: a generator descends a divergence by the discriminator's log ratio.

    $$ \min_V\; E_p[\log(1 + e^{-V})] + E_q[\log(1 + e^V)], \qquad
       \min_G\; E_p\big[f'(e^V)\big] + E_q\big[f(e^V) - e^V f'(e^V)\big] $$

    V is the discriminator's logit and q the density of G(z). The first part of the generator's loss
    has a slope only where `GANStep(unroll=...)` looks ahead of the discriminator. By default f is
    `jensen_shannon`, and the loss is the value of the paper's game, log D(x) + log(1 - D(G(z))),
    plus log 4. It saturates where samples are told apart well: without unrolling practice takes
    `divergence=non_saturating, estimator="plug_in"`, which is -log D.

    Args:
        latent: how many standard normal numbers the generator is given, or a function of a key
            that draws its input.
        divergence: what the generator descends.
        estimator: "exact", or "plug_in" for the loss E_q[f], which can push the wrong way: see
            `generator_loss`.
        clip: as for `generator_loss`.
        self_normalise: the same.
        discriminator_loss: of the logits of data and of samples. Its best logits must be log p / q,
            as those of label smoothing and of a hinge are not.

    Raises:
        ValueError: the best logits of `discriminator_loss` are no log ratios, or log ratios are its
            worst; or a setting is none. When called, the shapes do not fit.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> keys = jax.random.split(jax.random.key(0), 3)
        >>> game = GANGame(latent=3)
        >>> shown = game.show(eqx.nn.Linear(3, 2, key=keys[0]), jnp.zeros((4, 2)), key=keys[2])
        >>> d, g, _ = game.losses(lambda x: 0.0 * x[0], shown, key=keys[2])  # cannot tell
        >>> print(f"{d:.4f} {g:.4f}")
        1.3863 0.0000

    Source: Poole et al., Improved generator objectives for GANs, arXiv 1612.02780; Metz et al.,
        Unrolled Generative Adversarial Networks, arXiv 1611.02163, equation 2.
    """

    latent: int | Callable[[PRNGKeyArray], Array] = eqx.field(static=True)
    divergence: FDivergence = jensen_shannon
    estimator: Estimator = eqx.field(default="exact", static=True)
    clip: float | int | None = eqx.field(default=None, static=True)
    self_normalise: bool = eqx.field(default=False, static=True)
    discriminator_loss: Callable[[Array, Array], Array] = discriminator_loss

    def __check_init__(self):
        if not callable(self.latent):
            positive(latent=self.latent)
        check_estimator(self.estimator, self.divergence)
        check_clip(self.clip)
        _check_estimates_ratio(self.discriminator_loss)

    def show(
        self, generator: Any, batch: Shaped[Array, "batch ..."], *, key: PRNGKeyArray
    ) -> tuple[Array, Array]:
        """The data, and as many samples."""
        key = checked_key(key)
        return samples_like(self.latent, generator, batch, key=key)

    def draw(self, key: PRNGKeyArray) -> Array:
        """What the generator is given for one sample."""
        key = checked_key(key)
        return _draw(self.latent, key)

    def losses(
        self, discriminator: Any, shown: tuple[Array, Array], *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Float[Array, ""], dict[str, Array]]:
        """Of logits of data and samples, and how many of them are told apart."""
        key = checked_key(key)
        real, fake = judged(discriminator, shown, key=key)
        own = self.discriminator_loss(real, fake)
        right = (jnp.mean(real > 0) + jnp.mean(fake < 0)) / 2
        return own, self._generator_loss(real, fake), {"accuracy": right}

    def _generator_loss(self, real: Float[Array, " n"], fake: Float[Array, " n"]) -> Array:
        if self.self_normalise:
            shift = log_mean_ratio(fake)
            real, fake = real - shift, fake - shift
        loss = generator_loss(fake, self.divergence, estimator=self.estimator, clip=self.clip)
        if self.estimator == "plug_in":
            return loss
        return loss + jnp.mean(clipped(self.divergence.slope, real, self.clip))


def samples_like(
    latent: int | Callable[[PRNGKeyArray], Array],
    generator: Any,
    batch: Array,
    *,
    key: PRNGKeyArray,
) -> tuple[Array, Array]:
    """Rows of data, and as many samples of the same shape and dtype."""
    draw_key, call_key = jr.split(key)
    batch = jnp.asarray(batch)
    require_floating("batch", batch, "whole numbers have no density that samples could match")
    z = jax.vmap(lambda key: _draw(latent, key))(jr.split(draw_key, len(batch)))
    z = z.astype(batch.dtype)
    fake = _named("generator", "a draw of `latent`", generator, z, key=call_key)
    if fake.shape != batch.shape or fake.dtype != batch.dtype:
        raise ValueError(
            "`generator` must make samples like a row of the data, of shape "
            f"{batch.shape[1:]} and {batch.dtype}; got {fake.shape[1:]} and {fake.dtype}. "
            "Where dtypes differ, give data in the generator's: batch.astype(jnp.float32)."
        )
    return batch, fake


def judged(
    discriminator: Any, shown: tuple[Array, Array], *, key: PRNGKeyArray
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """What a discriminator makes of each row of data, and of each sample."""
    rows = jnp.concatenate(shown)
    logits = _named("discriminator", "a row of the data", discriminator, rows, key=key)
    if logits.size != len(rows):
        raise ValueError(
            "`discriminator` must give one logit for a row of the data, without a sigmoid; got "
            f"the shape {logits.shape[1:]}."
        )
    real, fake = jnp.split(jnp.reshape(logits, -1), 2)
    return real, fake


def mapped(model: Any, rows: Array, *, key: PRNGKeyArray) -> Array:
    """A model of each row; one that takes a key is given one of its own for each."""
    if "key" not in inspect.signature(model).parameters:
        return jax.vmap(model)(rows)
    return jax.vmap(lambda row, key: model(row, key=key))(rows, jr.split(key, len(rows)))


def _draw(latent: int | Callable[[PRNGKeyArray], Array], key: PRNGKeyArray) -> Array:
    return latent(key) if callable(latent) else jr.normal(key, (latent,))


def _named(name: str, what: str, model: Any, rows: Array, *, key: PRNGKeyArray) -> Array:
    """`mapped`; an error with the name of the model where it takes none such."""
    try:
        return mapped(model, rows, key=key)
    except (TypeError, ValueError) as error:
        error.add_note(f"`{name}` was given {what}, of shape {rows.shape[1:]}.")
        raise


def _check_estimates_ratio(loss: Callable[[Array, Array], Array]) -> None:
    """Raise a ValueError where the best logits of a loss are not the log of the ratio.

    At the log v of a ratio the pull of data, of which there are e^v as many, is that of samples.
    """
    left, size = np.zeros(1), np.ones(1)
    for v in (-2.0, -0.5, 0.4, 1.5):
        with jax.ensure_compile_time_eval():
            at = jnp.full(1, v)
            real, fake = jax.grad(loss, argnums=(0, 1))(at, at)
        if isinstance(real, Tracer):
            return  # of a function that is being differentiated there are no numbers
        left = np.exp(v) * np.asarray(real) + np.asarray(fake)
        size = np.abs(np.asarray(fake)) + 1e-12
        if not np.all(np.abs(left) < 1e-3 * size):
            raise ValueError(
                "`discriminator_loss` must have the log of the ratio of data to samples as its "
                f"best logit, and has not where that is {v:g}: with label smoothing, a hinge or a "
                "Wasserstein critic logits are no log ratios, and no divergence can be made of "
                "them. Leave it out for the logistic loss, or take `discriminator_loss(real, fake, "
                "divergence)`; for other critics write an `AbstractGame` with losses of its own."
            )
        # Where the pulls cancel, logits beyond are pulled back if samples pull theirs down.
        if not np.all(np.asarray(fake) > 0):
            raise ValueError(
                "`discriminator_loss` must be least where logits are the log of the ratio of data "
                f"to samples, and where that is {v:g} it does not rise with the logits of samples: "
                "it has the wrong sign, or is a constant. It is made small, so that the bound of a "
                "divergence wants a minus."
            )

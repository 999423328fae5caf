"""The game of an encoder and a decoder against a discriminator of pairs."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from pullback._floating import require_floating
from pullback._inputs import positive
from pullback._key import checked_key
from pullback.games._conditional import AbstractConditional
from pullback.games._game import AbstractGame
from pullback.games._joint_losses import joint_losses, log_ratio


class Pairs(NamedTuple):
    """Both kinds of pairs, what is known of the first, and what the decoder makes of their
    latents."""

    x: Float[Array, "n ..."]
    encoded: Float[Array, "n dim"]
    decoded: Float[Array, "n ..."]
    prior: Float[Array, "n dim"]
    labels: Int[Array, " n"] | None
    cycled: Float[Array, "n ..."] | None


class ALIGame(AbstractGame):
    r"""The game of `ALI` for a `GANStep`: which pairs are an encoder's, and which a decoder's.

    The generator is the pair of both, and the batch examples, or a pair of examples and labels. A
    step draws the pairs once, and either loss is of those. With `GANStep(unroll=...)` encoder and
    decoder look ahead at what the discriminator will do.

    Args:
        prior_dim: the size of a latent.
        cycle_weight: of the mean squared error of x from the decoder's draw given $\hat z$, in the
            generator's loss. At 0, the paper's game, nothing but the game asks for reconstructions.

    Raises:
        ValueError: `cycle_weight` is negative, or `prior_dim` below 1; when called, shapes do not
            fit each other, or examples are of whole numbers.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, optax
        >>> from pullback.games import Deterministic, GANStep, GaussianConditional
        >>> from pullback.games import JointDiscriminator
        >>> net = lambda i, o: eqx.nn.MLP(i, o, 8, 1, key=jax.random.key(0))
        >>> step = GANStep(optax.adam(1e-3, b1=0.5), optax.adam(1e-3, b1=0.5), ALIGame(prior_dim=1))
        >>> nothing = eqx.nn.Identity()
        >>> state = step.init((GaussianConditional(net(2, 2)), Deterministic(net(1, 2))),
        ...                   JointDiscriminator(nothing, nothing, net(3, "scalar")))
        >>> state, metrics = step(state, jnp.ones((4, 2)), key=jax.random.key(1))
        >>> sorted(metrics)[:3]
        ['decoder_accuracy', 'discriminator_loss', 'encoder_accuracy']

    Source: Dumoulin et al., arXiv 1606.00704, algorithm 1; the cycle as in Li et al., ALICE, arXiv
        1709.01215.
    """

    prior_dim: int = eqx.field(static=True)
    cycle_weight: float | int | Array = 0.0

    def __check_init__(self):
        positive(prior_dim=self.prior_dim)
        weight = self.cycle_weight
        told = isinstance(weight, float | int | np.ndarray | Array)
        if told and not isinstance(weight, Tracer) and not np.all(np.asarray(weight) >= 0):
            raise ValueError(f"`cycle_weight` must be 0 or more, got {weight}.")

    def show(self, generator: tuple[Any, Any], batch: PyTree, *, key: PRNGKeyArray) -> Pairs:
        """Both kinds of pairs."""
        key = checked_key(key)
        encoder, decoder = generator
        x, labels = batch if isinstance(batch, tuple) else (batch, None)
        x, keys = examples(x), jr.split(key, 4)
        prior = jr.normal(keys[0], (len(x), self.prior_dim), x.dtype)
        encoded = encode(encoder, x, self.prior_dim, key=keys[1])
        decoded = decode(decoder, prior, x, key=keys[2])
        cycled = decode(decoder, encoded, x, key=keys[3]) if self._cycles else None
        return Pairs(x, encoded, decoded, prior, labels, cycled)

    def losses(
        self, discriminator: Any, shown: Pairs, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Those of `joint_losses`, and what to look at."""
        key = checked_key(key)
        x, encoded, decoded, prior, labels, cycled = shown
        n = len(x)
        told = jax.vmap(lambda x, z, key: discriminator(x, z, key=key))
        pairs = jnp.concatenate([x, decoded]), jnp.concatenate([encoded, prior])
        logits = told(*pairs, jr.split(key, 2 * n))
        own, others = joint_losses(logits[:n], logits[n:], labels)
        ratios = log_ratio(logits)
        share = lambda right: jnp.mean(right.astype(x.dtype))
        metrics = {
            "encoder_accuracy": share(ratios[:n] > 0),
            "decoder_accuracy": share(ratios[n:] < 0),
            "z_mean": jnp.mean(jnp.abs(jnp.mean(encoded, axis=0))),
            "z_std": jnp.mean(jnp.std(encoded, axis=0)),
        }
        if cycled is not None:
            metrics["cycle"] = jnp.mean((cycled - x) ** 2)
            others = others + self.cycle_weight * metrics["cycle"]
        return own, others, jax.lax.stop_gradient(metrics)

    @property
    def _cycles(self) -> bool:
        return not isinstance(self.cycle_weight, float | int) or self.cycle_weight != 0


def encode(
    encoder: AbstractConditional, x: Float[Array, "n ..."], prior_dim: int, *, key: PRNGKeyArray
) -> Float[Array, "n dim"]:
    """A latent of each example."""
    z = jax.vmap(lambda x, key: encoder.sample(x, key=key))(x, jr.split(key, len(x)))
    if z.shape[1:] != (prior_dim,):
        raise ValueError(
            f"`encoder` must give a latent of shape ({prior_dim},), as `prior_dim` says; of an "
            f"example of shape {x.shape[1:]} it gave {z.shape[1:]}."
        )
    return z


def decode(
    decoder: AbstractConditional, z: Float[Array, "n dim"], like: Array | None, *, key: PRNGKeyArray
) -> Float[Array, "n ..."]:
    """An example of each latent, of the shape of others."""
    x = jax.vmap(lambda z, key: decoder.sample(z, key=key))(z, jr.split(key, len(z)))
    if like is not None and x.shape != like.shape:
        raise ValueError(
            f"`decoder` must give an example of shape {like.shape[1:]}, as the data are; it gave "
            f"{x.shape[1:]}."
        )
    return x


def examples(x: Any) -> Float[Array, "n ..."]:
    """A batch of examples, once it has proved to be one."""
    x = jnp.asarray(x)
    require_floating(
        "x", x,
        "a discriminator tells whole numbers from what a decoder gives at a glance, so counts and "
        "grey levels want noise of one unit added too",
    )  # fmt: skip
    if x.ndim < 1 or x.shape[0] == 0:
        raise ValueError(f"`x` must be a batch of one example or more, got shape {x.shape}.")
    return x

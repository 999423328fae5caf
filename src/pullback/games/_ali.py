"""Adversarially learned inference: a generator and its inverse, told apart by one discriminator."""

import numbers
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key
from pullback.games._ali_game import ALIGame, decode, encode, examples
from pullback.games._conditional import AbstractConditional
from pullback.games._joint_losses import class_count
from pullback.games._stateless import check_stateless

M = TypeVar("M")

# Of any dtype, so that whole numbers are refused with a word of what fits.
Examples = Array | np.ndarray

# Where two latents are nearer to one line than this, the arc between them is not defined by
# numbers that are worth anything.
_LEAST_SINE = 1e-3


class JointDiscriminator(eqx.Module):
    r"""A discriminator of pairs: features of x and of z, and a head on both.

    $$ T(x, z) = h\big(f_x(x), f_z(z)\big) $$

    Each part is called as `part(x, key=key)`, as Equinox's layers are, so that dropout works; a
    plain function is given as `eqx.nn.Lambda(function)`. Anything else that is called as
    `discriminator(x, z, *, key=None)` takes its place in `ALI`.

    Args:
        fx: from an example to features of any shape; `eqx.nn.Identity()` for a row of a table.
        fz: the same from a latent.
        head: from the entries of both, `[features]`, to one logit `[]`, `out_size="scalar"` of an
            `eqx.nn.MLP`; or, for K classes, to `[K + 1]`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> discriminator = JointDiscriminator(
        ...     eqx.nn.Identity(), eqx.nn.Identity(),
        ...     eqx.nn.MLP(3 + 2, "scalar", 16, 1, key=jax.random.key(0)))
        >>> discriminator(jnp.ones(3), jnp.ones(2)).shape
        ()

    Source: Dumoulin et al., arXiv 1606.00704, figure 1 and appendix.
    """

    fx: Callable[..., Any]
    fz: Callable[..., Any]
    head: Callable[..., Any]

    def __call__(
        self, x: Float[Array, "..."], z: Float[Array, "..."], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "..."]:
        """The logits of one pair."""
        keys = (None, None, None) if key is None else jr.split(checked_key(key), 3)
        parts = [self.fx(x, key=keys[0]), self.fz(z, key=keys[1])]
        return self.head(jnp.concatenate([jnp.ravel(part) for part in parts]), key=keys[2])


class ALI(eqx.Module):
    r"""Adversarially learned inference: an encoder and a decoder whose joints are made one.

    $$ V = \mathrm{E}_{q(x) q(z|x)}\big[\log D(x, \hat z)\big] + \mathrm{E}_{p(z) p(x|z)}\big[
       \log(1 - D(\tilde x, z))\big], \qquad p(z) = N(0, I) $$

    At the best discriminator V is $2\, \mathrm{JSD}(q, p) - \log 4$, so that both pairs follow one
    law where it is least, and the encoder is the decoder's posterior. There is no likelihood and no
    reconstruction loss: both conditionals need only be drawn from.

    When not to: the game says that the joints are one, not that x and z tell of each other.
    A decoder with noise of its own may match the joint while it hardly looks at z, and
    reconstructions are then poor at the very optimum: take a `Deterministic` decoder, or give
    `cycle_weight`. And it is slow to start: many thousands of steps before modes are found.

    Args:
        encoder: an `AbstractConditional` from an example to a latent `[prior_dim]`.
        decoder: one from a latent to an example.
        discriminator: `discriminator(x, z, *, key=None)` of one pair, to a logit `[]` of "it is an
            encoder's"; or to `[K + 1]` logits, of K classes and of "it is a decoder's".
        prior_dim: the size of a latent.

    Raises:
        TypeError: the encoder or the decoder cannot be drawn from.
        ValueError: a part keeps a state, such as batch normalisation, or `prior_dim` is below 1;
            when called, shapes do not fit each other, or x is of whole numbers.

    All methods take and give batches, and draw anew for each row.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.games import Deterministic, NoiseConditional
        >>> keys = jax.random.split(jax.random.key(0), 3)
        >>> model = ALI(
        ...     NoiseConditional(eqx.nn.MLP(3 + 2, 2, 16, 1, key=keys[0]), noise_dim=2),
        ...     Deterministic(eqx.nn.MLP(2, 3, 16, 1, key=keys[1])),
        ...     JointDiscriminator(eqx.nn.Identity(), eqx.nn.Identity(),
        ...                        eqx.nn.MLP(3 + 2, "scalar", 16, 1, key=keys[2])),
        ...     prior_dim=2)
        >>> x = jnp.ones((5, 3))
        >>> model.infer(x, key=keys[0]).shape, model.reconstruct(x, key=keys[0]).shape
        ((5, 2), (5, 3))
        >>> model.sample(4, key=keys[0]).shape
        (4, 3)

    Source: Dumoulin et al., Adversarially Learned Inference, arXiv 1606.00704; of the poor
        reconstructions, Li et al., ALICE, arXiv 1709.01215.
    """

    encoder: AbstractConditional
    decoder: AbstractConditional
    discriminator: Callable[..., Any]
    prior_dim: int = eqx.field(static=True)

    def __check_init__(self):
        positive(prior_dim=self.prior_dim)
        for name in ("encoder", "decoder"):
            if not callable(getattr(getattr(self, name), "sample", None)):
                raise TypeError(
                    f"`{name}` must be an `AbstractConditional`, which has a `sample`, such as "
                    f"`Deterministic(net)`; got {type(getattr(self, name)).__name__}."
                )
        for name in ("encoder", "decoder", "discriminator"):
            check_stateless(name, getattr(self, name))

    def losses(
        self,
        x: Examples,
        labels: Int[Array, " labels"] | None = None,
        *,
        cycle_weight: float | int | Array = 0.0,
        key: PRNGKeyArray,
    ) -> tuple[Float[Array, ""], Float[Array, ""], dict[str, Float[Array, ""]]]:
        r"""The losses of the discriminator and of the generator, by the same draws of both pairs.

        $$ L_D = \overline{\mathrm{softplus}(-T(x, \hat z))} + \overline{\mathrm{softplus}(
           T(\tilde x, z))}, \qquad
           L_G = \overline{\mathrm{softplus}(T(x, \hat z))} + \overline{\mathrm{softplus}(
           -T(\tilde x, z))} $$

        The generator is the encoder and the decoder, and either is to be taken for the other. Each
        loss has a gradient with respect to its own player alone, so that of their sum is that of
        both players' steps.

        Args:
            x: examples, floating.
            labels: the class of each, from 0, or -1 where it is not known; for a discriminator of
                K + 1 logits. See `joint_losses` for what they do.
            cycle_weight: as of `ALIGame`.
            key: a random key.

        Returns:
            $L_D$, $L_G$, and what to look at: `encoder_accuracy` and `decoder_accuracy`, the shares
            of pairs that the discriminator tells rightly (a half each: it cannot), `z_mean` and
            `z_std`, the mean over latent columns of $\hat z$'s mean size and deviation (0 and 1
            under the prior), and `cycle`, where that has a weight.

        Raises:
            ValueError: a shape does not fit, or x is of whole numbers.
        """
        key = checked_key(key)
        game = ALIGame(self.prior_dim, cycle_weight)
        show_key, key = jr.split(key)
        batch = x if labels is None else (x, labels)
        shown = game.show((self.encoder, self.decoder), batch, key=show_key)
        # Twice the same numbers, of which the compiler makes one forward pass.
        own, _, metrics = game.losses(self.discriminator, _held(shown), key=key)
        _, others, _ = game.losses(_held(self.discriminator), shown, key=key)
        return own, others, metrics

    def sample(self, n: int, *, key: PRNGKeyArray) -> Float[Array, "n ..."]:
        """New examples, of latents of the prior."""
        key = checked_key(key)
        positive(n=n)
        keys = jr.split(key)
        z = jr.normal(keys[0], (n, self.prior_dim), _dtype(self.decoder))
        return decode(_still(self.decoder), z, None, key=keys[1])

    def infer(self, x: Examples, *, key: PRNGKeyArray) -> Float[Array, "n dim"]:
        """A draw of the posterior of each row."""
        key = checked_key(key)
        return encode(_still(self.encoder), examples(x), self.prior_dim, key=key)

    def reconstruct(self, x: Examples, *, key: PRNGKeyArray) -> Float[Array, "n ..."]:
        """What the decoder makes of a draw of the posterior of each row."""
        key = checked_key(key)
        x, keys = examples(x), jr.split(key)
        return decode(_still(self.decoder), self.infer(x, key=keys[0]), x, key=keys[1])

    def interpolate(
        self,
        first: Examples,
        last: Examples,
        steps: int,
        *,
        straight: bool = False,
        key: PRNGKeyArray,
    ) -> Float[Array, "n steps ..."]:
        r"""A path of examples from each row of one batch to that of another, through the latents.

        Args:
            first: where paths start; $z_0$ is a draw of the posterior there.
            last: where they end.
            steps: examples on a path, both ends included: 2 or more. The ends are reconstructions.
            straight: along a line, as in the paper. By default along the arc $(z_0 \sin((1 - t)
                \omega) + z_1 \sin(t \omega)) / \sin \omega$, with $\omega$ the angle between both,
                which keeps the lengths that latents of the prior have; a line cuts through the
                middle, where in many dimensions there are hardly any. Latents that lie on one line
                with 0 are joined by a line.
            key: a random key; a decoder with noise has the same noise all along a path.
        """
        key = checked_key(key)
        if not isinstance(steps, numbers.Integral) or steps < 2:
            raise ValueError(
                f"`steps` must be 2 or more, a whole number with both ends in it; got {steps!r}."
            )
        first, last = examples(first), examples(last)
        if first.shape != last.shape:
            raise ValueError(
                f"`first` and `last` must have as many rows of one shape, got {first.shape} and "
                f"{last.shape}."
            )
        keys = jr.split(key, 3)
        ends = self.infer(first, key=keys[0]), self.infer(last, key=keys[1])
        t = jnp.linspace(0, 1, steps, dtype=first.dtype)
        line = lambda a, b: (1 - t)[:, None] * a[None] + t[:, None] * b[None]
        paths = jax.vmap(line if straight else lambda a, b: _arc(a, b, t, line(a, b)))(*ends)
        decoder, noise = _still(self.decoder), jr.split(keys[2], len(first))
        along = lambda path, key: jax.vmap(lambda z: decoder.sample(z, key=key))(path)
        return jax.vmap(along)(paths, noise)

    def class_log_prob(self, x: Examples, *, key: PRNGKeyArray) -> Float[Array, "n classes"]:
        """The log-probability of each class, by the discriminator with a draw of the posterior.

        Raises:
            ValueError: the discriminator has one logit, and knows no classes.
        """
        key = checked_key(key)
        x, discriminator = examples(x), _still(self.discriminator)
        told = jax.vmap(lambda x, z: discriminator(x, z, key=None))
        logits = told(x, self.infer(x, key=key))
        return jax.nn.log_softmax(logits[:, : class_count(logits)])


def _arc(
    a: Float[Array, " dim"], b: Float[Array, " dim"], t: Float[Array, " steps"],
    line: Float[Array, "steps dim"],
) -> Float[Array, "steps dim"]:  # fmt: skip
    """From a to b along an arc around 0; along the line where no arc is told."""
    squares = (a @ a) * (b @ b)
    cosine = (a @ b) / jnp.sqrt(jnp.where(squares > 0, squares, 1))
    flat = (squares == 0) | (1 - cosine**2 < _LEAST_SINE**2)
    # Where the arc is not told, its slope is not either.
    angle = jnp.arccos(jnp.where(flat, 0, cosine))
    weights = jnp.stack([jnp.sin((1 - t) * angle), jnp.sin(t * angle)], axis=1) / jnp.sin(angle)
    return jnp.where(flat, line, weights @ jnp.stack([a, b]))


def _held(module: M) -> M:
    """The module as a constant: no gradient comes to its arrays."""
    arrays, rest = eqx.partition(module, eqx.is_inexact_array)
    return eqx.combine(jax.lax.stop_gradient(arrays), rest)


def _still(model: M) -> M:
    """The model without dropout."""
    return eqx.nn.inference_mode(model)


def _dtype(module: Any) -> Any:
    floats = jax.tree.leaves(eqx.filter(module, eqx.is_inexact_array))
    return floats[0].dtype if floats else jnp.zeros(()).dtype

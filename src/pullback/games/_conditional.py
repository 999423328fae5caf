"""Conditionals that can be drawn from: encoders from data to latents, decoders back."""

import abc
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._floating import require_floating
from pullback._inputs import positive
from pullback._key import checked_key

# Beyond these a deviation is 0 or infinite for a network's purposes.
_LOG_SCALES = (-7.0, 2.0)


class AbstractConditional(eqx.Module):
    """A distribution given an input, of which nothing is asked but draws with a gradient.

    One's own needs one method:

        class Mine(AbstractConditional):
            def sample(self, x, *, key): ...

    Draws must be differentiable with respect to the parameters and to the input: noise goes in, and
    nothing is discrete. No density is needed.
    """

    @abc.abstractmethod
    def sample(self, x: Float[Array, "..."], *, key: PRNGKeyArray) -> Float[Array, "..."]:
        """One draw given one input.

        Args:
            x: one example; of a decoder, one latent.
            key: the draw's own; a network with dropout takes its noise of it too.

        Returns:
            One draw: of an encoder a latent `[prior_dim]`, of a decoder an array as an example.
        """


class GaussianConditional(AbstractConditional):
    r"""A normal distribution whose mean and deviations are what a network says.

    $$ z = \mu(x) + \sigma(x) \odot \epsilon, \qquad \epsilon \sim N(0, I), \qquad
       \log \sigma(x) \in [-7, 2] $$

    Args:
        net: from an input to `[2 * dim]`, the mean and then $\log \sigma$ (of a deviation, not of a
            variance), which is clipped. It is called as `net(x, key=key)`, as Equinox's are; a
            plain function is given as `eqx.nn.Lambda(function)`.

    Raises:
        ValueError: when called, `net` gives something else than a vector of even length.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> encoder = GaussianConditional(eqx.nn.MLP(3, 4, 16, 1, key=jax.random.key(0)))
        >>> z = encoder.sample(jnp.ones(3), key=jax.random.key(1))
        >>> z.shape, encoder.mean(jnp.ones(3)).shape, encoder.log_prob(z, jnp.ones(3)).shape
        ((2,), (2,), ())

    Source: Dumoulin et al., Adversarially Learned Inference, arXiv 1606.00704, section 2.1.
    """

    net: Callable[..., Any]

    def sample(self, x: Float[Array, "..."], *, key: PRNGKeyArray) -> Float[Array, " dim"]:
        """One draw given one input."""
        key = checked_key(key)
        noise_key, net_key = jr.split(key)
        mean, log_scale = _halves(self.net(x, key=net_key))
        return mean + jnp.exp(log_scale) * jr.normal(noise_key, mean.shape, mean.dtype)

    def mean(self, x: Float[Array, "..."]) -> Float[Array, " dim"]:
        """The mean given one input, without dropout."""
        return _halves(eqx.nn.inference_mode(self.net)(x, key=None))[0]

    def log_prob(self, z: Float[Array, " dim"], x: Float[Array, "..."]) -> Float[Array, ""]:
        """The log-density of one `z` given one input, without dropout."""
        mean, log_scale = _halves(eqx.nn.inference_mode(self.net)(x, key=None))
        if z.shape != mean.shape:
            raise ValueError(
                f"`z` must be one draw of shape {mean.shape}, got {z.shape}; of a batch, use "
                "jax.vmap(conditional.log_prob)."
            )
        squares = ((z - mean) * jnp.exp(-log_scale)) ** 2
        return -jnp.sum(squares / 2 + log_scale + math.log(2 * math.pi) / 2)


class NoiseConditional(AbstractConditional):
    r"""Draws that a network makes of an input and noise beside it; they have no known density.

    $$ z = f(x, \epsilon), \qquad \epsilon \sim N(0, I) $$

    Args:
        net: from `[input + noise_dim]`, the entries of the input and then noise, to a draw; called
            as `net(x, key=key)`.
        noise_dim: how many numbers of noise.

    Raises:
        ValueError: `noise_dim` is below 1; when called, the input is of whole numbers.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = eqx.nn.MLP(3 + 2, 2, 16, 1, key=jax.random.key(0))
        >>> NoiseConditional(net, noise_dim=2).sample(jnp.ones(3), key=jax.random.key(1)).shape
        (2,)

    Source: Dumoulin et al., arXiv 1606.00704, appendix on the toy task.
    """

    net: Callable[..., Any]
    noise_dim: int = eqx.field(static=True)

    def __check_init__(self):
        positive(noise_dim=self.noise_dim)

    def sample(self, x: Float[Array, "..."], *, key: PRNGKeyArray) -> Float[Array, "..."]:
        """One draw given one input."""
        key = checked_key(key)
        require_floating("x", x, "noise of its dtype goes beside it")
        noise_key, net_key = jr.split(key)
        noise = jr.normal(noise_key, (self.noise_dim,), x.dtype)
        return self.net(jnp.concatenate([jnp.ravel(x), noise]), key=net_key)


class Deterministic(AbstractConditional):
    """All mass on what a network says: the decoder of every experiment in the paper.

    Args:
        net: from an input to the draw; called as `net(x, key=key)`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> decoder = Deterministic(eqx.nn.MLP(2, 3, 16, 1, key=jax.random.key(0)))
        >>> decoder.sample(jnp.ones(2)).shape
        (3,)

    Source: Dumoulin et al., arXiv 1606.00704, section 2.
    """

    net: Callable[..., Any]

    def sample(
        self, x: Float[Array, "..."], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "..."]:
        """What the network says of one input; a key is needed for dropout alone."""
        return self.net(x, key=None if key is None else checked_key(key))


def _halves(of_net: Any) -> tuple[Array, Array]:
    """Mean and log-deviation from what a network gave."""
    shape = jnp.shape(of_net)
    if len(shape) != 1 or shape[0] % 2 or shape[0] == 0:
        raise ValueError(
            "`net` of a GaussianConditional must give a vector of means and then as many "
            f"log-deviations, [2 * dim]; got the shape {shape}."
        )
    mean, log_scale = jnp.split(of_net, 2)
    return mean, jnp.clip(log_scale, *_LOG_SCALES)

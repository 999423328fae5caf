"""A factorised Gaussian over the weights of an ODE network: what moving weights stand beside."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from pullback._in_batches import over_batches
from pullback._inputs import positive
from pullback._key import checked_key
from pullback.models.ode_net import ODENet
from pullback.nn import Constant

from ._block import weights_of
from ._sde_bnn import Outputs
from ._weight_process import KL


class MeanFieldODENet(eqx.Module):
    r"""An ODE network whose field has independent normal weights, the same at every depth.

    $$ q(w) = \prod_i N(w_i; \mu_i, s_i^2), \qquad p(w) = N(0, \mathrm{prior\_std}^2 I), \qquad
       KL(q \| p) = \sum_i \log \frac{\mathrm{prior\_std}}{s_i}
           + \frac{s_i^2 + \mu_i^2}{2\, \mathrm{prior\_std}^2} - \frac12 $$

    It is called, trained (by `SDEBNNLoss`) and asked as an `SDEBNN`. As there, stem and head are
    no random variables.

    Args:
        net: the network; the weights of its block's field are the means at the start.
        prior_std: the prior's standard deviation.
        std: that of the posterior at the start.

    Raises:
        ValueError: a standard deviation is not positive, or the field has no weights.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.models.bayes import MeanFieldODENet
        >>> from pullback.models.ode_net import mlp_ode_net
        >>> point = mlp_ode_net(4, 3, dim=2, width=2, key=jax.random.key(0))
        >>> net = MeanFieldODENet(point, prior_std=0.3)
        >>> probs = net.predict(jnp.ones((5, 4)), paths=2, key=jax.random.key(1))
        >>> probs.shape, bool(net.kl() > 0)
        ((5, 3), True)

    Source: Blundell et al., Weight Uncertainty in Neural Networks (arXiv 1505.05424), section 3;
        as a baseline in Xu et al. (arXiv 2102.06559), section 5.
    """

    net: ODENet
    log_std: Float[Array, " weights"]
    held: Constant

    def __init__(
        self, net: ODENet, *, prior_std: Float[ArrayLike, ""], std: Float[ArrayLike, ""] = 0.05
    ):
        means = weights_of(net.block.field)
        prior_std, std = jnp.asarray(prior_std), jnp.asarray(std)
        for name, value in {"prior_std": prior_std, "std": std}.items():
            if not isinstance(value, jax.core.Tracer) and not value > 0:
                raise ValueError(f"`{name}` must be positive, got {value}.")
        self.net = net
        self.log_std = jnp.broadcast_to(jnp.log(std.astype(means.dtype)), means.shape)
        self.held = Constant(prior_std.astype(means.dtype))

    @property
    def prior_std(self) -> Float[Array, ""]:
        """The prior's standard deviation."""
        return self.held.values

    def kl(self) -> Float[Array, ""]:
        """The divergence of the posterior from the prior, in nats."""
        mean, prior_std = weights_of(self.net.block.field), self.prior_std
        second = jnp.square(jnp.exp(self.log_std)) + jnp.square(mean)
        gain = jnp.log(prior_std) - self.log_std
        return jnp.sum(gain + second / (2 * jnp.square(prior_std)) - 0.5)

    def sample(self, *, key: PRNGKeyArray) -> ODENet:
        """A network whose weights are drawn."""
        key = checked_key(key)
        weights, rest = eqx.partition(self.net.block.field, eqx.is_inexact_array)
        mean, unravel = ravel_pytree(weights)
        drawn = mean + jnp.exp(self.log_std) * jr.normal(key, mean.shape, mean.dtype)
        field = eqx.combine(unravel(drawn), rest)
        return eqx.tree_at(lambda net: net.block.field, self.net, field)

    def __call__(
        self,
        x: Float[Array, "batch ..."],
        *,
        paths: int = 1,
        kl: KL | None = "analytic",
        per_example: bool = False,
        throw: bool = True,
        key: PRNGKeyArray,
    ) -> Outputs:
        """The outputs of a batch, for each of `paths` networks that are drawn.

        Args:
            x: the batch.
            paths: how many networks.
            kl: None for none; else, whatever its form, the KL is the exact one.
            per_example: draw them for each example, too.
            throw: raise if a solve fails.
            key: for the weights.

        Raises:
            ValueError: `paths` is below 1.
            SolveError: a solve failed, and `throw` is True.
        """
        key = checked_key(key)
        positive(paths=paths)

        def of_draw(x: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
            values, solution = self.sample(key=key)(x, throw=throw)
            return values, jnp.max(solution.result)

        def of_path(key: PRNGKeyArray) -> tuple[Array, Array]:
            if not per_example:
                return of_draw(x, key)
            values, result = jax.vmap(of_draw)(x[:, None], jr.split(key, len(x)))
            return values[:, 0], jnp.max(result)

        values, result = jax.vmap(of_path)(jr.split(key, paths))
        divergence = jnp.zeros((), values.dtype) if kl is None else self.kl()
        return Outputs(
            values, jnp.broadcast_to(divergence, (paths,)), jnp.max(result).astype(jnp.int32)
        )

    def predict(
        self,
        x: Float[Array, "batch ..."],
        *,
        paths: int = 32,
        batch_size: int | None = None,
        throw: bool = True,
        key: PRNGKeyArray,
    ) -> Float[Array, "batch classes"]:
        r"""The probability of each class, averaged over networks that are drawn.

        Args:
            x: the inputs.
            paths: how many networks; every input sees the same ones.
            batch_size: the most inputs carried at once.
            throw: raise if a solve fails; if False the probabilities are NaN.
            key: for the weights.

        Raises:
            ValueError: an argument does not fit.
            SolveError: a solve failed, and `throw` is True.
        """
        key = checked_key(key)

        def of_batch(x: Array) -> Array:
            values = self(x, paths=paths, kl=None, throw=throw, key=key).values
            return jnp.mean(jax.nn.softmax(values, axis=-1), axis=0)

        return over_batches(of_batch, x, batch_size)

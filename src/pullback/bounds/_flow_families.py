"""Posteriors that are normals bent by a flow, with an exact density, or with an auxiliary one."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro.distributions as dist
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._event import require_event
from pullback._key import checked_key
from pullback.sampling import draw, log_prob

from ._families import AbstractFamily, _check_params
from ._flow_layers import CouplingLayers, InverseAutoregressiveLayers, zero_last_layer
from ._model import LatentModel

Pair = tuple[Float[Array, "*sample dim"], Float[Array, "*sample dim"]]


class FlowDistribution(eqx.Module):
    r"""A diagonal normal pushed through a flow.

    $$ z = T(\epsilon; c), \quad \epsilon \sim N(\mu, \mathrm{diag}\, \sigma^2), \qquad
       \log q(z) = \log N(T^{-1}(z)) - \log |\det \partial T| $$

    A density at any z is computed through the inverse, so that it knows no sample's past.
    """

    mean: Float[Array, "*batch dim"]
    log_std: Float[Array, "*batch dim"]
    context: Float[Array, "*batch context"]
    layers: Any

    @property
    def has_rsample(self) -> bool:
        """Whether gradients flow through a sample."""
        return True

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """One distribution; `jax.vmap` over more."""
        return ()

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return self.mean.shape

    def sample(
        self, key: PRNGKeyArray, sample_shape: tuple[int, ...] = ()
    ) -> Float[Array, "*sample dim"]:
        """Draws of shape `[*sample_shape, dim]`."""
        key = checked_key(key)
        noise = jr.normal(key, (*sample_shape, *self.mean.shape), self.mean.dtype)

        def one(noise: Array) -> Array:
            z, _ = self.layers.forward(self.mean + jnp.exp(self.log_std) * noise, self.context)
            return z

        return _over_rows(one, noise)

    def log_prob(self, value: Float[Array, "*sample dim"]) -> Float[Array, "*sample"]:
        """Of any points, `[..., dim]`."""
        require_event(value, self.event_shape, name="value")

        def one(z: Array) -> Array:
            start, log_det = self.layers.inverse(z, self.context)
            noise = (start - self.mean) * jnp.exp(-self.log_std)
            return jnp.sum(dist.Normal(0.0, 1.0).log_prob(noise) - self.log_std) - log_det

        return _over_rows(one, value)


def _over_rows(one: Any, rows: Array) -> Array:
    """`one` of each row of `[..., dim]`."""
    flat = jax.vmap(one)(rows.reshape(-1, rows.shape[-1]))
    return flat.reshape(*rows.shape[:-1], *flat.shape[1:])


class CouplingFlow(AbstractFamily):
    r"""A normal bent by affine couplings, whose density costs no more than a sample.

    $$ z_b \leftarrow m(z_a, c) + e^{s(z_a, c)} \odot z_b \qquad
       \text{for halves } (a, b) \text{ that change places} $$

    The parameters are `[mean, log_std, context]`; the networks m and s are weights of the family,
    which an amortised posterior shares over the data and a local one may have for itself. It
    starts as the normal.

    Args:
        dim: length of z, 2 or more.
        layers: couplings; from 2 on every entry is moved.
        width: of the hidden layer of each coupling's network.
        context: how many of the parameters the networks see. An encoder that emits none bends
            every posterior alike.
        key: for the weights.

    Raises:
        ValueError: a size is too small.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> family = CouplingFlow(2, layers=4, width=8, context=3, key=jax.random.key(0))
        >>> family.shape
        (7,)
        >>> q = family(jnp.zeros(7))
        >>> print(f"{q.log_prob(jnp.zeros(2)):.3f}")  # of N(0, I), before training
        -1.838

    Source: Dinh, Sohl-Dickstein and Bengio, Density Estimation using Real NVP, arXiv 1605.08803.
    """

    layers: CouplingLayers
    shape: tuple[int, ...] = eqx.field(static=True)
    dim: int = eqx.field(static=True)

    def __init__(
        self, dim: int, layers: int = 4, width: int = 32, context: int = 0, *, key: PRNGKeyArray
    ):
        key = checked_key(key)
        _check_sizes(dim, layers, width, context)
        self.layers = CouplingLayers(dim, layers, width, context, key=key)
        self.dim = dim
        self.shape = (2 * dim + context,)

    def __call__(self, params: Float[Array, " params"]) -> FlowDistribution:
        """The distribution over z, `[dim]`."""
        _check_params(self, params)
        return FlowDistribution(*_split(params, self.dim), self.layers)

    def augment(self, model: LatentModel, params: Float[Array, " params"]) -> LatentModel:
        """The model itself."""
        return model


class InverseAutoregressiveFlow(AbstractFamily):
    r"""A normal bent by masked networks: quick to sample, and slow to score elsewhere.

    $$ z_i = m_i(\epsilon_{<i}, c) + e^{s_i(\epsilon_{<i}, c)} \epsilon_i, \qquad
       \log |\det \partial z / \partial \epsilon| = \sum_i s_i $$

    A sample takes one pass of each layer. A density takes `dim` of them, one entry at a time, for
    it is computed through the inverse, so that it is right at any point. The parameters are
    `[mean, log_std, context]`. It starts as the normal.

    Args:
        dim: length of z, 2 or more.
        layers: each takes the entries in the order opposite to the last's.
        width: of the hidden layer of each masked network.
        context: how many of the parameters the networks see.
        key: for the weights.

    Raises:
        ValueError: a size is too small.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> family = InverseAutoregressiveFlow(3, layers=2, width=8, key=jax.random.key(0))
        >>> q = family(jnp.zeros(6))
        >>> z = q.sample(jax.random.key(1), (5,))
        >>> z.shape, q.log_prob(z).shape
        ((5, 3), (5,))

    Source: Kingma et al., Improving Variational Inference with Inverse Autoregressive Flow, arXiv
    1606.04934.
    """

    layers: InverseAutoregressiveLayers
    shape: tuple[int, ...] = eqx.field(static=True)
    dim: int = eqx.field(static=True)

    def __init__(
        self, dim: int, layers: int = 2, width: int = 32, context: int = 0, *, key: PRNGKeyArray
    ):
        key = checked_key(key)
        _check_sizes(dim, layers, width, context)
        self.layers = InverseAutoregressiveLayers(dim, layers, width, context, key=key)
        self.dim = dim
        self.shape = (2 * dim + context,)

    def __call__(self, params: Float[Array, " params"]) -> FlowDistribution:
        """The distribution over z, `[dim]`."""
        _check_params(self, params)
        return FlowDistribution(*_split(params, self.dim), self.layers)

    def augment(self, model: LatentModel, params: Float[Array, " params"]) -> LatentModel:
        """The model itself."""
        return model


class AuxiliaryFlow(AbstractFamily):
    r"""A flow over the latent and as many auxiliary variables, with a model of these in reverse.

    $$ z_0 \sim N(\mu, \mathrm{diag}\, \sigma^2),\ v_0 \sim N(0, I), \quad
       v \leftarrow m(z) + e^{s(z)} v,\ z \leftarrow m(v) + e^{s(v)} z \ \text{ (two times)} $$

    $$ \log p(x) \ge \mathbb{E}_{q(z, v)}[\log p(x, z) + \log r(v | z) - \log q(z, v)] $$

    A sample is the pair `(z, v)`, and the density is that of the pair. `augment` makes the model
    that goes with it, $p(x, z)\, r(v | z)$, whose evidence is that of the model. So the ELBO is a
    bound, and it is below that of $q(z)$ alone by $\mathbb{E}\,\mathrm{KL}(q(v|z) \| r(v|z))$: a
    gap that is measured with this family has the looseness of r in it. The scales are $e^{s}$ with
    s bounded, where the paper has a sigmoid, so that it starts as the normal.

    Args:
        dim: length of z.
        layers: couplings, of v and of z by turns; 4 in the paper.
        width: of the hidden layer of each network.
        context: how many of the parameters the couplings see. The reverse model sees them all.
        key: for the weights.

    Raises:
        ValueError: a size is too small.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> from pullback.bounds import ELBO
        >>> family, params = AuxiliaryFlow(1, width=8, key=jax.random.key(0)), jnp.zeros(2)
        >>> model = LatentModel(
        ...     lambda z: jnp.sum(dist.Normal(z, 1.0).log_prob(2.0)),
        ...     dist.Normal(jnp.zeros(1), 1.0).to_event(1))
        >>> bound = ELBO()(
        ...     family.augment(model, params), family(params), num_samples=1000,
        ...     key=jax.random.key(0))
        >>> bool(bound < -2.27)  # log N(2; 0, 2)
        True

    Source: Cremer, Li and Duvenaud, arXiv 1801.03558, section 5.1; Maaloe et al., Auxiliary Deep
    Generative Models, arXiv 1602.05473.
    """

    layers: CouplingLayers
    reverse: eqx.nn.MLP
    shape: tuple[int, ...] = eqx.field(static=True)
    dim: int = eqx.field(static=True)

    def __init__(
        self, dim: int, layers: int = 4, width: int = 50, context: int = 0, *, key: PRNGKeyArray
    ):
        key = checked_key(key)
        _check_sizes(dim + 1, layers, width, context)
        flow, reverse = jr.split(key)
        self.layers = CouplingLayers(2 * dim, layers, width, context, key=flow)
        self.reverse = zero_last_layer(
            eqx.nn.MLP(3 * dim + context, 2 * dim, width, 1, jnp.tanh, key=reverse)
        )
        self.dim = dim
        self.shape = (2 * dim + context,)

    def __call__(self, params: Float[Array, " params"]) -> "PairDistribution":
        """The distribution over `(z, v)`, each `[dim]`."""
        _check_params(self, params)
        mean, log_std, context = _split(params, self.dim)
        zeros = jnp.zeros_like(mean)
        pair = jnp.concatenate([mean, zeros]), jnp.concatenate([log_std, zeros])
        return PairDistribution(FlowDistribution(*pair, context, self.layers))

    def augment(self, model: LatentModel, params: Float[Array, " params"]) -> LatentModel:
        """The model over `(z, v)`, with the same evidence."""
        prior = _WithAuxiliary(model.prior, self.reverse, params)
        return LatentModel(lambda pair: model.log_likelihood(pair[0]), prior)


class PairDistribution(eqx.Module):
    """A distribution over one array, seen as the pair of its halves."""

    joint: FlowDistribution

    @property
    def has_rsample(self) -> bool:
        """Whether gradients flow through a sample."""
        return True

    def sample(self, key: PRNGKeyArray, sample_shape: tuple[int, ...] = ()) -> Pair:
        """Draws of shape `[*sample_shape, dim]` each."""
        key = checked_key(key)
        z, v = jnp.split(self.joint.sample(key, sample_shape), 2, axis=-1)
        return z, v

    def log_prob(self, value: Pair) -> Float[Array, "*sample"]:
        """Of pairs, `[..., dim]` each."""
        return self.joint.log_prob(jnp.concatenate(value, axis=-1))


class _WithAuxiliary(eqx.Module):
    """p(z) r(v | z)."""

    prior: Any
    net: eqx.nn.MLP
    params: Float[Array, " params"]

    def _reverse(self, z: Array) -> tuple[Array, Array]:
        """Mean and log standard deviation of v."""
        mean, log_std = jnp.split(self.net(jnp.concatenate([z, self.params])), 2)
        return mean, log_std

    def sample(self, key: PRNGKeyArray, sample_shape: tuple[int, ...] = ()) -> Pair:
        first, second = jr.split(key)
        z = draw(self.prior, first, sample_shape)

        def one(both: Array) -> Array:
            z, noise = jnp.split(both, 2)
            mean, log_std = self._reverse(z)
            return mean + jnp.exp(log_std) * noise

        noise = jr.normal(second, z.shape, z.dtype)
        return z, _over_rows(one, jnp.concatenate([z, noise], axis=-1))

    def log_prob(self, value: Pair) -> Array:
        def one(both: Array) -> Array:
            z, v = jnp.split(both, 2)
            mean, log_std = self._reverse(z)
            noise = (v - mean) * jnp.exp(-log_std)
            reverse = jnp.sum(dist.Normal(0.0, 1.0).log_prob(noise) - log_std)
            return log_prob(self.prior, z) + reverse

        return _over_rows(one, jnp.concatenate(value, axis=-1))


def _split(params: Array, dim: int) -> tuple[Array, Array, Array]:
    return params[:dim], params[dim : 2 * dim], params[2 * dim :]


def _check_sizes(dim: int, layers: int, width: int, context: int) -> None:
    if dim < 2:
        raise ValueError(
            f"`dim` must be 2 or more for a flow with a part that is moved by another, got {dim}: "
            "take `DiagonalNormal` or `AuxiliaryFlow`."
        )
    for name, value, least in (("layers", layers, 1), ("width", width, 1), ("context", context, 0)):
        if value < least:
            raise ValueError(f"`{name}` must be {least} or more, got {value}.")

"""Priors that are fitted to what the encoder of a trained model emits, for evaluation and samples.

A model is the better for one: the divergence from the prior that it was trained with holds what
the encoder's output has in common for all x, which is no information. Put one into a trained model
by `equinox.tree_at(lambda vae: vae.prior, vae, prior)`; encoder and decoder stay as they are.
"""

import math
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro.distributions as dist
import optax
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._event import require_event
from pullback._key import checked_key
from pullback.nn import AbstractSequenceNet, delayed
from pullback.sampling import Distribution, independent_parts
from pullback.train import TrainingInfo, fit

P = TypeVar("P")


class AutoregressivePrior(eqx.Module):
    r"""Normals along a sequence, each given the rows before it.

    $$ p(z) = \prod_t N\big(z_t; \mu_t(z_{<t}), \mathrm{diag}\, \sigma_t^2(z_{<t})\big), \qquad
       (\mu_t, \log \sigma_t) = \mathrm{net}(z_{<t}) $$

    To draw a sequence the net is run as often as there are rows, in one compiled loop.

    Args:
        net: a causal net, from rows of z to rows twice as long.
        steps: rows of z.

    Raises:
        ValueError: the rows of the net do not fit, or `steps` is below 1.

    Example:
        >>> import jax
        >>> from pullback.nn import RecurrentNet
        >>> net = RecurrentNet(2, 4, width=8, key=jax.random.key(0))
        >>> prior = AutoregressivePrior(net, steps=5)
        >>> prior.log_prob(prior.sample(jax.random.key(1), (3,))).shape
        (3,)

    Source: Razavi et al., Preventing Posterior Collapse with delta-VAEs, arXiv 1901.03416: the
    auxiliary prior.
    """

    net: AbstractSequenceNet
    start: Float[Array, " channels"]
    steps: int = eqx.field(static=True)

    def __init__(self, net: AbstractSequenceNet, *, steps: int):
        if net.out_size != 2 * net.in_size:
            raise ValueError(
                "`net` must have rows twice as long come out as go in, a mean and a log standard "
                f"deviation of each channel, got {net.out_size} from {net.in_size}."
            )
        if steps < 1:
            raise ValueError(f"`steps` must be 1 or more, got {steps}.")
        self.net = net
        self.start = jnp.zeros(net.in_size)
        self.steps = steps

    @property
    def has_rsample(self) -> bool:
        """Whether gradients flow through a sample."""
        return True

    def log_prob(self, z: Float[Array, "*batch steps channels"]) -> Float[Array, "*batch"]:
        """The log-density of whole sequences, in nats."""
        require_event(z, (self.steps, self.net.in_size))
        return jnp.vectorize(self._log_prob, signature="(t,c)->()")(z)

    def sample(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = ()
    ) -> Float[Array, "*shape steps channels"]:
        """Draws of shape `[*shape, steps, channels]`."""
        key = checked_key(key)
        count = math.prod(shape)
        z = jax.vmap(self._draw)(jr.split(key, count))
        return z.reshape(*shape, *z.shape[1:])

    def _conditionals(self, z: Array) -> tuple[Array, Array]:
        mean, log_std = jnp.split(self.net(delayed(z, self.start.astype(z.dtype))), 2, axis=1)
        return mean, log_std

    def _log_prob(self, z: Array) -> Float[Array, ""]:
        mean, log_std = self._conditionals(z)
        scaled = (z - mean) * jnp.exp(-log_std)
        return -jnp.sum(jnp.square(scaled) / 2 + log_std + math.log(2 * math.pi) / 2)

    def _draw(self, key: PRNGKeyArray) -> Array:
        noise = jr.normal(key, (self.steps, self.net.in_size), self.start.dtype)

        def step(z: Array, place: tuple[Array, Array]) -> tuple[Array, None]:
            number, noise = place
            mean, log_std = (rows[number] for rows in self._conditionals(z))
            return z.at[number].set(mean + jnp.exp(log_std) * noise), None

        places = jnp.arange(self.steps), noise
        return jax.lax.scan(step, jnp.zeros_like(noise), places)[0]


class AggregateNormal(eqx.Module):
    r"""A normal of any shape and any covariance; `aggregate_normal` fits it.

    Attributes:
        mean: $m$, of the shape of z.
        whiten: $L^{-1}$, of the covariance $L L^\top$ of the entries of z, row after row.
    """

    mean: Float[Array, "..."]
    whiten: Float[Array, "size size"]

    @property
    def has_rsample(self) -> bool:
        """Whether gradients flow through a sample."""
        return True

    def log_prob(self, z: Float[Array, "..."]) -> Float[Array, "*batch"]:
        """The log-density, in nats."""
        scaled = self._whitened(z)
        size = scaled.shape[-1]
        inside = jnp.sum(jnp.square(scaled), axis=-1) + size * math.log(2 * math.pi)
        return self._log_det - inside / 2

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Draws of shape `[*shape, *mean.shape]`."""
        key = checked_key(key)
        noise = jr.normal(key, (math.prod(shape), len(self.whiten)), self.mean.dtype)
        moved = solve_triangular(self.whiten, noise.T, lower=True).T
        lifted = self.mean.reshape((1,) * len(shape) + self.mean.shape)
        return lifted + moved.reshape(*shape, *self.mean.shape)

    def kl_from(self, q: Any) -> Float[Array, "*batch"]:
        """The divergence of a mean-field normal from this one, in closed form.

        Args:
            q: a `numpyro.distributions.Normal`, of the shape of z, with any axes in front.

        Raises:
            ValueError: it is another distribution, or of another shape.
        """
        mean, scale = _normal(q)
        whitened = self._whitened(mean)
        flat = scale.reshape(*whitened.shape)
        spread = jnp.sum(jnp.square(flat) @ jnp.square(self.whiten).T, axis=-1)
        inside = spread + jnp.sum(jnp.square(whitened), axis=-1) - flat.shape[-1]
        return inside / 2 - self._log_det - jnp.sum(jnp.log(flat), axis=-1)

    @property
    def _log_det(self) -> Array:
        return jnp.sum(jnp.log(jnp.diagonal(self.whiten)))

    def _whitened(self, z: Array) -> Array:
        shape = self.mean.shape
        require_event(z, shape)
        batch = z.shape[: z.ndim - len(shape)]
        apart = z - self.mean.reshape((1,) * len(batch) + shape)
        return apart.reshape(*batch, len(self.whiten)) @ self.whiten.T


def aggregate_normal(posterior: Any) -> AggregateNormal:
    r"""The normal with the moments of the aggregate posterior, the best of all normals.

    $$ m = \mathrm{mean}_x\, \mu(x), \qquad
       C = \mathrm{cov}_x\, \mu(x) + \mathrm{mean}_x\, \mathrm{diag}\, \sigma^2(x) $$

    The rate under it is $\tfrac12 \big(\log \det C - \mathrm{mean}_x \log \det \mathrm{diag}\,
    \sigma^2(x)\big)$ over the same x, never more than under another normal, such as `AR1Prior`.

    Args:
        posterior: mean-field normals $q(z | x)$, with an axis of x in front on every array, as
            `batch_terms(...).posterior` is. Take training examples: then the rate of held-out ones
            is honest.

    Raises:
        ValueError: they are not normals of independent entries.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> mean = jax.random.normal(jax.random.key(0), (50, 4, 1))
        >>> q = dist.Normal(mean, jnp.full(mean.shape, 0.3))
        >>> prior = aggregate_normal(q)
        >>> prior.kl_from(q).shape
        (50,)

    Source: Razavi et al., arXiv 1901.03416, the auxiliary prior; Hoffman and Johnson, ELBO surgery,
    2016, for the aggregate posterior.
    """
    mean, scale = _normal(posterior)
    middle = jnp.mean(mean, axis=0)
    apart = (mean - middle[None]).reshape(len(mean), -1)
    spread = jnp.mean(jnp.square(scale).reshape(len(mean), -1), axis=0)
    covariance = apart.T @ apart / len(mean) + jnp.diag(spread)
    root = jnp.linalg.cholesky(covariance)
    return AggregateNormal(middle, solve_triangular(root, jnp.eye(len(root)), lower=True))


def fit_auxiliary_prior(
    prior: P,
    posterior: Any,
    *,
    steps: int = 2000,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    progress: bool | None = None,
    key: PRNGKeyArray,
) -> tuple[P, TrainingInfo]:
    r"""Train a prior on draws from the aggregate posterior.

    $$ \max_p \; \mathrm{mean}_x\, \mathbb{E}_{q(z | x)}[\log p(z)] $$

    Args:
        prior: to start from: any module with `log_prob(z)` and `sample(key, shape)`, such as an
            `AutoregressivePrior`.
        posterior: as for `aggregate_normal`.
        steps: of training.
        batch_size: draws of a step.
        learning_rate: Adam's at the start; it falls to zero along a cosine.
        progress: show a bar on stderr. None: where stderr is a terminal.
        key: for the draws.

    Returns:
        The prior, and how the training went.

    Raises:
        ValueError: the posterior is not of normals of independent entries, or the prior cannot be
            drawn from, so that it may be of any mass.

    Source: Razavi et al., arXiv 1901.03416, the auxiliary prior.
    """
    key = checked_key(key)
    if not isinstance(prior, Distribution):
        raise ValueError(
            "`prior` must have `log_prob(z)` and `sample(key, shape)`, got "
            f"{type(prior).__name__}: the likelihood of a density that is not normalised only "
            "grows. Take an `AutoregressivePrior` or a flow of `pullback.models.flows`."
        )

    def loss(prior: Any, batch: tuple[Array, Array], *, key: PRNGKeyArray) -> tuple[Array, dict]:
        mean, scale = batch
        z = mean + scale * jr.normal(key, mean.shape, mean.dtype)
        return -jnp.mean(jax.vmap(prior.log_prob)(z)), {}

    data = _normal(posterior)
    return fit(
        prior,
        loss,
        data,
        optimiser=optax.adam(optax.cosine_decay_schedule(learning_rate, steps)),
        steps=steps,
        batch_size=min(batch_size, len(data[0])),
        log_every=min(100, steps),
        progress=progress,
        key=key,
    )


def _normal(q: Any) -> tuple[Array, Array]:
    """Mean and standard deviation of every entry."""
    parts: Any = independent_parts(q)
    if not isinstance(parts, dist.Normal):
        raise ValueError(
            f"the posterior must be a Normal of independent entries, got {type(parts).__name__}."
        )
    loc: Any = parts.loc
    scale: Any = parts.scale
    shape = jnp.broadcast_shapes(jnp.shape(loc), jnp.shape(scale))
    return jnp.broadcast_to(loc, shape), jnp.broadcast_to(scale, shape)

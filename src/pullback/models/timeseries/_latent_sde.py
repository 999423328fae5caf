"""The latent SDE: a distribution over latent paths, inferred with a bound on the evidence."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, ArrayLike, Float, Key, PRNGKeyArray

from pullback import ode, sde
from pullback._key import checked_key, checked_keys
from pullback.models.likelihoods import AbstractLikelihood

from ._contexts import AbstractContextEncoder, PathContext
from ._encoder import Posterior
from ._latent_priors import AbstractLatentPrior
from ._observations import Observations, check_values
from ._scores import scores


class PathELBOTerms(NamedTuple):
    """A lower bound of each series' log-likelihood, and its parts, in nats.

    Attributes:
        elbo: `log_likelihood - beta * (kl_start + kl_path)`, `[batch]`.
        log_likelihood: of the values, averaged over posterior paths, `[batch]`.
        kl_start: from the posterior of the start to its prior, `[batch]`.
        kl_path: from the posterior's path to the prior's, averaged over paths, `[batch]`.
        squared_error: of the decoded values, summed over what was observed, `[batch]`; of classes,
            Brier's score.
        result: how the solve ended, a code of `pb.ode.Result`.
    """

    elbo: Float[Array, " batch"]
    log_likelihood: Float[Array, " batch"]
    kl_start: Float[Array, " batch"]
    kl_path: Float[Array, " batch"]
    squared_error: Float[Array, " batch"]
    result: Array


class _Path(NamedTuple):
    """What the posterior's path is made of."""

    control: Callable[[Any, Any, Any], Any]
    prior: AbstractLatentPrior


class LatentSDE(eqx.Module):
    r"""A latent path of an SDE, read out with noise where it was observed.

    $$ \text{prior: } dz = h(t, z)\,dt + \sigma(t, z)\,dW, \qquad
       \text{posterior: } dz = \big(h + \sigma\, u(t, z, c)\big)\,dt + \sigma\,dW, \qquad
       x_i \sim p(x \mid \mathrm{decoder}(z(t_i))), $$

    where c is the context: what the encoder says at time t of the observations. The two
    distributions share their diffusion, so that the KL between them is finite: the control u is
    what is learned of the posterior, and where it is zero, the posterior is the prior. The bound is

    $$ \log p(x) \ge E_q\Big[\sum_i \log p(x_i \mid z(t_i)) - \tfrac12 \int \|u\|^2 dt\Big]
       - KL(q(z_0) \| p(z_0)). $$

    Every method takes a batch of series. Each is solved on its own times, in `steps` equal steps
    between two of them.

    Attributes:
        encoder: from one series `(times, values, mask)` to a `PathContext`.
        start: from the first context to `2 * latent` numbers: mean and raw deviation of z_0.
        control: the function `u(t, z, context)` of one state.
        prior: the distribution of the path without observations.
        decoder: from one latent state to the likelihood's parameters, of the shape
            `likelihood.params_shape((variables,))`.
        likelihood: how values scatter about what is decoded: any of `pb.models.likelihoods`, or one
            of your own.
        steps: between two successive times.
        solver: a Diffrax solver for SDEs; it says whose integral the equations mean. By default
            `diffrax.Euler()`: Ito's.
        adjoint: how a gradient goes back; `pb.ode.Replay(segment=128)` when None.
        kl: the form of the path's KL, see `pb.sde.solve`.

    Raises:
        ValueError: `samples` is below 1; or values that are scored cannot be of the likelihood, by
            the number of the series.

    Example:
        >>> import jax, numpy as np, pullback as pb
        >>> from pullback.models.timeseries import latent_sde, observations
        >>> series = pb.data.irregular_series([([0.0, 0.3, 1.0], [0.1, 0.4, 0.2])])
        >>> model = latent_sde(1, latent=2, steps=3, key=jax.random.key(0))
        >>> found = model.elbo_terms(observations(series), samples=4, key=jax.random.key(1))
        >>> float(found.kl_path[0])  # an untrained posterior goes as the prior does
        0.0

    Source: Li et al., Scalable Gradients for Stochastic Differential Equations, arXiv 2001.01328,
    section 5. There the posterior's drift is a net of its own; here it is the prior's plus a
    control, which spans the same distributions and starts at no KL.
    """

    encoder: AbstractContextEncoder
    start: Callable[[Any], Any]
    control: Callable[[Any, Any, Any], Any]
    prior: AbstractLatentPrior
    decoder: Callable[[Any], Any]
    likelihood: AbstractLikelihood
    steps: int = eqx.field(static=True, default=5)
    solver: diffrax.AbstractSolver = eqx.field(default_factory=diffrax.Euler)
    adjoint: ode.Replay | sde.StochasticAdjoint | None = None
    kl: sde.KL = eqx.field(static=True, default="analytic")

    def check(self, observed: Observations, target: Observations | None = None) -> None:
        """Raise ValueError if an observed value cannot be of the likelihood.

        Whatever scores the model asks it: `pb.train`, `elbo_terms`, `elbo`, `iwae`.
        """
        check_values(self.likelihood, observed)
        if target is not None:
            check_values(self.likelihood, target, name="target")

    def encode(self, observed: Observations) -> tuple[Posterior, PathContext]:
        """The posterior of each series' start, and its context."""
        context = jax.vmap(self.encoder)(*observed)
        mean, raw = jnp.split(jax.vmap(self.start)(context.values[:, 0]), 2, axis=-1)
        return Posterior(mean, jax.nn.softplus(raw) + 1e-6), context

    def elbo_terms(
        self,
        observed: Observations,
        target: Observations | None = None,
        *,
        beta: ArrayLike = 1.0,
        samples: int = 1,
        key: PRNGKeyArray,
    ) -> PathELBOTerms:
        """The evidence lower bound, by sampling paths.

        Args:
            observed: what the encoder sees.
            target: what is scored; `observed` when None. No time of it is before the window.
            beta: the weight of both KLs; 1 for the bound.
            samples: paths for each series.
            key: for the paths.
        """
        key = checked_key(key)
        log_x, kl_path, error, (posterior, _, result) = self._scored(
            observed, target, samples, self.kl, key
        )
        kl_start = self._kl_start(posterior)
        log_x, kl_path, error = (jnp.mean(a, axis=1) for a in (log_x, kl_path, error))
        elbo = log_x - jnp.asarray(beta, log_x.dtype) * (kl_start + kl_path)
        return PathELBOTerms(elbo, log_x, kl_start, kl_path, error, result)

    def elbo(
        self,
        observed: Observations,
        target: Observations | None = None,
        *,
        samples: int = 1,
        key: PRNGKeyArray,
    ) -> Float[Array, " batch"]:
        """The evidence lower bound of each series in nats; `elbo_terms` has its parts."""
        key = checked_key(key)
        return self.elbo_terms(observed, target, samples=samples, key=key).elbo

    def iwae(
        self,
        observed: Observations,
        target: Observations | None = None,
        *,
        samples: int = 50,
        key: PRNGKeyArray,
    ) -> Float[Array, " batch"]:
        r"""The importance-weighted bound, which tends to $\log p(x)$ as `samples` grows.

        A path's weight is $p(x \mid z)\, p(z) / q(z)$, with Girsanov's density of the path.

        Args:
            observed: what the encoder sees.
            target: what is scored; `observed` when None.
            samples: paths for each series.
            key: for the paths.

        Source: Burda et al., arXiv 1509.00519, equation 8.
        """
        key = checked_key(key)
        log_x, log_ratio, _, (posterior, z0, _) = self._scored(
            observed, target, samples, "monte_carlo", key
        )
        mean, std = self._prior_start(z0.dtype)
        at_start = jnp.sum(_normal_log_prob(z0, mean, std), axis=-1)
        at_start -= jnp.sum(
            _normal_log_prob(z0, posterior.mean[:, None], posterior.std[:, None]), axis=-1
        )
        weights = log_x + at_start - log_ratio
        return jax.nn.logsumexp(weights, axis=1) - math.log(samples)

    def paths(
        self,
        observed: Observations,
        times: Float[Array, "batch query"],
        *,
        samples: int,
        keys: Key[Array, " batch"],
    ) -> tuple[Float[Array, "sample batch query variable ..."], ode.Solution]:
        """The likelihood's parameters along posterior paths through `times`.

        `predict` and its kin are made of it.

        Args:
            observed: what the encoder sees.
            times: increasing along each row, none before the window.
            samples: paths for each series.
            keys: one for each series, `[batch]`.

        Returns:
            The parameters, and how the solves ended.
        """

        keys = checked_keys(keys)

        def one(observed: Observations, times: Array, key: PRNGKeyArray) -> tuple:
            # A series has its own key, so its paths do not depend on the batch that it is in.
            batch = jax.tree.map(lambda x: x[None], observed)
            _, sol = self._solve(batch, times[None], samples, self.kl, key)
            return sol.ys[1:, 0], sol.stats, sol.result, sol.t_reached

        ys, stats, result, t_reached = jax.vmap(one)(observed, times, keys)
        params = jax.vmap(jax.vmap(jax.vmap(self.decoder)))(ys)
        return jnp.moveaxis(params, 2, 0), ode.Solution(times, None, stats, result, t_reached)

    def sample_prior(
        self, times: Float[Array, " query"], *, samples: int, key: PRNGKeyArray
    ) -> Float[Array, "sample query variable *classes"]:
        """Noiseless paths of the prior, from its start at the first of `times`."""
        start_key, key = jr.split(checked_key(key))
        mean, std = self.prior.start()
        z0 = mean[None] + std[None] * jr.normal(start_key, (samples, mean.shape[0]), mean.dtype)
        sol = sde.solve(
            lambda t, z, prior: jax.vmap(lambda z: prior.drift(t, z))(z),
            lambda t, z, prior: jax.vmap(lambda z: prior.diffusion(t, z))(z),
            z0,
            times,
            self.prior,
            key=key,
            solver=self.solver,
            steps=self.steps,
        )
        params = jax.vmap(jax.vmap(self.decoder))(sol.ys)
        return jnp.swapaxes(self.likelihood.mean(params), 0, 1)

    def _prior_start(self, dtype: Any) -> tuple[Array, Array]:
        # A prior without weights has no dtype of its own.
        mean, std = self.prior.start()
        return mean.astype(dtype), std.astype(dtype)

    def _kl_start(self, posterior: Posterior) -> Array:
        """KL of the start's posterior to its prior, in nats."""
        mean, std = (a[None] for a in self._prior_start(posterior.mean.dtype))
        standard = Posterior((posterior.mean - mean) / std, posterior.std / std)
        return standard.kl()

    def _scored(
        self,
        observed: Observations,
        target: Observations | None,
        samples: int,
        kl: sde.KL,
        key: PRNGKeyArray,
    ) -> tuple[Array, Array, Array, tuple[Posterior, Array, Array]]:
        """For each series and path: log-likelihood, KL, squared error; and where it all began."""
        if samples < 1:
            raise ValueError(f"`samples` must be 1 or more, got {samples}.")
        self.check(observed, target)
        target = observed if target is None else target
        posterior, sol = self._solve(observed, target.times, samples, kl, key)
        z = jnp.moveaxis(sol.ys[1:], 0, 2)
        params = jax.vmap(jax.vmap(jax.vmap(self.decoder)))(z)
        values, mask = (jnp.broadcast_to(a[:, None], params.shape[:4]) for a in target[1:])
        log_x, error = (
            jnp.sum(each, axis=(-2, -1)) for each in scores(self.likelihood, params, values, mask)
        )
        return log_x, cast(Array, sol.kl)[-1], error, (posterior, sol.ys[0], sol.result)

    def _solve(
        self, observed: Observations, times: Array, samples: int, kl: sde.KL, key: PRNGKeyArray
    ) -> tuple[Posterior, sde.Solution]:
        """Posterior paths `[1 + query, batch, sample, latent]` from the window's start on."""
        start_key, key = jr.split(key)
        posterior, context = self.encode(observed)
        shape = (posterior.mean.shape[0], samples, posterior.mean.shape[1])
        noise = jr.normal(start_key, shape, posterior.mean.dtype)
        z0 = posterior.mean[:, None] + posterior.std[:, None] * noise

        def over_paths(function: Callable) -> Callable:
            """`function(t, z, context, path)` of one state, over series and their paths."""
            paths = jax.vmap(function, in_axes=(None, 0, None, None))
            return jax.vmap(paths, in_axes=(0, 0, 0, None))

        def diffusion(t: Array, z: Array, args: tuple) -> Array:
            path, _ = args
            return over_paths(lambda t, z, c, p: p.prior.diffusion(t, z))(t, z, t, path)

        def drift(t: Array, z: Array, args: tuple) -> Array:
            path, context = args
            value, known = jax.vmap(PathContext.at)(context, t)

            def one(t: Array, z: Array, c: tuple, path: _Path) -> Array:
                value, known = c
                u = jnp.where(known, path.control(t, z, value), 0.0)
                return path.prior.drift(t, z) + path.prior.diffusion(t, z) * u

            return over_paths(one)(t, z, (value, known), path)

        def prior(t: Array, z: Array, args: tuple) -> Array:
            path, _ = args
            return over_paths(lambda t, z, c, p: p.prior.drift(t, z))(t, z, t, path)

        solution = sde.solve(
            drift,
            diffusion,
            z0,
            jnp.concatenate([observed.times[:, :1], times], axis=1),
            # Not the whole model: of all that is handed over, gradients are summed at every step.
            (_Path(self.control, self.prior), context),
            key=key,
            solver=self.solver,
            adjoint=self.adjoint,
            prior=prior,
            kl=kl,
            steps=self.steps,
            throw=False,
        )
        return posterior, solution


def _normal_log_prob(x: Array, mean: Array, std: Array) -> Array:
    return jax.scipy.stats.norm.logpdf(x, *(jnp.broadcast_to(a, x.shape) for a in (mean, std)))

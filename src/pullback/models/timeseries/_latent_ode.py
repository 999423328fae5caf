"""The latent ODE: a distribution over initial states, each of which an ODE carries through time."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, ArrayLike, Float, Key, PRNGKeyArray

from pullback import ode
from pullback._key import checked_key, checked_keys
from pullback.models.likelihoods import AbstractLikelihood

from ._elbo_terms import Decoded, ELBOTerms
from ._encoder import Anchor, Posterior, standard_normal_log_prob
from ._observations import Observations, check_values
from ._poisson import PoissonHead, poisson_log_prob
from ._scores import scores


class LatentODE(eqx.Module):
    r"""A latent state drawn once, carried through time by an ODE, and read out at every time.

    $$ z_a \sim N(0, I), \qquad \frac{dz}{dt} = f(t, z), \qquad
       x_i \sim p(x \mid \mathrm{decoder}(z(t_i))), \qquad q(z_a \mid x) = \mathrm{encoder}(x) $$

    The latent state lives at the anchor, one end of the window of the series. With the anchor
    "first" the encoder runs backwards and the decoder forwards: this interpolates, and extrapolates
    by going on. With "last" the encoder runs forwards, and the decoder to the times on either side:
    this is the paper's extrapolation, in which what is scored comes after what is seen.

    Every method takes a batch of series, `Observations` of shapes `[batch, time]` and `[batch,
    time, variable]`, because the decoder's solves go through the field together, each series with
    its own times and, unless `steps` is given, its own step sizes.

    Attributes:
        encoder: a function of one series `(times, values, mask, anchor=...)` to a `Posterior`.
        field: the vector field `f(t, z, args)` of one latent state; `args` is None.
        decoder: from one latent state to the likelihood's parameters, of the shape
            `likelihood.params_shape((variables,))`.
        likelihood: how values scatter about what is decoded: any of `pb.models.likelihoods`, or one
            of your own.
        poisson: the intensity of observation times, or None. Its state is the last
            `poisson.latent` entries of the latent state, which `field` and `decoder` do not see.
        classifier: from one latent state to one number for each class, or None.
        anchor: the end of the window at which the latent state lives.
        solver: a Diffrax solver; `diffrax.Dopri5()` when None.
        rtol: relative tolerance of one step.
        atol: absolute tolerance of one step.
        steps: take this many equal steps between two successive times, with no error control.
        adjoint: how a gradient goes back through the solve; `pb.ode.Replay()` when None.
        max_steps: the most steps tried.

    Raises:
        ValueError: `anchor` is neither end, or a head is asked for that the model does not have; or
            values that are scored cannot be of the likelihood, by the number of the series.
        SolveError: a solve failed (not in `elbo_terms` and `iwae`, which report it).

    Example:
        >>> import jax, numpy as np, pullback as pb
        >>> from pullback.models.timeseries import latent_ode, observations
        >>> series = pb.data.irregular_series([([0.0, 0.3, 1.0], [0.1, 0.4, 0.2])])
        >>> model = latent_ode(1, latent=2, steps=1, key=jax.random.key(0))
        >>> found = model.elbo_terms(observations(series), key=jax.random.key(1))
        >>> bool(found.elbo[0] == found.log_likelihood[0] - found.kl[0])
        True

    Source: Rubanova et al., "Latent ODEs for Irregularly-Sampled Time Series", arXiv 1907.03907,
    section 3.2. The bound is a true one, unlike the objective of its code, which averages over
    observations and latent dimensions.
    """

    encoder: Callable[..., Posterior]
    field: Callable[[Any, Any, Any], Any]
    decoder: Callable[[Any], Any]
    likelihood: AbstractLikelihood
    poisson: PoissonHead | None = None
    classifier: Callable[[Any], Any] | None = None
    anchor: Anchor = eqx.field(default="first", static=True)
    solver: diffrax.AbstractSolver | None = None
    rtol: float = eqx.field(default=1e-3, static=True)
    atol: float = eqx.field(default=1e-4, static=True)
    steps: int | None = eqx.field(default=None, static=True)
    adjoint: ode.AbstractAdjoint | diffrax.AbstractAdjoint | None = None
    max_steps: int = eqx.field(default=4096, static=True)

    def __check_init__(self) -> None:
        if self.anchor not in ("first", "last"):
            raise ValueError(f"`anchor` must be 'first' or 'last', got {self.anchor!r}.")

    def check(self, observed: Observations, target: Observations | None = None) -> None:
        """Raise ValueError if an observed value cannot be of the likelihood.

        Whatever scores the model asks it: `pb.train`, `elbo_terms`, `elbo`, `iwae`.
        """
        check_values(self.likelihood, observed)
        if target is not None:
            check_values(self.likelihood, target, name="target")

    @eqx.filter_jit
    def encode(self, observed: Observations) -> Posterior:
        """The posterior of each series' latent state at its anchor."""
        return jax.vmap(lambda *series: self.encoder(*series, anchor=self.anchor))(*observed)

    def anchor_of(self, observed: Observations) -> Float[Array, " batch"]:
        """The time at which each series' latent state lives."""
        return observed.times[:, 0 if self.anchor == "first" else -1]

    @eqx.filter_jit
    def decode(
        self,
        z0: Float[Array, "sample batch latent"],
        anchor: Float[Array, " batch"],
        times: Float[Array, "batch query"],
        penalties: tuple[ode.AbstractPenalty, ...] = (),
    ) -> Decoded:
        """The paths of latent states through `times`.

        Args:
            z0: latent states at the anchor.
            anchor: the time of each series' latent state.
            times: increasing along each row; with the anchor "first", none before the anchor.
            penalties: rates to integrate along the path, of `field` at one latent state.
        """
        if self.anchor == "first":
            solution = self._solve(z0, anchor, times, penalties)
        else:
            # A lane that has nowhere to go costs no step.
            t = anchor[:, None]
            back = self._solve(z0, anchor, jnp.minimum(times, t)[:, ::-1], penalties)
            solution = self._solve(z0, anchor, jnp.maximum(times, t), penalties)
            past = (times < t)[None, :, :, None]
            (back_ys, back_integrals), (ys, integrals) = back.ys, solution.ys
            ys = jax.tree.map(lambda b, a: jnp.where(past, b[:, :, ::-1], a), back_ys, ys)
            # Backwards a rate is integrated with the other sign.
            integrals = jax.tree.map(jnp.subtract, integrals, back_integrals)
            failed = back.result != 0
            solution = ode.Solution(
                times,
                (ys, integrals),
                jax.tree.map(jnp.add, back.stats, solution.stats),
                jnp.where(failed, back.result, solution.result),
                jnp.where(failed, back.t_reached, solution.t_reached),
            )
        (z, integral), integrals = solution.ys
        integrals = tuple(each[:, :, -1] for each in integrals or ())
        solution = eqx.tree_at(lambda s: s.ys, solution, z)
        each = lambda function: jax.vmap(jax.vmap(jax.vmap(function)))
        params = each(lambda z: self.decoder(self._own(z)))(z)
        rate = None
        if self.poisson is not None:
            head = self.poisson
            rate = each(lambda z: head.rate(z[-head.latent :]))(z)
        mean = self.likelihood.mean(params)
        return Decoded(params, mean, rate, integral, integrals, solution)

    def elbo_terms(
        self,
        observed: Observations,
        target: Observations | None = None,
        *,
        beta: ArrayLike = 1.0,
        poisson_weight: ArrayLike = 1.0,
        penalties: tuple[ode.AbstractPenalty, ...] = (),
        samples: int = 1,
        key: PRNGKeyArray,
    ) -> ELBOTerms:
        r"""The evidence lower bound, by sampling, with the KL in closed form.

        $$ \mathrm{ELBO} = E_q\Big[\sum_{\mathrm{observed}} \log p(x \mid \mathrm{decoder}(z))\Big]
           - \beta\, KL(q \| N(0, I)) $$

        At `beta` 1 and `poisson_weight` 1 its expectation is at most $\log p(x)$.

        Args:
            observed: what the encoder sees.
            target: what is scored; `observed` when None. Its times are those of a decoder's solve,
                so they lie on the side of the anchor to which it runs.
            beta: the weight of the KL.
            poisson_weight: the weight of the log-likelihood of when observations happened.
            penalties: rates to integrate along the decoder's paths, as `pb.ode.Regularised` has
                them; the bound does not know them.
            samples: of the latent state.
            key: for the samples.
        """
        key = checked_key(key)
        self.check(observed, target)
        target = observed if target is None else target
        # Compiled with arrays: a number would be a constant of the program.
        weights = jnp.asarray(beta), jnp.asarray(poisson_weight)
        return self._elbo_terms(observed, target, weights, penalties, samples, key)

    @eqx.filter_jit
    def _elbo_terms(
        self,
        observed: Observations,
        target: Observations,
        weights: tuple[Array, Array],
        penalties: tuple[ode.AbstractPenalty, ...],
        samples: int,
        key: PRNGKeyArray,
    ) -> ELBOTerms:
        posterior = self.encode(observed)
        z0 = self._sample(posterior, samples, key)
        anchor = self.anchor_of(observed)
        log_x, log_times, error, decoded = self._score(z0, anchor, target, penalties)
        kl = posterior.kl()
        log_x, log_times, error = (jnp.mean(a, axis=0) for a in (log_x, log_times, error))
        integrals = tuple(jnp.mean(each, axis=0) for each in decoded.penalties)
        beta, poisson_weight = (weight.astype(kl.dtype) for weight in weights)
        elbo = log_x + poisson_weight * log_times - beta * kl
        result = decoded.solution.result
        return ELBOTerms(elbo, log_x, log_times, kl, error, integrals, posterior, z0, result)

    def elbo(
        self,
        observed: Observations,
        target: Observations | None = None,
        *,
        beta: ArrayLike = 1.0,
        samples: int = 1,
        key: PRNGKeyArray,
    ) -> Float[Array, " batch"]:
        """The evidence lower bound of each series in nats; `elbo_terms` has its parts."""
        key = checked_key(key)
        return self.elbo_terms(observed, target, beta=beta, samples=samples, key=key).elbo

    def iwae(
        self,
        observed: Observations,
        target: Observations | None = None,
        *,
        samples: int = 50,
        key: PRNGKeyArray,
    ) -> Float[Array, " batch"]:
        r"""The importance-weighted bound, which tends to $\log p(x)$ as `samples` grows.

        $$ \log \frac1K \sum_{k=1}^K \frac{p(x \mid z_k)\, p(z_k)}{q(z_k \mid x)},
           \qquad z_k \sim q $$

        Args:
            observed: what the encoder sees.
            target: what is scored; `observed` when None.
            samples: of the latent state, K.
            key: for the samples.

        Returns:
            Nats, `[batch]`.

        Source: Burda et al., arXiv 1509.00519, equation 8.
        """
        key = checked_key(key)
        self.check(observed, target)
        return self._iwae(observed, observed if target is None else target, samples, key)

    @eqx.filter_jit
    def _iwae(
        self, observed: Observations, target: Observations, samples: int, key: PRNGKeyArray
    ) -> Float[Array, " batch"]:
        posterior = self.encode(observed)
        z0 = self._sample(posterior, samples, key)
        log_x, log_times, _, _ = self._score(z0, self.anchor_of(observed), target, ())
        log_weight = log_x + log_times + standard_normal_log_prob(z0)
        log_weight -= jax.vmap(posterior.log_prob)(z0)
        return jax.nn.logsumexp(log_weight, axis=0) - jnp.log(jnp.asarray(samples, z0.dtype))

    def paths(
        self,
        observed: Observations,
        times: Float[Array, "batch query"],
        *,
        samples: int,
        keys: Key[Array, " batch"],
    ) -> tuple[Float[Array, "sample batch query variable ..."], ode.Solution]:
        """The likelihood's parameters along paths through `times`, one path a posterior draw.

        `predict` and its kin are made of it.

        Args:
            observed: what the encoder sees.
            times: increasing along each row; with the anchor "first", none before the window.
            samples: draws for each series.
            keys: one for each series, `[batch]`.

        Returns:
            The parameters, and how the solves ended.
        """
        keys = checked_keys(keys)
        mean, std = self.encode(observed)
        noise = jax.vmap(lambda k: jr.normal(k, (samples, mean.shape[1]), mean.dtype))(keys)
        z0 = mean[None] + std[None] * jnp.swapaxes(noise, 0, 1)
        decoded = self.decode(z0, self.anchor_of(observed), times)
        return decoded.params, decoded.solution

    @eqx.filter_jit
    def classify(
        self, observed: Observations, *, samples: int = 50, key: PRNGKeyArray
    ) -> Float[Array, "batch classes"]:
        """The probability of each class, averaged over posterior samples."""
        key = checked_key(key)
        z0 = self._sample(self.encode(observed), samples, key)
        return jnp.mean(jax.nn.softmax(self.logits(z0), axis=-1), axis=0)

    def logits(
        self, z0: Float[Array, "sample batch latent"]
    ) -> Float[Array, "sample batch classes"]:
        """What the classifier says of latent states."""
        if self.classifier is None:
            raise ValueError(
                "this model has no classifier: make it with `latent_ode(classes=...)`."
            )
        return jax.vmap(jax.vmap(self.classifier))(z0)

    def _own(self, z: Array) -> Array:
        """The part of a latent state that is not the Poisson head's."""
        return z if self.poisson is None else z[: -self.poisson.latent]

    def _sample(self, posterior: Posterior, samples: int, key: PRNGKeyArray) -> Array:
        if samples < 1:
            raise ValueError(f"`samples` must be 1 or more, got {samples}.")
        mean, std = posterior
        noise = jr.normal(key, (samples, *mean.shape), mean.dtype)
        return mean[None] + std[None] * noise

    def _score(
        self,
        z0: Array,
        anchor: Array,
        target: Observations,
        penalties: tuple[ode.AbstractPenalty, ...],
    ) -> tuple[Array, Array, Array, Decoded]:
        """For each sample and series: log-likelihoods of values and of times, squared error."""
        decoded = self.decode(z0, anchor, target.times, penalties)
        shape = decoded.params.shape[:4]
        values, mask = (jnp.broadcast_to(a[None], shape) for a in target[1:])
        log_x, error = (
            jnp.sum(each, axis=(-2, -1))
            for each in scores(self.likelihood, decoded.params, values, mask)
        )
        log_times = jnp.zeros_like(log_x)
        if decoded.rate is not None and decoded.integral is not None:
            log_times = poisson_log_prob(decoded.rate, decoded.integral, mask)
        return log_x, log_times, error, decoded

    def _solve(
        self,
        z0: Array,
        anchor: Array,
        times: Array,
        penalties: tuple[ode.AbstractPenalty, ...],
    ) -> ode.Solution:
        """Latent states and integrated intensities at `times`, monotone from the anchor on.

        The integrated penalties ride along, as `pb.ode.DeferredPenalty` wants them.
        """
        regularised = ode.Regularised(self.field, penalties)

        def one(t: Array, z: Array) -> tuple[tuple[Array, Array | None], tuple | None]:
            velocity, rates = regularised(t, (self._own(z), ()), None)
            rates = rates if penalties else None
            if self.poisson is None:
                return (velocity, None), rates
            hidden = z[-self.poisson.latent :]
            own = self.poisson.field(t, hidden, None)
            return (jnp.concatenate([velocity, own]), self.poisson.rate(hidden)), rates

        def field(t: Array, state: tuple, args: None) -> tuple:
            return jax.vmap(lambda z: one(t, z))(state[0][0])

        z0 = jnp.swapaxes(z0, 0, 1)
        integral = None
        if self.poisson is not None:
            rate = jax.eval_shape(lambda z: one(jnp.zeros((), z.dtype), z)[0][1], z0[0, 0])
            integral = jnp.zeros((*z0.shape[:2], *rate.shape), z0.dtype)
        # Diffrax's adjoints take None where nothing is, and no empty tuple.
        riding = (jnp.zeros(z0.shape[:2], z0.dtype),) * len(penalties) if penalties else None
        ts = jnp.concatenate([anchor[:, None], times], axis=1)
        solution = ode.solve(
            field,
            ((z0, integral), riding),
            ts,
            solver=self.solver,
            rtol=self.rtol,
            atol=self.atol,
            steps=self.steps,
            adjoint=self.adjoint,
            stepping="per_sample",
            norm=ode.state_norm,
            max_steps=self.max_steps,
            throw=False,
        )
        ys = jax.tree.map(lambda y: jnp.moveaxis(y[:, 1:], 2, 0), solution.ys)
        return ode.Solution(times, ys, solution.stats, solution.result, solution.t_reached)

"""Why a posterior falls short: the family, or the encoder."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from pullback._checked_data import check_data
from pullback._key import checked_key
from pullback._leading_axis import leading_axis
from pullback._traced import compiled
from pullback.bounds import (
    AbstractFamily,
    AuxiliaryFlow,
    CouplingFlow,
    DiagonalNormal,
    FullCovarianceNormal,
    InverseAutoregressiveFlow,
    LatentModel,
    NormalMixture,
)
from pullback.sampling import draw

from ._annealed_evidence import Annealing, Evidence, evidence_by_annealing, evidence_of
from ._local_fit import LocalFit, LocalSearch, fit_local, log_weights_of, mean_and_error

Method = Literal["ais", "iwae", "best"]
# Draws from which a posterior or a prior is given the moments that a local fit starts from.
_DRAWS = 1000


class InferenceGaps(NamedTuple):
    r"""What an amortised posterior loses of the log-evidence of each example, and where.

    $$ \log p(x) - L[q] = \underbrace{\log p(x) - L[q^*]}_{\text{approximation}}
       + \underbrace{L[q^*] - L[q]}_{\text{amortisation}} $$

    All in nats, `[n]`. An estimated log-evidence is low by chance or by its bias, and the
    approximation gap with it.

    Attributes:
        log_evidence: $\log p(x)$, or its estimate.
        log_evidence_error: its standard error; zero where it was given.
        elbo_local: $L[q^*]$, of the best posterior that was found in the local family.
        elbo_local_error: its standard error.
        elbo: $L[q]$, of the encoder's posterior.
        elbo_error: its standard error.
        amortisation_error: the standard error of $L[q^*] - L[q]$, on the same noise where the
            families are one.
        local: the local posteriors.
        log_weights: $\log p(x, z) - \log q(z)$ of samples of the encoder's, `[n, sample]`.
    """

    log_evidence: Float[Array, " n"]
    log_evidence_error: Float[Array, " n"]
    elbo_local: Float[Array, " n"]
    elbo_local_error: Float[Array, " n"]
    elbo: Float[Array, " n"]
    elbo_error: Float[Array, " n"]
    amortisation_error: Float[Array, " n"]
    local: LocalFit
    log_weights: Float[Array, "n sample"]

    @property
    def inference(self) -> Float[Array, " n"]:
        """The whole gap, $\\log p(x) - L[q]$."""
        return self.log_evidence - self.elbo

    @property
    def approximation(self) -> Float[Array, " n"]:
        """What the best of the family loses: a richer family would help."""
        return self.log_evidence - self.elbo_local

    @property
    def amortisation(self) -> Float[Array, " n"]:
        """What the encoder loses beyond that: a better encoder, or a local fit, would help."""
        return self.elbo_local - self.elbo

    @property
    def importance_weighted(self) -> Float[Array, " n"]:
        """The importance-weighted bound of the encoder's posterior, on the samples at hand."""
        return evidence_of(self.log_weights).value

    @property
    def approximation_error(self) -> Float[Array, " n"]:
        """The standard error of `approximation`."""
        return jnp.hypot(self.log_evidence_error, self.elbo_local_error)

    def __str__(self) -> str:
        """The means over the examples, with their standard errors."""
        rows = {
            "log p(x)": self.log_evidence,
            "L[q*]": self.elbo_local,
            "L[q]": self.elbo,
            "approximation": self.approximation,
            "amortisation": self.amortisation,
            "inference": self.inference,
        }
        count = len(self.elbo)
        lines = [f"nats, mean of {count} examples and its standard error"]
        for name, values in rows.items():
            error = float(jnp.std(values, ddof=1)) / count**0.5 if count > 1 else float("nan")
            lines.append(f"{name:14s} {float(jnp.mean(values)):9.3f} +- {error:.3f}")
        return "\n".join(lines)


def inference_gaps(
    model: Callable[[Any], LatentModel],
    encoder: Callable[[Any], Float[Array, "..."]],
    family: AbstractFamily,
    x: PyTree,
    *,
    local_family: AbstractFamily | None = None,
    log_evidence: str | Float[Array, " n"] | Callable[[Any], Float[Array, ""]] = "best",
    search: LocalSearch = LocalSearch(),  # noqa: B008, frozen
    annealing: Annealing = Annealing(),  # noqa: B008, frozen
    importance_samples: int = 5000,
    batch_size: int | None = None,
    progress: bool | None = None,
    key: PRNGKeyArray,
) -> InferenceGaps:
    r"""Split what an amortised posterior loses into the family's part and the encoder's.

    The best posterior of each example is fitted by `fit_local`, from the encoder's output and from
    the prior; the log-evidence is estimated, or given. Large approximation gap: take a richer
    family. Large amortisation gap: take a larger encoder, train it longer, or fit locally.

    Networks must be as they are at evaluation: no dropout, and the x that is scored binarised once.

    Args:
        model: from one example to its `LatentModel`, such as `vae.model`.
        encoder: from one example to the parameters of its posterior, such as `vae.encoder`.
        family: that the parameters are of, such as `vae.family`.
        x: examples, with a leading axis of n.
        local_family: that the best posterior is looked for in; `family` when None. With another,
            the amortisation gap may be negative: the encoder's family was the better one.
        log_evidence: "ais", annealed importance sampling; "iwae", the bound of many samples of the
            encoder's posterior, which is low where that is poor; "best", the higher of the two for
            each example; or the values, `[n]`; or a function of one example.
        search: of the local fit.
        annealing: of "ais" and "best". Vouch for it by `evidence_sandwich`.
        importance_samples: of "iwae" and "best".
        batch_size: the most examples in memory at once; all when None.
        progress: show bars on stderr. None: where stderr is a terminal.
        key: a typed PRNG key.

    Returns:
        An `InferenceGaps`; its text is a table of means.

    Raises:
        ValueError: the encoder's output does not fit the family, there is no start known for the
            local family, or `log_evidence` is none of the above.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> from pullback.bounds import DiagonalNormal
        >>> prior = dist.Normal(jnp.zeros(1), 1.0).to_event(1)
        >>> def model(x):
        ...     return LatentModel(lambda z: dist.Normal(z[0], 1.0).log_prob(x), prior)
        >>> encoder = lambda x: jnp.stack([x / 2, 0.12])  # of 1.13 as standard deviation, not 0.71
        >>> gaps = inference_gaps(
        ...     model, encoder, DiagonalNormal(1), jnp.array([2.0, -1.0]), log_evidence="iwae",
        ...     search=LocalSearch(steps=200, learning_rate=0.1), key=jax.random.key(0))
        >>> print(jnp.abs(gaps.approximation).round(1), gaps.amortisation.round(1))
        [0. 0.] [0.3 0.3]

    Source: Cremer, Li and Duvenaud, Inference Suboptimality in Variational Autoencoders, arXiv
    1801.03558.
    """
    key = checked_key(key)
    if isinstance(log_evidence, str) and log_evidence not in get_args(Method):
        raise ValueError(
            '`log_evidence` must be "ais", "iwae", "best", an array or a function, got '
            f"{log_evidence!r}."
        )
    if importance_samples < 1:
        raise ValueError(f"`importance_samples` must be 1 or more, got {importance_samples}.")
    check_data(model, x)
    count = leading_axis(x, name="x")
    params = _encode(encoder, x)
    if params.shape[1:] != family.shape:
        raise ValueError(
            f"`encoder` must give parameters of the family's `shape`, {family.shape}, got "
            f"{params.shape[1:]}."
        )
    starts_key, local_key, own_key, evidence_key = jr.split(key, 4)
    local = family if local_family is None else local_family
    _check_startable(local)
    starts = _starts(model, family, local, local_family is None, x, params, starts_key)
    fit = fit_local(
        model, local, x, starts, search=search, batch_size=batch_size, progress=progress,
        key=local_key,
    )  # fmt: skip
    # The key of `fit`'s own evaluation, so that posteriors of one family meet the same noise.
    _, same_noise = jr.split(local_key)
    log_weights = log_weights_of(
        model, family, x, params, stacked=False, samples=search.evaluation_samples,
        batch_size=batch_size, progress=progress, key=same_noise,
    )  # fmt: skip
    elbo, elbo_error = mean_and_error(log_weights)
    _, apart_error = mean_and_error(fit.log_weights - log_weights)

    if isinstance(log_evidence, str):
        found = []
        if log_evidence != "iwae":
            found.append(
                evidence_by_annealing(
                    model,
                    x,
                    annealing=annealing,
                    batch_size=batch_size,
                    progress=progress,
                    key=evidence_key,
                )
            )
        if log_evidence != "ais":
            many = log_weights_of(
                model, family, x, params, stacked=False, samples=importance_samples,
                batch_size=batch_size, progress=progress, key=own_key,
            )  # fmt: skip
            found.append(evidence_of(many))
        evidence = _higher(found)
    else:
        evidence = _given(log_evidence, x, count, elbo)
    return InferenceGaps(
        *evidence, fit.elbo, fit.standard_error, elbo, elbo_error, apart_error, fit, log_weights
    )


@compiled
def _encode(encoder: Callable[[Any], Array], x: PyTree) -> Array:
    return jax.vmap(encoder)(x)


@compiled
def _starts(
    model: Callable[[Any], LatentModel],
    family: AbstractFamily,
    local: AbstractFamily,
    same: bool,
    x: PyTree,
    params: Float[Array, "n ..."],
    key: PRNGKeyArray,
) -> Float[Array, "n start ..."]:
    """Of each example the encoder's posterior and the prior, as parameters of the local family."""
    keys = jr.split(key, _DRAWS)

    def one(x: Any, params: Array) -> Array:
        prior = jax.vmap(lambda key: draw(model(x).prior, key))(keys)
        by_prior = _of_moments(local, jnp.mean(prior, axis=0), jnp.std(prior, axis=0))
        if same:
            return jnp.stack([params, by_prior])
        if isinstance(family, DiagonalNormal):
            mean, log_std = jnp.split(params, 2, axis=-1)
            return jnp.stack([_of_moments(local, mean, jnp.exp(log_std)), by_prior])
        z = jax.vmap(lambda key: draw(family(params), key))(keys)
        z = z[0] if isinstance(z, tuple) else z  # without auxiliary variables
        by_encoder = _of_moments(local, jnp.mean(z, axis=0), jnp.std(z, axis=0))
        return jnp.stack([by_encoder, by_prior])

    return jax.vmap(one)(x, params)


def _of_moments(family: AbstractFamily, mean: Array, std: Array) -> Array:
    """Parameters of a member with about these moments."""
    begin = jnp.concatenate([mean, jnp.log(std)], axis=-1)
    if isinstance(family, DiagonalNormal):
        return begin
    if isinstance(family, NormalMixture):
        components = family.shape[0]
        # Apart, for components that are alike stay alike; fixed, so that a start is a start.
        apart = jr.normal(jr.key(0), (components, len(mean)), mean.dtype)
        rows = jnp.concatenate(
            [mean + apart * std, jnp.broadcast_to(jnp.log(std), apart.shape)], axis=1
        )
        return jnp.concatenate([jnp.zeros((components, 1), mean.dtype), rows], axis=1)
    # Of a full covariance the rest are what is off the diagonal, of a flow its context.
    return jnp.concatenate([begin, jnp.zeros(family.shape[0] - len(begin), begin.dtype)])


def _check_startable(family: AbstractFamily) -> None:
    known = (
        DiagonalNormal, FullCovarianceNormal, NormalMixture, CouplingFlow,
        InverseAutoregressiveFlow, AuxiliaryFlow,
    )  # fmt: skip
    if not isinstance(family, known):
        raise ValueError(
            f"`local_family` is a {type(family).__name__}, for which no start is known: call "
            "`fit_local` with `starts` of your own."
        )


def _higher(found: list[Evidence]) -> Evidence:
    if len(found) == 1:
        return found[0]
    one, other = found
    first = one.value >= other.value
    return Evidence(*(jnp.where(first, a, b) for a, b in zip(one, other, strict=True)))


def _given(values: Any, x: PyTree, count: int, like: Array) -> Evidence:
    if callable(values):
        values = _of_each(values, x)
    values = jnp.asarray(values, like.dtype)
    if values.shape != (count,):
        raise ValueError(f"`log_evidence` must be one number for each example, [{count}], got "
                         f"{list(values.shape)}.")  # fmt: skip
    return Evidence(values, jnp.zeros_like(values))


@compiled
def _of_each(function: Callable[..., Any], x: PyTree) -> Array:
    return jax.vmap(function)(x)

"""What a latent ODE says: of the data along its paths, and of how likely they are."""

from typing import NamedTuple

from jaxtyping import Array, Float

from pullback import ode

from ._encoder import Posterior


class Decoded(NamedTuple):
    """Latent paths, and what they say of the data.

    Attributes:
        params: of the likelihood, `[sample, batch, query, variable]`, and more axes where it has
            more than one parameter.
        mean: the noiseless values, `[sample, batch, query, variable]`; of classes their
            probabilities, with one more axis.
        rate: intensities of observation times, `[sample, batch, query, variable]`; None without a
            Poisson head.
        integral: their integrals from the anchor on; None without a Poisson head.
        penalties: each integrated along the whole path, `[sample, batch]`.
        solution: how the solves ended; its `ys` are the latent states, `[sample, batch, query,
            latent]`.
    """

    params: Float[Array, "sample batch query variable ..."]
    mean: Float[Array, "sample batch query variable *classes"]
    rate: Float[Array, "sample batch query variable"] | None
    integral: Float[Array, "sample batch query variable"] | None
    penalties: tuple[Float[Array, "sample batch"], ...]
    solution: ode.Solution


class ELBOTerms(NamedTuple):
    """A lower bound of each series' log-likelihood, and its parts, in nats.

    Attributes:
        elbo: `log_likelihood + poisson_weight * log_times - beta * kl`, `[batch]`.
        log_likelihood: of the values, averaged over posterior samples, `[batch]`.
        log_times: of when they were observed, averaged likewise; 0 without a Poisson head.
        kl: from the posterior to the prior, `[batch]`.
        squared_error: of the decoded values, summed over what was observed, `[batch]`; of classes,
            Brier's score.
        penalties: each integrated along the path, averaged over posterior samples, `[batch]`.
        posterior: of the latent state.
        z0: the samples, `[sample, batch, latent]`.
        result: how each solve ended, a code of `pb.ode.Result`; `[batch]`.
    """

    elbo: Float[Array, " batch"]
    log_likelihood: Float[Array, " batch"]
    log_times: Float[Array, " batch"]
    kl: Float[Array, " batch"]
    squared_error: Float[Array, " batch"]
    penalties: tuple[Float[Array, " batch"], ...]
    posterior: Posterior
    z0: Float[Array, "sample batch latent"]
    result: Array

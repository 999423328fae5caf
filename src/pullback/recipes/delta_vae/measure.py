"""What the recipe `delta-vae` measures of trained models, and what is known exactly."""

from collections.abc import Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pullback.bounds import leave_one_out_upper, pairwise_log_prob, tnce
from pullback.models.vae import (
    AR1Prior,
    AutoregressivePrior,
    aggregate_normal,
    fit_auxiliary_prior,
)
from pullback.nn import CausalConvNet
from pullback.recipes.delta_vae.models import Config

_LATENT = ("mean", "scale", "z", "mean_fit", "scale_fit")

# Lengths and correlations at which the committed rate is compared with a minimiser.
CASES = ((2, 0.9), (8, 0.5), (8, 0.9), (32, 0.95))


def committed_rates() -> list[dict[str, float | int]]:
    """The committed rate in closed form, and by minimising the divergence."""
    with jax.enable_x64(True):
        return [_least(*case) for case in CASES]


def _least(length: int, alpha: float) -> dict[str, float | int]:
    prior = AR1Prior((alpha,), length)

    @jax.jit
    @jax.value_and_grad
    def rate(params: Array) -> Array:
        mean, log_scale = params.reshape(2, length, 1)
        return prior.kl_from(dist.Normal(mean, jnp.exp(log_scale), validate_args=False))

    start = 0.1 * np.random.default_rng(0).standard_normal(2 * length)
    found = minimize(rate, start, jac=True, method="L-BFGS-B", options={"ftol": 0, "gtol": 1e-10})
    return {
        "length": length,
        "alpha": alpha,
        "closed": prior.committed_rate,
        "minimised": float(found.fun),
    }


def exact(config: Config, x: np.ndarray, states: np.ndarray) -> dict[str, float]:
    """Of the process itself: its entropy on x, and how often its own inference is right.

    Forward and backward sums over the two hidden states; `accuracy` is the best that any code of
    the whole sequence can do.
    """
    ones, zeros = x.sum(-1), (1 - x).sum(-1)
    high, low = np.log(config.contrast), np.log(1 - config.contrast)
    emitted = np.stack([ones * low + zeros * high, ones * high + zeros * low], axis=-1)
    move = np.log(np.array([[config.stay, 1 - config.stay], [1 - config.stay, config.stay]]))
    forward = [emitted[:, 0] + np.log(0.5)]
    for t in range(1, x.shape[1]):
        forward.append(
            emitted[:, t] + np.logaddexp.reduce(forward[-1][:, :, None] + move[None], axis=1)
        )
    backward = [np.zeros_like(forward[0])]
    for t in range(x.shape[1] - 1, 0, -1):
        later = (emitted[:, t] + backward[0])[:, None] + move[None]
        backward.insert(0, np.logaddexp.reduce(later, axis=2))
    both = np.stack(forward, 1) + np.stack(backward, 1)
    return {
        "entropy": -float(np.mean(np.logaddexp.reduce(forward[-1], axis=1))),
        "accuracy": float(np.mean(both.argmax(-1) == states)),
    }


def measure(config: Config, found: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """What the new sequences say of each seed's model, in nats and shares."""
    rows = []
    for index in range(len(found["distortion"])):
        one = {name: found[name][index] for name in found if name != "steps"}
        lower, upper, auxiliary = _information(
            {name: jnp.asarray(one[name]) for name in _LATENT}, config.batch_of_bound
        )
        rows.append(
            {
                "distortion": float(one["distortion"].mean()),
                "rate": float(one["rates"].mean()),
                "auxiliary": float(auxiliary),
                "lower": float(lower),
                "upper": float(upper),
                "probe": probe(one["z"], one["states"]),
                "probe_of_means": probe(one["mean"], one["states"]),
                "spread_of_means": float(one["mean"].std()),
            }
        )
    return {name: [row[name] for row in rows] for name in rows[0]}


@eqx.filter_jit
def _information(latent: dict[str, Array], size: int) -> tuple[Array, Array, Array]:
    """Bounds on the information in z, over batches of `size`, and the rate under a normal."""
    mean, scale, z, mean_fit, scale_fit = (latent[name] for name in _LATENT)
    normal = lambda mean, scale: dist.Normal(mean, scale, validate_args=False)
    prior = aggregate_normal(normal(mean_fit, scale_fit))
    auxiliary = jnp.mean(prior.kl_from(normal(mean, scale)))
    count = max(len(z) // size, 1)
    size = min(size, len(z))
    batched = jax.tree.map(
        lambda rows: rows[: count * size].reshape(count, size, *rows.shape[1:]), (mean, scale, z)
    )

    def bounds(rows: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        mean, scale, z = rows
        conditional = lambda q: normal(*q).to_event(2)
        scores = pairwise_log_prob(conditional, (mean, scale), z)
        return tnce(scores), leave_one_out_upper(scores)

    lower, upper = jax.lax.map(bounds, batched)
    return jnp.mean(lower), jnp.mean(upper), auxiliary


def probe(latents: Float[np.ndarray, "n time channel"], states: np.ndarray) -> float:
    """How often a linear classifier reads the hidden state of a step from its latents."""
    half = len(latents) // 2
    rows = lambda part: part.reshape(-1, latents.shape[-1])
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(rows(latents[:half]), states[:half].ravel())
    return float(model.score(rows(latents[half:]), states[half:].ravel()))


def autoregressive_rate(
    config: Config, found: Mapping[str, np.ndarray], seeds: Sequence[int], steps: int
) -> list[float]:
    """The rate under an autoregressive prior that is fitted to the aggregate posterior."""
    size = found["z"].shape[-1]
    rates = []
    for index, seed in enumerate(seeds):
        start, draws = jr.split(jr.key(seed))
        net = CausalConvNet(size, 2 * size, config.width, dilations=(1, 2, 4, 8), key=start)
        fitted = dist.Normal(found["mean_fit"][index], found["scale_fit"][index])
        prior, _ = fit_auxiliary_prior(
            AutoregressivePrior(net, steps=config.length),
            fitted,
            steps=steps,
            progress=False,
            key=draws,
        )
        z = jnp.asarray(found["z"][index])
        log_q = dist.Normal(found["mean"][index], found["scale"][index]).to_event(2).log_prob(z)
        rates.append(float(jnp.mean(log_q - eqx.filter_jit(prior.log_prob)(z))))
    return rates

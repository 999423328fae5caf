"""A posterior with two modes, which the recipe `sde-bnn` fits and quadrature knows exactly.

A scalar z starts from N(0, 9) and follows dz = -0.1 z dt + sqrt(2) dB up to t = 3. It is
seen twice, as -5 and as 5, with a scatter of Cauchy's distribution of scale 0.5: z is near one of
the two.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.models.bayes import KL, OUPrior, WeightProcess
from pullback.nn import ConcatSquashMLP
from pullback.recipes.sde_bnn.stack import unstacked
from pullback.sampling import grad_stats

RATE, SIGMA, END, START_STD, SCALE = 0.1, math.sqrt(2), 3.0, 3.0, 0.5
WIDTH = 32
DATA = (-5.0, 5.0)
FORMS: tuple[KL, ...] = ("sticking_the_landing", "analytic", "monte_carlo")


def process(key: PRNGKeyArray) -> WeightProcess:
    correction = ConcatSquashMLP(1, WIDTH, 2, activation=jax.nn.swish, key=key)
    return WeightProcess(jnp.zeros(1), OUPrior(sigma=SIGMA, rate=RATE), correction)


class BimodalLoss(eqx.Module):
    """Minus the evidence lower bound, by sampling. The start is drawn from the prior."""

    paths: int = eqx.field(static=True)
    steps: int = eqx.field(static=True)
    form: KL = eqx.field(static=True)

    def __call__(
        self, model: WeightProcess, batch: Float[Array, " data"], *, key: PRNGKeyArray
    ) -> tuple[Array, dict[str, Array]]:
        _, log_weight, result = self.draws(model, batch, key)
        return -jnp.mean(log_weight), {"result": result}

    def draws(
        self, model: WeightProcess, data: Float[Array, " data"], key: PRNGKeyArray
    ) -> tuple[Float[Array, " paths"], Float[Array, " paths"], Array]:
        """Where paths end, and log p(data | end) - log q / p of each."""
        start_key, noise_key = jr.split(key)
        start = START_STD * jr.normal(start_key, (self.paths, 1), data.dtype)
        found = model.sample(
            [0.0, END],
            paths=self.paths,
            start=start,
            kl=self.form,
            steps=self.steps,
            throw=False,
            key=noise_key,
        )
        z = found.weights[-1, :, 0]
        return z, log_likelihood(z, data) - found.kl[-1], found.solution.result


def log_likelihood(z: Float[Array, " n"], data: Float[Array, " data"]) -> Float[Array, " n"]:
    """The log-density of the data, in nats, at each z."""
    apart = (z[:, None] - data[None]) / SCALE
    return -jnp.sum(jnp.log1p(jnp.square(apart)) + math.log(math.pi * SCALE), axis=1)


def truth() -> dict[str, Any]:
    """By quadrature: the posterior of z at the end, its evidence, and the best Gaussian for it.

    `least_gap` is the price of starting from the prior: the posterior would start elsewhere.
    """
    z = np.linspace(-30, 30, 12001)
    width = z[1] - z[0]
    loglik = -np.sum(
        np.log1p(((z[:, None] - np.array(DATA)) / SCALE) ** 2) + np.log(np.pi * SCALE), axis=1
    )
    gain = math.exp(-RATE * END)
    noise = SIGMA**2 / (2 * RATE) * (1 - gain**2)
    normal = lambda mean, variance: (
        -0.5 * ((z - mean) ** 2 / variance + np.log(2 * np.pi * variance))
    )
    log_prior = normal(0.0, START_STD**2 * gain**2 + noise)
    integral = lambda logs: np.log(np.sum(np.exp(logs)) * width)
    evidence = integral(log_prior + loglik)
    posterior = np.exp(log_prior + loglik - evidence)
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    given_start = [integral(normal(START_STD * x * gain, noise) + loglik) for x in nodes]
    mean, variance, bound = _best_gaussian(z, log_prior + loglik)
    gaussian = np.exp(normal(mean, variance))
    return {
        "z": z,
        "posterior": posterior,
        "gaussian": gaussian,
        "gaussian_right": float(np.sum(gaussian[z > 0]) * width),
        "evidence": float(evidence),
        "least_gap": float(evidence - np.dot(weights, given_start) / weights.sum()),
        "gaussian_gap": float(evidence - bound),
        "gaussian_tv": float(0.5 * np.sum(np.abs(posterior - gaussian)) * width),
    }


def _best_gaussian(z: np.ndarray, log_joint: np.ndarray) -> tuple[float, float, float]:
    """Mean and variance that maximise the bound, and the bound, on grids that close in on them."""
    width = z[1] - z[0]
    centre, reach = np.array([3.0, 0.0]), np.array([3.0, 2.5])
    for _ in range(6):
        means, logs = (np.linspace(c - r, c + r, 25) for c, r in zip(centre, reach, strict=True))
        mean, log_std = (grid.reshape(-1, 1) for grid in np.meshgrid(means, logs))
        log_q = -0.5 * ((z - mean) / np.exp(log_std)) ** 2 - log_std - 0.5 * np.log(2 * np.pi)
        bounds = np.sum(np.exp(log_q) * (log_joint - log_q), axis=1) * width
        best = int(np.argmax(bounds))
        centre, reach = np.array([mean[best, 0], log_std[best, 0]]), reach / 4
    return float(centre[0]), float(np.exp(2 * centre[1])), float(bounds[best])


def measure(
    models: WeightProcess, seeds: int, steps: tuple[int, ...], draws: int, seed: int
) -> dict[str, Any]:
    """For each process: gaps by number of steps, where paths end, gradient noise of the forms."""
    data = jnp.asarray(DATA, models.start.dtype)
    exact = truth()
    edges = np.linspace(-10, 10, 81)
    # The share of the posterior in each bin, and outside of all.
    mass = np.interp(edges, exact["z"], np.cumsum(exact["posterior"]) * np.diff(exact["z"])[0])
    share = np.append(np.diff(mass), 1 - (mass[-1] - mass[0]))
    found = {"gap": [], "error": [], "tv": [], "right": [], "histogram": [], "noise": []}
    for number in range(seeds):
        model = unstacked(models, number, 0)
        key = jr.fold_in(jr.key(seed), number)
        gaps, errors = [], []
        for n in steps:
            z, log_weight, _ = _draws(BimodalLoss(draws, n, "monte_carlo"), model, data, key)
            gaps.append(exact["evidence"] - float(jnp.mean(log_weight)))
            errors.append(float(jnp.std(log_weight)) / math.sqrt(draws))
        histogram = np.histogram(np.asarray(z), edges)[0] / draws
        drawn = np.append(histogram, 1 - histogram.sum())
        found["gap"].append(gaps)
        found["error"].append(errors)
        found["tv"].append(float(0.5 * np.abs(drawn - share).sum()))
        found["right"].append(float(np.mean(np.asarray(z) > 0)))
        found["histogram"].append(histogram / (edges[1] - edges[0]))
        found["noise"].append([_noise(form, model, steps[0], data, key) for form in FORMS])
    return {"edges": edges, "steps": list(steps)} | found


@eqx.filter_jit
def _draws(loss: BimodalLoss, model: WeightProcess, data: Array, key: PRNGKeyArray) -> tuple:
    return loss.draws(model, data, key)


class _Draw(eqx.Module):
    loss: BimodalLoss
    data: Array

    def __call__(self, model: WeightProcess, *, key: PRNGKeyArray) -> Array:
        return self.loss(model, self.data, key=key)[0]


def _noise(form: KL, model: WeightProcess, steps: int, data: Array, key: PRNGKeyArray) -> float:
    """The root mean square over parameters of the gradient's standard deviation, with 16 paths."""
    loss = _Draw(BimodalLoss(16, steps, form), data)
    moments = grad_stats(loss, model, jr.split(key, 32))
    flat = jnp.concatenate([x.ravel() for x in jax.tree.leaves(moments.std)])
    return float(jnp.sqrt(jnp.mean(jnp.square(flat))))

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
from scipy.optimize import minimize

from pullback.models.bayes import KL, OUPrior, WeightProcess
from pullback.nn import ConcatSquashMLP
from pullback.plots import PALETTE, figure, line_with_spread
from pullback.recipes._kit.stack import made, unstacked
from pullback.recipes.sde_bnn.stack import trained
from pullback.runs import Context
from pullback.sampling import grad_stats

RATE, SIGMA, END, START_STD, SCALE = 0.1, math.sqrt(2), 3.0, 3.0, 0.5
DATA = (-5.0, 5.0)
EDGES = np.linspace(-10, 10, 81)


class Bound(eqx.Module):
    """Minus the evidence lower bound, by sampling. The start is drawn from the prior."""

    paths: int = eqx.field(static=True)
    steps: int = eqx.field(static=True)
    form: KL = eqx.field(static=True)

    def __call__(self, model: WeightProcess, *, key: PRNGKeyArray) -> Array:
        return -jnp.mean(self.draws(model, key)[1])

    def draws(
        self, model: WeightProcess, key: PRNGKeyArray
    ) -> tuple[Float[Array, " paths"], Float[Array, " paths"], Array]:
        """Where paths end, log p(data | end) - log q / p of each, and how the solve ended."""
        start_key, noise_key = jr.split(key)
        start = START_STD * jr.normal(start_key, (self.paths, 1), model.start.dtype)
        found = model.sample(
            [0.0, END], paths=self.paths, start=start, kl=self.form, steps=self.steps, throw=False,
            key=noise_key,
        )  # fmt: skip
        z = found.weights[-1, :, 0]
        apart = (z[:, None] - jnp.asarray(DATA, z.dtype)) / SCALE
        log_likelihood = -jnp.sum(jnp.log1p(jnp.square(apart)) + math.log(math.pi * SCALE), axis=1)
        return z, log_likelihood - found.kl[-1], found.solution.result


def processes(context: Context, seeds: int, steps: int, iterations: int) -> Any:
    """One process for each seed, trained to be the posterior."""

    def loss(model: WeightProcess, batch: Array, *, key: PRNGKeyArray) -> tuple:
        _, log_weight, result = Bound(128, steps, "sticking_the_landing").draws(model, key)
        return -jnp.mean(log_weight), {"result": result}

    keys = jr.split(jr.fold_in(jr.key(context.seed), 4), (seeds, 1))
    models = made(eqx.filter_vmap(eqx.filter_vmap(_process)), keys)
    data = np.tile(np.asarray(DATA, np.float32)[:, None], seeds)
    return trained(
        context, "two-modes", models, loss, data, steps=iterations, learning_rate=5e-3, batch_size=2
    )


def _process(key: PRNGKeyArray) -> WeightProcess:
    correction = ConcatSquashMLP(1, 32, 2, activation=jax.nn.swish, key=key)
    return WeightProcess(jnp.zeros(1), OUPrior(sigma=SIGMA, rate=RATE), correction)


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
    log_joint = normal(0.0, START_STD**2 * gain**2 + noise) + loglik
    integral = lambda logs: np.log(np.sum(np.exp(logs)) * width)
    evidence = integral(log_joint)
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    given_start = [integral(normal(START_STD * x * gain, noise) + loglik) for x in nodes]

    def gap(parameters: np.ndarray) -> float:
        log_q = normal(parameters[0], np.exp(2 * parameters[1]))
        return float(evidence - np.sum(np.exp(log_q) * (log_joint - log_q)) * width)

    best = minimize(gap, [3.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9})
    return {
        "z": z,
        "posterior": np.exp(log_joint - evidence),
        "gaussian": np.exp(normal(best.x[0], np.exp(2 * best.x[1]))),
        "evidence": float(evidence),
        "least_gap": float(evidence - np.dot(weights, given_start) / weights.sum()),
        "gaussian_gap": float(best.fun),
    }


def measure(
    models: WeightProcess, evidence: float, steps: tuple[int, int], draws: int, seed: int
) -> dict[str, np.ndarray]:
    """For each process: the gap with the last steps, where paths end, noise of two gradients."""
    found = {"gap": [], "histogram": [], "noise": []}
    for number, members in enumerate(unstacked(models)):
        [model] = unstacked(members)
        key = jr.fold_in(jr.key(seed), number)
        z, log_weight, _ = eqx.filter_jit(Bound(draws, steps[1], "monte_carlo").draws)(model, key)
        found["gap"].append(evidence - float(jnp.mean(log_weight)))
        found["histogram"].append(np.histogram(z, EDGES)[0] / draws / (EDGES[1] - EDGES[0]))
        found["noise"].append(
            [_noise(Bound(16, steps[0], form), model, key)
             for form in ("sticking_the_landing", "analytic")]
        )  # fmt: skip
    return {name: np.array(rows) for name, rows in found.items()}


def _noise(bound: Bound, model: WeightProcess, key: PRNGKeyArray) -> float:
    """The root mean square over parameters of the gradient's standard deviation."""
    std = jax.tree.leaves(grad_stats(bound, model, jr.split(key, 32)).std)
    return float(jnp.sqrt(jnp.mean(jnp.square(jnp.concatenate([x.ravel() for x in std])))))


def draw(context: Context, exact: dict[str, Any], histograms: np.ndarray, steps: int) -> None:
    fig, ax = figure(width=7.2, height=3.9)
    ax.fill_between(exact["z"], exact["posterior"], color="grey", alpha=0.35, linewidth=0,
                    label="posterior, by quadrature")  # fmt: skip
    ax.plot(exact["z"], exact["gaussian"], color=PALETTE[1], linestyle="--", label="best Gaussian")
    centres = (EDGES[:-1] + EDGES[1:]) / 2
    line_with_spread(ax, centres, histograms, label="SDE posterior", colour=PALETTE[0], marker=None)
    ax.set(title="A posterior with two modes", xlabel="z, the weight at t = 3", ylabel="density")
    ax.set(xlim=(-9, 9), ylim=(0, None))
    ax.legend()
    context.figure(
        "two-modes",
        fig,
        "The weight's posterior given two observations, -5 and 5. A process with a learned drift "
        f"bends one Gaussian into both modes (a histogram of the ends of its paths, drawn with "
        f"{steps} steps: mean over seeds, band of one standard deviation). The best "
        "Gaussian covers both and is highest where the posterior is lowest.",
        alt="A grey density with peaks at -5 and 5; the process follows both, the Gaussian none.",
    )

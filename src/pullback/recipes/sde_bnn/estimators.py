"""The three forms of the KL where the true posterior is known, for the recipe `sde-bnn`.

A weight follows dw = -w dt + 0.7 dB from 0.4, and y = 1.2 is seen of w_1 with Gaussian noise of
standard deviation 0.3. The control that leads to the true posterior is known, and the family
phi_1 u* + phi_2 holds it at phi = (1, 0).
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.models.bayes import KL, OUPrior, WeightProcess
from pullback.plots import PALETTE, figure, line_with_spread
from pullback.runs import Context
from pullback.sampling import grad_stats

FORMS: tuple[KL, ...] = ("analytic", "monte_carlo", "sticking_the_landing")
RATE, SIGMA, NOISE, SEEN, START = 1.0, 0.7, 0.3, 1.2, 0.4


class Control(eqx.Module):
    """sigma (phi_1 u* + phi_2), in which u* is the exact control."""

    phi: Float[Array, " 2"]

    def __call__(self, t: Any, w: Float[Array, " 1"], args: Any = None) -> Float[Array, " 1"]:
        shrink = jnp.exp(-RATE * (1 - t)).astype(w.dtype)
        variance = SIGMA**2 * (1 - jnp.square(shrink)) / (2 * RATE)
        exact = SIGMA * shrink * (SEEN - w * shrink) / (NOISE**2 + variance)
        return SIGMA * (self.phi[0] * exact + self.phi[1])


class Bounds(eqx.Module):
    """The sum of the bounds by all forms, each with a control and a path of its own.

    Each is log p(y | w_1) - KL along one path: an unbiased draw of the evidence lower bound.
    """

    steps: int = eqx.field(static=True)

    def __call__(self, controls: dict[str, Control], *, key: PRNGKeyArray) -> Float[Array, ""]:
        keys = jr.split(key, len(FORMS))
        drawn = [self.one(form, controls[form], k) for form, k in zip(FORMS, keys, strict=True)]
        return jnp.sum(jnp.stack(drawn))

    def one(self, form: KL, control: Control, key: PRNGKeyArray) -> Float[Array, ""]:
        start = jnp.full(1, START, control.phi.dtype)
        process = WeightProcess(start, OUPrior(sigma=SIGMA, rate=RATE), control)
        found = process.sample([0.0, 1.0], paths=1, kl=form, steps=self.steps, throw=False, key=key)
        apart = (SEEN - found.weights[-1, 0, 0]) / NOISE
        log_likelihood = -0.5 * jnp.square(apart) - np.log(NOISE) - 0.5 * np.log(2 * np.pi)
        return log_likelihood - found.kl[-1, 0]


def measure(steps: Sequence[int], draws: int, seeds: int, seed: int) -> np.ndarray:
    """Deviations of the gradients in phi at the true posterior, `[seed, form, steps, 2]`."""
    exact = {form: Control(jnp.asarray((1.0, 0.0))) for form in FORMS}
    found = []
    for number in range(seeds):
        keys = jr.split(jr.fold_in(jr.key(seed), number), draws)
        stds = [grad_stats(Bounds(n), exact, keys).std for n in steps]
        found.append([[np.asarray(std[form].phi) for std in stds] for form in FORMS])
    return np.array(found)


def draw(context: Context, noise: np.ndarray, steps: Sequence[int]) -> None:
    fig, ax = figure(width=6.0, height=4.0)
    size, total = 1 / np.array(steps), np.linalg.norm(noise, axis=-1)
    labels = ("analytic (Li et al., 2020)", "Monte Carlo", "sticking the landing (the paper)")
    for which, (label, k) in enumerate(zip(labels, (1, 4, 0), strict=True)):
        line_with_spread(ax, size, total[:, which], label=label, colour=PALETTE[k])
    ax.plot(size, total[:, 2].mean(axis=0)[0] * size / size[0], color="grey", linestyle=":",
            label="in proportion to the step")  # fmt: skip
    ax.set(title="Noise of the gradient at the true posterior", xlabel="step size (depth 1 in all)")
    ax.set(ylabel="standard deviation, one path", xscale="log", yscale="log")
    ax.set_xticks(size, [f"1/{n}" for n in steps])
    ax.minorticks_off()
    ax.invert_xaxis()
    ax.legend()
    context.figure(
        "estimators",
        fig,
        "Standard deviation (norm over the two parameters) of three unbiased gradients of the same "
        "bound, where the process is the true posterior. That of the paper vanishes with the step; "
        "the others do not.",
    )

"""The three forms of the KL where the true posterior is known, for the recipe `sde-bnn`.

A weight follows dw = -w dt + 0.7 dB from 0.4, and y = 1.2 is seen of w_1 with Gaussian noise of
standard deviation 0.3. The control that leads to the true posterior is known, and the family
phi_1 u* + phi_2 holds it at phi = (1, 0).
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray

from pullback.models.bayes import KL, OUPrior, WeightProcess
from pullback.sampling import grad_stats

FORMS: tuple[KL, ...] = ("analytic", "monte_carlo", "sticking_the_landing")
RATE, SIGMA, NOISE, SEEN, START = 1.0, 0.7, 0.3, 1.2, 0.4
OPTIMUM, ELSEWHERE = (1.0, 0.0), (0.5, 0.3)
# log N(y; mean, variance) of the linear-Gaussian model.
MEAN = START * np.exp(-RATE)
VARIANCE = SIGMA**2 * (1 - np.exp(-2 * RATE)) / (2 * RATE) + NOISE**2
LOG_EVIDENCE = -0.5 * ((SEEN - MEAN) ** 2 / VARIANCE + np.log(2 * np.pi * VARIANCE))


class Control(eqx.Module):
    """sigma (phi_1 u* + phi_2), in which u* is the exact control."""

    phi: Float[Array, " 2"]

    def __call__(self, t: Any, w: Float[Array, " 1"], args: Any = None) -> Float[Array, " 1"]:
        shrink = jnp.exp(-RATE * (1 - t)).astype(w.dtype)
        variance = SIGMA**2 * (1 - jnp.square(shrink)) / (2 * RATE)
        exact = SIGMA * shrink * (SEEN - w * shrink) / (NOISE**2 + variance)
        return SIGMA * (self.phi[0] * exact + self.phi[1])


class Bound(eqx.Module):
    """log p(y | w_1) - KL along one path: an unbiased draw of the evidence lower bound."""

    form: KL = eqx.field(static=True)
    steps: int = eqx.field(static=True)

    def __call__(self, control: Control, *, key: PRNGKeyArray) -> Float[Array, ""]:
        start = jnp.full(1, START, control.phi.dtype)
        process = WeightProcess(start, OUPrior(sigma=SIGMA, rate=RATE), control)
        found = process.sample(
            [0.0, 1.0], paths=1, kl=self.form, steps=self.steps, throw=False, key=key
        )
        apart = (SEEN - found.weights[-1, 0, 0]) / NOISE
        log_likelihood = -0.5 * jnp.square(apart) - np.log(NOISE) - 0.5 * np.log(2 * np.pi)
        return log_likelihood - found.kl[-1, 0]


class AllBounds(eqx.Module):
    """The sum of the bounds by all forms, each with a control and a path of its own."""

    steps: int = eqx.field(static=True)

    def __call__(self, controls: dict[str, Control], *, key: PRNGKeyArray) -> Float[Array, ""]:
        return jnp.sum(self.each(controls, key))

    def each(self, controls: dict[str, Control], key: PRNGKeyArray) -> Float[Array, " forms"]:
        """The bound by each form."""
        drawn = [
            Bound(form, self.steps)(controls[form], key=own)
            for form, own in zip(FORMS, jr.split(key, len(FORMS)), strict=True)
        ]
        return jnp.stack(drawn)


def measure(steps: Sequence[int], draws: int, seeds: int, seed: int) -> dict[str, np.ndarray]:
    """Gradients in phi of each form: their spread at the optimum, and mean and spread elsewhere.

    Arrays are `[seed, form, steps, 2]`; away from the optimum `[seed, form, 2]`, at the first
    number of steps. `bound` and `bound_std`, of the bound at the optimum with the last number of
    steps, are `[seed, form]`.
    """
    found = {name: [] for name in ("std", "mean_elsewhere", "std_elsewhere", "bound", "bound_std")}
    for number in range(seeds):
        keys = jr.split(jr.fold_in(jr.key(seed), number), draws)
        at_optimum = [grad_stats(AllBounds(n), _controls(OPTIMUM), keys).std for n in steps]
        away = grad_stats(AllBounds(steps[0]), _controls(ELSEWHERE), keys)
        values = np.asarray(_values(AllBounds(steps[-1]), _controls(OPTIMUM), keys))
        found["std"].append([[np.asarray(std[form].phi) for std in at_optimum] for form in FORMS])
        found["mean_elsewhere"].append([np.asarray(away.mean[form].phi) for form in FORMS])
        found["std_elsewhere"].append([np.asarray(away.std[form].phi) for form in FORMS])
        found["bound"].append(values.mean(axis=0))
        found["bound_std"].append(values.std(axis=0, ddof=1))
    return {name: np.array(rows) for name, rows in found.items()}


def _controls(phi: tuple[float, float]) -> dict[str, Control]:
    return {form: Control(jnp.asarray(phi)) for form in FORMS}


@eqx.filter_jit
def _values(
    bounds: AllBounds, controls: dict[str, Control], keys: Key[Array, " draws"]
) -> Float[Array, "draws forms"]:
    return jax.vmap(lambda key: bounds.each(controls, key))(keys)

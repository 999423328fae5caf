"""What the recipe `residual-flow` measures of its estimates and its flows."""

import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optimistix as optx
from jaxtyping import Float

from pullback.calculus import Anderson, ExactLogDet, Geometric, RouletteLogDet
from pullback.models.flows import ResidualFlow, with_log_det

SOLVERS = {
    "plain iteration": optx.FixedPointIteration(1e-6, 1e-6),
    "Anderson": Anderson(1e-6, 1e-6),
    "Newton": optx.Newton(1e-5, 1e-5),
}


def unbiased(
    flow: ResidualFlow, x: Float[np.ndarray, "n 2"], ratio: float, draws: int, seed: int
) -> dict[str, float]:
    """The mean of roulette draws of the log-likelihood and its gradient, against the exact ones."""
    rows = jnp.asarray(x, float)

    def objective(params: Any, static: Any, key: Any) -> Any:
        return jnp.mean(eqx.combine(params, static).log_prob(rows, key=key))

    def value_and_grad(method: Any, key: Any) -> Any:
        params, static = eqx.partition(with_log_det(flow, method), eqx.is_inexact_array)
        value, gradient = jax.value_and_grad(objective)(params, static, key)
        return value, jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(gradient)])

    exact, slope = eqx.filter_jit(value_and_grad)(ExactLogDet(), jr.key(0))
    method = RouletteLogDet(Geometric(ratio))
    many = jax.jit(jax.vmap(lambda key: value_and_grad(method, key)))
    parts = [many(keys) for keys in jr.split(jr.key(seed), draws).reshape(20, -1)]
    values, slopes = (np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True))

    def z(found: np.ndarray, truth: Any) -> Any:
        error = found.std(axis=0, ddof=1) / np.sqrt(draws)
        # Rounding in float32 is no bias.
        return np.abs(found.mean(axis=0) - np.asarray(truth, np.float64)) / (error + 1e-6)

    moved = slopes.std(axis=0) > 1e-5
    return {
        "value": float(z(values, exact)),
        "gradient": float(z(slopes, slope)[moved].max()),
        "derivatives": int(moved.sum()),
        "relative": float(
            np.linalg.norm(slopes.mean(axis=0) - slope) / np.linalg.norm(np.asarray(slope))
        ),
    }


def variance(ratios: tuple[float, ...], draws: int) -> dict[str, Any]:
    """The variance of the estimate of ln(1 - rho), measured and in closed form."""
    found: dict[str, Any] = {}
    for ratio in ratios:
        method = RouletteLogDet(Geometric(ratio))
        rho = np.linspace(0.1, 0.97 * np.sqrt(ratio), 12)
        keys = jr.split(jr.key(0), draws)

        @jax.jit
        def spread(rho: Any, method: RouletteLogDet = method, keys: Any = keys) -> Any:
            one = lambda key: method(lambda x: -rho * x, jnp.zeros(1), key=key)[1]
            return jnp.var(jax.vmap(one)(keys))

        found[str(ratio)] = {
            "rho": rho,
            "exact": np.asarray([method.worst_case(float(r)).variance for r in rho]),
            "measured": np.asarray([float(spread(jnp.asarray(r, float))) for r in rho]),
        }
    return {"ratios": found}


def inverses(flow: ResidualFlow, x: Float[np.ndarray, "n 2"]) -> dict[str, dict[str, float]]:
    """Going to the base and back, by each solver: the error, the steps and the time."""
    rows = jnp.asarray(x, float)
    z, _ = with_log_det(flow, ExactLogDet()).inverse_and_log_det(rows)
    found = {}
    for name, solver in SOLVERS.items():
        solved = eqx.tree_at(lambda f: f.solver, flow, solver, is_leaf=lambda leaf: leaf is None)
        solved.invert(z)
        tick = time.perf_counter()
        back, info = jax.block_until_ready(solved.invert(z))
        found[name] = {
            "error": float(jnp.max(jnp.abs(back - rows))),
            "steps": int(info.steps.max()),
            "unconverged": int((~info.converged).sum()),
            "milliseconds": 1e3 * (time.perf_counter() - tick),
        }
    return found


def plane(
    flow: ResidualFlow, side: int, half_width: float, seed: int
) -> tuple[Float[np.ndarray, "side side"], Float[np.ndarray, "m 2"], float]:
    """The exact density on a grid, samples, and the density's mass."""
    exact = with_log_det(flow, ExactLogDet())
    axis = np.linspace(-half_width, half_width, side)
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis), axis=-1), float)
    density = np.exp(np.asarray(exact.log_prob(grid, batch_size=8192), np.float64))
    samples = exact.sample(jr.key(seed), (4000,))
    return density, np.asarray(samples), float(density.sum() * (axis[1] - axis[0]) ** 2)

"""What gradients through an SDE solve are worth and cost."""

import functools
from collections.abc import Sequence

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Key, PRNGKeyArray

from pullback import sde
from pullback.recipes._kit.memory import gradient_memory

ADJOINT, SCAN = "stochastic adjoint", "back-propagation through a scan"
WANTED = ("a", "b", "z(0)")
_PATHS = 64


def errors(seeds: Sequence[int], steps: Sequence[int], draws: int) -> np.ndarray:
    r"""Relative errors of gradients by the stochastic adjoint through $dZ = aZ\,dt + bZ \circ dW$.

    The loss is the sum of $Z(1)^2$ over paths. The truth is the gradient of
    $Z(1) = Z(0) e^{a + b W(1)}$ on the very path that the solver saw. In float64.

    Returns:
        `[seed, steps, 3]`: the errors in `WANTED`, means over `draws`.
    """
    with jax.enable_x64(True):
        keys = [jr.split(jr.key(seed), draws) for seed in seeds]
        return np.array([[_errors(drawn, n) for n in steps] for drawn in keys])


@eqx.filter_jit
def _errors(keys: Key[Array, " draw"], steps: int) -> list[Array]:
    z0 = jnp.linspace(0.5, 1.5, _PATHS)
    solve = functools.partial(
        sde.solve, solver=diffrax.Heun(), steps=steps, adjoint=sde.StochasticAdjoint(), throw=False
    )

    def found(params: tuple, key: PRNGKeyArray) -> Array:
        a, b, z0 = params
        drift, diffusion = (lambda t, z, args: args[0] * z), (lambda t, z, args: args[1] * z)
        return jnp.sum(solve(drift, diffusion, z0, [0.0, 1.0], (a, b), key=key).ys[-1] ** 2)

    def exact(params: tuple, key: PRNGKeyArray) -> Array:
        a, b, z0 = params
        zero, one = (lambda t, z, args: jnp.zeros_like(z)), (lambda t, z, args: jnp.ones_like(z))
        w = solve(zero, one, jnp.zeros_like(z0), [0.0, 1.0], key=key).ys[-1]
        return jnp.sum((z0 * jnp.exp(a + b * w)) ** 2)

    def one(key: PRNGKeyArray) -> list[Array]:
        params = (jnp.asarray(0.3), jnp.asarray(0.6), z0)
        pairs = zip(jax.grad(found)(params, key), jax.grad(exact)(params, key), strict=True)
        return [jnp.linalg.norm(got - want) / jnp.linalg.norm(want) for got, want in pairs]

    return [jnp.mean(e) for e in jax.vmap(one)(keys)]


def memory(steps: Sequence[int]) -> dict[str, list[float]]:
    """MiB that the compiled gradient of a neural SDE's solve needs, for each number of steps."""
    drift = eqx.nn.MLP(16, 16, 64, 1, jnp.tanh, key=jr.key(0))
    y0 = jnp.ones((256, 16))

    def loss(n: int, drift: eqx.nn.MLP) -> Array:
        path = sde.solve(
            lambda t, y, args: jax.vmap(drift)(y), lambda t, y, args: jax.nn.sigmoid(y), y0,
            [0.0, 1.0], key=jr.key(1), solver=diffrax.Midpoint(), steps=n,
            adjoint=sde.StochasticAdjoint(), throw=False,
        )  # fmt: skip
        return jnp.mean(path.ys[-1] ** 2)

    losses = {ADJOINT: loss, SCAN: functools.partial(_by_scan, y0)}
    return {
        name: [gradient_memory(functools.partial(loss, n), drift) for n in steps]
        for name, loss in losses.items()
    }


def _by_scan(y0: Array, n: int, drift: eqx.nn.MLP) -> Array:
    """What one would write without a library: back-propagation keeps every intermediate value."""

    def step(y: Array, number: Array) -> tuple[Array, None]:
        w = jr.normal(jr.fold_in(jr.key(1), number), y.shape) * jnp.sqrt(1 / n)
        half = y + (jax.vmap(drift)(y) / n + jax.nn.sigmoid(y) * w) / 2
        return y + jax.vmap(drift)(half) / n + jax.nn.sigmoid(half) * w, None

    y, _ = jax.lax.scan(step, y0, jnp.arange(n))
    return jnp.mean(y**2)

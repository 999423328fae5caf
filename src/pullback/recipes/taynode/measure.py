"""What the recipe `taynode` measures on trained networks."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pullback import ode
from pullback.data import Labelled
from pullback.models.ode_net import ODEBlock, ODENet
from pullback.recipes._kit.double import double

# The most images over which R_K is integrated.
_MOST = 450


def measure(
    net: ODENet, test: Labelled, orders: Sequence[int], tolerances: Sequence[float]
) -> dict[str, Any]:
    """Cost, test error, regularisers and error of the training's steps of one network."""
    with jax.enable_x64(True):
        net, x = double(net), double(test.x)
        solved = [_solve(net, x, jnp.asarray(tolerance)) for tolerance in tolerances]
        logits, end, _ = solved[-1]
        rms = 0.0
        if net.block.steps is not None:
            coarse = net.block(jax.vmap(net.stem)(x))[0]
            rms = float(jnp.sqrt(jnp.mean(jnp.square(coarse - end))))
        penalties = _penalties(net, x[:_MOST], tuple(orders))
    return {
        "nfe": [int(nfe) for *_, nfe in solved],
        "error": float(100 * np.mean(np.asarray(logits).argmax(axis=1) != test.y)),
        "step_error": rms,
        **{f"R_{order}": float(value) for order, value in zip(orders, penalties, strict=True)},
    }


@eqx.filter_jit
def _solve(net: ODENet, x: Array, tolerance: Array) -> tuple[Array, Array, Array]:
    block = ODEBlock(net.block.field)
    end, solution = block(jax.vmap(net.stem)(x), rtol=tolerance, atol=tolerance)
    return jax.vmap(net.head)(end), end, solution.stats.nfe


@eqx.filter_jit
def _penalties(net: ODENet, x: Array, orders: tuple[int, ...]) -> list[Array]:
    penalties = tuple(ode.TaylorEnergy(order) for order in orders)
    field = ode.Regularised(net.block.batched_field, penalties)
    start = field.start(jax.vmap(net.stem)(x))
    _, integrals = ode.solve(field, start, [0.0, 1.0], rtol=1e-6, atol=1e-6, norm=ode.state_norm).ys
    return [integral[-1] for integral in integrals]


def paths(nets: dict[str, ODENet], image: np.ndarray) -> dict[str, np.ndarray]:
    """One image's state on its way through networks: the entries that move most in the first."""
    solved = {name: np.asarray(_path(net, jnp.asarray(image))) for name, net in nets.items()}
    length = np.abs(np.diff(next(iter(solved.values())), axis=0)).sum(axis=0)
    return {name: path[:, np.argsort(length)[-5:]] for name, path in solved.items()}


@eqx.filter_jit
def _path(net: ODENet, image: Array) -> Array:
    times = jnp.linspace(0.0, 1.0, 101)
    return ode.solve(net.block.field, net.stem(image), times, rtol=1e-6, atol=1e-6).ys

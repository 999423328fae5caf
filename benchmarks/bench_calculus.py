"""Compile and run `total_derivatives` by each method, and the divergences.

The field is a time-dependent 64-128-64 tanh network on a batch of states. `jet` is the recursion as
the paper writes it, with `jax.experimental.jet` and factorial-scaled coefficients. The second table
is the gradient of the squared last derivative with respect to the weights, which is what a
regulariser pays. The last table is the divergence of a two-layer tanh network and its gradient with
respect to weights and states: exact by JVPs (what `ExactDivergence` does), exact by VJPs, and one
Hutchinson probe. Run times are the best of several repeats, since other work on the machine only
ever adds time.

    python benchmarks/bench_calculus.py --orders 2 3 4 5 6 7 --batch 32
"""

import argparse
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.experimental.jet import jet

from pullback.calculus import ExactDivergence, HutchinsonDivergence, total_derivatives

DIM, WIDTH = 64, 128


def field(t, y, args):
    w1, b1, w2, b2 = args
    return jnp.tanh(w1 @ y + b1 * t) @ w2 + b2


def plain_jet(t, y, args, order):
    def autonomous(y, t):
        return field(t, y, args), jnp.ones_like(t)

    rate, one = autonomous(y, t)
    states, times = [rate], [one]
    for _ in range(order - 1):
        _, (states, times) = jet(autonomous, (y, t), (states, times))
        states, times = [rate, *states], [one, *times]
    return states


METHODS = {
    "nested": lambda *a: total_derivatives(field, *a, method="nested"),
    "taylor": lambda *a: total_derivatives(field, *a, method="taylor"),
    "jet": plain_jet,
}


def measure(function: Callable, *inputs, seconds: float = 1.0) -> tuple[float, float]:
    """Seconds to trace and compile, and milliseconds of the fastest run."""
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*inputs).compile()
    compile_time = time.perf_counter() - start
    jax.block_until_ready(compiled(*inputs))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        jax.block_until_ready(compiled(*inputs))
        best = min(best, time.perf_counter() - start)
    return compile_time, 1e3 * best


def batched(method: Callable, order: int) -> Callable:
    def last_derivative(t, ys, args):
        return jax.vmap(lambda y: method(t, y, args, order)[-1])(ys)

    return last_derivative


def gradient(method: Callable, order: int) -> Callable:
    def penalty(args, t, ys):
        return jnp.mean(jnp.square(batched(method, order)(t, ys, args)))

    return lambda t, ys, args: jax.grad(penalty)(args, t, ys)


def exact_by_vjps(f, y, probe):
    value, vjp = jax.vjp(f, y)
    return value, jnp.trace(jax.vmap(vjp)(jnp.eye(y.size, dtype=y.dtype))[0])


def time_divergences() -> None:
    hutchinson = HutchinsonDivergence()
    methods = {
        "jvps": (ExactDivergence(), None),
        "vjps": (exact_by_vjps, None),
        "hutchinson": (hutchinson, hutchinson.probe),
    }
    print(f"\n{'divergence':<22}" + "".join(f"{m + ' s':>14}{m + ' ms':>14}" for m in methods))
    for dim, width, batch in ((2, 64, 256), (8, 64, 256), (43, 128, 128), (64, 128, 32)):
        keys = jr.split(jr.key(1), 4)
        weights = (
            jr.normal(keys[0], (width, dim)) / dim**0.5,
            jr.normal(keys[1], (width, width)) / width**0.5,
            jr.normal(keys[2], (dim, width)) / width**0.5,
        )
        ys = jr.normal(keys[3], (batch, dim))

        def network(weights, y):
            return weights[2] @ jnp.tanh(weights[1] @ jnp.tanh(weights[0] @ y))

        cells: dict[str, list] = {"value": [], "gradient": []}
        for method, draw in methods.values():
            probe = None if draw is None else draw(ys[0], key=jr.key(2))

            def value(weights, ys, method=method, probe=probe):
                return jax.vmap(lambda y: method(lambda y: network(weights, y), y, probe))(ys)  # pyrefly: ignore

            def loss(weights, ys, value=value):
                velocity, divergence = value(weights, ys)
                return jnp.sum(velocity**2) + jnp.sum(divergence)

            cells["value"].append(measure(value, weights, ys))
            cells["gradient"].append(measure(jax.grad(loss, (0, 1)), weights, ys))
        for task, row in cells.items():
            name = f"{dim}-{width} x{batch} {task}"
            print(f"{name:<22}" + "".join(f"{c:>14.2f}{r:>14.3f}" for c, r in row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, nargs="+", default=[2, 3, 4, 5, 6, 7])
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()

    k1, k2, k3 = jr.split(jr.key(0), 3)
    w1 = jr.normal(k1, (WIDTH, DIM)) / DIM**0.5
    w2 = jr.normal(k2, (WIDTH, DIM)) / WIDTH**0.5
    inputs = (
        jnp.array(0.3),
        jr.normal(k3, (options.batch, DIM)),
        (w1, jnp.ones(WIDTH), w2, jnp.zeros(DIM)),
    )
    print(f"jax {jax.__version__}, {jax.default_backend()}, batch {options.batch}")
    for title, task in (("value", batched), ("gradient", gradient)):
        print(f"\n{title:<10}" + "".join(f"{m + ' compile s':>18}{m + ' ms':>12}" for m in METHODS))
        for order in options.orders:
            cells = [measure(task(method, order), *inputs) for method in METHODS.values()]
            print(f"K={order:<8}" + "".join(f"{c:>18.2f}{r:>12.3f}" for c, r in cells), flush=True)
    time_divergences()


if __name__ == "__main__":
    main()

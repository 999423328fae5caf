"""Feature importance in time beside a bare scan, prefixes run again, and time_interpret."""

import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import torch

from _explain_tint import Recurrent, explainer
from _harness import markdown_table, race
from pullback.analysis.explain import fit_importance, prefix_predictor, step_predictor
from pullback.models.timeseries import ConditionalGenerator

PACKAGES = ("pullback", "jax", "equinox", "torch", "time-interpret", "pytorch-lightning")
TIMES, FEATURES, HIDDEN, INNER, CLASSES, SAMPLES, MANY = 40, 3, 200, 100, 2, 10, 16
OURS, CALLED, BARE = "fit_importance, compiled", "fit_importance, called", "a bare scan"
AGAIN, MANY_OURS = "prefixes run again, compiled", f"fit_importance, {MANY} series, compiled"
TINT, MANY_TINT = "time_interpret", f"time_interpret, {MANY} series"
BOX = "fit_importance, the torch network as a black box"


class Net(eqx.Module):
    """PyTorch's GRU and head, of the same arrays."""

    cell: eqx.nn.GRUCell
    head: eqx.nn.Linear

    def __init__(self, model: Recurrent):
        arrays = {name: jnp.asarray(each) for name, each in model.arrays().items()}
        inner, outer = arrays["rnn.bias_ih_l0"], arrays["rnn.bias_hh_l0"]
        bias = inner.at[: 2 * HIDDEN].add(outer[: 2 * HIDDEN])
        cell = eqx.nn.GRUCell(FEATURES, HIDDEN, key=jr.key(0))
        told = lambda c: (c.weight_ih, c.weight_hh, c.bias, c.bias_n)
        self.cell = eqx.tree_at(
            told, cell,
            (arrays["rnn.weight_ih_l0"], arrays["rnn.weight_hh_l0"], bias, outer[2 * HIDDEN :]),
        )  # fmt: skip
        head = eqx.nn.Linear(HIDDEN, CLASSES, key=jr.key(0))
        self.head = eqx.tree_at(
            lambda h: (h.weight, h.bias), head, (arrays["head.weight"], arrays["head.bias"])
        )

    def start(self) -> jax.Array:
        return jnp.zeros(HIDDEN)

    def step(self, state: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = self.cell(x, state)
        return state, self.head(state)


def draws(generator: Any, state: Any, x: jax.Array, key: jax.Array) -> jax.Array:
    """Of everything, and of all but each feature: `[rows, features]`."""
    keeps = jnp.concatenate([jnp.zeros((1, FEATURES), bool), jnp.eye(FEATURES, dtype=bool)])
    keys = jr.split(key, SAMPLES)
    one = lambda keep: jax.vmap(lambda key: generator.sample(state, x, keep, key=key))(keys)
    return jax.vmap(one)(keeps).reshape(-1, FEATURES)


def bare(net: Net, generator: Any) -> Callable[..., Any]:
    """The same draws and evaluations and nothing else."""

    def at(carry, item):
        (state, past), (x, key) = carry, item
        rows = draws(generator, past, x, key)
        said = jax.vmap(lambda row: jax.nn.softmax(net.step(state, row)[1]))(rows)
        state, own = net.step(state, x)
        return (state, generator.step(past, x)), (jax.nn.softmax(own), said)

    start = net.start(), generator.start()
    return lambda x, keys: jax.lax.scan(at, start, (x, keys))[1]


def again(net: Net, generator: Any) -> Callable[..., Any]:
    """As where no state is carried: each prefix from its beginning, of each draw."""

    def at(past, item):
        t, x, series, key = item
        rows = jnp.concatenate([draws(generator, past, x, key), x[None]])
        states = jnp.broadcast_to(net.start(), (len(rows), HIDDEN))
        step = jax.vmap(net.step)
        earlier = lambda s, states: step(states, jnp.broadcast_to(series[s], rows.shape))[0]
        states = jax.lax.fori_loop(0, t, earlier, states)
        return generator.step(past, x), jax.nn.softmax(step(states, rows)[1])

    def run(x, keys):
        whole = jnp.broadcast_to(x, (TIMES, *x.shape))
        return jax.lax.scan(at, generator.start(), (jnp.arange(TIMES), x, whole, keys))[1]

    return run


def measure(rounds: int) -> dict[str, Any]:
    """Seconds of an explanation of one series, and of many, and what the predictor took in."""
    torch.manual_seed(0)
    model = Recurrent(FEATURES, HIDDEN, CLASSES).eval()
    net = Net(model)
    generator = ConditionalGenerator(FEATURES, hidden=INNER, key=jr.key(1))
    many = np.random.default_rng(0).normal(size=(MANY, TIMES, FEATURES)).astype(np.float32)
    series, keys = jnp.asarray(many), jr.split(jr.key(2), MANY)
    told = jax.lax.scan(lambda s, x: net.step(s, x), net.start(), series[0])[1][-1]
    with torch.no_grad():
        np.testing.assert_allclose(told, model(torch.tensor(many[:1]))[0], atol=1e-5)
    predictor = step_predictor(net.start, net.step)
    ours = lambda x, key: fit_importance(predictor, generator, x, samples=SAMPLES, key=key)
    one, all_ = jax.jit(ours), jax.jit(jax.vmap(ours))
    rival = explainer(model, torch.tensor(many), INNER)
    attribute = lambda x: rival.attribute(x, n_samples=SAMPLES)
    singles = [jax.jit(of(net, generator)) for of in (bare, again)]
    steps = jr.split(jr.key(3), TIMES)
    boxed, asked = _black_box(model)
    ready = jax.block_until_ready

    def quiet(x):
        with torch.no_grad():
            return attribute(x)

    short = {
        BARE: lambda: ready(singles[0](series[0], steps)),
        OURS: lambda: ready(one(series[0], keys[0])),
        CALLED: lambda: ready(ours(series[0], keys[0])),
        AGAIN: lambda: ready(singles[1](series[0], steps)),
        BOX: lambda: ready(fit_importance(boxed, generator, series[0], key=keys[0])),
    }
    long = {
        TINT: lambda: quiet(torch.tensor(many[:1])),
        MANY_OURS: lambda: ready(all_(series, keys)),
        MANY_TINT: lambda: quiet(torch.tensor(many)),
    }
    calls = short | long
    counts = _counts(calls, one(series[0], keys[0]), model, asked)
    # Of the short ones many, which find a quiet moment.
    timings = race(short, rounds=10 * rounds) | race(long, rounds=rounds)
    asked.clear()
    start = time.perf_counter()
    calls[BOX]()
    whole = time.perf_counter() - start
    return {
        "seconds": {name: timing.min for name, timing in timings.items()},
        "counts": counts,
        "box": {"whole": whole, "inside": sum(seconds for seconds, _ in asked)},
    }


def _black_box(model: Recurrent) -> tuple[Any, list[tuple[float, int]]]:
    """The torch network as a function of prefixes, and how long each call took, of how many."""
    asked: list[tuple[float, int]] = []

    def f(prefixes: np.ndarray) -> np.ndarray:
        start = time.perf_counter()
        with torch.no_grad():
            found = torch.softmax(model(torch.tensor(prefixes)), -1).numpy()
        asked.append((time.perf_counter() - start, len(prefixes)))
        return found

    return prefix_predictor(f), asked


def _counts(
    calls: dict[str, Callable[[], object]], found: Any, model: Recurrent, asked: list[Any]
) -> dict[str, dict[str, int]]:
    """Time steps of one series that the predictor took in, and calls of it."""
    model.taken = model.calls = 0
    calls[TINT]()
    counts = {TINT: {"steps": model.taken, "calls": model.calls}}
    calls[BOX]()
    counts[BOX] = {"prefixes": sum(rows for _, rows in asked), "calls": len(asked)}
    counts[OURS] = {"steps": int(found.evaluations)}
    return counts


def tables(record: dict[str, Any]) -> list[str]:
    """What was measured, in words and in Markdown."""
    seconds, counts, box = record["seconds"], record["counts"], record["box"]
    like = {MANY_TINT: MANY_OURS, MANY_OURS: MANY_OURS}
    rows = [
        [name, f"{each * 1e3:.1f}", f"{each / seconds[like.get(name, OURS)]:.2f}"]
        for name, each in seconds.items()
    ]
    ratio = counts[TINT]["steps"] / counts[OURS]["steps"]
    return [
        f"Series of {TIMES} time steps and {FEATURES} features, {SAMPLES} draws; the predictor a "
        f"GRU of {HIDDEN}, the same arrays in both; the generator a GRU of {INNER}, each library's "
        "own. PyTorch without gradients. Wanted: time_interpret at least 10 times ours.",
        markdown_table(["explanation", "ms", "for one of ours"], rows),
        f"Time steps that the predictor takes in, of one series: {counts[OURS]['steps']} of ours, "
        f"T (D L + L + 1), and {counts[TINT]['steps']} of time_interpret's, {ratio:.0f} times as "
        f"many, in {counts[TINT]['calls']} calls. The black box was called {counts[BOX]['calls']} "
        f"times, with {counts[BOX]['prefixes']} prefixes, and had "
        f"{box['inside'] / box['whole']:.0%} of the time of its explanation.",
    ]

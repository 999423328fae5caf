"""Hypergradients beside PyTorch's, beside plain gradients, and beside searches without any.

The problem: a tanh network on 50 rows of digits with a log-decay for each of its weights, judged on
50 others. `hypergradient` by a Neumann series of K terms is timed beside plain gradients of the
inner loss, beside an unroll of K + 1 steps, and beside the same in PyTorch: by hand, by Betty's
series, and through steps by TorchOpt and by higher; each is checked to give the same numbers first.
Memory is what the compiler sets aside. Then loss against gradients spent: `tune` beside `search`
and beside Optuna's TPE and random samplers, which train one setting after another.

    python benchmarks/bench_bilevel.py --widths 64 480,480 --rounds 5
"""

import argparse
import functools
import itertools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import torch
from sklearn.datasets import load_digits

from _bilevel_torch import Problem, numbers
from _harness import compile_program, machine, markdown_table, race, splice, write_results
from pullback.bilevel import (
    Bounded,
    Implicit,
    Neumann,
    Positive,
    Unrolled,
    fit_self_tuning,
    hypergradient,
    retrain,
    search,
    tune,
)
from pullback.nn import self_tuning
from pullback.train import fit

PACKAGES = (
    "pullback", "jax", "jaxlib", "equinox", "optax", "torch", "torchopt", "betty-ml", "higher",
    "optuna",
)  # fmt: skip
TERMS, STEP_SIZE, DECAY = 20, 0.1, -5.0
OURS, UNROLLED = f"pullback, series of {TERMS}", f"pullback, unroll of {TERMS + 1}"
MEMORY_TERMS = (5, 20, 60)


def digits() -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Fifty rows, fifty more, and the rest."""
    data = load_digits()
    x, y = (data.data / 16).astype(np.float32), data.target.astype(np.int32)
    order = np.random.default_rng(0).permutation(len(x))
    return tuple((x[part], y[part]) for part in (order[:50], order[50:100], order[100:]))


def network(widths: list[int]) -> list[np.ndarray]:
    """Weights and biases, as `eqx.nn.Linear` and PyTorch keep them."""
    rng = np.random.default_rng(1)
    sizes = [64, *widths, 10]
    found = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        found.append((rng.normal(size=(fan_out, fan_in)) / np.sqrt(fan_in)).astype(np.float32))
        found.append(np.zeros(fan_out, np.float32))
    return found


def logits(weights, x):
    *hidden, last = zip(weights[::2], weights[1::2], strict=True)
    for weight, bias in hidden:
        x = jnp.tanh(x @ weight.T + bias)
    return x @ last[0].T + last[1]


def cross_entropy(weights, batch):
    x, y = batch
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits(weights, x), y))


def inner(weights, decays, batch, *, key):
    penalty = sum(jnp.sum(jnp.exp(d) * w**2) for d, w in zip(decays, weights, strict=True)) / 2
    return cross_entropy(weights, batch) + penalty, {}


def outer(weights, decays, batch, *, key):
    x, y = batch
    right = jnp.mean(jnp.argmax(logits(weights, x), axis=1) == y)
    return cross_entropy(weights, batch), {"accuracy": right}


def ours(method: Any, train: Any, validation: Any) -> Callable[..., Any]:
    """The hypergradient as a user calls it, in a program of the user's."""

    def call(weights, decays):
        return hypergradient(
            inner, outer, weights, decays, train, validation, method=method, key=jr.key(0)
        ).gradient

    return call


def measure_costs(widths: list[int], rounds: int) -> dict[str, Any]:
    """Seconds and bytes of one hypergradient, by each."""
    train, validation, _ = jax.tree.map(jnp.asarray, digits())
    arrays = network(widths)
    weights = [jnp.asarray(w) for w in arrays]
    decays = [jnp.full_like(w, DECAY) for w in weights]
    peers = Problem(arrays, [np.asarray(d) for d in decays], *digits()[:2])
    series = Implicit(Neumann(TERMS, STEP_SIZE))
    programs = {
        "plain gradient": lambda w, d: jax.grad(lambda w: inner(w, d, train, key=None)[0])(w),
        OURS: ours(series, train, validation),
        UNROLLED: ours(Unrolled(TERMS + 1, optax.sgd(STEP_SIZE)), train, validation),
    }
    calls, found = {}, {}
    for name, program in programs.items():
        compiled, seconds = compile_program(program, weights, decays)
        memory = compiled.memory_analysis().temp_size_in_bytes
        calls[name] = functools.partial(_ready, compiled, weights, decays)
        found[name] = {"compile": seconds.total, "bytes": memory}
    torch_calls = {
        "PyTorch, plain gradient": lambda: peers.gradient(),
        "PyTorch, series by hand": lambda: peers.by_hand(TERMS, STEP_SIZE),
        "Betty, series": lambda: peers.by_betty(TERMS, STEP_SIZE),
        "TorchOpt, unroll": lambda: peers.by_torchopt(TERMS + 1, STEP_SIZE),
        "higher, unroll": lambda: peers.by_higher(TERMS + 1, STEP_SIZE),
    }
    _check_same(calls, peers)
    times = race(calls | torch_calls, rounds=rounds)
    for name, timing in times.items():
        found.setdefault(name, {})["time"] = timing
    found["memory"] = {
        terms: compile_program(ours(Implicit(Neumann(terms, STEP_SIZE)), train, validation),
                               weights, decays)[0].memory_analysis().temp_size_in_bytes
        for terms in MEMORY_TERMS
    }  # fmt: skip
    found["parameters"] = sum(w.size for w in arrays)
    return found


def _ready(program: Callable[..., Any], *inputs: Any) -> Any:
    return jax.block_until_ready(program(*inputs))


def _check_same(calls: dict[str, Callable[[], Any]], peers: Problem) -> None:
    """Series agree with series, and unrolls with unrolls, before any is timed."""
    for name, rivals, count in (
        (OURS, (peers.by_hand, peers.by_betty), TERMS),
        (UNROLLED, (peers.by_torchopt, peers.by_higher), TERMS + 1),
    ):
        mine = [np.asarray(g) for g in calls[name]()]
        for rival in rivals:
            theirs = numbers(rival, count, STEP_SIZE)
            for a, b in zip(mine, theirs, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(a).max() + 1e-9)


# What is tuned where searches are compared: a decay for each layer, and the input's noise.
BUDGET = 24_000  # gradients of the inner loss that each may spend
STEPS = 400  # training steps of one setting, for those that train one after another


def layered(weights, hyper, batch, *, key):
    x, y = batch
    x = x + hyper["noise"].value * jr.normal(key, x.shape)
    pairs = zip(hyper["decay"].value, weights[::2], strict=True)
    return cross_entropy(weights, (x, y)) + sum(d * jnp.sum(w**2) for d, w in pairs) / 2, {}


def hyper_of(decays: Any, noise: Any) -> dict[str, Any]:
    return {"decay": Positive(jnp.asarray(decays)), "noise": Bounded(noise, 0.0, 0.5)}


# What searches draw between: decays along their logarithm.
LEAST, MOST = 1e-5, 0.1
ENDS = hyper_of([LEAST, LEAST], 0.005), hyper_of([MOST, MOST], 0.495)


def start_of(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return hyper_of(np.exp(rng.uniform(np.log(LEAST), np.log(MOST), 2)), rng.uniform(0.05, 0.45))


def measure_searches(seeds: int) -> dict[str, Any]:
    """The validation loss that each comes to at one budget, and the test loss of its model."""
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(seeds):
        for name, (model, hyper) in _searched(seed).items():
            losses = [
                float(outer(model, hyper, jax.tree.map(jnp.asarray, part), key=None)[0])
                for part in digits()[1:]
            ]
            found.setdefault(name, []).append((losses[0], losses[1]))
    return {name: np.asarray(values).tolist() for name, values in found.items()}


def _searched(seed: int) -> dict[str, tuple[Any, Any]]:
    train, validation, _ = jax.tree.map(jnp.asarray, digits())
    weights = [jnp.asarray(w) for w in network([64])]
    optimiser, key = optax.sgd(0.1, 0.9), jr.key(seed)
    # A joint step spends its training steps and some 2 (K + 2) gradients on the hypergradient.
    terms, inner_steps = 5, 10
    outer_steps = BUDGET // (inner_steps + 2 * (terms + 2))
    model, hyper, _ = tune(
        weights, start_of(seed), layered, outer, train, validation, optimiser=optimiser,
        hyper_optimiser=optax.adam(0.03), method=Implicit(Neumann(terms, 0.1)),
        inner_steps=inner_steps, outer_steps=outer_steps, log_every=outer_steps, progress=False,
        key=key,
    )  # fmt: skip
    again, _ = retrain(
        weights, hyper, layered, train, optimiser=optimiser, steps=STEPS, progress=False, key=key
    )
    found = {"pullback tune": (model, hyper), "pullback tune, trained anew": (again, hyper)}
    for method in ("random", "sobol"):
        result = search(
            weights, *ENDS, layered, outer, train, validation, trials=BUDGET // STEPS,
            optimiser=optimiser, steps=STEPS, method=method, progress=False, key=key,
        )  # fmt: skip
        found[f"pullback search, {method}"] = (result.model, result.hyper)
    found["Optuna, TPE"] = _by_optuna(weights, optimiser, train, validation, seed)
    return found


def _by_optuna(
    weights: Any, optimiser: Any, train: Any, validation: Any, seed: int
) -> tuple[Any, Any]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    @eqx.filter_jit
    def trained(hyper, key):
        def step(carry, key):
            weights, state = carry
            slope = jax.grad(lambda w: layered(w, hyper, train, key=key)[0])(weights)
            updates, state = optimiser.update(slope, state, weights)
            return (optax.apply_updates(weights, updates), state), None

        keys = jr.split(key, STEPS)
        (last, _), _ = jax.lax.scan(step, (weights, optimiser.init(weights)), keys)
        return last, outer(last, hyper, validation, key=key)[0]

    best: list[Any] = []

    def objective(trial):
        decays = [trial.suggest_float(f"decay{n}", LEAST, MOST, log=True) for n in range(2)]
        hyper = hyper_of(decays, trial.suggest_float("noise", 0.005, 0.495))
        model, loss = trained(hyper, jr.fold_in(jr.key(seed), trial.number))
        if not best or loss < best[0]:
            best[:] = [loss, model, hyper]
        return float(loss)

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=BUDGET // STEPS)
    return best[1], best[2]


# The network that tunes itself: 64-128-128-10, a dropout rate before each layer, batches of 100.
SELF_STEPS = 1000


class Dropped(eqx.Module):
    """A network with dropout before each layer, at rates that it is told."""

    layers: tuple[eqx.nn.Linear, ...]

    def __call__(self, x, rates, key):
        for n, (layer, at) in enumerate(zip(self.layers, jr.split(key, 3), strict=True)):
            x = x * jr.bernoulli(at, 1 - rates[n], x.shape) / (1 - rates[n])
            x = layer(jax.nn.relu(x) if n else x)
        return x


def measure_self_tuning(rounds: int) -> dict[str, Any]:
    """Seconds of training steps, plain and self-tuning, each by the function that users call."""
    data = load_digits()
    x, y = jnp.asarray(data.data / 16, jnp.float32), jnp.asarray(data.target)
    train, validation = (x[:300], y[:300]), (x[300:800], y[300:800])
    net = Dropped(eqx.nn.MLP(64, 10, 128, 2, key=jr.key(0)).layers)
    entropy = lambda logits, y: jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y))

    def inner(net, hyper, batch, *, key):
        x, y = batch
        rates = jnp.stack([each.value for each in hyper])
        apply = jax.vmap(net, in_axes=(0, None, 0))
        return entropy(apply(x, rates, jr.split(key, len(y))), y), {}

    def outer(net, hyper, batch, *, key):
        x, y = batch
        apply = jax.vmap(lambda x: net(x, jnp.zeros(3), key))
        return entropy(apply(x), y), {}

    hyper = tuple(Bounded(0.2, 0.0, 0.95) for _ in range(3))
    plain = lambda net, batch, *, key: inner(net, hyper, batch, key=key)
    shared = {
        "optimiser": optax.sgd(0.03, 0.9), "steps": SELF_STEPS, "batch_size": 100,
        "log_every": SELF_STEPS, "progress": False, "key": jr.key(1),
    }  # fmt: skip
    tuning = {"hyper_optimiser": optax.adam(1e-2), **shared}
    first = self_tuning(net, 3, centred=False, key=jr.key(2))
    calls = {
        "plain training, `fit`": lambda: fit(net, plain, train, **shared),
        "self-tuning, not centred (as first published)": lambda: fit_self_tuning(
            first, hyper, inner, outer, train, validation, linearised=False, **tuning
        ),
        "self-tuning, linearised (default)": lambda: fit_self_tuning(
            net, hyper, inner, outer, train, validation, **tuning
        ),
    }
    return {name: {"time": timing} for name, timing in race(calls, rounds=rounds).items()}


def self_tuning_table(found: dict[str, Any]) -> str:
    first = next(iter(found.values()))["time"].min
    rows = [
        [name, f"{1e3 * row['time'].min / SELF_STEPS:.2f}", f"{row['time'].min / first:.2f}"]
        for name, row in found.items()
    ]
    return markdown_table(["", "ms a training step", "/ plain"], rows)


def cost_table(found: dict[str, Any]) -> str:
    header = ["", "ms", "/ plain gradient", "/ pullback's series", "temporary MB", "compile s"]
    rows = []
    for name, row in found.items():
        if not isinstance(row, dict) or "time" not in row:
            continue
        plain = "PyTorch, plain gradient" if "bytes" not in row else "plain gradient"
        best = row["time"].min
        rows.append([
            name,
            f"{1e3 * best:.2f}",
            f"{best / found[plain]['time'].min:.1f}",
            f"{best / found[OURS]['time'].min:.2f}",
            f"{row['bytes'] / 1e6:.2f}" if "bytes" in row else "",
            f"{row['compile']:.1f}" if "compile" in row else "",
        ])  # fmt: skip
    return markdown_table(header, rows)


def search_table(found: dict[str, Any]) -> str:
    header = ["after as many gradients", "validation loss", "test loss", "worst validation"]
    rows = []
    for name, values in found.items():
        both = np.asarray(values)
        rows.append([name, *(f"{v:.3f}" for v in (*both.mean(axis=0), both[:, 0].max()))])
    return markdown_table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", nargs="+", default=["64", "480,480"], help="hidden layers")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each rival")
    parser.add_argument("--seeds", type=int, default=3, help="starts of each search")
    parser.add_argument("--print", action="store_true", help="print the tables and write nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    where = machine(PACKAGES)
    record: dict[str, Any] = {"machine": where, "options": vars(options), "costs": {}}
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    parts = [
        f"{where['cpu']}, {where['cores']} cores (PyTorch 1 thread), load "
        f"{where['load_at_start']} at the start; Python {where['python']}, {versions}.",
        "A tanh network on 50 rows of digits with a log-decay for each weight, float32; all give "
        "the same numbers, which is checked first. Compilation aside.",
    ]
    for widths in options.widths:
        found = measure_costs([int(w) for w in widths.split(",")], options.rounds)
        record["costs"][widths] = found
        memory = ", ".join(f"{b / 1e6:.2f} MB at {k}" for k, b in found["memory"].items())
        parts += [
            f"**{found['parameters']:,} weights and as many hyperparameters.** Temporary memory of "
            f"the series by its terms: {memory}.",
            cost_table(found),
        ]
    record["self_tuning"] = measure_self_tuning(options.rounds)
    parts += [
        "**Tuning within one run**: three dropout rates of a network 64-128-128-10, batches of "
        "100; two training steps, then one of the rates.",
        self_tuning_table(record["self_tuning"]),
    ]
    record["searches"] = measure_searches(options.seeds)
    parts += [
        f"Three hyperparameters (a decay for each layer, noise of the inputs) at {BUDGET:,} "
        f"gradients each: `tune` from {options.seeds} random starts, and {BUDGET // STEPS} "
        f"settings of {STEPS} steps for the others. Means over the starts.",
        search_table(record["searches"]),
    ]
    print("\n\n".join(parts), flush=True)
    if not options.print:
        write_results("bilevel", record)
        splice("bench-bilevel", "\n\n".join(parts))


if __name__ == "__main__":
    main()

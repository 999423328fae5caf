"""What a training step of a JEM costs, beside plain PyTorch: `make bench-energy`.

The chains of stochastic gradient Langevin dynamics, from a replay buffer and back into it; and
whole training steps, of networks of several widths. One process, the rivals taking turns.
"""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import torch

from _bounds_peers import _torch_mlp
from _harness import compile_program, machine, markdown_table, race, splice, write_results
from pullback.models.energy import JEM, SGLD, BoxStart, JEMState, JEMStep, ReplayBuffer

PACKAGES = ("pullback", "jax", "jaxlib", "equinox", "optax", "torch", "numpy")
DIM, CLASSES, BATCH, BUFFER, CHAIN = 64, 10, 64, 10_000, 20
MANY = 20  # training steps in a call


def run(width: int, *, rounds: int) -> dict[str, dict[str, Any]]:
    """Chains alone, and whole training steps, of a network of this width."""
    net = eqx.nn.MLP(DIM, CLASSES, width, 2, jnp.tanh, key=jr.key(0))
    buffer = ReplayBuffer.init(BoxStart((DIM,)), BUFFER, key=jr.key(1))
    step = JEMStep(optax.adam(1e-4), sampler=SGLD(CHAIN))
    arrays, rest = eqx.partition(step.init(JEM(net), buffer), eqx.is_array)
    data = jr.normal(jr.key(2), (BATCH, DIM)), jnp.arange(BATCH) % CLASSES

    def chains(state: JEMState, key: jax.Array) -> JEMState:
        _, buffer = step.sample(state, BATCH, key=key)
        return eqx.tree_at(lambda s: s.buffer, state, buffer)

    def train(state: JEMState, key: jax.Array) -> JEMState:
        return step(state, data, key=key)[0]

    found = {}
    for name, function in {"chains": chains, "training steps": train}.items():

        def loop(arrays: Any, function: Callable = function) -> Any:
            def body(i: jax.Array, arrays: Any) -> Any:
                new = function(eqx.combine(arrays, rest), jr.fold_in(jr.key(3), i))
                return eqx.filter(new, eqx.is_array)

            return jax.lax.fori_loop(0, MANY, body, arrays)

        program, seconds = compile_program(loop, arrays)
        calls: dict[str, Callable[[], object]] = {
            "pullback": lambda program=program: jax.block_until_ready(program(arrays)),
            "PyTorch": _torch(net, np.array(buffer.data), data, train=name != "chains"),
        }
        for rival, timing in race(calls, rounds=rounds).items():
            found[f"{name}, {rival}"] = {
                "time": timing,
                "compile": seconds.total if rival == "pullback" else None,
            }
    return found


def _torch(
    net: eqx.nn.MLP, kept: np.ndarray, data: tuple[jax.Array, jax.Array], *, train: bool
) -> Callable[[], object]:
    """The official loop: a step at a time, and the gradient of the sum of the energies."""
    model, buffer = _torch_mlp(net), torch.tensor(kept)
    x, y = torch.tensor(np.array(data[0])), torch.tensor(np.array(data[1])).long()
    adam = torch.optim.Adam(model.parameters(), lr=1e-4)

    def chains() -> torch.Tensor:
        rows = torch.randint(BUFFER, (BATCH,))
        again = (torch.rand(BATCH, 1) < 0.05).float()
        z = again * (2 * torch.rand(BATCH, DIM) - 1) + (1 - again) * buffer[rows]
        for _ in range(CHAIN):
            z.requires_grad_(True)
            (slope,) = torch.autograd.grad(model(z).logsumexp(1).sum(), z)
            z = z.detach() + slope + 0.01 * torch.randn_like(z)
        buffer[rows] = z
        return z

    def step() -> None:
        z = chains()
        if not train:
            return
        noisy = x + 0.03 * torch.randn_like(x)
        logits = model(noisy)
        gap = logits.logsumexp(1).mean() - model(z).logsumexp(1).mean()
        loss = torch.nn.functional.cross_entropy(logits, y) - gap
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()

    def call() -> None:
        for _ in range(MANY):
            step()

    return call


def table(width: int, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """One width; ratios are of the least times, PyTorch's over ours."""
    body = []
    for name, row in rows.items():
        seconds = row["time"].min / MANY
        own = rows[name.replace("PyTorch", "pullback")]["time"].min / MANY
        body.append([
            name,
            f"{1e3 * seconds:.2f}",
            f"{CHAIN / seconds:,.0f}",
            f"{seconds / own:.2f}",
            f"{row['compile']:.1f}" if row["compile"] else "",
        ])  # fmt: skip
    header = [f"width {width}", "ms a step", "sampler's steps/s", "ratio", "compile s"]
    return markdown_table(header, body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="turns of each rival")
    parser.add_argument("--print", action="store_true", help="print the tables and write nothing")
    options = parser.parse_args()
    where = machine(PACKAGES)
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    parts = [
        f"{where['cpu']}, {where['cores']} cores (PyTorch {torch.get_num_threads()} threads), load "
        f"{where['load_at_start']} at the start; Python {where['python']}, {versions}.",
        f"{DIM} inputs, two hidden layers, {CLASSES} classes, batch {BATCH}, {CHAIN} steps of the "
        f"sampler a training step, {BUFFER:,} points kept; float32. A ratio is PyTorch's time over "
        "pullback's, of the least times.",
    ]
    found = {}
    for width in (64, 128, 512):
        found[str(width)] = run(width, rounds=options.rounds)
        parts.append(table(width, found[str(width)]))
        print("\n" + parts[-1], flush=True)
    if not options.print:
        write_results("energy", {"machine": where, "options": vars(options), "groups": found})
        splice("bench-energy", "\n\n".join(parts))


if __name__ == "__main__":
    main()

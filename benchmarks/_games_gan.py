"""Steps of a GAN, plain and looking ahead, beside a bare scan, PyTorch, higher and TorchOpt."""

import functools
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import torch

from _games_torch import BETAS, RATE, ROOT, Players, network
from _harness import compile_program, markdown_table, race
from pullback.games import GANGame, GANStep, fit_gan

PACKAGES = ("pullback", "jax", "equinox", "optax", "torch", "higher", "torchopt")
LATENT, WIDTH, BATCH, AHEAD, STEPS = 256, 128, 128, 10, 20
SHORT, LONG = 200, 1200  # steps of `fit_gan`: their difference is free of tracing and starting
BARE, PLAIN, FITTED = "a bare scan, K = 0", "GANStep, K = 0", "fit_gan, K = 0, with its data"
UNROLLED, SPARING = f"GANStep, K = {AHEAD}, all kept", f"GANStep, K = {AHEAD}, checkpointed"
TORCH, HIGHER, TORCHOPT = "PyTorch, K = 0", f"higher, K = {AHEAD}", f"TorchOpt, K = {AHEAD}"


class Net(eqx.Module):
    """A ReLU network of the same arrays as PyTorch's."""

    weights: list[jax.Array]
    scale: float = eqx.field(static=True)

    def __call__(self, x):
        x = x / self.scale
        *hidden, last = zip(self.weights[::2], self.weights[1::2], strict=True)
        for weight, bias in hidden:
            x = jax.nn.relu(weight @ x + bias)
        x = last[0] @ x + last[1]
        return x[0] if len(x) == 1 else x


def players() -> tuple[Net, Net, Players]:
    generator, discriminator = network(0, LATENT, WIDTH, WIDTH, 2), network(1, 2, WIDTH, 1)
    ours = lambda arrays, scale: Net([jnp.asarray(w) for w in arrays], scale)
    return ours(generator, 1.0), ours(discriminator, 4.0), Players(generator, discriminator)


def adam() -> optax.GradientTransformation:
    return optax.adam(RATE, *BETAS, eps_root=ROOT)


def bare_step(state: Any, x: jax.Array, key: jax.Array) -> Any:
    """The plain game in JAX, as one writes it."""
    generator, net, first, second = state
    z = jr.normal(key, (BATCH, LATENT))
    mapped = lambda net, rows: jax.vmap(net)(rows)

    def own(net):
        fake = mapped(generator, z)
        return jnp.mean(jax.nn.softplus(-mapped(net, x)) + jax.nn.softplus(mapped(net, fake)))

    def others(generator):
        return -jnp.mean(jax.nn.softplus(mapped(net, mapped(generator, z))))

    updates, first = adam().update(jax.grad(others)(generator), first)
    more, second = adam().update(jax.grad(own)(net), second)
    return eqx.apply_updates(generator, updates), eqx.apply_updates(net, more), first, second


def _scan(step: Callable[..., Any]) -> Callable[..., Any]:
    def run(state, xs, keys):
        arrays, rest = eqx.partition(state, eqx.is_array)
        once = lambda arrays, item: (
            eqx.filter(step(eqx.combine(arrays, rest), *item), eqx.is_array), None
        )  # fmt: skip
        return jax.lax.scan(once, arrays, (xs, keys))[0]

    return run


def measure(rounds: int) -> dict[str, Any]:
    """Seconds of a step, and of a compilation by how far is looked ahead."""
    generator, net, rival = players()
    xs = jr.normal(jr.key(0), (STEPS, BATCH, 2))
    keys = jr.split(jr.key(1), STEPS)
    steps = {
        PLAIN: GANStep(adam(), adam(), GANGame(LATENT)),
        UNROLLED: GANStep(adam(), adam(), GANGame(LATENT), unroll=AHEAD, checkpoint=False),
        SPARING: GANStep(adam(), adam(), GANGame(LATENT), unroll=AHEAD),
    }
    _check_same(generator, net, rival, np.asarray(xs[0]))
    state = GANStep(adam(), adam(), GANGame(LATENT)).init(generator, net)
    start = (generator, net, state.generator_state, state.discriminator_state)
    calls = {BARE: _compiled(_scan(bare_step), start, xs, keys)}
    for name, step in steps.items():
        taken = _scan(lambda state, x, key, step=step: step(state, x, key=key)[0])
        calls[name] = _compiled(taken, step.init(generator, net), xs, keys)
    torch_xs = [torch.tensor(np.asarray(x)) for x in xs]
    calls[TORCH] = lambda: [rival.plain(x) for x in torch_xs]
    calls[HIGHER] = lambda: [rival.ahead("by_higher", x, AHEAD) for x in torch_xs]
    calls[TORCHOPT] = lambda: [rival.ahead("by_torchopt", x, AHEAD) for x in torch_xs]
    timings = race(calls, rounds=rounds)
    found = {name: timing.min / STEPS for name, timing in timings.items()}
    fits = {
        str(count): functools.partial(
            fit_gan, generator, net, lambda key: jr.normal(key, (BATCH, 2)), steps[PLAIN],
            steps=count, log_every=SHORT, progress=False, key=jr.key(2),
        )
        for count in (SHORT, LONG)
    }  # fmt: skip
    # By the processor's clock: these calls are too long to find a quiet moment on a busy machine.
    taken = {count: min(_processor(fit) for _ in range(rounds)) for count, fit in fits.items()}
    found[FITTED] = (taken[str(LONG)] - taken[str(SHORT)]) / (LONG - SHORT)
    return {
        "steps": found,
        "compile": {k: _compile_seconds(generator, net, k) for k in (1, 10, 50)},
    }


def _compiled(program: Callable[..., Any], state: Any, *inputs: Any) -> Callable[[], object]:
    arrays, rest = eqx.partition(state, eqx.is_array)
    run = jax.jit(lambda arrays, *inputs: program(eqx.combine(arrays, rest), *inputs))
    return lambda: jax.block_until_ready(run(arrays, *inputs))


def _processor(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def _compile_seconds(generator: Net, net: Net, ahead: int) -> float:
    step = GANStep(adam(), adam(), GANGame(LATENT), unroll=ahead)
    state = step.init(generator, net)
    arrays, rest = eqx.partition(state, eqx.is_array)
    once = lambda arrays, x, key: eqx.filter(
        step(eqx.combine(arrays, rest), x, key=key)[0], eqx.is_array
    )
    _, seconds = compile_program(once, arrays, jnp.zeros((BATCH, 2)), jr.key(0))
    return seconds.total


def _check_same(generator: Net, net: Net, rival: Players, x: np.ndarray) -> None:
    """The generator's gradients through three steps agree, before any is timed."""
    step = GANStep(optax.sgd(1.0), adam(), GANGame(LATENT), unroll=3)
    key = jr.key(3)
    new, _ = jax.jit(
        lambda x: eqx.filter(step(step.init(generator, net), x, key=key), eqx.is_array)
    )(jnp.asarray(x))
    mine = [
        np.asarray(a - b) for a, b in zip(generator.weights, new.generator.weights, strict=True)
    ]
    draw_key = jr.split(jr.split(key)[0])[0]
    z = jax.vmap(GANGame(LATENT).draw)(jr.split(draw_key, len(x)))
    for way in (rival.by_higher, rival.by_torchopt):
        theirs = [g.numpy() for g in way(torch.tensor(x), torch.tensor(np.asarray(z)), 3)]
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-2, atol=2e-3 * np.abs(a).max())


def tables(record: dict[str, Any]) -> list[str]:
    """What was measured, in words and in Markdown."""
    steps, plain = record["steps"], record["steps"][PLAIN]
    header = ["step", "ms", "plain steps", "for one of ours"]
    like = {TORCH: PLAIN, HIGHER: SPARING, TORCHOPT: SPARING, BARE: PLAIN}
    rows = [
        [name, f"{seconds * 1e3:.2f}", f"{seconds / plain:.1f}",
         f"{seconds / steps[like[name]]:.2f}" if name in like else ""]
        for name, seconds in steps.items()
    ]  # fmt: skip
    seconds = record["compile"].items()
    took = ", ".join(f"{each:.1f} s for K = {k}" for k, each in seconds)
    return [
        f"A ring's GAN: generator {LATENT}-{WIDTH}-{WIDTH}-2, discriminator 2-{WIDTH}-1, batches "
        f"of {BATCH}, Adam for both. `fit_gan` draws its data too, and its time is that of the "
        "processor. Gradients through steps were checked to agree first. Wanted of a step that "
        f"looks K = {AHEAD} ahead: at most {1 + AHEAD} plain steps, checkpointed "
        f"{1.3 * (1 + AHEAD):.1f}; at most 1.1 of a bare scan; PyTorch at least 4 and those that "
        "differentiate through its steps at least 8 times ours.",
        markdown_table(header, rows),
        f"To compile: {took}.",
    ]

"""Steps of a GAN of sequences beside plain JAX and a twin in PyTorch."""

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

import _sequences_torch as twin
from _harness import markdown_table
from pullback.games import GANStep, WassersteinGame
from pullback.models.sequences import SequenceCritic, SequenceGenerator, fit_sequence_gan

PACKAGES = ("pullback", "jax", "equinox", "optax", "torch")
LENGTH, LETTERS, LATENT, WIDTH, BLOCKS, BATCH, CRITIC = 36, 4, 32, 24, 3, 64, 5
SHORT, LONG = 20, 60  # steps of `fit_sequence_gan`: their difference is free of tracing
OURS, FITTED = "GANStep", "fit_sequence_gan, with its batches"
PLAIN, XLAS = "plain JAX, the same product", "plain JAX, XLA's convolution"
TORCH = "PyTorch, conv1d"


def adam() -> optax.GradientTransformation:
    return optax.adam(twin.RATE, *twin.BETAS)


def measure(rounds: int) -> dict[str, Any]:
    """Seconds of the processor for a step of both players."""
    generator = SequenceGenerator(LENGTH, LETTERS, LATENT, WIDTH, BLOCKS, key=jr.key(0))
    critic = SequenceCritic(LENGTH, LETTERS, WIDTH, BLOCKS, key=jr.key(1))
    rival = twin.Players(generator, critic)
    codes = jr.randint(jr.key(2), (1000, LENGTH), 0, LETTERS)
    data = jax.nn.one_hot(codes, LETTERS)
    x = data[: CRITIC * BATCH].reshape(CRITIC, BATCH, LENGTH, LETTERS)
    _check_same(critic, rival, x)
    torch_x = torch.tensor(np.asarray(x)).transpose(2, 3).contiguous()
    step = GANStep(adam(), adam(), WassersteinGame(LATENT), discriminator_steps=CRITIC)
    state = step.init(generator, critic)
    flat = jax.tree.map(jnp.asarray, eqx.filter((generator, critic), eqx.is_array))
    start = (*flat, adam().init(flat[0]), adam().init(flat[1]))
    calls = {
        OURS: _compiled(lambda state, x, key: step(state, x, key=key)[0], state, x),
        PLAIN: _compiled(_plain(_product), start, x),
        TORCH: lambda: rival.step(torch_x),
    }
    found = _race(calls, 6 * rounds)
    # Slower by far, so that one turn will do.
    found[XLAS] = _race({XLAS: _compiled(_plain(_by_xla), start, x)}, 1)[XLAS]
    seconds = {}
    for count in (SHORT, LONG, SHORT, LONG):
        started = time.process_time()
        fit_sequence_gan(
            data, latent=LATENT, width=WIDTH, blocks=BLOCKS, steps=count, held_out=BATCH,
            log_every=SHORT, progress=False, key=jr.key(3),
        )  # fmt: skip
        taken = time.process_time() - started
        seconds[count] = min(seconds.get(count, np.inf), taken)
    found[FITTED] = (seconds[LONG] - seconds[SHORT]) / (LONG - SHORT)
    return {"steps": found}


def _plain(conv: Callable[[Any, jax.Array], jax.Array]) -> Callable[..., Any]:
    """The game in JAX, batches first, as one writes it."""

    def body(net: Any, h: jax.Array) -> jax.Array:
        for block in net.blocks:
            inner = conv(block.first, jax.nn.relu(h))
            h = h + 0.3 * conv(block.second, jax.nn.relu(inner))
        return h

    def make(net: Any, z: jax.Array) -> jax.Array:
        h = (z @ net.first.weight.T + net.first.bias).reshape(len(z), LENGTH, WIDTH)
        return jax.nn.softmax(conv(net.last, body(net, h)))

    def judge(net: Any, x: jax.Array) -> jax.Array:
        h = body(net, conv(net.first, x))
        return (h.reshape(len(x), -1) @ net.last.weight.T + net.last.bias)[:, 0]

    def critic_loss(net: Any, real: jax.Array, fake: jax.Array, share: jax.Array) -> jax.Array:
        between = share * real + (1 - share) * fake
        slope = jax.grad(lambda x: jnp.sum(judge(net, x)))(between)
        norm = jnp.sqrt(jnp.sum(slope**2, axis=(1, 2)) + 1e-12)
        left, right = jnp.split(judge(net, jnp.concatenate([real, fake])), 2)
        return jnp.mean(right) - jnp.mean(left) + twin.PENALTY * jnp.mean((norm - 1) ** 2)

    def step(state: Any, batches: jax.Array, key: jax.Array) -> Any:
        generator, critic, first, second = state

        def once(carry: Any, item: Any) -> Any:
            critic, second = carry
            real, key = item
            z_key, share_key = jr.split(key)
            fake = make(generator, jr.normal(z_key, (BATCH, LATENT)))
            share = jr.uniform(share_key, (BATCH, 1, 1))
            slope = jax.grad(critic_loss)(critic, real, fake, share)
            updates, second = adam().update(slope, second)
            return (eqx.apply_updates(critic, updates), second), None

        keys = jr.split(key, CRITIC + 1)
        (critic, second), _ = jax.lax.scan(once, (critic, second), (batches, keys[1:]))
        z = jr.normal(keys[0], (BATCH, LATENT))
        slope = jax.grad(lambda net: -jnp.mean(judge(critic, make(net, z))))(generator)
        updates, first = adam().update(slope, first)
        return eqx.apply_updates(generator, updates), critic, first, second

    return step


def _product(layer: Any, x: jax.Array) -> jax.Array:
    kernel, in_size, out_size = layer.weight.shape
    padded = jnp.pad(x, ((0, 0), (kernel // 2, kernel // 2), (0, 0)))
    seen = [padded[:, at : at + LENGTH] for at in range(kernel)]
    matrix = layer.weight.reshape(kernel * in_size, out_size)
    return jnp.concatenate(seen, axis=2) @ matrix + layer.bias


def _by_xla(layer: Any, x: jax.Array) -> jax.Array:
    numbers = ("NWC", "WIO", "NWC")
    out = jax.lax.conv_general_dilated(x, layer.weight, (1,), "SAME", dimension_numbers=numbers)
    return out + layer.bias


def _compiled(step: Callable[..., Any], state: Any, x: jax.Array) -> Callable[[], object]:
    arrays, rest = eqx.partition(state, eqx.is_array)
    run = jax.jit(
        lambda arrays, x, key: eqx.filter(step(eqx.combine(arrays, rest), x, key), eqx.is_array)
    )
    return lambda: jax.block_until_ready(run(arrays, x, jr.key(4)))


def _race(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The least seconds of the processor, in turns: the clock tells the load of the machine too."""
    for call in calls.values():
        call()
    best = dict.fromkeys(calls, np.inf)
    for name, call in rounds * list(calls.items()):
        start = time.process_time()
        call()
        best[name] = min(best[name], time.process_time() - start)
    return best


def _check_same(critic: SequenceCritic, rival: twin.Players, x: jax.Array) -> None:
    """The critic's loss and its second-order gradient agree, before any is timed."""
    real, fake, key = x[0], jax.nn.softmax(3 * x[1]), jr.key(5)
    game = WassersteinGame(LATENT, twin.PENALTY)
    loss = lambda critic: game.losses(critic, (real, fake), key=key)[0]
    value, slope = eqx.filter_jit(eqx.filter_value_and_grad(loss))(critic)
    share = jr.uniform(jr.split(key)[1], (BATCH, 1, 1))
    to_torch = lambda rows: torch.tensor(np.asarray(rows)).transpose(1, 2)
    theirs = rival.critic_loss(to_torch(real), to_torch(fake), torch.tensor(np.asarray(share)))
    np.testing.assert_allclose(value, theirs.item(), rtol=1e-4)
    weight = rival.critic[1][0]
    [other] = torch.autograd.grad(theirs, weight)
    mine = np.transpose(slope.blocks[0].first.weight, (2, 1, 0))
    np.testing.assert_allclose(mine, other.numpy(), rtol=1e-2, atol=1e-4 * np.abs(mine).max())


def tables(record: dict[str, Any]) -> list[str]:
    """What was measured, in words and in Markdown."""
    steps = record["steps"]
    rows = [
        [name, f"{steps[name] * 1e3:.0f}", f"{steps[name] / steps[OURS]:.2f}"]
        for name in (OURS, FITTED, PLAIN, XLAS, TORCH)
    ]
    return [
        "### A GAN of sequences",
        f"A step: {CRITIC} updates of the critic with the penalty, one of the generator; batch "
        f"{BATCH}, length {LENGTH}, width {WIDTH}, {BLOCKS} blocks. Least milliseconds of the "
        "processor, on one core, compiled before. Loss and gradient were checked to agree first. "
        "Wanted: at most 100 ms, and PyTorch 1.5 times ours.",
        markdown_table(["step", "ms", "for one of ours"], rows),
    ]

"""Steps of adversarially learned inference beside a bare scan, and beside PyTorch."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import torch
from torch.nn import functional

from _harness import markdown_table, race
from pullback.games import (
    ALI,
    ALIGame,
    Deterministic,
    GANStep,
    JointDiscriminator,
    NoiseConditional,
    fit_ali,
)

PACKAGES = ("pullback", "jax", "equinox", "optax", "torch")
STEPS = {"`fit_ali`": 4000, "`GANStep` in a scan": 500, "bare `jax.lax.scan`": 500, "PyTorch": 100}
OURS, STEP, BARE, TORCH = STEPS
RATE = 1e-3
SIZES = {"encoder": (4, 2, 2), "decoder": (2, 2, 3), "discriminator": (4, 1, 2)}


def leaky(x: jax.Array) -> jax.Array:
    return jax.nn.leaky_relu(x, 0.1)


def network(name: str, width: int) -> eqx.nn.MLP:
    inside, out, depth = SIZES[name]
    out = "scalar" if out == 1 else out
    return eqx.nn.MLP(inside, out, width, depth, leaky, key=jr.key(len(name)))


def model(width: int) -> ALI:
    return ALI(
        NoiseConditional(network("encoder", width), noise_dim=2),
        Deterministic(network("decoder", width)),
        JointDiscriminator(eqx.nn.Identity(), eqx.nn.Identity(), network("discriminator", width)),
        prior_dim=2,
    )


def weights(width: int) -> dict[str, list[Any]]:
    return {
        name: [(layer.weight, layer.bias) for layer in network(name, width).layers]
        for name in SIZES
    }


def forward(layers: list[Any], x: jax.Array) -> jax.Array:
    for weight, bias in layers[:-1]:
        x = leaky(x @ weight.T + bias)
    return x @ layers[-1][0].T + layers[-1][1]


def draw(batch: int, key: jax.Array) -> jax.Array:
    return jr.normal(key, (batch, 2))


def bare_losses(discriminator: list[Any], x: Any, encoded: Any, decoded: Any, prior: Any) -> Any:
    rows = jnp.concatenate([
        jnp.concatenate([x, encoded], axis=1), jnp.concatenate([decoded, prior], axis=1),
    ])  # fmt: skip
    t = forward(discriminator, rows)[:, 0]
    one, other = t[: len(x)], t[len(x) :]
    mean = lambda x: jnp.mean(jax.nn.softplus(x))
    return mean(-one) + mean(other), mean(one) + mean(-other)


def bare(width: int, batch: int) -> Any:
    """All that a step needs, and nothing else, in one program."""
    adam = optax.adam(RATE, b1=0.5)
    params = weights(width)
    players = lambda p: ((p["encoder"], p["decoder"]), p["discriminator"])
    state = tuple(adam.init(player) for player in players(params))

    def step(carry, key):
        params, (of_generator, of_discriminator) = carry
        x_key, noise_key, z_key = jr.split(key, 3)
        generator, discriminator = players(params)
        x, z = draw(batch, x_key), jr.normal(z_key, (batch, 2))
        noise = jr.normal(noise_key, (batch, 2))

        def pairs(generator):
            encoder, decoder = generator
            return forward(encoder, jnp.concatenate([x, noise], axis=1)), forward(decoder, z)

        (encoded, decoded), to_generator = jax.vjp(pairs, generator)
        losses, to_players = jax.vjp(
            lambda d, encoded, decoded: bare_losses(d, x, encoded, decoded, z),
            discriminator, encoded, decoded,
        )  # fmt: skip
        one, zero = jnp.ones(()), jnp.zeros(())
        slope = to_players((one, zero))[0]
        [generator_slope] = to_generator(to_players((zero, one))[1:])
        moves, of_generator = adam.update(generator_slope, of_generator)
        moved: Any = optax.apply_updates(generator, moves)
        encoder, decoder = moved
        moves, of_discriminator = adam.update(slope, of_discriminator)
        params = {
            "encoder": encoder, "decoder": decoder,
            "discriminator": optax.apply_updates(discriminator, moves),
        }  # fmt: skip
        return (params, (of_generator, of_discriminator)), losses

    run = jax.jit(lambda carry, key: jax.lax.scan(step, carry, jr.split(key, STEPS[BARE])))
    return lambda: jax.block_until_ready(run((params, state), jr.key(0)))


def ours(width: int, batch: int) -> Any:
    adam = optax.adam(RATE, b1=0.5)
    start, drawn = model(width), functools.partial(draw, batch)

    def run():
        found, _ = fit_ali(
            start, drawn, generator_optimiser=adam, discriminator_optimiser=adam, steps=STEPS[OURS],
            log_every=STEPS[OURS], progress=False, key=jr.key(0),
        )  # fmt: skip
        return jax.block_until_ready(eqx.filter(found, eqx.is_array))

    return run


def scanned(width: int, batch: int) -> Any:
    """The library's step in a bare loop."""
    adam, start = optax.adam(RATE, b1=0.5), model(width)
    step = GANStep(adam, adam, ALIGame(prior_dim=2))
    arrays, rest = eqx.partition(
        step.init((start.encoder, start.decoder), start.discriminator), eqx.is_array
    )

    def one(arrays, key):
        keys = jr.split(key)
        state, metrics = step(eqx.combine(arrays, rest), draw(batch, keys[0]), key=keys[1])
        return eqx.filter(state, eqx.is_array), metrics

    run = jax.jit(lambda arrays, key: jax.lax.scan(one, arrays, jr.split(key, STEPS[STEP])))
    return lambda: jax.block_until_ready(run(arrays, jr.key(0)))


def in_torch(width: int, batch: int) -> Any:
    """The same networks and the same losses, forward once a step."""
    nets = {}
    for name, layers in weights(width).items():
        parts: list[torch.nn.Module] = []
        for weight, bias in layers:
            layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
            with torch.no_grad():
                layer.weight.copy_(torch.tensor(np.asarray(weight)))
                layer.bias.copy_(torch.tensor(np.asarray(bias)))
            parts += [layer, torch.nn.LeakyReLU(0.1)]
        nets[name] = torch.nn.Sequential(*parts[:-1])
    of_generator = [*nets["encoder"].parameters(), *nets["decoder"].parameters()]
    of_discriminator = [*nets["discriminator"].parameters()]
    adams = [
        torch.optim.Adam(p, RATE, betas=(0.5, 0.999)) for p in (of_generator, of_discriminator)
    ]

    def losses(x, encoded, decoded, z):
        rows = torch.cat([torch.cat([x, encoded], 1), torch.cat([decoded, z], 1)])
        one, other = nets["discriminator"](rows)[:, 0].split(len(x))
        mean = lambda t: functional.softplus(t).mean()
        return mean(-one) + mean(other), mean(one) + mean(-other)

    def run():
        for _ in range(STEPS[TORCH]):
            x, noise, z = (torch.randn(batch, 2) for _ in range(3))
            encoded, decoded = nets["encoder"](torch.cat([x, noise], 1)), nets["decoder"](z)
            own, others = losses(x, encoded, decoded, z)
            slopes = [
                torch.autograd.grad(others, of_generator, retain_graph=True),
                torch.autograd.grad(own, of_discriminator),
            ]
            for adam, params, slope in zip(
                adams, (of_generator, of_discriminator), slopes, strict=True
            ):
                for p, g in zip(params, slope, strict=True):
                    p.grad = g
                adam.step()

    return run, losses


def check(width: int) -> None:
    """The losses of all three, of the same pairs."""
    whole, game = model(width), ALIGame(prior_dim=2)
    x = draw(16, jr.key(0))
    shown = game.show((whole.encoder, whole.decoder), x, key=jr.key(1))
    pairs = (x, shown.encoded, shown.decoded, shown.prior)
    wanted = game.losses(whole.discriminator, shown, key=jr.key(2))[:2]
    np.testing.assert_allclose(bare_losses(weights(width)["discriminator"], *pairs), wanted, 1e-5)
    _, losses = in_torch(width, 16)
    found = losses(*(torch.tensor(np.asarray(part)) for part in pairs))
    np.testing.assert_allclose([loss.item() for loss in found], wanted, rtol=1e-5)


def measure(rounds: int) -> dict[str, Any]:
    """Seconds of a step, by the width of the networks and the batch."""
    torch.set_num_threads(1)
    found = {}
    for width, batch in ((64, 128), (256, 256)):
        check(width)
        calls = {
            OURS: ours(width, batch), STEP: scanned(width, batch), BARE: bare(width, batch),
            TORCH: in_torch(width, batch)[0],
        }  # fmt: skip
        found[f"width {width}, batch {batch}"] = race(calls, rounds=rounds)
    return {"ali": found}


def tables(record: dict[str, Any]) -> list[str]:
    """Paragraphs and tables of Markdown."""
    parts = [
        "**Adversarially learned inference**: encoder 4-w-w-2, decoder 2-w-w-w-2 and discriminator "
        "4-w-w-1; steps of both players by Adam on batches drawn on the device. `fit_ali` is timed "
        f"as a whole call of {STEPS[OURS]} steps, with its checks and its trace. All give the "
        "same losses of the same pairs, which is checked first."
    ]
    for name, times in record["ali"].items():
        each = {rival: timing.min / STEPS[rival] for rival, timing in times.items()}
        rows = [
            [rival, f"{1e3 * best:.2f}", f"{best / each[BARE]:.2f}", f"{best / each[OURS]:.2f}"]
            for rival, best in each.items()
        ]
        header = [name, "ms a step", "/ bare scan", "/ pullback"]
        parts.append(markdown_table(header, rows))
    return parts

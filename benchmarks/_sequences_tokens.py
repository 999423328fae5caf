"""Autoencoders of tokens: draws by steps and by all rows, buckets and padding, and PyTorch."""

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
from torch import nn

from _harness import markdown_table
from pullback._buckets import bucket_sizes
from pullback.bounds import Beta
from pullback.data import Vocabulary, nci_molecules
from pullback.models.sequences import token_vae
from pullback.models.sequences._length_buckets import CutLoss, length_batches
from pullback.models.vae import Categorical, PropertyLoss, SequenceDecoder
from pullback.nn import AbstractSequenceNet, RecurrentNet

PACKAGES = ("pullback", "jax", "equinox", "optax", "torch", "rdkit")
DRAWS, FEW, LENGTH, ALPHABET, WIDTH, LATENT = 10_000, 100, 64, 40, 128, 32
BATCH, STEPS, LONG = 64, 16, 20_000  # LONG: the steps for which the lengths are chosen
RATE, KL, WEIGHT, HIDDEN = 2e-3, 0.05, 5.0, 0.2
PADDED, BUCKETS = "pullback, padded", "pullback, in buckets"
TORCH, TORCH_CUT = "PyTorch, padded", "PyTorch, in the same buckets"


class WholeNet(AbstractSequenceNet):
    """A net that is run on all rows to have the next, which is how all were drawn once."""

    net: AbstractSequenceNet
    in_size: int = eqx.field(static=True)
    out_size: int = eqx.field(static=True)

    def __call__(self, x):
        return self.net(x)


def measure(rounds: int) -> dict[str, Any]:
    """Seconds of the processor for draws and for steps of training."""
    return {"draws": _draws(rounds), **_training(rounds)}


def _processor(call: Callable[[], Any], rounds: int) -> float:
    """The least seconds of the processor: these calls are too long for a quiet moment."""
    jax.block_until_ready(call())
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        jax.block_until_ready(call())
        taken.append(time.process_time() - start)
    return min(taken)


def _draws(rounds: int) -> dict[str, float]:
    law, net = Categorical(ALPHABET), RecurrentNet(1, WIDTH, WIDTH, key=jr.key(0))
    of = lambda net: SequenceDecoder(
        net, steps=LENGTH, latent=LATENT, outputs=law.params_shape((1,)), key=jr.key(1)
    )

    @eqx.filter_jit
    def draw(decoder, z, keys):
        return jax.vmap(lambda z, key: decoder.sample(z, law, key=key))(z, keys)

    z, keys = jr.normal(jr.key(2), (DRAWS, LATENT)), jr.split(jr.key(3), DRAWS)
    by_steps, by_all = of(net), of(WholeNet(net=net, in_size=1, out_size=WIDTH))
    few = functools.partial(draw, z=z[:FEW], keys=keys[:FEW])
    np.testing.assert_array_equal(few(by_steps), few(by_all))
    tokens = token_vae(ALPHABET, LENGTH, latent=LATENT, width=WIDTH, key=jr.key(4))
    decode = eqx.filter_jit(
        lambda model: jax.vmap(lambda z, key: model.decode(z, key=key))(z, keys)
    )
    return {
        "by all rows": _processor(lambda: few(by_all), 1) / FEW * DRAWS,
        "by steps, as few": _processor(lambda: few(by_steps), rounds) / FEW * DRAWS,
        "by steps": _processor(lambda: draw(by_steps, z, keys), rounds),
        "TokenVAE.decode": _processor(lambda: decode(tokens), rounds),
    }


def _training(rounds: int) -> dict[str, Any]:
    found, shares = {}, {}
    for longest in (45, 200):
        smiles = nci_molecules(longest=longest).smiles
        codes = Vocabulary.from_strings(smiles, "smiles_char").encode(smiles)
        needed = (codes != 0).sum(axis=1) + 1
        lengths = bucket_sizes(needed, LONG)
        shares[longest] = {
            "molecules": len(codes), "mean": float(needed.mean()), "padding": codes.shape[1],
            "lengths": lengths,
            "computed": float(np.asarray(lengths)[np.searchsorted(lengths, needed)].mean()),
        }  # fmt: skip
        found[longest] = _steps(codes, needed, lengths, rounds)
    return {"steps": found, "data": shares}


def _steps(
    codes: np.ndarray, needed: np.ndarray, lengths: tuple[int, ...], rounds: int
) -> dict[str, float]:
    tokens, length = int(codes.max()) + 1, codes.shape[1]
    targets = np.random.default_rng(0).normal(size=(len(codes), 2)).astype(np.float32)
    model = token_vae(tokens, length, targets=2, latent=LATENT, width=WIDTH, key=jr.key(0))
    told = lambda vae, x, *, key: vae.decoder.hide(x, HIDDEN, key=key)
    loss = PropertyLoss(Beta(KL), weight=WEIGHT, told=told)
    draw = length_batches(codes, targets, needed, lengths, BATCH)
    whole = length_batches(codes, targets, needed, (length,), BATCH)
    keys = jr.split(jr.key(1), STEPS)
    twin = Twin(model, tokens)
    _check_same(model, twin, codes[:BATCH])
    batches = [np.asarray(draw(key)[0]) for key in keys]
    cut = [x[:, : min(n for n in lengths if n >= (x != 0).sum(1).max() + 1)] for x in batches]
    y = torch.tensor(targets[:BATCH])

    def of_torch(batches: list[np.ndarray]) -> Callable[[], Any]:
        given = [torch.tensor(x.astype(np.int64)) for x in batches]
        return lambda: [twin.step(x, y) for x in given] and None

    calls = {
        PADDED: _run(loss, model, whole, keys),
        BUCKETS: _run(CutLoss(loss, lengths), model, draw, keys),
        TORCH: of_torch(batches),
        TORCH_CUT: of_torch(cut),
    }
    return {name: _processor(call, rounds) / STEPS for name, call in calls.items()}


def _run(loss: Any, model: Any, draw: Any, keys: Any) -> Callable[[], Any]:
    """Steps of Adam as one program, as `fit_token_vae` takes them."""
    params, rest = eqx.partition((model.vae, model.predictor), eqx.is_inexact_array)
    adam = optax.adam(RATE)

    def step(state, key):
        params, moments = state
        drawing, noise = jr.split(key)
        of = lambda params: loss(eqx.combine(params, rest), draw(drawing), key=noise)[0]
        updates, moments = adam.update(jax.grad(of)(params), moments)
        return (optax.apply_updates(params, updates), moments), None

    run = jax.jit(lambda state: jax.lax.scan(step, state, keys)[0])
    state = params, adam.init(params)
    return lambda: run(state)


class Twin(nn.Module):
    """The same network of the same arrays in PyTorch."""

    def __init__(self, model: Any, tokens: int):
        super().__init__()
        encoder, decoder = model.vae.encoder, model.vae.decoder
        tensor = lambda leaf: torch.tensor(np.array(leaf))
        fill = lambda layer, weight, bias: (
            layer.weight.data.copy_(tensor(weight)), layer.bias.data.copy_(tensor(bias))
        )  # fmt: skip
        conv = lambda layer: nn.Conv1d(
            layer.weight.shape[1], layer.weight.shape[2], layer.weight.shape[0], padding="same"
        )
        self.tokens, self.length, embed = tokens, encoder.length, decoder.letters.shape[1]
        self.seen = nn.Embedding.from_pretrained(tensor(encoder.letters), freeze=False)
        self.first, self.second = conv(encoder.first), conv(encoder.second)
        for mine, theirs in ((encoder.first, self.first), (encoder.second, self.second)):
            fill(theirs, np.transpose(mine.weight, (2, 1, 0)), mine.bias)
        linear = lambda layer: nn.Linear(*reversed(layer.weight.shape))
        layers = [encoder.last, decoder.start_of, decoder.head, *model.predictor.layers]
        made = [linear(layer) for layer in layers]
        for mine, theirs in zip(layers, made, strict=True):
            fill(theirs, mine.weight, mine.bias)
        self.last, self.start, self.head = made[:3]
        self.predictor = nn.Sequential(made[3], nn.ReLU(), made[4])
        self.told = nn.Embedding.from_pretrained(tensor(decoder.letters), freeze=False)
        self.cell = nn.GRU(embed + LATENT, WIDTH, batch_first=True)
        self.cell.weight_ih_l0.data.copy_(tensor(decoder.cell.weight_ih))
        self.cell.weight_hh_l0.data.copy_(tensor(decoder.cell.weight_hh))
        self.cell.bias_ih_l0.data.copy_(tensor(decoder.cell.bias))
        self.cell.bias_hh_l0.data.zero_()
        self.cell.bias_hh_l0.data[-WIDTH:].copy_(tensor(decoder.cell.bias_n))
        self.adam = torch.optim.Adam(self.parameters(), RATE)

    def encode(self, x: Any) -> Any:
        inside = (x != 0).float()
        if x.shape[1] % 2:
            x, inside = nn.functional.pad(x, (0, 1)), nn.functional.pad(inside, (0, 1))
        h = self.seen(x) * inside[:, :, None]
        h = torch.relu(self.first(h.transpose(1, 2))).transpose(1, 2) * inside[:, :, None]
        h = h.reshape(len(x), x.shape[1] // 2, -1).transpose(1, 2)
        h = torch.relu(self.second(h)).transpose(1, 2) * inside[:, ::2, None]
        weight, width = self.last.weight, h.shape[2]
        flat, pooled = h.flatten(1), h.sum(1) / ((self.length + 1) // 2) ** 0.5
        return flat @ weight[:, : flat.shape[1]].T + pooled @ weight[:, -width:].T + self.last.bias

    def logits(self, z: Any, told: Any) -> Any:
        before = torch.cat([torch.zeros_like(told[:, :1]), told[:, :-1]], dim=1)
        wide = z[:, None].expand(-1, told.shape[1], -1)
        rows = torch.cat([self.told(before), wide], dim=2)
        hidden, _ = self.cell(rows, torch.tanh(self.start(z))[None])
        return self.head(torch.cat([hidden, wide], dim=2))

    def step(self, x: Any, y: Any) -> None:
        self.adam.zero_grad()
        mu, log_sd = self.encode(x).chunk(2, dim=1)
        z = mu + log_sd.exp() * torch.randn_like(mu)
        told = torch.where(torch.rand(x.shape) < HIDDEN, self.tokens, x)
        inside = (x != 0).float()
        scored = torch.cat([torch.ones_like(inside[:, :1]), inside[:, :-1]], dim=1)
        entropy = nn.functional.cross_entropy(
            self.logits(z, told).transpose(1, 2), x, reduction="none"
        )
        kl = 0.5 * (mu**2 + (2 * log_sd).exp() - 1 - 2 * log_sd).sum(1)
        error = ((self.predictor(mu) - y) ** 2).mean()
        ((entropy * scored).sum(1).mean() + KL * kl.mean() + WEIGHT * error).backward()
        self.adam.step()


def _check_same(model: Any, twin: Twin, codes: np.ndarray) -> None:
    """Codes and logits agree, before any is timed."""
    x, theirs = jnp.asarray(codes), torch.tensor(codes.astype(np.int64))
    with torch.no_grad():
        code = twin.encode(theirs)
        logits = twin.logits(code[:, :LATENT], theirs).numpy()
    mine = jax.vmap(model.vae.encode)(x)
    np.testing.assert_allclose(mine, code.numpy(), rtol=1e-3, atol=1e-4)
    mine = jax.vmap(model.vae.decoder)(mine[:, :LATENT], x)
    np.testing.assert_allclose(mine, logits, rtol=1e-3, atol=1e-3)


def tables(record: dict[str, Any]) -> list[str]:
    """What was measured, in words and in Markdown."""
    draws = record["draws"]
    old = draws["by all rows"]
    rows = [[name, f"{each:.2f}", f"{old / each:.1f}"] for name, each in draws.items()]
    texts = [
        f"**{DRAWS:,} draws** of {LENGTH} tokens of {ALPHABET}, a cell of {WIDTH}, seconds of the "
        f"processor; those by all rows, which took the square of the steps, from {FEW} draws. Both "
        "ways draw the same, which is checked. Wanted: 10 times faster.",
        markdown_table(["draws", "s", "times faster"], rows),
    ]
    for longest, steps in record["steps"].items():
        data, padded = record["data"][longest], steps[PADDED]
        rows = [
            [name, f"{each * 1e3:.1f}", f"{padded / each:.2f}", f"{each / steps[BUCKETS]:.2f}"]
            for name, each in steps.items()
        ]
        lengths = ", ".join(map(str, data["lengths"]))
        texts += [
            f"**Training** on {data['molecules']} molecules of up to {longest} characters, "
            f"{data['mean']:.1f} on average with the stop, padded to {data['padding']}; buckets of "
            f"up to {lengths}, whose mean is {data['computed']:.1f}. Batches of {BATCH}, latent "
            f"{LATENT}, cell {WIDTH}, milliseconds of the processor a step, by one thread. The "
            "networks were checked to agree first. Wanted: buckets 1.7 times faster than padding, "
            "and no slower than PyTorch.",
            markdown_table(["step", "ms", "padding / it", "it / ours in buckets"], rows),
        ]
    return texts

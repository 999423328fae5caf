"""Searches for sequences beside a bare loop in JAX, one in PyTorch, and ledidi."""

import itertools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import torch
from ledidi import Ledidi

from _harness import markdown_table
from pullback.data import from_one_hot, one_hot, planted_motif
from pullback.models.sequences import MotifScore, maximise

PACKAGES = ("pullback", "jax", "equinox", "optax", "torch", "ledidi")
COUNT, LENGTH, STEPS, RATE = 200, 36, 300, 0.1
TEMPLATES = 5  # of ledidi's runs, each of one template, of which COUNT would be needed
OURS = "maximise"
FLOOR, TORCH = "a bare scan in JAX, softmax", "a loop in PyTorch, softmax"
APART, TOGETHER = "ledidi, a run a design", "ledidi, all from one run"
RELAXATIONS: tuple[Any, ...] = ("softmax", "straight_through", "seqprop")


def measure(rounds: int) -> dict[str, Any]:
    """Seconds of the processor for `COUNT` designs, and what they score as strings."""
    planted = planted_motif()
    score = MotifScore(planted.motif, planted.background)
    judge = jax.jit(jax.vmap(score))
    value = lambda letters: np.asarray(judge(jnp.asarray(one_hot(letters))))
    model = _Twin(score)
    drawn = planted.sequences.letters
    seen = _tensor(drawn[:100])
    np.testing.assert_allclose(model(seen)[:, 0].numpy(), value(drawn[:100]), atol=1e-4)
    found: dict[str, dict[str, float]] = {}
    best: list[str] = []
    for relax in RELAXATIONS:
        run = lambda seed, relax=relax: maximise(
            score, count=COUNT, length=LENGTH, relax=relax, steps=STEPS, key=jr.key(seed)
        )
        designs, first = _timed(lambda run=run: run(0))
        found[f"{OURS}, {relax}"] = _row(designs.letters, value, run, rounds, first=first)
        best = best or list(designs.letters)
    bare = jax.jit(lambda key: _bare(score, key))
    (codes, first) = _timed(lambda: bare(jr.key(0)))
    found[FLOOR] = _row(from_one_hot(codes), value, lambda s: bare(jr.key(s)), rounds, first=first)
    letters = _torch(model)
    found[TORCH] = _row(letters, value, lambda s: _torch(model), 1)
    wanted = float(value(best).mean())
    runs = [_ledidi(model, drawn[row], wanted) for row in range(TEMPLATES)]
    apart = [each["best"] for each in runs]
    found[APART] = _told(apart, value) | {
        "seconds": COUNT * float(np.mean([each["seconds"] for each in runs])),
        "steps": float(np.mean([each["steps"] for each in runs])),
    }
    found[TOGETHER] = _told(runs[0]["drawn"], value) | {
        "seconds": runs[0]["seconds"] + runs[0]["drawing"],
        "steps": runs[0]["steps"],
    }
    return {"designs": found, "train_best": float(planted.score(drawn).max())}


class _Twin(torch.nn.Module):
    """The motif's score in PyTorch, as ledidi wants it: `(n, 1)` of `(n, letters, length)`."""

    def __init__(self, score: MotifScore) -> None:
        super().__init__()
        self.odds = torch.tensor(np.asarray(score.log_odds)).transpose(1, 2).contiguous()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = torch.nn.functional.conv1d(x, self.odds)
        return torch.logsumexp(found.flatten(1), dim=1, keepdim=True)


def _bare(score: MotifScore, key: jax.Array) -> jax.Array:
    adam = optax.adam(RATE)
    logits = jr.normal(key, (COUNT, LENGTH, 4))
    aim = lambda logits: -jnp.sum(jax.vmap(score)(jax.nn.softmax(logits)))

    def step(carry: Any, _: None) -> Any:
        logits, state = carry
        updates, state = adam.update(jax.grad(aim)(logits), state)
        return (logits + updates, state), None

    (logits, _), _ = jax.lax.scan(step, (logits, adam.init(logits)), length=STEPS)
    return jax.nn.one_hot(jnp.argmax(logits, axis=-1), 4)


def _torch(model: torch.nn.Module) -> list[str]:
    torch.manual_seed(0)
    logits = torch.randn(COUNT, 4, LENGTH, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=RATE)
    for _ in range(STEPS):
        adam.zero_grad()
        (-model(torch.softmax(logits, dim=1)).sum()).backward()
        adam.step()
    return from_one_hot(logits.detach().transpose(1, 2).numpy())


def _ledidi(model: torch.nn.Module, template: str, wanted: float) -> dict[str, Any]:
    """A run at ledidi's settings, but that it may make as many edits as it likes."""
    designer = Ledidi(
        model, shape=(4, len(template)), l=0.0, verbose=False, return_history=True, random_state=0
    )
    x = _tensor([template])
    (rows, history), seconds = _timed(lambda: designer.fit_transform(x, torch.tensor([[wanted]])))
    scores = model(rows)[:, 0]
    draw = lambda: torch.cat([designer(x) for _ in range(-(-COUNT // 16))])[:COUNT]
    with torch.no_grad():
        more, drawing = _timed(draw)
    return {
        "best": _letters(rows[scores.argmax()][None])[0],
        "drawn": _letters(more),
        "seconds": seconds,
        "drawing": drawing,
        "steps": len(history["output_loss"]),
    }


def _tensor(letters: Any) -> torch.Tensor:
    return torch.tensor(one_hot(list(letters))).transpose(1, 2).contiguous()


def _letters(rows: torch.Tensor) -> list[str]:
    return from_one_hot(rows.detach().transpose(1, 2).numpy())


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    found = call()
    jax.block_until_ready([leaf for leaf in jax.tree.leaves(found) if isinstance(leaf, jax.Array)])
    return found, time.process_time() - start


def _row(
    letters: Any, value: Callable, run: Callable[[int], Any], rounds: int, first: float = np.nan
) -> dict[str, float]:
    """The least of several calls, the first apart, and what is said of the strings."""
    seconds = min(_timed(lambda seed=seed: run(seed))[1] for seed in range(1, rounds + 1))
    return _told(letters, value) | {"seconds": seconds, "first": first, "steps": float(STEPS)}


def _told(letters: Any, value: Callable) -> dict[str, float]:
    letters = list(letters)
    pairs = list(itertools.combinations(letters, 2))
    differ = [sum(a != b for a, b in zip(*pair, strict=True)) for pair in pairs]
    return {
        "score": float(value(letters).mean()),
        "unique": len(set(letters)) / len(letters),
        "hamming": float(np.mean(differ)),
    }


def tables(record: dict[str, Any]) -> list[str]:
    """What was measured, in words and in Markdown."""
    found = record["designs"]
    ours = found[f"{OURS}, softmax"]
    rows = [
        [
            name, f"{each['seconds']:.2f}", f"{each['seconds'] / ours['seconds']:.1f}",
            f"{each['score']:.2f}", f"{each['unique']:.2f}", f"{each['hamming']:.1f}",
            f"{each['steps']:.0f}",
        ]
        for name, each in found.items()
    ]  # fmt: skip
    return [
        "### Searches for sequences",
        f"{COUNT} designs of {LENGTH} letters that fit a motif around CACGTG, by {STEPS} steps of "
        "Adam. Least seconds of the processor of a call after the first, which compiles (softmax: "
        f"{ours['first']:.1f} s); the oracle's mean score of the strings, the best of the training "
        f"set being {record['train_best']:.1f}; the share that is unique; the letters in which two "
        "differ. ledidi edits one template a run, here with no price on edits and our mean score "
        f"as its aim: for designs from {COUNT} templates that is {COUNT} runs, of which "
        f"{TEMPLATES} were timed; the {COUNT} draws of one run are edits of one template. Wanted: "
        "ledidi 5 times ours.",
        markdown_table(
            ["search", "s", "for one of ours", "score", "unique", "differ", "steps"], rows
        ),
    ]

"""A real process, a real SIGKILL, and the bits of the parameters."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from pullback._archive import read_archive

SCRIPT = """
import sys
import equinox as eqx, jax, jax.numpy as jnp, jax.random as jr, numpy as np, optax
from pullback.train import fit

folder, cache = sys.argv[1:]
jax.config.update("jax_compilation_cache_dir", cache)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)

def loss(model, batch, *, key):
    x, y = batch
    x = x + 0.1 * jr.normal(key, x.shape, x.dtype)
    return jnp.mean((jax.vmap(model)(x)[:, 0] - y) ** 2), {}

generator = np.random.default_rng(0)
model, info = fit(
    eqx.nn.MLP(3, 1, 4, 1, key=jr.key(0)),
    loss,
    (generator.normal(size=(40, 3)), generator.normal(size=40)),
    optimiser=optax.adamw(0.01),
    steps=2000,
    batch_size=7,
    log_every=10,
    checkpoint_every=30,
    validation=(generator.normal(size=(10, 3)), generator.normal(size=10)),
    patience=1000,
    folder=folder,
    resume=True,
    key=jr.key(1),
)
print(info.step)
"""


def start(folder: Path, cache: Path) -> subprocess.Popen:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    command = [sys.executable, "-c", SCRIPT, str(folder), str(cache)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def kill_at_some_moment(folder: Path, cache: Path, delay: float) -> None:
    log = folder / "metrics.jsonl"
    before = log.stat().st_mtime_ns if log.exists() else 0
    process = start(folder, cache)
    try:
        # The log is written anew at the start and then grows: two changes mean that steps are run.
        for _ in range(2):
            while not log.exists() or log.stat().st_mtime_ns == before:
                assert process.poll() is None, "ended before it could be killed"
                time.sleep(0.002)
            before = log.stat().st_mtime_ns
        time.sleep(delay)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL


def leaves(folder: Path) -> list[bytes]:
    _, arrays = read_archive(folder / "checkpoint-2000.safetensors")
    return [arrays[name].tobytes() for name in sorted(arrays)]


def test_killed_and_resumed_ends_in_the_same_bits(tmp_path):
    straight, killed, cache = (tmp_path / name for name in ("straight", "killed", "cache"))
    whole = start(straight, cache)
    try:
        kill_at_some_moment(killed, cache, delay=random.Random(7).uniform(0.0, 0.4))
        assert whole.communicate()[0].strip() == "2000"
    finally:
        whole.kill()
    assert 0 < (killed / "metrics.jsonl").read_text().count("\n") < 200
    assert start(killed, cache).communicate()[0].strip() == "2000"
    # Parameters, both moments of AdamW and its count, and the best model so far.
    assert leaves(killed) == leaves(straight)
    assert len(leaves(straight)) == 4 + 9 + 4
    steps = [line.split(",")[0] for line in (killed / "metrics.jsonl").read_text().splitlines()]
    assert steps == [f'{{"step": {step}' for step in range(10, 2001, 10)]

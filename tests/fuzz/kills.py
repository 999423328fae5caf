"""Training and recipes that are killed at random moments, and what they come to in the end.

python tests/fuzz/kills.py NAME KILLS

One process imports everything and starts no backend; it forks for each try, so that a try takes
the time of its own work. A try goes on with what the last one left. It is killed after a time drawn
between none and that of a whole run (of a recipe, half of it); where it is done before, what it
came to is compared, to the bit, with a run that nobody killed, and another folder is begun.
"""

import contextlib
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

from pullback._archive import read_record
from pullback.train import Stream, apply_gradient, fit, iterate

_DRAWS = np.random.default_rng(0)
_ROWS = _DRAWS.normal(size=(40, 3)), _DRAWS.normal(size=40)
_HELD_OUT = _DRAWS.normal(size=(10, 3)), _DRAWS.normal(size=10)
_ADAM = optax.adamw(0.01)


def _loss(model, batch, *, key):
    x, y = batch
    x = x + 0.1 * jr.normal(key, x.shape, x.dtype)
    return jnp.mean((jax.vmap(model)(x)[:, 0] - y) ** 2), {}


def _net(key: jax.Array) -> eqx.nn.MLP:
    return eqx.nn.MLP(3, 1, 4, 1, key=key)


def fitted(folder: Path) -> Any:
    return fit(
        _net(jr.key(0)), _loss, _ROWS, optimiser=_ADAM, steps=3000, batch_size=7, log_every=10,
        checkpoint_every=30, validation=_HELD_OUT, patience=1000, folder=folder, resume=True,
        key=jr.key(1),
    )  # fmt: skip


def iterated(folder: Path) -> Any:
    """A network and a chain beside it that moves as the network does."""

    def step(state, batch, *, key):
        net, chain, moments = state
        noise, key = jr.split(key)
        value, gradient = eqx.filter_value_and_grad(lambda m: _loss(m, batch, key=key)[0])(net)
        net, moments = apply_gradient(_ADAM, gradient, moments, net)
        chain = 0.9 * chain + jr.normal(noise, chain.shape, chain.dtype) + value
        return (net, chain, moments), {"loss": value}

    net = _net(jr.key(0))
    start = net, jnp.zeros(5), _ADAM.init(eqx.filter(net, eqx.is_array))
    return iterate(
        step, start, Stream(_ROWS, batch_size=7), steps=3000, log_every=10, checkpoint_every=30,
        folder=folder, resume=True, key=jr.key(1),
    )  # fmt: skip


def stacked(folder: Path) -> Any:
    keys = jr.split(jr.key(1), 3)
    return fit(
        eqx.filter_vmap(_net)(keys), _loss, _ROWS, optimiser=_ADAM, steps=3000, batch_size=7,
        log_every=10, checkpoint_every=30, folder=folder, resume=True, key=keys,
    )  # fmt: skip


def _recipe(name: str) -> Callable[[Path], Any]:
    def work(folder: Path) -> Any:
        from pullback.cli import main

        words = ["run", name, "--preset", "smoke", "--seed", "0", "--resume"]
        assert main([*words, "--out", str(folder)]) in (0, 1)
        return json.loads((folder / "claims.json").read_text())["claims"]

    return work


WORK = {
    "fit": fitted,
    "iterate": iterated,
    "stack": stacked,
    "neural-ode": _recipe("neural-ode"),
    "trajectory-length": _recipe("trajectory-length"),
}


def digest(result: Any) -> str:
    """Of all numbers of a result, to the bit; of a `TrainingInfo` the history."""
    if isinstance(result, tuple):
        state, info = result
        slow = ("steps_per_second", "seconds")
        history = {k: np.asarray(v) for k, v in info.history.items() if k not in slow}
        result = jax.tree.leaves(eqx.filter((state, history), eqx.is_array))
        parts = [f"{x.dtype}{x.shape}".encode() + np.asarray(x).tobytes() for x in result]
    else:
        parts = [json.dumps(result, sort_keys=True).encode()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def start(work: Callable[[Path], Any], folder: Path, told: Path) -> int:
    """Fork a process that works in the folder and tells the digest of what it came to."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        with told.with_suffix(".log").open("w") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            found = digest(work(folder))
        told.write_text(found)
        status = 0
    except BaseException:
        with told.with_suffix(".error").open("w") as log:
            import traceback

            traceback.print_exc(file=log)
    finally:
        os._exit(status)


def ended(process: int, within: float | None = None) -> bool:
    """Whether a process has ended well within so many seconds; by then it is killed."""
    until = None if within is None else time.monotonic() + within
    while until is not None and time.monotonic() < until:
        if os.waitpid(process, os.WNOHANG)[0]:
            return True
        time.sleep(0.002)
    if until is not None:
        os.kill(process, signal.SIGKILL)
    status = os.waitpid(process, 0)[1]
    return not os.WIFSIGNALED(status)


def whole(folder: Path) -> int:
    """How many archives lie in a folder, each of which is read whole."""
    found = [path for path in folder.rglob("*.safetensors") if not path.name.startswith(".")]
    for path in found:
        read_record(path)
    return len(found)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def killed(name: str, kills: int, at: Path, seed: int = 0) -> dict[str, Any]:
    """Kill the work of this name so many times.

    Returns:
        How many kills there were, how many of them left something to go on from, how many works
        were done in spite of them, and how many of these were the same to the bit and left the same
        files.
    """
    work, told, dice = WORK[name], at / "told", random.Random(seed)

    def come_to() -> str:
        assert told.exists(), told.with_suffix(".error").read_text()
        found = told.read_text()
        told.unlink()
        return found

    for straight in (at / "first", at / "straight"):  # the first compiles
        begun = time.monotonic()
        ended(start(work, straight, told))
        takes, wanted = time.monotonic() - begun, come_to()
    # A recipe takes long, and a later try finds stages that are done: it is soon at any place.
    most = takes if name in ("fit", "iterate", "stack") else takes / 2
    counts = {"kills": 0, "left_something": 0, "done": 0, "same": 0}
    folder = at / "killed-0"
    while counts["kills"] < kills:
        if ended(start(work, folder, told), dice.uniform(0, most)):
            _compare(counts, come_to() == wanted, names(folder) == names(at / "straight"))
            folder = at / f"killed-{counts['done']}"
            continue
        counts["kills"] += 1
        counts["left_something"] += whole(folder) > 0
    ended(start(work, folder, told))
    _compare(counts, come_to() == wanted, names(folder) == names(at / "straight"))
    return {"name": name, **counts, "seconds": round(takes, 2)}


def _compare(counts: dict[str, int], same: bool, clean: bool) -> None:
    counts["done"] += 1
    counts["same"] += same and clean


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR") or tempfile.mkdtemp()
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        print(json.dumps(killed(sys.argv[1], int(sys.argv[2]), place)))

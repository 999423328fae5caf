"""Runs that are killed: they go on to the same claims, and never with other data."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

MOCAP = Path(os.environ.get("PULLBACK_DATA", "data")) / "mocap35" / "mocap35.npz"


def start(folder, name, *flags):
    argv = [sys.executable, "-m", "pullback.cli", "run", name, "--preset", "smoke", "--seed", "3"]
    argv += ["--no-progress", "--out", str(folder), *map(str, flags)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def claims(folder):
    return json.loads((folder / "claims.json").read_text())["claims"]


def kept(folder):
    """The files to which a run that is stopped comes back."""
    found = [path for name in ("stages", "training") for path in (folder / name).rglob("*")]
    return {path for path in found if path.is_file() and not path.name.startswith(".")}


def kill_after(process, folder, count, wait):
    """Kill a run so many seconds after it has kept so many files."""
    while process.poll() is None and len(kept(folder)) < count:
        time.sleep(0.01)
    time.sleep(wait)
    process.kill()
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("beta-tcvae", ["--steps", "300"]),
        ("cnf", ["--iterations", "200"]),
        ("sde-bnn", ["--iterations", "60"]),
    ],
)
def test_a_run_that_is_killed_twice_goes_on_to_the_same_claims(name, flags, tmp_path):
    whole = start(tmp_path / "whole", name, *flags)
    _, error = whole.communicate()
    assert whole.returncode in (0, 1), error  # a claim of so small a run may not hold
    count, chance = len(kept(tmp_path / "whole")), random.Random(name)
    for _ in range(2):
        process = start(tmp_path / "killed", name, *flags, "--resume")
        kill_after(process, tmp_path / "killed", chance.randint(1, count - 1), chance.random())
    assert not (tmp_path / "killed" / "claims.json").exists()
    last = start(tmp_path / "killed", name, *flags, "--resume")
    _, error = last.communicate()
    assert last.returncode == whole.returncode, error
    assert claims(tmp_path / "killed") == claims(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.skipif(not MOCAP.exists(), reason="PULLBACK_DATA has no mocap35")
def test_a_file_that_was_edited_after_a_stage_is_not_gone_on_with(tmp_path):
    shutil.copy(MOCAP, tmp_path / "mocap35.npz")
    flags = ("--data", tmp_path)
    kill_after(start(tmp_path / "run", "latent-sde/mocap", *flags), tmp_path / "run", 1, 0.1)
    before = {path: path.read_bytes() for path in kept(tmp_path / "run")}
    data = bytearray((tmp_path / "mocap35.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "mocap35.npz").write_bytes(data)
    again = start(tmp_path / "run", "latent-sde/mocap", *flags, "--resume")
    _, error = again.communicate()
    assert again.returncode == 2
    assert "was made with other data" in error
    assert {path: path.read_bytes() for path in kept(tmp_path / "run")} == before
    shutil.copy(MOCAP, tmp_path / "mocap35.npz")
    once_more = start(tmp_path / "run", "latent-sde/mocap", *flags, "--resume")
    _, error = once_more.communicate()
    assert once_more.returncode in (0, 1), error

"""Killed fifty times at random moments, training and recipes come to the same bits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import kills
import pytest

SCRIPT = Path(kills.__file__)


def killed(name, count, cache):
    # As a user's process is: one device, single precision, code that is optimised.
    own = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "JAX_COMPILATION_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), name, str(count)],
        env={**os.environ, **own}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(kills.WORK))
def test_fifty_kills_change_nothing(name, tmp_path):
    found = killed(name, 50, tmp_path)
    assert found["kills"] == 50
    assert found["left_something"] > 0
    assert found["same"] == found["done"] > 0

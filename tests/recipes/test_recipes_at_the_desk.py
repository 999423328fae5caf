"""Every recipe at its desk size: its claims hold at a base seed that its author did not use."""

import os
import subprocess
import sys

import pytest

from pullback.recipes import papers


@pytest.mark.slow
@pytest.mark.parametrize("name", papers())
def test_the_claims_hold_at_another_seed(name, tmp_path):
    run = "import sys; from pullback.cli import main; sys.exit(main())"
    arguments = ["run", name, "--seed", "1", "--no-progress", "--out", str(tmp_path / name)]
    # As a user has it: the tests' own flags leave the code as slow as it comes.
    env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", run, *arguments], capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stdout + done.stderr

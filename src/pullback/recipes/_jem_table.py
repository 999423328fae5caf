"""The JEM of a table of the user's own."""

from collections.abc import Sequence
from pathlib import Path

from pullback.recipes._base import Claim
from pullback.recipes._context import Context
from pullback.recipes._jem_train import Config


def run_on_table(config: Config, context: Context, file: Path, seeds: Sequence[int]) -> list[Claim]:
    raise NotImplementedError

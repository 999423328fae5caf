"""What can be run: a configuration in some sizes, and a function that measures."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pullback.runs._claim import Claim
from pullback.runs._context import Context


@dataclass(frozen=True)
class Experiment:
    """What can be run: its configuration in three sizes, and what measures its claims.

    Args:
        name: What `pullback run` calls it.
        arxiv: The paper's arXiv identifier.
        title: The paper's title.
        summary: One line about what is measured.
        config: A frozen dataclass; each field becomes a flag, the string under it the flag's help.
        presets: Configurations named `smoke` (seconds; it only shows that all runs), `desk`
            (minutes), `long` (up to two hours on two cores) and, where its data are the paper's,
            `paper` (a GPU); the first two are always there.
        run: Measures the claims, given a configuration and the run's `Context`.
        reads: The files that a run reads, given the path that the user named as data, or None.

    Raises:
        ValueError: A preset is missing or of another type, or a field has the name of a flag that
            every experiment has.
    """

    name: str
    arxiv: str
    title: str
    summary: str
    config: type
    presets: dict[str, Any]
    run: Callable[[Any, Context], list[Claim]]
    reads: Callable[[Path | None], Sequence[Path]] = lambda data: () if data is None else (data,)

    PRESETS: ClassVar[tuple[str, ...]] = ("smoke", "desk", "long", "paper")
    FLAGS: ClassVar[tuple[str, ...]] = (
        "preset", "seed", "out", "resume", "overwrite", "data", "progress",
    )  # fmt: skip

    def __post_init__(self):
        if not {"smoke", "desk"} <= set(self.presets) <= set(self.PRESETS):
            raise ValueError(
                f"experiment {self.name!r} has presets {sorted(self.presets)}; "
                "give smoke and desk, and long and paper or not"
            )
        for preset, config in self.presets.items():
            if type(config) is not self.config:
                raise ValueError(
                    f"preset {preset!r} of experiment {self.name!r} is a {type(config).__name__}, "
                    f"not a {self.config.__name__}"
                )
        taken = [f.name for f in dataclasses.fields(self.config) if f.name in self.FLAGS]
        if taken:
            raise ValueError(
                f"experiment {self.name!r} has a field named {taken[0]!r}, a flag that every "
                "experiment has already; use the one that the Context carries, or rename the field"
            )

"""A recipe for the tests: quick, deterministic, and able to fail and to be stopped."""

import os
import random
import signal
from dataclasses import dataclass

from pullback.plots import figure, house_style
from pullback.runs import Claim, Context, Experiment


@dataclass(frozen=True)
class Config:
    parts: int = 3
    """How many parts to sum."""
    bound: float = 100.0
    """The largest sum that is good."""
    widths: tuple[int, ...] = (4, 4)
    """Widths of nothing."""
    name: str = "plain"
    """A name without meaning."""

    def __post_init__(self):
        if self.parts < 1:
            raise ValueError(f"parts must be at least 1, got {self.parts}")


def _part(context: Context, index: int) -> dict:
    with (context.root / "calls.txt").open("a") as file:
        file.write(f"{index}\n")
    draw = random.Random(context.seed * 1000 + index).random()
    context.metrics({"part": index, "draw": draw})
    return {"draw": draw}


def run(config: Config, context: Context) -> list[Claim]:
    total = 0.0
    for index in range(config.parts):
        # Set by a test: die, or be interrupted, before this part.
        if os.environ.get("FAKE_KILL_AT") == str(index):
            os.kill(os.getpid(), signal.SIGKILL)
        if os.environ.get("FAKE_INTERRUPT_AT") == str(index):
            raise KeyboardInterrupt
        total += context.stage(f"part{index}", _part, context, index)["draw"]
    with house_style():
        fig, ax = figure()
        ax.plot([0, 1], [0, total])
        context.figure("total", fig, "The total, as a line.")
    context.table("total", ["what", "value"], [["total", total]], "The total.")
    context.note("A fake.")
    return [
        Claim("The sum is not large", value=total, at_most=config.bound, reference="nothing"),
        Claim.over_seeds("Ones are one", [1.0, 1.0], at_least=1, reference="arithmetic: 1"),
    ]


PRESETS = {
    "smoke": Config(parts=2), "desk": Config(), "long": Config(parts=4), "paper": Config(parts=9),
}  # fmt: skip

RECIPE = Experiment(
    name="fake",
    arxiv="0000.00000",
    title="A Fake of Little Worth",
    summary="Sums random numbers.",
    config=Config,
    presets=PRESETS,
    run=run,
)

"""The networks of the paper on MNIST, whole or averaged in blocks of pixels."""

import dataclasses
from dataclasses import dataclass

from pullback.data import mnist
from pullback.recipes import taynode
from pullback.recipes._kit.images import in_blocks
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config(taynode.Config):
    shrink: int = 2
    """Pixels are averaged in blocks of so many by so many; 1 leaves the 784 of them."""

    def __post_init__(self):
        super().__post_init__()
        if self.shrink < 1 or 28 % self.shrink:
            raise ValueError(f"shrink must divide 28, got {self.shrink}")


def run(config: Config, context: Context) -> list[Claim]:
    """Train and measure on MNIST."""
    return taynode.on_images(config, context, in_blocks(mnist(context.data), config.shrink))


PRESETS = {
    "smoke": Config(**dataclasses.asdict(taynode.PRESETS["smoke"])),
    "desk": Config(),
    "paper": Config(
        shrink=1,
        orders=(3,),
        weights=(6e-5,),
        field="logistic",
        iterations=96_000,
        optimiser="sgd",
        learning_rate=0.1,
        solver_steps=0,
    ),
}

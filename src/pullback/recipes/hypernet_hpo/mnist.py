"""A decay for every weight of a linear model of MNIST: thousands of them, in one run."""

from dataclasses import dataclass

from pullback.data import mnist
from pullback.recipes._kit.checks import check_above_zero
from pullback.recipes._kit.images import in_blocks
from pullback.recipes.hypernet_hpo import measure, show
from pullback.recipes.hypernet_hpo.claims import losses, weight_claims
from pullback.recipes.hypernet_hpo.models import problem_of
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config:
    seeds: int = 2
    """Runs, each with draws of its own and the same images."""
    block: int = 2
    """Pixels are averaged in blocks of this side: 2 leaves 14 by 14."""
    train_rows: int = 300
    """Images to train on."""
    validation_rows: int = 2000
    """Images to tune on; the test set is the test set's."""
    batch_size: int = 100
    """Images of a training step."""
    draws: int = 8
    """Hyperparameters drawn a step."""
    scale: float = 0.3
    """Noise in the log-decays, while they are tuned."""
    rank: int = 10
    """Of the factored response."""
    warmup: int = 1000
    """Training steps of the responses before the decays are moved."""
    steps: int = 5000
    """Steps of the decays."""
    through_steps: int = 300
    """Steps to the optimum, through the exact best response."""

    def __post_init__(self):
        check_above_zero(self)


def run(config: Config, context: Context) -> list[Claim]:
    """The runs that tune every decay, beside one decay for all."""
    images = in_blocks(mnist(context.data), config.block)
    problem = problem_of(images, config.train_rows, config.validation_rows)
    one = context.stage("one", measure.one_decay, problem)
    found = [
        {
            "classes": {"one decay": one},
            "weights": context.stage(
                f"weights-{index}", measure.decay_of_every_weight, problem, config, seed,
                config.batch_size,
            ),
        }
        for index, seed in enumerate(context.seeds(config.seeds))
    ]  # fmt: skip
    names = {
        "start": "all decays as at the start",
        "factored": "in one run, factored response",
        "diagonal": "in one run, diagonal response",
        "optimum": "the optimum",
    }
    rows = [("one decay, the best of 81", "classes", "one decay")]
    rows += [(name, "weights", way) for way, name in names.items()]
    context.table(
        "losses",
        ["way to choose the decays", "validation", "test"],
        [
            [name, *(float(losses(found, part, way, on).mean()) for on in ("validation", "test"))]
            for name, part, way in rows
        ],
        "Half the squared error on one-hot classes of what training comes to in the end; means "
        "over the runs.",
    )
    show.draw_decays(context, found[0]["weights"]["diagonal"]["hyper"])
    headline, factored = weight_claims(found)
    return [*headline, *factored]


PRESETS = {
    "smoke": Config(
        seeds=1, block=7, train_rows=20, validation_rows=40, batch_size=10, draws=2, rank=2,
        warmup=10, steps=20, through_steps=10,
    ),
    "desk": Config(),
    "paper": Config(
        seeds=3, block=1, train_rows=10_000, validation_rows=10_000, draws=2, steps=20_000,
        through_steps=1000,
    ),
}  # fmt: skip

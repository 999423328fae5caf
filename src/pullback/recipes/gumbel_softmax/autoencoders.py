"""Autoencoders with categorical latents, trained in five ways."""

from dataclasses import dataclass

from pullback.data import Split
from pullback.recipes._kit.checks import check_above_zero, check_least
from pullback.recipes._kit.discrete_vae import Method, compare
from pullback.recipes.gumbel_softmax import show
from pullback.runs import Claim, Context
from pullback.sampling import GumbelSoftmax, ScoreFunction, StraightThrough, temperature_schedule


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """Autoencoders of each estimator."""
    latents: tuple[int, int] = (20, 10)
    """Latents of an image, and the classes of each."""
    width: int = 128
    """Units of the one hidden layer of the encoder and of the decoder."""
    iterations: int = 1200
    """Training steps."""
    batch_size: int = 100
    """Images in a training step."""
    learning_rate: float = 3e-3
    """Adam's learning rate."""
    images: int = 10_000
    """At most so many images of each set, drawn anew for each seed."""
    floors: tuple[float, float] = (0.5, 0.2)
    """Where the annealed temperature stops: the paper's, and for one estimator further down."""
    rate: float = 1.5e-3
    """Rate, per step, at which the temperature decays from 1."""
    every: int = 100
    """Steps between two changes of the temperature."""

    def __post_init__(self):
        check_above_zero(self)
        check_least(self, iterations=10)
        if self.latents[1] < 2:
            raise ValueError(f"latents must be a number, and 2 or more classes, got {self.latents}")


def on_images(config: Config, context: Context, of: Split | None) -> list[Claim]:
    """Train on images of a data set, or on handwritten digits."""
    trained = compare(config, context, _methods(config), config.latents, 1, of)
    show.draw_autoencoders(context, trained)
    show.draw_flattery(context, trained)
    test = {name: row["test"][:, -1] for name, row in trained.items()}
    relaxed = {name: row["relaxed"] for name, row in trained.items() if "relaxed" in row}
    context.table(
        "autoencoders",
        ["nats an image", *(f"seed {i + 1}" for i in range(config.seeds)), "training", "relaxed"],
        [
            [
                show.NAMES[name],
                *map(float, test[name]),
                float(row["train"][:, -1].mean()),
                float(relaxed[name].mean()) if name in relaxed else None,
            ]
            for name, row in trained.items()
        ],
        "Minus the evidence lower bound with discrete samples, held out, seed by seed; its mean "
        "on training images; and, held out, with the relaxed samples of training, which flatter.",
    )
    flattery = {name: test[name] - values for name, values in relaxed.items()}
    claim = lambda sentence, values, least, reference: Claim.over_seeds(
        sentence, values, at_least=least, unit="nats", reference=reference
    )
    return [
        claim(
            "Straight-through Gumbel-softmax beats plain straight-through, which has no noise in "
            "its backward pass, held out, by",
            test["straight_through"] - test["hard"],
            0.7,
            "paper: 3.1 (110.9 and 107.8 nats, MNIST, 20 latents of 10 classes)",
        ),
        claim(
            "Straight-through Gumbel-softmax beats the score function with a moving average, held "
            "out, by",
            test["score"] - test["hard"],
            0.8,
            "paper: 2.8 (110.6 and 107.8 nats, MNIST, 20 latents of 10 classes)",
        ),
        claim(
            "When not to trust it: relaxed samples flatter the model that was trained on them. The "
            "score with discrete samples is worse by",
            flattery["gumbel"],
            1.0,
            "0 if the samples did not matter",
        ),
        claim(
            "A lower final temperature flatters less: the gap shrinks by",
            flattery["gumbel"] - flattery["colder"],
            0.5,
            "0 if the temperature did not matter",
        ),
    ]


def _methods(config: Config) -> dict[str, Method]:
    high, low = (
        temperature_schedule(1.0, floor, config.rate, config.every) for floor in config.floors
    )
    return {
        "score": Method(lambda learned, average, step: ScoreFunction(average.value)),
        "straight_through": Method(lambda learned, average, step: StraightThrough()),
        "hard": Method(lambda learned, average, step: GumbelSoftmax(high(step), hard=True)),
        "gumbel": Method(lambda learned, average, step: GumbelSoftmax(high(step)), relaxed=True),
        "colder": Method(lambda learned, average, step: GumbelSoftmax(low(step)), relaxed=True),
    }

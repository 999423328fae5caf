"""What is trained on sequences and their scores, and the designs that are made with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.random as jr
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from pullback.data import from_one_hot, one_hot
from pullback.models.sequences import (
    SequenceEnsemble,
    SequenceGenerator,
    design_latent,
    fit_sequence_gan,
    fit_sequence_regressor,
    maximise,
)
from pullback.recipes._kit.checks import check_above_zero
from pullback.runs import Context

ALONE, JOINT, GAUSSIAN = "predictor alone", "joint", "joint, Gaussian prior"


@dataclass(frozen=True)
class GANConfig:
    gan_steps: int = 200
    """Steps of the generator, each after five of the critic."""
    gan_rate: float = 1e-3
    """Learning rate of both, by Adam."""
    width: int = 24
    """Channels of both."""
    blocks: int = 3
    """Residual blocks of both."""
    latent: int = 32
    """Size of the generator's code."""
    samples: int = 1000
    """Samples of the generator that are looked at."""

    def __post_init__(self):
        check_above_zero(self)


@dataclass(frozen=True)
class DesignConfig(GANConfig):
    members: int = 3
    """Nets of the predictor."""
    predictor_steps: int = 1500
    """Steps of these nets."""
    starts: int = 300
    """Starts of each way of designing."""
    designs: int = 200
    """Designs that are kept of those, the best by the predictor."""
    design_steps: int = 300
    """Steps of a design, by Adam at 0.1."""
    beta: float = 0.05
    """Weight of the Gaussian prior."""


def generator(
    config: GANConfig, context: Context, name: str, strings: Sequence[str], key: PRNGKeyArray
) -> tuple[SequenceGenerator, dict[str, np.ndarray]]:
    """A generator of such strings, and how far its samples were from held-out ones on the way."""
    found, _, info = fit_sequence_gan(
        one_hot(strings), latent=config.latent, width=config.width, blocks=config.blocks,
        steps=config.gan_steps, learning_rate=config.gan_rate,
        log_every=max(1, config.gan_steps // 20), key=key, **context.training(f"gan-{name}"),
    )  # fmt: skip
    context.log(info.lines(), player=name)
    history = {
        "step": info.history["step"],
        "distance": info.history["validation_wasserstein"],
    }
    return found, history


def predictor(
    config: DesignConfig, context: Context, name: str, strings: Sequence[str],
    scores: Float[np.ndarray, " n"], key: PRNGKeyArray,
) -> SequenceEnsemble:  # fmt: skip
    """Nets that score strings."""
    found, info = fit_sequence_regressor(
        one_hot(strings), scores, members=config.members, steps=config.predictor_steps,
        log_every=max(1, config.predictor_steps // 5), key=key,
        **context.training(f"predictor-{name}"),
    )  # fmt: skip
    context.log(info.lines(), predictor=name)
    return found


def design(
    config: DesignConfig, made_by: SequenceGenerator, score: Any, key: PRNGKeyArray
) -> dict[str, list[str]]:
    """Designs by the score alone, and by the generator's code: freely, and under a prior."""
    alone = maximise(
        score, length=made_by.length, count=config.starts, steps=config.design_steps, key=key
    )
    return {
        ALONE: list(alone.letters[: config.designs]),
        JOINT: joint(config, made_by, score, key),
        GAUSSIAN: joint(config, made_by, score, key, prior="gaussian", beta=config.beta),
    }


def joint(
    config: DesignConfig, made_by: SequenceGenerator, score: Any, key: PRNGKeyArray,
    prior: Literal["none", "gaussian"] = "none", beta: float | None = None,
) -> list[str]:  # fmt: skip
    """Designs by the generator's code."""
    found = design_latent(
        made_by, score, count=config.starts, steps=config.design_steps, prior=prior, beta=beta,
        key=key,
    )  # fmt: skip
    return list(found.letters[: config.designs])


def sampled(made_by: SequenceGenerator, count: int, key: PRNGKeyArray) -> list[str]:
    """What a generator makes of codes drawn at random."""
    return from_one_hot(jax.vmap(made_by)(jr.normal(key, (count, made_by.latent))))


def random_strings(count: int, length: int, key: PRNGKeyArray) -> list[str]:
    """Strings whose letters are alike and independent."""
    return from_one_hot(jax.nn.one_hot(jr.randint(key, (count, length), 0, 4), 4))

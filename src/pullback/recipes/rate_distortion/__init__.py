"""Fixing a broken ELBO (arXiv 1711.00464): models in the plane of rate and distortion.

A discrete model in which the ELBO cannot tell the truth from anything; linear models, whose best
curve is known; and autoencoders of digits with a plain and an autoregressive decoder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback.data import digits
from pullback.recipes._kit.image_vaes import binary_digits
from pullback.recipes.rate_distortion import claims, measure, models, show
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """How many models are trained for each objective."""
    discrete_steps: int = 15_000
    """Steps of the discrete model, on the whole distribution."""
    linear_betas: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    """Weights of the rate of the linear models, rising."""
    linear_latent: int = 32
    """Latents of the linear models."""
    noise_variance: float = 0.25
    """Noise variance of the linear models' decoder, in units of the data's variance."""
    linear_steps: int = 3000
    """Steps of the linear models."""
    betas: tuple[float, ...] = (0.1, 0.3, 1.0, 2.0, 4.0)
    """Weights of the rate of the autoencoders, rising; 1 is among them."""
    rates: tuple[float, ...] = (6.0, 10.0)
    """Target rates of the autoencoders, in nats, rising."""
    steps: int = 2000
    """Steps of the autoencoders with independent pixels."""
    pixel_steps: int = 1000
    """Steps of the autoencoders with an autoregressive decoder."""

    def __post_init__(self):
        for name in ("seeds", "linear_latent", "linear_steps", "discrete_steps",
                     "steps", "pixel_steps"):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("linear_betas", "betas", "rates"):
            rising = getattr(self, name)
            if len(rising) < 2 or sorted(set(rising)) != [*rising] or rising[0] <= 0:
                raise ValueError(f"{name} must be two or more above 0, rising, got {rising}")
        if 1.0 not in self.betas:
            raise ValueError(f"betas must have 1 in them, the ELBO, got {self.betas}")
        if not self.noise_variance > 0:
            raise ValueError(f"noise_variance must be above 0, got {self.noise_variance}")


def run(config: Config, context: Context) -> list[Claim]:
    """Train the three kinds of models, and draw them in the plane."""
    seeds = context.seeds(config.seeds)
    exact = context.stage(
        "discrete", measure.discrete, config.discrete_steps, [*seeds, *(s + 1000 for s in seeds)]
    )
    train, test = digits(seed=0)
    rows = np.concatenate([train.x, test.x]).reshape(-1, 64).astype(float)
    linear = linear_models(config, context, rows, seeds)
    train, test = (x.reshape(-1, 1, 8, 8) for x in binary_digits())
    sizes = models.Sizes(
        (1, 8, 8), latent=8, width=64, channels=8, depth=1, batch_size=50,
        steps={"independent pixels": config.steps, "PixelCNN": config.pixel_steps},
        learning_rate=2e-3, scored=len(test),
    )  # fmt: skip
    found = autoencoders(config.betas, config.rates, context, sizes, train, test, seeds)
    show.draw_discrete(context, exact)
    show.draw_linear(context, linear, config.linear_betas)
    draw_autoencoders(config.betas, context, found, test, "binary digits")
    _discrete_table(context, exact)
    return [
        *claims.of_the_discrete_model(exact),
        *claims.of_linear_models(config.linear_betas, linear),
        *claims.of_autoencoders(found, config.betas, config.rates, slack=1.0),
        *claims.of_force(found["PixelCNN"], config.rates[-1]),
    ]


def linear_models(
    config: Config, context: Context, rows: np.ndarray, seeds: Sequence[int]
) -> dict[str, Any]:
    rows = rows - rows.mean(0)
    rows = rows / rows.std()
    found = context.stage(
        "linear",
        lambda: measure.linear(
            rows, config.linear_betas, latent=min(config.linear_latent, rows.shape[1]),
            noise_variance=config.noise_variance, steps=config.linear_steps, seeds=seeds,
        ),
    )  # fmt: skip
    context.table(
        "linear",
        ["beta", "R", "best R", "D", "best D", "D + beta R above the best"],
        [
            [beta, float(found["rate"][i].mean()), float(found["best_rate"][i]),
             float(found["distortion"][i].mean()), float(found["best_distortion"][i]),
             float(claims.excess(config.linear_betas, found)[i].max())]
            for i, beta in enumerate(config.linear_betas)
        ],
        "Linear autoencoders, means over the seeds (the last column: the worst), in nats, and "
        "what reverse water-filling gives.",
    )  # fmt: skip
    return found


def autoencoders(
    betas: Sequence[float],
    rates: Sequence[float],
    context: Context,
    sizes: models.Sizes,
    train: Any,
    test: Any,
    seeds: Sequence[int],
) -> dict[str, Any]:
    found = {
        decoder: context.stage(
            f"plane-{number}",
            lambda decoder=decoder: models.points(
                context, sizes, decoder, train, test[: sizes.scored],
                betas=betas, rates=rates, seeds=seeds,
            ),
        )
        for number, decoder in enumerate(models.DECODERS)
    }  # fmt: skip
    rows = []
    for decoder, each in found.items():
        kinds = {"beta": betas, "target": rates, "forced": rates[-1:]}
        for kind, settings in kinds.items():
            for i, setting in enumerate(settings):
                mean = {name: float(v[i].mean()) for name, v in each[kind].items()
                        if name != "pictures"}  # fmt: skip
                rows.append([
                    decoder, f"{kind} {setting:g}", mean["rate"], mean["distortion"],
                    mean["rate"] + mean["distortion"], mean["information_lower"],
                    mean["information_upper"], mean["active"],
                ])  # fmt: skip
    context.table(
        "plane",
        ["decoder", "objective", "R", "D", "D + R", "I(x; z) above", "I(x; z) below",
         "active latents"],
        rows,
        "Held-out images, means over the seeds, in nats. R is no information: the mutual "
        "information lies between the two bounds beside it.",
    )  # fmt: skip
    return found


def draw_autoencoders(
    betas: Sequence[float], context: Context, found: Mapping[str, Any], test: Any, what: str
) -> None:
    show.draw_plane(context, found, betas, what)
    show.draw_information(context, found)
    show.draw_reconstructions(context, np.asarray(test[:6, 0]), found, betas)


def _discrete_table(context: Context, exact: Mapping[str, Any]) -> None:
    context.table(
        "discrete",
        ["objective", "R", "D", "D + R", "I(x; z)", "larger p(z)", "decoder off by",
         "p(x) off by"],
        [
            [name, *(float(np.mean(each[k])) for k in ("rate", "distortion")),
             float(np.mean(each["rate"] + each["distortion"])),
             float(np.mean(each["information"])), float(np.mean(each["weights"][:, 1])),
             float(np.mean(each["off"])), float(np.mean(each["generated_off"]))]
            for name, each in exact["found"].items()
        ],
        f"The discrete model, means over the seeds; the entropy of the data is "
        f"{exact['entropy']:.4f} nats, and the true p(z) is 0.7. Off by: total variation.",
    )  # fmt: skip


PRESETS = {
    "smoke": Config(
        seeds=2, discrete_steps=50, linear_steps=30, linear_betas=(0.5, 2.0),
        betas=(0.3, 1.0), rates=(2.0, 5.0), steps=20, pixel_steps=10,
    ),
    "desk": Config(),
}  # fmt: skip

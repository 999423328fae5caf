"""Unrolled GANs (arXiv 1611.02163): what a generator gains by looking ahead.

A ring of eight Gaussians, in a setting where a plain GAN sits on one mode at a time: with ten steps
of the discriminator looked ahead and differentiated through, with the same steps taken as a
constant, and with none. Beside it, a setting where there is nothing to cure.
"""

from collections.abc import Mapping

import numpy as np

from pullback.recipes.unrolled_gan import models, show
from pullback.recipes.unrolled_gan.models import MODES, Config
from pullback.runs import Claim, Context, Headline

_UNROLLS, _RATE = (0, 1, 5), 0.1
Found = Mapping[str, np.ndarray]


def run(config: Config, context: Context) -> list[Claim]:
    """Train each way, and play the bilinear game."""
    hard, easy = models.collapsing(config), models.harmless(config)
    ahead, constant, plain, other = (
        f"K = {config.unroll}", f"K = {config.unroll}, constant", "K = 0",
        "K = 0, another setting",
    )  # fmt: skip
    ways = {
        ahead: (hard, config.unroll, False),
        constant: (hard, config.unroll, True),
        plain: (hard, 0, False),
        other: (easy, 0, False),
    }
    seeds = context.seeds(config.seeds)
    found = {
        name: context.stage(
            f"play-{place}", models.play, config, context, f"play-{place}", *way, seeds
        )
        for place, (name, way) in enumerate(ways.items())
    }
    radii = context.stage("bilinear", _radii, config.game_steps)
    show.draw_samples(context, found, {name: way[0] for name, way in ways.items()})
    show.draw_curves(context, found)
    context.table(
        "ways",
        ["way", "modes", "KL", "near a mode"],
        [
            [name, *(float(np.median(settled(way[of]))) for of in ("modes", "kl", "share"))]
            for name, way in found.items()
        ],
        f"Medians over {config.seeds} seeds of what is covered in the last quarter of "
        f"{config.steps:,} steps: modes with 1 % of the samples, of {MODES}; divergence of their "
        "shares from even ones, in nats (log 8 = 2.08); samples within 0.15 radii of a mode, which "
        "come much later than the modes do.",
    )  # fmt: skip
    return _claims(config, found[ahead], found[constant], found[plain], found[other], radii)


def settled(values: np.ndarray) -> np.ndarray:
    """Of each seed the median of the last quarter of the looks: no moment's luck."""
    return np.median(values[-max(1, len(values) // 4) :], axis=0)


def _radii(steps: int) -> np.ndarray:
    pairs = [(models.radius(k, _RATE, steps), models.expected_radius(k, _RATE)) for k in _UNROLLS]
    return np.asarray(pairs)


def _of_median(
    sentence: str, values: np.ndarray, *, at_least: float | int | None = None,
    at_most: float | int | None = None, reference: str,
) -> Claim:  # fmt: skip
    """A claim about the median over the seeds."""
    return Claim(
        sentence,
        value=float(np.median(values)),
        spread=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        seeds=len(values),
        at_least=at_least,
        at_most=at_most,
        reference=reference,
    )


def _claims(
    config: Config, ahead: Found, constant: Found, plain: Found, other: Found, radii: np.ndarray
) -> list[Claim]:
    modes = {id(way): settled(way["modes"]) for way in (ahead, constant, plain, other)}
    of = lambda way: modes[id(way)]
    ring = f"Ring of {MODES}, batch {config.batch}, {config.steps:,} steps"
    prototype = lambda text: f"prototype: {text}; by eye in the paper, which gives no number"
    return [
        Claim.over_seeds(
            f"{ring}: looking {config.unroll} steps ahead covers more modes than a plain GAN",
            of(ahead) - of(plain), at_least=4, unit="modes",
            reference="0: as many; by eye in the paper, all eight and one at a time",
            headline=Headline(no_effect=0.0),
        ),
        _of_median(
            f"{ring}: looking {config.unroll} steps ahead covers most modes (modes, median)",
            of(ahead), at_least=6, reference=prototype("7 to 8"),
        ),
        _of_median(
            f"{ring}: and evenly (divergence of their shares from even ones, nats, median)",
            settled(ahead["kl"]), at_most=0.3, reference=prototype("0.08 to 0.13"),
        ),
        _of_median(
            f"{ring}: a plain GAN sits on a mode, or on none (modes, median)",
            of(plain), at_most=2, reference=prototype("0 to 1"),
        ),
        _of_median(
            f"{ring}: a plain GAN's shares are as uneven as can be (divergence, nats, median)",
            settled(plain["kl"]), at_least=1.3,
            reference="all on one mode: log 8 = 2.08",
        ),
        Claim(
            "The gradient through the steps is what matters: with the same discriminator, "
            f"{config.unroll} steps ahead, as a constant there are fewer modes (difference of "
            "medians)",
            value=float(np.median(of(ahead)) - np.median(of(constant))), seeds=config.seeds,
            at_least=2, reference="0: more steps of the discriminator would do",
        ),
        Claim(
            f"The bilinear game grows and shrinks as its matrix says at K = "
            f"{', '.join(map(str, _UNROLLS))} (spectral radius, the largest error)",
            value=float(np.max(np.abs(radii[:, 0] - radii[:, 1]))), at_most=1e-6,
            reference=f"{radii[0, 1]:.4f} at K = 0, which diverges; {radii[-1, 1]:.4f} at K = "
            f"{_UNROLLS[-1]}",
        ),
        _of_median(
            "When not to: with a discriminator of two tanh layers and a quicker generator a plain "
            "GAN covers most modes, and there is nothing to cure (modes, median)",
            of(other), at_least=6,
            reference="6 in a prototype; the setting of the authors' notebook",
        ),
    ]  # fmt: skip


PRESETS = {
    "smoke": Config(
        seeds=1, steps=24, batch=16, unroll=2, plain_batch=16, looks=3, samples=64,
        game_steps=20,
    ),
    "desk": Config(),
}  # fmt: skip

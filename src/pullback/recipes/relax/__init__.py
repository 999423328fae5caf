"""RELAX (arXiv 1711.00123): unbiased gradients through discrete choices, with little noise.

Autoencoders with binary latents, on handwritten digits; a pole on a cart; and a coin whose loss
hardly depends on it, where the variance of the gradient decides all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback.recipes._kit.checks import check_between, check_least
from pullback.recipes.relax import autoencoders, cartpole, show, toy
from pullback.runs import Claim, Context, Headline


@dataclass(frozen=True)
class Config(autoencoders.Config):
    target: float = 0.499
    """The toy's t: the loss is (b - t)^2 of a coin b."""
    toy_seeds: int = 8
    """Runs of each estimator on the toy, with a start of the control variate and noise each."""
    toy_steps: int = 8000
    """Training steps of the toy, of one sample each; at least five times `toy_every`."""
    toy_every: int = 200
    """Steps between two measurements of the gradient's variance."""
    toy_draws: int = 2000
    """Gradients that each variance on the toy is measured on."""
    toy_rate: float = 0.01
    """Adam's learning rate, of the logit and of the control variate."""
    pole_seeds: int = 8
    """Policies of each method."""
    episodes: int = 400
    """Episodes of a policy, one an update."""
    pole_limit: int = 200
    """Steps after which an episode ends."""
    pole_rates: tuple[float, ...] = (3e-3, 1e-2)
    """RMSProp's learning rates of the policy, of which each method has the one that is best for it;
    the networks that estimate its gradient have three times that."""

    def __post_init__(self):
        super().__post_init__()
        check_between(self, 0, 1, "target")
        check_least(self, toy_draws=2)
        check_least(self, toy_steps=5 * self.toy_every)


def run(config: Config, context: Context) -> list[Claim]:
    """Train the coin, the autoencoders and the poles by each estimator."""
    sizes = config.target, config.toy_steps, config.toy_every, config.toy_rate, config.toy_draws
    coins = {
        name: context.stage(f"toy-{name}", toy.toy, name, *sizes, context.seeds(config.toy_seeds))
        for name in toy.ESTIMATORS
    }
    show.draw_toy(context, coins, config.target)
    on_digits = autoencoders.on_images(config, context, None)
    poles = {
        name: context.stage(
            f"pole-{name}", cartpole.balance_at_best, name, config.episodes, config.pole_limit,
            config.pole_rates, context.seeds(config.pole_seeds),
        )
        for name in cartpole.METHODS
    }  # fmt: skip
    show.draw_poles(context, poles)
    headlines = [claim for claim in on_digits if claim.headline is not None]
    others = [claim for claim in on_digits if claim.headline is None]
    return [*headlines, _claim_of_poles(poles), *others, *_claims_of_toy(context, coins)]


def _claims_of_toy(context: Context, coins: Mapping[str, Mapping[str, np.ndarray]]) -> list[Claim]:
    # The logarithm of each run's variance, the median over its last five measurements.
    late = {
        name: np.log10(np.median(row["variance"][:, -5:], axis=1) + 1e-30)
        for name, row in coins.items()
    }
    middle = {name: float(np.median(values)) for name, values in late.items()}
    theta = {name: row["theta"][:, -1] for name, row in coins.items()}
    context.table(
        "toy",
        ["coin", "theta, least", "theta, largest", "log10 variance, median"],
        [
            [show.NAMES[name], float(theta[name].min()), float(theta[name].max()), middle[name]]
            for name in coins
        ],
        "At the end of training, over the runs; the best theta is 0.",
    )
    runs = len(late["relax"])
    return [
        Claim(
            "The gradient of RELAX has less variance than those of REINFORCE and of REBAR, each at "
            "the end of its own training (log10 of the ratio of medians)",
            value=min(middle["reinforce"], middle["rebar"]) - middle["relax"],
            at_least=3.0,
            spread=float(np.std(late["relax"], ddof=1)) if runs > 1 else None,
            seeds=runs,
            reference="0: no gain",
        ),
        Claim(
            "RELAX finds the side of the coin to take, in as many steps as neither REINFORCE nor "
            "REBAR finds it (least of their mean thetas, less the largest of any run of RELAX)",
            value=float(
                min(theta[name].mean() for name in ("reinforce", "rebar")) - theta["relax"].max()
            ),
            at_least=0.1,
            seeds=runs,
            reference="start: 0; best: 0.5",
        ),
    ]


def _claim_of_poles(poles: Mapping[str, Mapping[str, Any]]) -> Claim:
    lengths = {name: row["length"].mean(axis=1) for name, row in poles.items()}
    return Claim.over_seeds(
        "RELAX learns to balance the pole faster than an actor-critic, each at the better of two "
        "learning rates: steps of a mean episode of training, gained",
        lengths["relax"] - lengths["a2c"],
        at_least=10.0,
        unit="steps",
        reference="paper: 472 in place of 1152 episodes to solve it; here the same value network "
        "and seeds",
        headline=Headline(no_effect=0.0),
    )


PRESETS = {
    "smoke": Config(
        seeds=1, models=("linear",), ways=("rebar", "relax"), latents=4, surrogate=4,
        iterations=10, batch_size=8, images=40, toy_seeds=1, toy_steps=10, toy_every=2,
        toy_draws=4, pole_seeds=1, pole_rates=(3e-3,), episodes=3, pole_limit=20,
    ),
    "desk": Config(),
}  # fmt: skip

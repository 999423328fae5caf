"""RELAX (arXiv 1711.00123): unbiased gradients through discrete choices, with little noise.

A coin whose loss hardly depends on it, where the variance of the gradient decides all; an
autoencoder with binary latents, on handwritten digits; and a pole on a cart.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from pullback.data import Split
from pullback.recipes._kit.discrete_vae import DiscreteVAE, Method, binary_images, train
from pullback.recipes.relax import cartpole, show, toy
from pullback.runs import Claim, Context
from pullback.sampling import GumbelSoftmax, NeuralControlVariate, Relax, ScoreFunction, rebar

_WAYS = ("reinforce", "leave_one_out", "rebar", "relax", "gumbel")


@dataclass(frozen=True)
class Config:
    target: float = 0.499
    """The toy's t: the loss is (b - t)^2 of a coin b."""
    toy_seeds: int = 8
    """Runs of each estimator on the toy, with a start of the control variate and noise each."""
    toy_steps: int = 8000
    """Training steps of the toy, of one sample each."""
    toy_every: int = 200
    """Steps between two measurements of the gradient's variance."""
    toy_draws: int = 2000
    """Gradients that each variance on the toy is measured on."""
    toy_rate: float = 0.01
    """Adam's learning rate, of the logit and of the control variate."""
    seeds: int = 3
    """Autoencoders of each estimator."""
    ways: tuple[str, ...] = _WAYS
    """How the autoencoders are trained; the claims need reinforce, relax and gumbel."""
    latents: int = 32
    """Binary latents of an image."""
    depth: int = 0
    """Hidden layers of the encoder and of the decoder; 0 is linear."""
    width: int = 200
    """Units of a hidden layer."""
    surrogate: int = 50
    """Units of the hidden layer of RELAX's network."""
    iterations: int = 2000
    """Training steps of an autoencoder."""
    batch_size: int = 50
    """Images in a training step."""
    learning_rate: float = 3e-3
    """Adam's learning rate."""
    images: int = 10_000
    """At most so many images of each set, drawn anew for each seed."""
    pole_seeds: int = 8
    """Policies of each method."""
    episodes: int = 250
    """Episodes of a policy, one an update; 0 leaves the pole out."""
    pole_limit: int = 200
    """Steps after which an episode ends."""
    pole_rate: float = 3e-3
    """RMSProp's learning rate of the policy; the networks that estimate its gradient have three
    times that."""

    def __post_init__(self):
        for name in ("toy_seeds", "seeds", "latents", "width", "surrogate", "pole_seeds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not {"reinforce", "relax", "gumbel"} <= set(self.ways) <= set(_WAYS):
            raise ValueError(
                f"ways must be reinforce, relax, gumbel and others of {_WAYS}, got {self.ways}"
            )
        if self.toy_steps < 5 * self.toy_every or self.toy_every < 1:
            raise ValueError(
                f"toy_steps must be at least 5 times toy_every, got {self.toy_steps} and "
                f"{self.toy_every}"
            )
        if self.iterations < 10:
            raise ValueError(f"iterations must be at least 10, got {self.iterations}")


def run(config: Config, context: Context) -> list[Claim]:
    """Train the coin, the autoencoders and the poles by each estimator."""
    return on_images(config, context, None)


def on_images(config: Config, context: Context, of: Split | None) -> list[Claim]:
    """The same with autoencoders of images from a data set, or of digits."""
    seeds = lambda count: [count * context.seed + i for i in range(count)]
    coins = {
        name: context.stage(
            f"toy-{name}", toy.toy, name, config.target, config.toy_steps, config.toy_every,
            config.toy_rate, config.toy_draws, seeds(config.toy_seeds),
        )
        for name in toy.ESTIMATORS
    }  # fmt: skip
    images = binary_images(seeds(config.seeds), config.images, of)
    trained = {
        name: context.stage(
            f"vae-{name}", _autoencoders, config, method, *images, seeds(config.seeds)
        )
        for name, method in _methods(config).items()
        if name in config.ways
    }
    poles = {
        name: context.stage(f"pole-{name}", _poles, config, name, seeds(config.pole_seeds))
        for name in cartpole.METHODS
        if config.episodes
    }
    show.draw_toy(context, coins, config.target)
    show.draw_autoencoders(context, trained)
    if poles:
        show.draw_poles(context, poles)
    _tables(config, context, coins, trained)
    return [
        *_claims_of_toy(coins),
        *_claims_of_autoencoders(trained),
        *_claims_of_poles(poles),
    ]


def _methods(config: Config) -> dict[str, Method]:
    """Three evaluations of the decoder for a gradient, each way."""

    def relax(key: PRNGKeyArray) -> Relax:
        net = eqx.nn.MLP(config.latents, "scalar", config.surrogate, 1, jnp.tanh, key=key)
        return Relax(NeuralControlVariate(net, residual=True))

    own: Callable[..., Any] = lambda learned, average, step: learned
    return {
        "reinforce": Method(lambda learned, average, step: ScoreFunction(average.value), 3),
        "leave_one_out": Method(lambda learned, average, step: ScoreFunction("leave_one_out"), 3),
        "rebar": Method(own, learned=lambda key: rebar()),
        "relax": Method(own, learned=relax),
        "gumbel": Method(lambda learned, average, step: GumbelSoftmax(0.5), 3),
    }


def _autoencoders(
    config: Config, method: Method, images: np.ndarray, test: np.ndarray, seeds: list[int]
) -> dict[str, Any]:
    """The scores of one estimator's models along the way, and the noise of their gradients."""
    make = lambda key: DiscreteVAE(
        images.shape[-1], (config.latents,), config.width, config.depth, key=key
    )
    return train(
        method,
        make,
        images,
        test,
        steps=config.iterations,
        every=config.iterations // 10,
        batch_size=config.batch_size,
        rate=config.learning_rate,
        draws=20,
        seeds=seeds,
    )


def _poles(config: Config, name: str, seeds: list[int]) -> dict[str, Any]:
    return cartpole.balance(
        name,
        episodes=config.episodes,
        limit=config.pole_limit,
        discount=0.99,
        entropy=0.01,
        rate=config.pole_rate,
        scale=3.0,
        seeds=seeds,
    )


# What is reported.


def _late(row: dict[str, Any]) -> np.ndarray:
    """The logarithm of each run's variance, the median over its last five measurements."""
    return np.log10(np.median(row["variance"][:, -5:], axis=1) + 1e-30)


def _tables(
    config: Config, context: Context, coins: dict[str, Any], trained: dict[str, Any]
) -> None:
    context.table(
        "toy",
        ["coin", "loss", "theta, least", "theta, largest", "log10 variance, median"],
        [
            [
                show.NAMES[name],
                float(row["loss"][:, -1].mean()),
                float(row["theta"][:, -1].min()),
                float(row["theta"][:, -1].max()),
                float(np.median(_late(row))),
            ]
            for name, row in coins.items()
        ],
        f"After {config.toy_steps} steps, over {config.toy_seeds} runs. The best loss, at theta = "
        f"0, is {config.target**2:.6f}, and the worst {(1 - config.target) ** 2:.6f}.",
    )
    context.table(
        "autoencoders",
        ["nats an image", "training images", "held out", "spread", "log10 variance"],
        [
            [
                show.NAMES[name],
                float(row["train"][:, -1].mean()),
                float(row["test"][:, -1].mean()),
                float(np.std(row["test"][:, -1])),
                float(np.log10(row["noise"]).mean()),
            ]
            for name, row in trained.items()
        ],
        "Minus the evidence lower bound with binary samples at the end of training, mean over "
        "seeds, and the variance of a batch's gradient with respect to the encoder. Each way sees "
        "the decoder three times for a gradient of one image.",
    )


def _claims_of_toy(coins: dict[str, Any]) -> list[Claim]:
    late = {name: _late(row) for name, row in coins.items()}
    runs = len(late["relax"])
    gain = min(np.median(late[name]) for name in ("reinforce", "rebar")) - np.median(late["relax"])
    theta = {name: row["theta"][:, -1] for name, row in coins.items()}
    return [
        Claim(
            "The gradient of RELAX has less variance than those of REINFORCE and of REBAR, each at "
            "the end of its own training (log10 of the ratio of medians)",
            value=float(gain),
            at_least=3.0,
            spread=float(np.std(late["relax"], ddof=1)) if runs > 1 else None,
            seeds=runs,
            reference="4.7 in plain JAX",
        ),
        Claim(
            "RELAX finds the side of the coin to take (largest theta of any run)",
            value=float(theta["relax"].max()),
            at_most=0.3,
            seeds=runs,
            reference="best: 0; 0.04 to 0.19 in plain JAX",
        ),
        Claim(
            "Neither REINFORCE nor REBAR finds it in as many steps (least of their mean thetas)",
            value=float(min(theta[name].mean() for name in ("reinforce", "rebar"))),
            at_least=0.3,
            seeds=runs,
            reference="start: 0.5; 0.15 to 0.76 in plain JAX",
        ),
        Claim(
            "REBAR is no better than REINFORCE here: a softened square has the wrong shape (log10 "
            "of the ratio of variances, medians)",
            value=float(np.median(late["reinforce"]) - np.median(late["rebar"])),
            at_most=0.3,
            at_least=-0.3,
            seeds=runs,
            reference="0 in plain JAX, for any weight and temperature",
        ),
    ]


def _claims_of_autoencoders(trained: dict[str, Any]) -> list[Claim]:
    noise = {name: np.log10(row["noise"]) for name, row in trained.items()}
    train = {name: row["train"][:, -1] for name, row in trained.items()}
    return [
        Claim.over_seeds(
            "On digits RELAX has less variance than REINFORCE with a moving average as its "
            "baseline (log10 of the ratio)",
            [*map(float, noise["reinforce"] - noise["relax"])],
            at_least=0.1,
            reference="REINFORCE with as many evaluations of the decoder",
        ),
        Claim.over_seeds(
            "and trains to a better bound, on training images, by",
            [*map(float, train["reinforce"] - train["relax"])],
            at_least=0.0,
            unit="nats",
            reference="REINFORCE with as many evaluations of the decoder",
        ),
        Claim.over_seeds(
            "Where the decoder can be differentiated, biased Gumbel-softmax is faster than RELAX: "
            "after a fifth of the training its bound, held out, is better by",
            [*map(float, trained["relax"]["test"][:, 1] - trained["gumbel"]["test"][:, 1])],
            at_least=0.3,
            unit="nats",
            reference="scored with binary samples",
        ),
    ]


def _claims_of_poles(poles: dict[str, Any]) -> list[Claim]:
    if not poles:
        return []
    means = {name: row["lengths"].mean(axis=1) for name, row in poles.items()}
    gains = means["relax"] - means["a2c"]
    return [
        Claim.over_seeds(
            "RELAX learns to balance the pole no slower than an actor-critic: steps of a mean "
            "episode of training, gained",
            [*map(float, gains)],
            # Four standard errors of the mean, 13 / sqrt(8) each.
            at_least=-20,
            unit="steps",
            reference="the same value network, seeds and rates; the paper reports 2.4 times fewer "
            "episodes, which is not seen here",
        ),
    ]


PRESETS = {
    "smoke": Config(
        toy_seeds=2, toy_steps=100, toy_every=20, toy_draws=20, seeds=2, latents=4,
        ways=("reinforce", "relax", "gumbel"),
        surrogate=4, iterations=20, batch_size=8, images=40, pole_seeds=2, episodes=3,
        pole_limit=20,
    ),
    "desk": Config(),
}  # fmt: skip

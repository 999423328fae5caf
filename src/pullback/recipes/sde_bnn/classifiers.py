"""Classifiers with random weights, beside the deterministic network and an ensemble of it."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from pullback.data import Split
from pullback.models.bayes import SDEBNN, OUPrior, SDEBNNLoss, conv_sde_bnn, mlp_sde_bnn
from pullback.models.ode_net import ODEBlock, ODENet, classification_loss
from pullback.plots import PALETTE, figure, line_with_spread
from pullback.recipes._kit.calibration import calibration
from pullback.recipes._kit.checks import check_above_zero, check_rising
from pullback.recipes._kit.stack import made, unstacked
from pullback.recipes.sde_bnn.stack import trained
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config:
    net: Literal["mlp", "conv"] = "mlp"
    """Fully connected (MNIST's pixels are then averaged in blocks of 2 x 2), or convolutions."""
    examples: int = 300
    """Training images of each seed, drawn anew."""
    seeds: int = 3
    """How many networks of each kind are trained."""
    sigmas: tuple[float, ...] = (0.1, 0.3, 0.6, 1.0)
    """Diffusions of the weights; each trains networks of its own."""
    sigma: float = 0.3
    """The diffusion, one of `sigmas`, that the claims are about."""
    kappa: float = 1.0
    """The weight of the KL; 1 is the true evidence lower bound, the paper has 0.001."""
    members: int = 5
    """Networks of an ensemble; the deterministic network is one of them."""
    iterations: int = 1500
    """Training steps of a classifier."""
    batch_size: int = 100
    """Images in a training step."""
    learning_rate: float = 3e-3
    """Adam's learning rate at the start, for classifiers; it falls on a cosine."""
    dim: int = 16
    """Size of the state, or channels of it."""
    width: int = 24
    """Hidden units of the field of an mlp."""
    solver_steps: int = 20
    """Euler steps."""
    paths: int = 32
    """Paths of the weights over which a prediction is averaged."""

    def __post_init__(self):
        check_above_zero(self, but=("kappa",))
        check_rising(self, "sigmas")
        if self.sigma not in self.sigmas:
            raise ValueError(f"sigma must be one of sigmas, got {self.sigma} and {self.sigmas}")


def run(config: Config, context: Context, images: Callable[[int], Split]) -> list[Claim]:
    """Train classifiers on images, given a seed, and measure them."""
    sequences = [np.random.SeedSequence([context.seed, number]) for number in range(config.seeds)]
    splits = [images(int(sequence.generate_state(1)[0])) for sequence in sequences]
    nets, twins = _train(config, context, splits)
    found = context.stage("classifiers", _measure, config, context.seed, nets, twins, splits)
    _draw(config, context, found)
    _table(config, context, found)
    return _claims(config, found)


def _train(config: Config, context: Context, splits: list[Split]) -> tuple[SDEBNN, ODENet]:
    """All networks with random weights, and all deterministic ones."""
    data = jax.tree.map(lambda *parts: np.stack(parts, axis=1), *[s.train for s in splits])
    size, pixels = len(data.x), data.x[0, 0].size
    fit = functools.partial(
        trained, context, data=data, steps=config.iterations, learning_rate=config.learning_rate,
        batch_size=config.batch_size,
    )  # fmt: skip
    keys = jr.split(jr.fold_in(jr.key(context.seed), 0), config.seeds)
    of_seed = eqx.filter_vmap(functools.partial(_random_weights, config, pixels), in_axes=(None, 0))
    nets = made(eqx.filter_vmap(of_seed, in_axes=(0, None)), keys, jnp.asarray(config.sigmas))
    nets = fit("random-weights", nets, SDEBNNLoss(size, kappa=config.kappa))
    keys = jr.split(jr.fold_in(jr.key(context.seed), 1), (config.seeds, config.members))
    make = functools.partial(_fixed_weights, config, pixels)
    twins = made(eqx.filter_vmap(eqx.filter_vmap(make)), keys)
    return nets, fit("fixed-weights", twins, classification_loss)


def _random_weights(config: Config, pixels: int, key: PRNGKeyArray, sigma: Array) -> SDEBNN:
    prior, steps = OUPrior(sigma=sigma), config.solver_steps
    if config.net == "conv":
        return conv_sde_bnn(channels=config.dim, prior=prior, steps=steps, key=key)
    return mlp_sde_bnn(
        pixels, prior=prior, dim=config.dim, width=config.width, steps=steps, key=key
    )


def _fixed_weights(config: Config, pixels: int, key: PRNGKeyArray) -> ODENet:
    """The same network as a plain ODE network, whose weights do not move in depth."""
    net = _random_weights(config, pixels, key, jnp.asarray(1.0))
    [block] = net.blocks
    field = block.field_at(block.process.start)
    return ODENet(
        net.stem, ODEBlock(field, solver=diffrax.Euler(), steps=config.solver_steps), net.head
    )


def _measure(
    config: Config, seed: int, nets: SDEBNN, twins: ODENet, splits: Sequence[Split]
) -> dict[str, Any]:
    """Scores of every model on its seed's test images, and KLs `[seed, sigma]`."""
    scores: dict[str, list] = {"deterministic": [], "ensemble": []}
    kl = np.zeros((len(splits), len(config.sigmas)))
    own = zip(splits, unstacked(nets), unstacked(twins), strict=True)
    for number, (split, random, members) in enumerate(own):
        x, labels = jnp.asarray(split.test.x), split.test.y
        key = jr.fold_in(jr.key(seed), number)
        fixed = np.stack([np.asarray(_fixed(net, x)) for net in unstacked(members)])
        each = [_score(probs, labels) for probs in fixed]
        scores["deterministic"].append({k: float(np.mean([s[k] for s in each])) for k in each[0]})
        scores["ensemble"].append(_score(fixed.mean(axis=0), labels))
        for member, (sigma, net) in enumerate(zip(config.sigmas, unstacked(random), strict=True)):
            probs = np.asarray(_predict(net, x, config.paths, key))
            scores.setdefault(f"sigma {sigma:g}", []).append(_score(probs, labels))
            kl[number, member] = _kl(net, x[:1], key)
    return {"scores": scores, "kl": kl}


def _score(probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Test error and ECE in per cent, and nats an image."""
    found = calibration(probs, labels)
    return {
        "error": float(100 * np.mean(probs.argmax(axis=1) != labels)),
        "nll": float(found["nll"]),
        "ece": float(100 * found["ece"]),
    }


@eqx.filter_jit
def _predict(net: SDEBNN, x: Array, paths: int, key: PRNGKeyArray) -> Array:
    return net.predict(x, paths=paths, batch_size=2000, throw=False, key=key)


@eqx.filter_jit
def _kl(net: SDEBNN, x: Array, key: PRNGKeyArray) -> Array:
    return jnp.mean(net(x, paths=256, kl="analytic", throw=False, key=key).kl)


@eqx.filter_jit
def _fixed(net: ODENet, x: Array) -> Array:
    return jax.nn.softmax(net(x, throw=False)[0], axis=-1)


def _draw(config: Config, context: Context, found: dict[str, Any]) -> None:
    fig, axes = figure(1, 2, width=9.0, height=3.8)
    panels = (("nll", "Test NLL", "nats an image"), ("ece", "Expected calibration error", "%"))
    for ax, (name, title, unit) in zip(axes, panels, strict=True):
        values = {
            model: np.array([row[name] for row in rows]) for model, rows in found["scores"].items()
        }
        random = np.stack([values[f"sigma {s:g}"] for s in config.sigmas], axis=1)
        line_with_spread(ax, config.sigmas, random, label="random weights")
        for model, colour in (("deterministic", PALETTE[1]), ("ensemble", PALETTE[2])):
            ax.axhline(values[model].mean(), color=colour, linestyle="--", label=model)
        ax.set(title=title, xlabel="diffusion σ of the weights", ylabel=unit, ylim=(0, None))
    axes[0].legend()
    context.figure(
        "calibration",
        fig,
        "Mean over seeds, band of one standard deviation, against the noise of the weights. Some "
        "noise helps and too much ruins.",
    )


def _table(config: Config, context: Context, found: dict[str, Any]) -> None:
    kls = dict(zip(found["scores"], (None, None, *found["kl"].mean(axis=0).tolist()), strict=True))
    names = {"ensemble": f"ensemble of {config.members}"}
    names |= {f"sigma {s:g}": f"random weights, σ = {s:g}" for s in config.sigmas}
    context.table(
        "classifiers",
        ["model", "test error, %", "NLL, nats", "ECE, %", "KL to the prior, nats"],
        [
            [names.get(model, model),
             *(float(np.mean([row[name] for row in rows])) for name in rows[0]), kls[model]]
            for model, rows in found["scores"].items()
        ],
        f"Means over {config.seeds} seeds, each with training images of its own. ECE has 15 "
        "bins. The deterministic network is the same ODE network with weights that do not move; "
        "its scores are the mean over the members of the ensemble. The ensemble averages "
        "probabilities.",
    )  # fmt: skip


def _claims(config: Config, found: dict[str, Any]) -> list[Claim]:
    scores = found["scores"]
    values = lambda model, name: np.array([row[name] for row in scores[model]])
    ours = functools.partial(values, f"sigma {config.sigma:g}")
    plain, ensemble = (functools.partial(values, m) for m in ("deterministic", "ensemble"))
    return [
        Claim.over_seeds(
            f"Random weights (σ = {config.sigma:g}) have a lower test NLL than the deterministic "
            "network: the latter over the former",
            plain("nll") / ours("nll"),
            at_least=1.4,
            reference="1: no better",
        ),
        Claim.over_seeds(
            "Random weights are better calibrated: the deterministic network's expected "
            "calibration error over theirs",
            plain("ece") / ours("ece"),
            at_least=1.5,
            reference="1: no better",
        ),
        Claim.over_seeds(
            "Random weights err no more often: their test error less the deterministic network's",
            ours("error") - plain("error"),
            at_most=0.5,
            unit="points",
            reference=f"0: as often; the deterministic network errs in {plain('error').mean():.1f} "
            "of a hundred",
        ),
        Claim.over_seeds(
            f"One network with random weights gains most of what an ensemble of {config.members} "
            "gains in NLL over the deterministic network: share",
            (plain("nll") - ours("nll")) / (plain("nll") - ensemble("nll")),
            at_least=0.5,
            reference="as good as the ensemble is 1",
        ),
        Claim.over_seeds(
            "When not to use it: to learn what the weights are. The posterior stays near the "
            "prior, so the gain is mostly that of noise: KL",
            found["kl"][:, config.sigmas.index(config.sigma)],
            at_most=0.5,
            unit="nats",
            reference="0 is the prior itself, of hundreds of weights",
        ),
    ]

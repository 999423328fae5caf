"""Autoencoders of MNIST whose posteriors are normals moved by a hollow continuous flow."""

import dataclasses
from dataclasses import dataclass

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray

from pullback.bounds import ELBO, AbstractFamily, CouplingFlow, DiagonalNormal
from pullback.data import Split, mnist
from pullback.models.flows import CNF, FlowFamily
from pullback.models.vae import VAE, Bernoulli, BoundLoss, importance_weighted_evidence, mlp_vae
from pullback.nn import HollowNet, TwoSidedConditioner
from pullback.recipes._kit.checks import check_above_zero
from pullback.recipes._kit.image_vaes import grey_rows, held_out
from pullback.recipes.hollow_net import show
from pullback.runs import Claim, Context, Headline
from pullback.train import fit

NORMAL, COUPLING, HOLLOW = "diagonal normal", "coupling flow", "hollow flow"
_DRAWS = 10  # of each posterior, for the ELBO


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """How many autoencoders are trained with each posterior."""
    latent: int = 10
    """Latent variables."""
    width: int = 200
    """Size of the hidden layer of the encoder, and of the decoder."""
    steps: int = 5000
    """Training steps of each autoencoder."""
    learning_rate: float = 2e-3
    """Adam's at the start; it falls to zero along a cosine."""
    features: int = 2
    """Numbers that a latent's own net is told of those before it; as many of those after it."""
    inner: int = 16
    """Size of the hidden layer of the net that all latents share."""
    flow_width: int = 32
    """Size of the hidden layers of both flows' other nets."""
    flow_steps: int = 2
    """Midpoint steps of a training solve."""
    score_steps: int = 8
    """Midpoint steps of a solve that scores."""
    scored: int = 300
    """Held-out images that are scored."""
    samples: int = 100
    """Importance samples of a score."""

    def __post_init__(self):
        check_above_zero(self)


class Leading(eqx.Module):
    """The normal of the first entries of a context."""

    latent: int = eqx.field(static=True)

    def __call__(self, context: Array) -> object:
        return DiagonalNormal(self.latent)(context[: 2 * self.latent])


def family_of(name: str, config: Config, key: PRNGKeyArray) -> AbstractFamily:
    """A family of posteriors. Each flow is told twice as many numbers by the encoder."""
    latent = config.latent
    if name == NORMAL:
        return DiagonalNormal(latent)
    if name == COUPLING:
        return CouplingFlow(latent, 4, config.flow_width, 2 * latent, key=key)
    conditioner_key, net_key = jr.split(key)
    conditioner = TwoSidedConditioner(
        latent, config.features, config.flow_width, key=conditioner_key
    )
    net = HollowNet(conditioner, config.inner, context=4 * latent, key=net_key)
    return FlowFamily(CNF(
        net, Leading(latent), solver=diffrax.Midpoint(), steps=config.flow_steps,
        context_shape=4 * latent,
    ))  # fmt: skip


def run(config: Config, context: Context) -> list[Claim]:
    """The same of MNIST."""
    return on_images(config, context, mnist(context.data))


def on_images(config: Config, context: Context, images: Split) -> list[Claim]:
    """Train an autoencoder for each posterior and seed, and score them side by side."""
    train, test = grey_rows(images)
    x = held_out(test, config.scored)
    scores: dict[str, dict[str, list[float]]] = {
        name: {"elbo": [], "nll": []} for name in (NORMAL, COUPLING, HOLLOW)
    }
    for number, seed in enumerate(context.seeds(config.seeds)):
        for name, kept in scores.items():
            vae = _train(config, context, name, number, seed, train)
            stage = f"score-{name.replace(' ', '-')}-{number}"
            found = context.stage(stage, score, config, vae, x, jr.key(seed))
            for kind, value in found.items():
                kept[kind].append(value)
    show.draw_posteriors(context, scores, config.samples)
    return _claims(scores)


def _train(
    config: Config, context: Context, name: str, number: int, seed: int, train: Array
) -> VAE:
    model, flow, draws = jr.split(jr.key(seed), 3)
    vae, info = fit(
        mlp_vae(
            train.shape[1], config.latent, config.width, 1, jax.nn.elu, likelihood=Bernoulli(),
            family=family_of(name, config, flow), key=model,
        ),
        BoundLoss(ELBO(), binarise=True),
        train,
        optimiser=optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps)),
        steps=config.steps,
        batch_size=min(100, len(train)),
        **context.training(f"{name.replace(' ', '-')}-{number}"),
        checkpoint_every=min(1000, config.steps // 100 * 100) or None,
        key=draws,
    )  # fmt: skip
    context.log(info.lines(), posterior=name, number=number)
    return vae


def score(config: Config, vae: VAE, x: Array, key: PRNGKeyArray) -> dict[str, float]:
    """Nats of held-out images, of a flow by fine solves: coarse ones are no bound."""
    if isinstance(vae.family, FlowFamily) and isinstance(vae.family.flow, CNF):
        fine = dataclasses.replace(vae.family.flow, steps=config.score_steps)
        vae = eqx.tree_at(lambda vae: vae.family.flow, vae, fine)

    def mean(x: Array, samples: int) -> float:
        bound = importance_weighted_evidence(vae, x, samples=samples, batch_size=100, key=key)
        return float(jnp.mean(bound))

    return {"elbo": mean(jnp.repeat(x, _DRAWS, axis=0), 1), "nll": -mean(x, config.samples)}


def _claims(scores: dict[str, dict[str, list[float]]]) -> list[Claim]:
    over = lambda name, kind: np.subtract(scores[HOLLOW][kind], scores[name][kind])
    said = lambda name, kind: f"{name}: {np.mean(scores[name][kind]):.2f} nats"
    return [
        Claim.over_seeds(
            "A hollow flow as the posterior of an autoencoder lowers its held-out negative "
            "log-likelihood beneath that of one with a diagonal normal, trained alike, by",
            -over(NORMAL, "nll"),
            at_least=0.3,
            unit="nats",
            reference=said(NORMAL, "nll"),
            headline=Headline(no_effect=0.0),
        ),
        Claim.over_seeds(
            "And it raises the held-out ELBO by",
            over(NORMAL, "elbo"),
            at_least=0.3,
            unit="nats",
            reference=said(NORMAL, "elbo"),
        ),
        Claim.over_seeds(
            "When not to: a coupling flow, which nothing has to solve, is nearly as good (the "
            "hollow flow's ELBO above it)",
            over(COUPLING, "elbo"),
            at_most=0.5,
            unit="nats",
            reference=said(COUPLING, "elbo"),
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=2, latent=2, width=8, steps=4, features=1, inner=4, flow_width=4, flow_steps=1,
        score_steps=2, scored=4, samples=3,
    ),
    "desk": Config(),
    "long": Config(latent=20, steps=10_000, features=4, score_steps=16, scored=500),
    "paper": Config(
        latent=64, width=300, steps=500_000, features=16, inner=64, flow_width=256, flow_steps=8,
        score_steps=64, scored=10_000, samples=5000, learning_rate=1e-3,
    ),
}  # fmt: skip

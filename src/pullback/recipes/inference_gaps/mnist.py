"""The gaps of autoencoders of MNIST with 50 latent variables, whose log-evidence is estimated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.analysis import Annealing, inference_gaps
from pullback.bounds import ELBO, AbstractFamily, CouplingFlow, DiagonalNormal
from pullback.data import Split, mnist
from pullback.models.vae import VAE, Bernoulli, BoundLoss, mlp_vae
from pullback.recipes._kit.stack import stacked, unstacked
from pullback.recipes.inference_gaps import claims, gap_table, measure, show
from pullback.recipes.inference_gaps.measure import FLOW, NORMAL, Scoring, of_images
from pullback.runs import Claim, Context, Headline
from pullback.train import fit

LATENT = 50
# Of the flow's networks: as many numbers of the encoder's as are worth a hidden layer.
_CONTEXT = 50
_HELD_OUT = 1000


@dataclass(frozen=True)
class Config(Scoring):
    seeds: int = 3
    """How many autoencoders are trained in each way."""
    side: int = 14
    """Rows and columns of an image, a divisor of 28: means of squares of grey levels."""
    steps: int = 2000
    """Training steps of each autoencoder, whose learning rate falls to zero along a cosine."""
    width: int = 100
    """Size of the two hidden layers of the encoder, and of the decoder."""
    scored: int = 12
    """Training images whose gaps are measured, and as many held-out ones."""
    temperatures: int = 100
    """Temperatures of annealing."""
    chains: int = 8
    """Chains of annealing."""

    def __post_init__(self):
        super().__post_init__()
        if 28 % self.side:
            raise ValueError(f"side must be a divisor of 28, got {self.side}")


def family_of(name: str, key: PRNGKeyArray) -> AbstractFamily:
    """A family of posteriors over the latent variables."""
    if name == NORMAL:
        return DiagonalNormal(LATENT)
    return CouplingFlow(LATENT, 4, 100, _CONTEXT, key=key)


def run(config: Config, context: Context) -> list[Claim]:
    """The same of MNIST."""
    return on_images(config, context, mnist(context.data), "mnist")


def on_images(config: Config, context: Context, images: Split, name: str) -> list[Claim]:
    """Train with each family, and encoders of either for the decoder that the normals trained."""
    seeds = context.seeds(config.seeds)
    train, test = (_rows(part.x, config.side) for part in images)
    scored = min(config.scored, len(train))
    rng = np.random.default_rng(context.seed)
    # The encoders' bounds are of more held-out images, for which no local fit is asked.
    grey = jnp.concatenate(
        [train[rng.permutation(len(train))[:scored]], test[rng.permutation(len(test))[:_HELD_OUT]]]
    )
    every = jr.bernoulli(jr.key(context.seed), grey).astype(train.dtype)
    x = every[: 2 * scored]
    models = {family: _train(context, config, family, train, seeds) for family in (NORMAL, FLOW)}
    # A flow of its own for each image starts as the normal, as the paper's does.
    flow = family_of(FLOW, jr.key(0))
    rows: dict[str, dict[str, np.ndarray]] = {}
    for trained, local, family in (
        (NORMAL, NORMAL, None), (NORMAL, FLOW, flow), (FLOW, NORMAL, family_of(NORMAL, jr.key(0))),
    ):  # fmt: skip
        known = rows.get(f"{trained}; q*: {NORMAL}", {}).get("log_evidence")
        rows[f"{trained}; q*: {local}"] = context.stage(
            f"gaps-{trained}-{local}".replace(" ", "-"), _gaps, context, config, models[trained],
            family, x, known, seeds,
        )  # fmt: skip
    plain, flexible, adapted = rows.values()
    best = {NORMAL: plain, FLOW: flexible}
    encoders = {}
    for family in (NORMAL, FLOW):
        again = _train(context, config, family, train, seeds, models[NORMAL])
        bound = context.stage(
            f"bounds-{family}".replace(" ", "-"), measure.bounds, again, every, seeds
        )
        encoders[family] = measure.with_encoder(best[family], bound)
    show.draw_gaps(context, {NORMAL: plain, "trained with a flow, q* normal": adapted}, scored)
    told = (
        f"binary {name}, {config.side} x {config.side}; log p(x) by annealing or many importance "
        "samples, whichever is higher"
    )
    gap_table(
        context, "gaps", rows, scored,
        f"{told}; named by the family of training, and that in which q* is looked for",
    )  # fmt: skip
    gap_table(
        context, "encoders", encoders, scored,
        f"{told}; the decoders of {NORMAL}, frozen, and encoders trained anew",
    )  # fmt: skip
    return _claims(plain, adapted, encoders, scored)


def _rows(grey: np.ndarray, side: int) -> Float[Array, "n pixel"]:
    tiles = grey.reshape(len(grey), side, grey.shape[1] // side, side, grey.shape[2] // side)
    return jnp.asarray(tiles.mean((2, 4)).reshape(len(grey), -1), float)


def _train(
    context: Context, config: Config, family: str, train: Array, seeds: Sequence[int],
    frozen: Sequence[VAE] | None = None,
) -> list[VAE]:  # fmt: skip
    """One autoencoder for each seed; of `frozen` ones a new encoder alone."""
    keys = jax.vmap(lambda key: jr.split(key, 3))(jnp.stack([jr.key(seed) for seed in seeds]))
    make = lambda key, flow: mlp_vae(
        train.shape[1], LATENT, config.width, 2, jax.nn.elu, likelihood=Bernoulli(),
        family=family_of(family, flow), key=key,
    )  # fmt: skip
    models = eqx.filter_vmap(make)(keys[:, 0], keys[:, 1])
    trainable: Any = True
    if frozen is not None:
        of = lambda vae: vae.decoder
        models = eqx.tree_at(of, models, stacked([vae.decoder for vae in frozen]))
        trainable = eqx.tree_at(of, jax.tree.map(lambda _: True, models), replace=False)
    name = f"{'vae' if frozen is None else 'encoder'}-{family.replace(' ', '-')}"
    models, info = fit(
        models, BoundLoss(ELBO(), binarise=True), train, trainable=trainable,
        optimiser=optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps)),
        steps=config.steps, batch_size=min(100, len(train)), sequential=True,
        checkpoint_every=min(1000, config.steps // 100 * 100) or None, **context.training(name),
        key=keys[:, 2],
    )  # fmt: skip
    context.log(info.lines(), trained=name)
    return unstacked(models)


def _gaps(
    context: Context,
    config: Config,
    models: Sequence[VAE],
    family: AbstractFamily | None,
    x: Array,
    evidence: np.ndarray | None,
    seeds: Sequence[int],
) -> dict[str, np.ndarray]:
    """The gaps of each image, `[seed, image]`; the evidence of a model is estimated once."""
    rows = []
    for number, (vae, seed) in enumerate(zip(models, seeds, strict=True)):
        found = inference_gaps(
            measure.without_encoder(vae).model, vae.encoder, vae.family, x, local_family=family,
            log_evidence="best" if evidence is None else jnp.asarray(evidence[number]),
            # At the rate of the parameters, flows over 50 variables fall behind their start.
            search=config.search(weights_learning_rate=0.001),
            annealing=Annealing(config.temperatures, config.chains, 5, pilot_rounds=10),
            batch_size=50, progress=None if context.progress else False, key=jr.key(seed),
        )  # fmt: skip
        rows.append(of_images(found))
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _claims(
    plain: show.Row, adapted: show.Row, encoders: Mapping[str, show.Row], scored: int
) -> list[Claim]:
    train, held_out = claims.parts(scored).values()
    return [
        claims.encoder_is_to_blame(plain, scored),
        claims.model_adapts(plain, adapted, scored, Headline(no_effect=0.0)),
        claims.flow_helps_to_generalise(encoders, scored),
        Claim.over_seeds(
            "The encoder loses more on held-out images (amortisation gap, above that of training "
            "images)",
            claims.mean_gap(plain, "amortisation", held_out)
            - claims.mean_gap(plain, "amortisation", train),
            at_least=0.0,
            unit="nats",
            reference="0 if encoders generalised",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1, side=7, steps=100, width=20, scored=4, search_steps=30, search_samples=3,
        evaluation_samples=50, temperatures=20, chains=4,
    ),
    "desk": Config(),
    "long": Config(side=28, steps=6000, width=200, scored=25, temperatures=200, chains=16),
    "paper": Config(
        side=28, steps=500_000, width=200, scored=400, temperatures=10_000, chains=100
    ),
}  # fmt: skip

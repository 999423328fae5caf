"""The gaps of autoencoders of MNIST with 50 latent variables, whose log-evidence is annealed."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray

from pullback.analysis import Annealing, inference_gaps
from pullback.bounds import ELBO, AbstractFamily, CouplingFlow, DiagonalNormal
from pullback.data import Split, mnist
from pullback.models.vae import VAE, Bernoulli, BoundLoss, mlp_vae
from pullback.recipes._kit.image_vaes import grey_rows
from pullback.recipes.inference_gaps import gap_table, show
from pullback.recipes.inference_gaps.measure import Scoring, of_images, without_encoder
from pullback.runs import Claim, Context
from pullback.train import fit

LATENT = 50
NORMAL, FLOW = "diagonal normal", "coupling flow"
# Of the flow's networks: as many numbers of the encoder's as are worth a hidden layer.
_CONTEXT = 50


@dataclass(frozen=True)
class Config(Scoring):
    steps: int = 20_000
    """Training steps of each autoencoder, whose learning rate falls to zero along a cosine."""
    width: int = 200
    """Size of the two hidden layers of the encoder, and of the decoder."""
    temperatures: int = 500
    """Temperatures of annealing."""
    chains: int = 16
    """Chains of annealing."""


def family_of(name: str, key: PRNGKeyArray) -> AbstractFamily:
    """A family of posteriors over the latent variables."""
    if name == NORMAL:
        return DiagonalNormal(LATENT)
    return CouplingFlow(LATENT, 4, 100, _CONTEXT, key=key)


def run(config: Config, context: Context) -> list[Claim]:
    """The same of MNIST."""
    return on_images(config, context, mnist(context.data), "mnist")


def on_images(config: Config, context: Context, images: Split, name: str) -> list[Claim]:
    """Train with each family; the gaps of each model to the best of either family."""
    seed = context.seed
    train, test = grey_rows(images)
    rng = np.random.default_rng(seed)
    pick = lambda grey: grey[rng.permutation(len(grey))[: config.scored]]
    grey = jnp.concatenate([pick(train), pick(test)])
    x = jr.bernoulli(jr.key(seed), grey).astype(train.dtype)
    scored = min(config.scored, len(train))
    rows: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for trained in (NORMAL, FLOW):
        vae = _train(context, config, trained, train, seed)
        for local in (NORMAL, FLOW):
            # A flow of its own for each image starts as the normal, as the paper's does.
            family = None if local == trained else family_of(local, jr.key(seed))
            rows[trained, local] = context.stage(
                f"gaps-{trained}-{local}".replace(" ", "-"), _gaps, context, config, vae, family,
                x, rows.get((trained, NORMAL), {}).get("log_evidence"), seed,
            )  # fmt: skip
    show.draw_gaps(context, {trained: rows[trained, trained] for trained in (NORMAL, FLOW)}, scored)
    gap_table(
        context, {f"{trained}; q*: {local}": row for (trained, local), row in rows.items()}, scored,
        f"binary {name}; log p(x) by annealing or many importance samples, whichever is higher; "
        "named by the family that it was trained with, and that in which q* is looked for",
    )  # fmt: skip
    return _claims(rows, scored)


def _train(context: Context, config: Config, name: str, train: Array, seed: int) -> VAE:
    model, flow, draws = jr.split(jr.key(seed), 3)
    vae, info = fit(
        mlp_vae(
            train.shape[1], LATENT, config.width, 2, jax.nn.elu, likelihood=Bernoulli(),
            family=family_of(name, flow), key=model,
        ),
        BoundLoss(ELBO(), binarise=True),
        train,
        optimiser=optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps)),
        steps=config.steps,
        batch_size=min(100, len(train)),
        **context.training(f"vae-{name.replace(' ', '-')}"),
        checkpoint_every=min(1000, config.steps // 100 * 100) or None,
        key=draws,
    )  # fmt: skip
    context.log(info.lines(), trained=name)
    return vae


def _gaps(
    context: Context,
    config: Config,
    vae: VAE,
    family: AbstractFamily | None,
    x: Array,
    evidence: np.ndarray | None,
    seed: int,
) -> dict[str, np.ndarray]:
    """The gaps of each image, `[1, image]`; the annealed evidence of a model is found once."""
    found = inference_gaps(
        without_encoder(vae).model, vae.encoder, vae.family, x, local_family=family,
        log_evidence="best" if evidence is None else jnp.asarray(evidence[0]),
        # At the rate of the parameters, flows over 50 variables fall behind their start.
        search=config.search(weights_learning_rate=0.001),
        annealing=Annealing(config.temperatures, config.chains), batch_size=50,
        progress=None if context.progress else False, key=jr.key(seed),
    )  # fmt: skip
    return {name: value[None] for name, value in of_images(found).items()}


def _claims(rows: dict[tuple[str, str], dict[str, np.ndarray]], scored: int) -> list[Claim]:
    # On training images; of a model under one family, then its best posterior in another.
    mean = lambda trained, local, gap: float(rows[trained, local][gap][:, :scored].mean())
    family, encoder = (mean(NORMAL, NORMAL, gap) for gap in ("approximation", "amortisation"))
    return [
        Claim(
            "Amortisation is a large part of the gap on training images (its share)",
            value=encoder / (family + encoder),
            at_least=0.3,
            reference="the paper's abstract: often the larger part",
        ),
        Claim(
            "A model adapts to the family that it is trained with: of the one trained with a flow, "
            "the best normal is further off (excess of its approximation gap, training images)",
            value=mean(FLOW, NORMAL, "approximation") - mean(FLOW, FLOW, "approximation"),
            at_least=0.0,
            unit="nats",
            reference="the paper's abstract: the model adapts to its family; 0 if it did not",
        ),
    ]


PRESETS = {
    "smoke": Config(
        steps=100, scored=4, search_steps=30, search_samples=3, evaluation_samples=50,
        temperatures=20, chains=4,
    ),
    "desk": Config(),
    "paper": Config(steps=500_000, scored=400, temperatures=10_000, chains=100),
}  # fmt: skip

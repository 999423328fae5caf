"""What the recipe `inference-gaps` measures: autoencoders whose latent plane can be integrated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.analysis import Annealing, LocalSearch, evidence_by_annealing, inference_gaps
from pullback.bounds import ELBO, AbstractFamily, DiagonalNormal
from pullback.models.vae import VAE, Bernoulli, BoundLoss, DenseNet
from pullback.recipes._kit.checks import check_above_zero, check_least
from pullback.recipes._kit.latent_plane import Plane
from pullback.recipes._kit.stack import unstacked
from pullback.runs import Context
from pullback.sampling import StandardNormal
from pullback.train import fit

PLANE = Plane(241)


@dataclass(frozen=True)
class Scoring:
    """How gaps are measured."""

    learning_rate: float = 1e-3
    """Adam's learning rate."""
    scored: int = 100
    """Training images whose gaps are measured, and as many held-out ones."""
    search_steps: int = 400
    """Steps of the local fits."""
    search_samples: int = 10
    """Samples in each step of the local fits."""
    evaluation_samples: int = 1000
    """Samples by which a posterior is scored, and of the importance-weighted bound."""
    temperatures: int = 600
    """Temperatures of annealing."""
    chains: int = 32
    """Chains of annealing."""

    def __post_init__(self):
        check_above_zero(self)
        check_least(self, **{n: 1 for n, value in vars(self).items() if isinstance(value, int)})

    def search(self, weights_learning_rate: float | None = None) -> LocalSearch:
        return LocalSearch(
            steps=self.search_steps, samples=self.search_samples, learning_rate=0.03,
            evaluation_samples=self.evaluation_samples,
            weights_learning_rate=weights_learning_rate,
        )  # fmt: skip


class Kind(NamedTuple):
    """Networks of an autoencoder; a depth of 0 is a linear map."""

    name: str
    encoder_width: int
    encoder_depth: int
    decoder_depth: int


KINDS = (
    Kind("encoder 64-64", 64, 2, 2),
    Kind("linear encoder", 64, 0, 2),
    Kind("encoder 256-256", 256, 2, 2),
    Kind("linear decoder", 64, 2, 0),
)


def make(kind: Kind, pixels: int, shrink: int, key: PRNGKeyArray) -> VAE:
    """An autoencoder; its widths are divided by `shrink`, down to 4."""
    encoder, decoder = jr.split(key)
    wide, narrow = max(4, kind.encoder_width // shrink), max(4, 64 // shrink)
    return VAE(
        DenseNet((pixels,), (4,), wide, kind.encoder_depth, jax.nn.elu, key=encoder),
        DenseNet((2,), (pixels,), narrow, kind.decoder_depth, jax.nn.elu, key=decoder),
        family=DiagonalNormal(2),
        prior=StandardNormal(2),
        likelihood=Bernoulli(),
    )


def train(
    config: Any, context: Context, kind: Kind, images: Array, seeds: Sequence[int]
) -> list[VAE]:
    """One autoencoder for each seed, all at once."""
    shrink, steps = config.shrink, config.steps
    pairs = jax.vmap(jr.split)(jnp.stack([jr.key(seed) for seed in seeds]))
    models, info = fit(
        eqx.filter_vmap(lambda key: make(kind, images.shape[1], shrink, key))(pairs[:, 0]),
        BoundLoss(ELBO("analytic")), images, optimiser=optax.adam(config.learning_rate),
        steps=steps, batch_size=min(100, len(images)), progress=False, key=pairs[:, 1],
    )  # fmt: skip
    context.log(info.lines(), kind=kind.name)
    return unstacked(models)


def without_encoder(vae: VAE) -> VAE:
    """The same model, for which programs need not be compiled anew where encoders differ."""
    return eqx.tree_at(lambda vae: vae.encoder, vae, None)


def of_images(found: Any) -> dict[str, Float[np.ndarray, " n"]]:
    """What is known of each image."""
    names = ("log_evidence", "importance_weighted", "elbo_local", "elbo", "approximation",
             "amortisation", "amortisation_error")  # fmt: skip
    return {name: np.asarray(getattr(found, name)) for name in names}


def gaps(
    models: Sequence[VAE], x: Float[Array, "n pixel"], family: AbstractFamily | None,
    search: LocalSearch, seeds: Sequence[int],
) -> dict[str, Float[np.ndarray, "seed n ..."]]:  # fmt: skip
    """The gaps of each example under the model of each seed, with the exact log-evidence."""
    rows = []
    for vae, seed in zip(models, seeds, strict=True):
        bare = without_encoder(vae)
        found = inference_gaps(
            bare.model, vae.encoder, vae.family, x, local_family=family, search=search,
            log_evidence=PLANE.log_evidence(bare, x), progress=False, key=jr.key(seed),
        )  # fmt: skip
        rows.append({**of_images(found), "local": np.asarray(found.local.params)})
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def annealed(
    models: Sequence[VAE], x: Float[Array, "n pixel"], annealing: Annealing, seeds: Sequence[int]
) -> Float[np.ndarray, "seed n"]:
    """The log-evidence of each example under the model of each seed, without its encoder."""
    of_one = lambda vae, seed: evidence_by_annealing(
        without_encoder(vae).model, x, annealing=annealing, progress=False,
        key=jr.split(jr.key(seed))[0],
    ).value  # fmt: skip
    return np.stack([of_one(*pair) for pair in zip(models, seeds, strict=True)])


@eqx.filter_jit
def densities(
    vae: VAE, x: Float[Array, "n pixel"], local: Float[Array, "n params"]
) -> dict[str, Float[Array, "n row column"]]:
    """The posterior of each example over the plane, the encoder's, and the best of its family."""
    of = lambda params: jnp.exp(jax.vmap(vae.family(params).log_prob)(PLANE.points))
    found = {
        "exact": jax.nn.softmax(PLANE.log_joint(vae, x), axis=1) / PLANE.area,
        "q": jax.lax.map(of, jax.vmap(vae.encoder)(x)),
        "local": jax.lax.map(of, local),
    }
    return {name: value.reshape(-1, PLANE.side, PLANE.side) for name, value in found.items()}

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

from pullback.analysis import Annealing, LocalSearch, evidence_sandwich, inference_gaps
from pullback.bounds import ELBO, AbstractFamily, CouplingFlow, DiagonalNormal
from pullback.models.vae import VAE, Bernoulli, BoundLoss, DenseNet
from pullback.recipes._kit.checks import check_above_zero, check_least
from pullback.recipes._kit.latent_plane import Plane
from pullback.recipes._kit.stack import stacked, unstacked
from pullback.runs import Context
from pullback.sampling import StandardNormal
from pullback.train import fit

PLANE = Plane(241)
_SAMPLES = 250  # of an encoder's posterior, for its bound
NORMAL, FLOW = "diagonal normal", "coupling flow"


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


KINDS = (
    Kind("encoder 64-64", 64, 2),
    Kind("linear encoder", 64, 0),
    Kind("encoder 256-256", 256, 2),
)


def family_of(name: str, shrink: int, key: PRNGKeyArray) -> AbstractFamily:
    """A family of posteriors over the plane; a flow's networks are steered by the encoder."""
    if name == NORMAL:
        return DiagonalNormal(2)
    return CouplingFlow(2, max(2, 4 // shrink), max(4, 32 // shrink), 8, key=key)


def make(kind: Kind, pixels: int, shrink: int, family: str, key: PRNGKeyArray) -> VAE:
    """An autoencoder; its widths are divided by `shrink`, down to 4."""
    encoder, decoder = jr.split(key)
    wide, narrow = max(4, kind.encoder_width // shrink), max(4, 64 // shrink)
    q = family_of(family, shrink, jr.fold_in(key, 2))
    return VAE(
        DenseNet((pixels,), q.shape, wide, kind.encoder_depth, jax.nn.elu, key=encoder),
        DenseNet((2,), (pixels,), narrow, 2, jax.nn.elu, key=decoder),
        family=q,
        prior=StandardNormal(2),
        likelihood=Bernoulli(),
    )


def train(
    config: Any, context: Context, kind: Kind, family: str, images: Array, seeds: Sequence[int],
    frozen: Sequence[VAE] | None = None,
) -> list[VAE]:  # fmt: skip
    """One autoencoder for each seed, all at once; of `frozen` ones a new encoder alone."""
    pairs = jax.vmap(jr.split)(jnp.stack([jr.key(seed) for seed in seeds]))
    models = eqx.filter_vmap(
        lambda key: make(kind, images.shape[1], config.shrink, family, key)
    )(pairs[:, 0])  # fmt: skip
    trainable: Any = True
    if frozen is not None:
        of = lambda vae: vae.decoder
        models = eqx.tree_at(of, models, stacked([vae.decoder for vae in frozen]))
        trainable = eqx.tree_at(of, jax.tree.map(lambda _: True, models), replace=False)
    models, info = fit(
        models, BoundLoss(ELBO("analytic" if family == NORMAL else "sampled")), images,
        optimiser=optax.adam(config.learning_rate), steps=config.steps,
        batch_size=min(100, len(images)), trainable=trainable, progress=False, key=pairs[:, 1],
    )  # fmt: skip
    context.log(info.lines(), kind=kind.name, family=family, frozen=frozen is not None)
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


def bounds(
    models: Sequence[VAE], x: Float[Array, "n pixel"], seeds: Sequence[int]
) -> Float[np.ndarray, "seed n"]:
    """L[q] of each example under the encoder of each seed."""
    rows = [_bounds(vae, x, jr.key(seed)) for vae, seed in zip(models, seeds, strict=True)]
    return np.stack([np.asarray(row) for row in rows])


def with_encoder(
    best: dict[str, np.ndarray], bound: Float[np.ndarray, "seed more"]
) -> dict[str, np.ndarray]:
    """The gaps of another encoder: its L[q] of the images of `best`, and then of held-out ones."""
    elbo = bound[:, : best["elbo_local"].shape[1]]
    return {**best, "elbo": elbo, "amortisation": best["elbo_local"] - elbo, "bound": bound}


@eqx.filter_jit
def _bounds(vae: VAE, x: Array, key: Array) -> Array:
    def one(pair: tuple[Array, Array]) -> Array:
        return ELBO()(*vae.target(pair[0]), num_samples=_SAMPLES, key=pair[1])

    return jax.lax.map(one, (x, jr.split(key, len(x))))


def brackets(
    models: Sequence[VAE], count: int, annealing: Annealing, seeds: Sequence[int]
) -> dict[str, Float[np.ndarray, "seed n"]]:
    """Images drawn from the model of each seed: bounds by annealing both ways, and log p(x)."""
    rows = []
    for vae, seed in zip(models, seeds, strict=True):
        bare = without_encoder(vae)
        latent, data, chains = jr.split(jr.key(seed), 3)
        z = jr.normal(latent, (count, 2))
        x = jax.vmap(lambda z, key, bare=bare: bare.generate(z, key=key))(z, jr.split(data, count))
        x = x.astype(z.dtype)
        found = evidence_sandwich(
            bare.model, x, z, annealing=annealing, progress=False, key=chains
        )  # fmt: skip
        rows.append({"lower": found.lower, "upper": found.upper,
                     "exact": PLANE.log_evidence(bare, x)})  # fmt: skip
    return {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}


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

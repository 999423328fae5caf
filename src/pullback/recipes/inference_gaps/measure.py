"""What the recipe `inference-gaps` measures: autoencoders whose latent plane can be integrated."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.analysis import (
    Annealing,
    LocalSearch,
    evidence_by_annealing,
    evidence_sandwich,
    inference_gaps,
)
from pullback.bounds import (
    ELBO,
    AbstractFamily,
    CouplingFlow,
    DiagonalNormal,
    FullCovarianceNormal,
)
from pullback.models.vae import VAE, Bernoulli, BoundLoss, DenseNet
from pullback.sampling import StandardNormal
from pullback.train import fit

REACH, POINTS = 6.0, 241  # of the grid over the latent plane


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
    """An autoencoder; its widths are divided by `shrink`, which a quick look may set."""
    encoder, decoder = jr.split(key)
    wide, narrow = kind.encoder_width // shrink, 64 // shrink
    return VAE(
        DenseNet((pixels,), (4,), wide, kind.encoder_depth, jax.nn.elu, key=encoder),
        DenseNet((2,), (pixels,), narrow, kind.decoder_depth, jax.nn.elu, key=decoder),
        family=DiagonalNormal(2),
        prior=StandardNormal(2),
        likelihood=Bernoulli(),
    )


def train(
    kind: Kind, images: Array, *, shrink: int, steps: int, learning_rate: float,
    seeds: Sequence[int],
) -> dict[str, Any]:  # fmt: skip
    """One autoencoder for each seed, all at once: their arrays, and the loss along the way."""
    keys = jnp.stack([jr.key(seed) for seed in seeds])
    pairs = jax.vmap(jr.split)(keys)
    models = eqx.filter_vmap(lambda key: make(kind, images.shape[1], shrink, key))(pairs[:, 0])
    models, info = fit(
        models, BoundLoss(ELBO("analytic")), images, optimiser=optax.adam(learning_rate),
        steps=steps, batch_size=min(100, len(images)), progress=False, key=pairs[:, 1],
    )  # fmt: skip
    return {
        "arrays": [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(models, eqx.is_array))],
        "steps": info.history["step"],
        "loss": info.history["loss"],
    }


def models_of(kind: Kind, pixels: int, shrink: int, arrays: Sequence[np.ndarray]) -> list[VAE]:
    """The trained models, from their arrays."""
    like, rest = eqx.partition(make(kind, pixels, shrink, jr.key(0)), eqx.is_array)
    tree = jax.tree.structure(like)
    return [
        eqx.combine(jax.tree.unflatten(tree, [jnp.asarray(leaf[i]) for leaf in arrays]), rest)
        for i in range(len(arrays[0]))
    ]


def plane() -> tuple[Float[Array, "point 2"], float]:
    """Points of the latent plane, and the area of each."""
    axis = jnp.linspace(-REACH, REACH, POINTS)
    points = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    return points, (2 * REACH / (POINTS - 1)) ** 2


@eqx.filter_jit
def log_joint_over_plane(vae: VAE, x: Float[Array, "n pixel"]) -> Float[Array, "n point"]:
    """log p(x, z) of each example at each point: the plane is decoded once."""
    points, _ = plane()
    logits = jax.vmap(vae.decoder)(points)
    likelihood = x @ logits.T - jnp.sum(jax.nn.softplus(logits), axis=1)[None]
    return likelihood + jax.vmap(vae.latent_prior().log_prob)(points)[None]


def exact_evidence(vae: VAE, x: Float[Array, "n pixel"]) -> Float[Array, " n"]:
    """log p(x) of each example, by the grid."""
    return jax.nn.logsumexp(log_joint_over_plane(vae, x), axis=1) + np.log(plane()[1])


def without_encoder(vae: VAE) -> VAE:
    """The same model, for which programs need not be compiled anew where encoders differ."""
    return eqx.tree_at(lambda vae: vae.encoder, vae, None)


def gaps(
    vae: VAE, x: Float[Array, "n pixel"], family: AbstractFamily | None, search: LocalSearch,
    seed: int,
) -> dict[str, np.ndarray]:  # fmt: skip
    """The gaps of each example, with the exact log-evidence."""
    bare = without_encoder(vae)
    evidence = exact_evidence(bare, x)
    found = inference_gaps(
        bare.model, vae.encoder, vae.family, x, local_family=family, log_evidence=evidence,
        search=search, progress=False, key=jr.key(seed),
    )  # fmt: skip
    kept = {
        "evidence": evidence,
        "iwae": found.importance_weighted,
        "elbo_local": found.elbo_local,
        "elbo": found.elbo,
        "approximation": found.approximation,
        "amortisation": found.amortisation,
        "approximation_error": found.approximation_error,
        "amortisation_error": found.amortisation_error,
        "local": found.local.params,
    }
    return {name: np.asarray(value) for name, value in kept.items()}


def families(shrink: int) -> Mapping[str, AbstractFamily]:
    """In which the best posterior of an example is looked for, besides the encoder's."""
    return {
        "full covariance": FullCovarianceNormal(2),
        "coupling flow": CouplingFlow(2, 4, 32 // shrink, key=jr.key(0)),
    }


def annealed(
    vae: VAE, x: Float[Array, "n pixel"], annealing: Annealing, count: int, seed: int
) -> dict[str, np.ndarray]:
    """Annealing beside the grid: on real examples, and both ways on simulated ones."""
    real, latent, images, both = jr.split(jr.key(seed), 4)
    vae = without_encoder(vae)
    found = evidence_by_annealing(vae.model, x, annealing=annealing, progress=False, key=real)
    z = jr.normal(latent, (count, 2))
    simulated = jax.vmap(lambda z, key: vae.generate(z, key=key))(z, jr.split(images, count))
    simulated = jnp.asarray(simulated, x.dtype)
    sandwich = evidence_sandwich(
        vae.model, simulated, z, annealing=annealing, progress=False, key=both
    )
    kept = {
        "exact": exact_evidence(vae, x),
        "annealed": found.value,
        "annealed_error": found.standard_error,
        "simulated_exact": exact_evidence(vae, simulated),
        "lower": sandwich.lower,
        "upper": sandwich.upper,
    }
    return {name: np.asarray(value) for name, value in kept.items()}


@eqx.filter_jit
def densities(
    vae: VAE, x: Float[Array, "n pixel"], local: Float[Array, "n params"]
) -> dict[str, Float[Array, "n row column"]]:
    """The posterior of each example over the plane, the encoder's, and the best of its family."""
    points, area = plane()
    of = lambda params: jnp.exp(jax.vmap(vae.family(params).log_prob)(points))
    found = {
        "exact": jax.nn.softmax(log_joint_over_plane(vae, x), axis=1) / area,
        "q": jax.lax.map(of, jax.vmap(vae.encoder)(x)),
        "local": jax.lax.map(of, local),
    }
    return {name: value.reshape(-1, POINTS, POINTS) for name, value in found.items()}

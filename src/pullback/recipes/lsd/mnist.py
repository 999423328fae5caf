"""An energy of MNIST that no sampler trained, and its place among densities that are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float
from scipy.stats import spearmanr
from sklearn.decomposition import PCA

from pullback.analysis import compare_models
from pullback.calculus import HutchinsonDivergence
from pullback.data import Labelled, Split, mnist, standardise
from pullback.models.energy import ScoreMatchingLoss, TiltedGaussian, fit_stein
from pullback.recipes._kit.checks import check_above_zero, check_least
from pullback.recipes._kit.images import in_blocks
from pullback.recipes.lsd import show
from pullback.runs import Claim, Context, Headline
from pullback.sampling import langevin

NOISE = 0.1  # on grey levels of 0 to 1, without which pixels that are always white have no density
FACTORS = (5, 20, 80)
ENERGY, BASE = "energy by LSD", "independent pixels"
_SHOWN = 40  # images


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """Energies, each with images of its own."""
    images: int = 10_000
    """Images that each model is fitted to."""
    tested: int = 3000
    """Unseen images, which critics learn from and models are ranked on."""
    block: int = 2
    """Side of the blocks of pixels that are averaged: of 2, images are 14 by 14."""
    width: int = 128
    """Size of the two hidden layers of the energy and of critics."""
    steps: int = 2000
    """Steps of the energy; its critic takes five times as many."""
    batch_size: int = 64
    """Images a step."""
    learning_rate: float = 1e-3
    """Adam's for the energy; it falls to nothing."""
    test_steps: int = 600
    """Steps of the critic that a model is ranked by."""
    walk: int = 300
    """Steps of the chains that draw images from the energy, once it is trained."""

    def __post_init__(self):
        check_above_zero(self)
        check_least(self, images=200, tested=200)


def run(config: Config, context: Context) -> list[Claim]:
    """Fit densities to images, train an energy, and rank them all by the score alone."""
    blocks = in_blocks(mnist(context.data), config.block)
    found = [
        context.stage(f"seed-{seed}", one_seed, config, context, blocks, seed)
        for seed in context.seeds(config.seeds)
    ]
    show.draw_images(context, found[0]["images"], found[0]["drawn"])
    names = list(found[0]["nats"])
    mean = lambda key, name: float(np.mean([row[key][name] for row in found]))
    context.table(
        "ranking",
        ["density", "nats an image", "learned discrepancy", "score matching's objective"],
        [
            [name, mean("nats", name) if name in names else None, mean("learned", name),
             mean("matching", name)]
            for name in sorted(found[0]["learned"], key=lambda name: mean("learned", name))
        ],
        f"Densities of MNIST of {28 // config.block} by {28 // config.block} pixels with noise of "
        f"{NOISE:g}, on unseen images, means over {config.seeds} seeds. Of the energy nobody knows "
        "the nats. The last column needs the trace of each model's Hessian; without it and without "
        "a normaliser the one before gives the order.",
    )  # fmt: skip
    return _claims(found)


def _claims(found: Sequence[Mapping[str, Any]]) -> list[Claim]:
    known = list(found[0]["nats"])
    order = lambda row, key, names: np.asarray(
        spearmanr([row["learned"][n] for n in names], [row[key][n] for n in names])[0]
    ).item()
    every = list(found[0]["learned"])
    learned = lambda name: np.array([row["learned"][name] for row in found])
    nearer = [name for name in known if learned(name).mean() < learned(ENERGY).mean()]
    return [
        Claim.over_seeds(
            "Densities of MNIST are ranked as by their likelihood, without their normalisers (rank "
            f"correlation over {len(known)} densities)",
            [order(row, "nats", known) for row in found],
            at_least=0.7,
            reference="1: the same order; the paper reports that its ranking follows the "
            "likelihood of RBMs and of flows",
            headline=Headline(no_effect=0.0),
        ),
        Claim.over_seeds(
            "An energy of images, trained without samples, is nearer to unseen ones than the "
            "normal density that it tilts (its discrepancy, over that one's)",
            learned(ENERGY) / learned(BASE),
            at_most=0.85,
            reference="1: no nearer; nearer than the energy are "
            + (", ".join(nearer) if nearer else "none of the others"),
            headline=Headline(no_effect=1.0),
        ),
        Claim.over_seeds(
            "The learned discrepancy ranks the energy, too, as the objective of score matching "
            f"does, which is the same but for a constant (rank correlation over {len(every)})",
            [order(row, "matching", every) for row in found],
            at_least=0.7,
            reference="1: the same order",
        ),
    ]


def one_seed(config: Config, context: Context, blocks: Split, seed: int) -> dict[str, Any]:
    """Of each model nats, where they are known, and the discrepancy of unseen images."""
    train, test = (
        _noisy(part, count, seed)
        for part, count in zip(blocks, (config.images, config.tested), strict=True)
    )
    (x, held), scaler = standardise(train.x, test.x)
    x, held = jnp.asarray(x, float), jnp.asarray(held, float)
    models: dict[str, Any] = known_densities(np.asarray(x), train.y)
    net_key, fit_key, rank_key, draw_key = jr.split(jr.key(seed), 4)
    net = eqx.nn.MLP(x.shape[1], "scalar", config.width, 2, jax.nn.swish, key=net_key)
    models[ENERGY], _ = fit_stein(
        TiltedGaussian.fitted(net, x), x, width=config.width, steps=config.steps,
        batch_size=config.batch_size, progress=context.progress,
        learning_rate=optax.cosine_decay_schedule(config.learning_rate, config.steps),
        log_every=max(1, config.steps // 10), key=fit_key,
    )  # fmt: skip
    ranked = compare_models(
        {name: eqx.Partial(_score, model) for name, model in models.items()}, held,
        split=(0.8, 0.05, 0.15), width=config.width, steps=config.test_steps, batch_size=128,
        evaluate_every=max(1, config.test_steps // 4), key=rank_key,
    )  # fmt: skip
    matching = eqx.filter_jit(ScoreMatchingLoss(HutchinsonDivergence()))
    start = jr.normal(draw_key, (_SHOWN, x.shape[1]))
    drawn, _ = langevin(
        models[ENERGY].log_density, start, steps=config.walk, step_size=0.02, key=rank_key
    )
    return {
        "nats": {n: float(_nats(m, held)) for n, m in models.items() if n != ENERGY},
        "learned": {name: float(row.discrepancy) for name, row in ranked.items()},
        "matching": {
            name: float(matching(model, held[:1000], key=rank_key)[0])
            for name, model in models.items()
        },
        "images": train.x[:_SHOWN],
        "drawn": scaler.undo(np.asarray(drawn)),
    }


class NormalMixture(eqx.Module):
    """Normal densities: their means, the inverses of the roots of their covariances, weights."""

    means: Float[Array, "parts dim"]
    roots: Float[Array, "parts dim dim"]
    log_weights: Float[Array, " parts"]

    def log_density(self, x: Float[Array, " dim"]) -> Float[Array, ""]:
        away = jnp.einsum("kij,kj->ki", self.roots, x[None] - self.means)
        return jax.nn.logsumexp(self.log_weights - jnp.sum(away**2, axis=1) / 2)

    def score(self, x: Float[Array, " dim"]) -> Float[Array, " dim"]:
        return jax.grad(self.log_density)(x)


def known_densities(x: Float[np.ndarray, "n dim"], y: np.ndarray) -> dict[str, Any]:
    """Normal densities of ever more factors, and mixtures of one for each class."""
    classes = [x[y == k] for k in np.unique(y)]
    found: dict[str, Any] = {BASE: _normal([x], 0)}
    found |= {f"{factors} factors": _normal([x], factors) for factors in FACTORS}
    for factors in (0, FACTORS[1]):
        what = f"{factors} factors" if factors else BASE
        found[f"a class each, {what}"] = _normal(classes, factors)
    return found


def _normal(parts: Sequence[Float[np.ndarray, "n dim"]], factors: int) -> NormalMixture:
    """The normal density of probabilistic PCA of each part, mixed by how many rows they have."""
    means = np.stack([part.mean(axis=0) for part in parts])
    spreads = np.stack([
        PCA(factors).fit(part).get_covariance() if factors else np.diag(part.var(axis=0))
        for part in parts
    ])  # fmt: skip
    shares = np.array([len(part) for part in parts]) / sum(map(len, parts))
    half = -np.linalg.slogdet(spreads)[1] / 2 - np.log(2 * np.pi) * means.shape[1] / 2
    roots = np.linalg.inv(np.linalg.cholesky(spreads))
    return NormalMixture(*(jnp.asarray(a, float) for a in (means, roots, np.log(shares) + half)))


def _noisy(part: Labelled, count: int, seed: int) -> Labelled:
    generator = np.random.default_rng(seed)
    rows = generator.permutation(len(part.x))[:count]
    x = part.x[rows].reshape(len(rows), -1)
    return Labelled(x + NOISE * generator.normal(size=x.shape), part.y[rows])


@eqx.filter_jit
def _nats(model: NormalMixture, x: Float[Array, "n dim"]) -> Float[Array, ""]:
    return -jnp.mean(jax.vmap(model.log_density)(x))


def _score(model: Any, x: Float[Array, " dim"]) -> Float[Array, " dim"]:
    return model.score(x)


PRESETS = {
    "smoke": Config(
        seeds=1, images=400, tested=200, width=8, steps=4, batch_size=16, test_steps=4,
        walk=4,
    ),
    "desk": Config(),
    "long": Config(images=50_000, tested=10_000, width=500, steps=10_000, test_steps=2000),
    "paper": Config(
        images=60_000, tested=10_000, block=1, width=1000, steps=23_000, batch_size=256,
        learning_rate=1e-4, test_steps=2000, walk=1000,
    ),
}  # fmt: skip

"""Autoencoders of MNIST by SUMO and by bounds of the same expected cost."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray

from pullback.bounds import ImportanceWeighted
from pullback.data import Split, mnist
from pullback.models.vae import VAE, BoundLoss
from pullback.recipes._kit.image_vaes import grey_rows, held_out, report_scores, score, untrained
from pullback.recipes.sumo.measure import TRUNCATION, Way, lists_of, log_evidence
from pullback.runs import Claim, Context
from pullback.sampling import DoublyReparameterised, log_prob, stop_gradient
from pullback.train import fit

_SEGMENT = 500  # steps whose samples are listed at a time


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """How many autoencoders are trained in each way."""
    steps: int = 20_000
    """Training steps of each."""
    costs: tuple[int, ...] = (6, 15)
    """Expected samples an image, each 6 or more: SUMO with m = 1 takes 6.1."""
    scored: int = 1000
    """Held-out images that are scored."""

    def __post_init__(self):
        for name in ("seeds", "steps", "scored"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.costs or min(self.costs) < 6:
            raise ValueError(f"costs must be 6 or more each, got {self.costs}")


def run(config: Config, context: Context) -> list[Claim]:
    """The same of MNIST."""
    return on_images(config, context, mnist(context.data))


def on_images(config: Config, context: Context, images: Split) -> list[Claim]:
    """Held-out log-evidence of a bound of k samples, and of SUMO with k expected samples."""
    train, test = grey_rows(images)
    x = held_out(test, config.scored)
    optimiser = optax.adam(optax.cosine_decay_schedule(1e-3, config.steps))
    seeds = context.seeds(config.seeds)
    scores: dict[str, list[float]] = {}
    for k in config.costs:
        for kind in ("iwae", "sumo"):
            way = Way(kind, kind, k if kind == "iwae" else round(k - float(TRUNCATION.mean())))
            name = f"bound of {k}" if kind == "iwae" else f"SUMO, m = {way.size}, {way.cost:.1f}"
            scores[name] = [
                context.stage(
                    f"{kind}-{k}-{index}",
                    lambda way=way, seed=seed, index=index, k=k: _trained_score(
                        context, config, optimiser, way, f"{way.kind}-{k}-{index}", train, x, seed
                    ),
                )
                for index, seed in enumerate(seeds)
            ]
    return report_scores(context, scores, config.steps, len(x))


def _trained_score(
    context: Context,
    config: Config,
    optimiser: optax.GradientTransformation,
    way: Way,
    name: str,
    train: Array,
    x: Array,
    seed: int,
) -> float:
    weights, draws, stops, rows = jr.split(jr.key(seed), 4)
    vae = untrained(train.shape[1], weights)
    folder, batch = context.folder(name), min(100, len(train))
    progress = None if context.progress else False
    if way.kind == "iwae":
        loss = BoundLoss(ImportanceWeighted(way.size), DoublyReparameterised(), binarise=True)
        vae, _ = fit(
            vae, loss, train, optimiser=optimiser, steps=config.steps, batch_size=batch,
            folder=folder, resume=context.resume, progress=progress, key=draws,
        )  # fmt: skip
    else:
        grey = np.asarray(train * 255, np.uint8)
        for start in range(0, config.steps, _SEGMENT):
            count = min(_SEGMENT, config.steps - start)
            rng = np.random.default_rng([seed, start])
            images = grey[rng.integers(0, len(grey), (count, batch))]
            lists = lists_of(way, batch, count, jr.fold_in(stops, start))
            vae, _ = fit(
                vae, _sumo_loss(way), (images, lists), optimiser=optimiser, steps=start + count,
                batch_size=1, folder=folder, resume=start > 0, progress=progress, key=draws,
            )  # fmt: skip
    return score(vae, x, rows)


def _sumo_loss(way: Way) -> Callable:
    """SUMO for the decoder, and a weighted bound of as many samples for the encoder."""
    bounds = ImportanceWeighted(round(way.cost))

    def loss(vae: VAE, batch: Any, *, key: PRNGKeyArray) -> tuple[Array, dict]:
        pixels, samples, inner = jr.split(key, 3)
        grey, (needed, stop) = jax.tree.map(lambda a: a[0], batch)
        x = jr.bernoulli(pixels, grey / 255).astype(float)
        posteriors = jax.vmap(vae.posterior)(x)
        rows = stop_gradient(jax.tree.map(lambda a: a[needed.row], posteriors))

        def log_weight(q: Any, x: Array, key: Array) -> Array:
            z = q.sample(key)
            return vae.model(x)(z) - log_prob(q, z)

        weights = jax.vmap(log_weight)(rows, x[needed.row], jr.split(samples, len(needed.row)))
        sumo = jnp.mean(log_evidence(way, weights, needed, stop))
        decoder = stop_gradient(vae)

        def bound(x: Array, q: Any, key: Array) -> Array:
            return bounds(decoder.model(x), q, estimator=DoublyReparameterised(), key=key)

        encoder = jnp.mean(jax.vmap(bound)(x, posteriors, jr.split(inner, len(x))))
        # The encoder's part adds its gradient and not its value.
        return -sumo - (encoder - jax.lax.stop_gradient(encoder)), {}

    return loss


PRESETS = {
    "smoke": Config(seeds=2, scored=8, steps=100, costs=(6,)),
    "desk": Config(),
    "paper": Config(steps=500_000),
}

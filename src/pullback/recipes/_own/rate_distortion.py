"""Linear autoencoders of a table of the user's own, beside the best that they can reach."""

from collections.abc import Sequence
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float

from pullback._location_scale import location_and_scale
from pullback.analysis import reverse_water_filling
from pullback.bounds import Beta
from pullback.data import read_table
from pullback.models.vae import LinearVAE
from pullback.plots import PALETTE, figure
from pullback.recipes._kit.checks import check_between, check_least, check_rising
from pullback.recipes._own import own_file
from pullback.runs import Claim, Context
from pullback.train import fit


@dataclass(frozen=True)
class Config:
    columns: tuple[str, ...] = ()
    """The columns of numbers to take; all when none is named."""
    seeds: int = 3
    """How many models are trained for each weight."""
    linear_betas: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    """Weights of the rate, rising."""
    linear_latent: int = 32
    """Latents of the models."""
    noise_variance: float = 0.25
    """Noise variance of the decoder, in units of the data's variance."""
    linear_steps: int = 3000
    """Training steps."""

    def __post_init__(self):
        check_least(self, seeds=1, linear_latent=1, linear_steps=1)
        check_rising(self, "linear_betas", count=2, above=0)
        check_between(self, 0, float("inf"), "noise_variance")


def run(config: Config, context: Context) -> list[Claim]:
    """Linear autoencoders of the rows, in the plane of rate and distortion."""
    file = own_file(context)
    table = read_table(file, list(config.columns) or None)
    rows = np.asarray(table.values, float)
    _, spread, constant = location_and_scale(rows)
    if constant.any():
        flat = table.columns[int(np.argmax(constant))]
        raise ValueError(f"column {flat!r} of {file.name} is the same in every row: leave it out")
    rows = (rows - rows.mean(0)) / spread
    found = context.stage("linear", linear, config, rows, context.seeds(config.seeds))
    _show(context, config, found)
    context.note(
        f"{file.name}: {len(rows)} rows of {len(table.columns)} columns, each divided by its "
        "standard deviation. The curve tells how many nats a linear code of a row needs for how "
        f"much distortion. {table.describe_holes()}"
    )
    apart = lambda kind, best: np.abs(found[kind] - best) / np.maximum(np.abs(best), 1)
    off = [apart(kind, found[f"best_{kind}"][:, None]) for kind in ("rate", "distortion")]
    return [
        Claim(
            "Rate and distortion are those of reverse water-filling (largest difference, of either "
            "or, where it is small, of a nat)",
            value=100 * float(np.max(off)),
            at_most=0.5,
            unit="%",
            seeds=config.seeds,
            reference="the closed form",
        ),
    ]


def same_moments(rows: Float[np.ndarray, "n dim"]) -> tuple[np.ndarray, np.ndarray]:
    """Twice `dim` rows with the mean zero and the covariance of `rows`; and its eigenvalues.

    A linear model sees data through these moments alone, so that it trains on the few as it would
    on all.
    """
    centred = rows - rows.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(rows))
    values = np.maximum(values[::-1], 0)
    spread = np.sqrt(len(values) * values)[:, None] * vectors.T[::-1]
    return np.concatenate([spread, -spread]), values


class _Loss(eqx.Module):
    beta: Float[Array, "..."]

    def __call__(self, vae: LinearVAE, batch: Array, *, key: Array) -> tuple[Array, dict]:
        return Beta(self.beta)(vae.terms(batch))


def linear(
    config: Config, rows: Float[np.ndarray, "n dim"], seeds: Sequence[int]
) -> dict[str, np.ndarray]:
    """Models for each weight and seed, and the curve that they should reach.

    Returns:
        `rate` and `distortion`, `[beta, seed]`; `best_rate` and `best_distortion`, `[beta]`; and
        the whole curve, `curve`, as rows of rate and distortion.
    """
    few, values = same_moments(rows)
    betas, dim, noise_variance = config.linear_betas, rows.shape[1], config.noise_variance
    latent = min(config.linear_latent, dim)
    keys = jnp.stack([jr.key(seed) for seed in seeds] * len(betas))
    data = jnp.asarray(few, float)
    models, _ = fit(
        eqx.filter_vmap(lambda key: LinearVAE(dim, latent, noise_variance**0.5, key=key))(keys),
        _Loss(jnp.repeat(jnp.asarray(betas, float), len(seeds))), data,
        optimiser=optax.adam(optax.cosine_decay_schedule(0.03, config.linear_steps)),
        steps=config.linear_steps, batch_size=len(data), log_every=500, progress=False, key=keys,
    )  # fmt: skip
    metrics = eqx.filter_vmap(lambda vae: Beta(1.0)(vae.terms(data))[1])(models)
    rest = values[latent:].sum() / (2 * noise_variance)
    rest += (dim - latent) / 2 * np.log(2 * np.pi * noise_variance)
    filled = lambda betas: (
        np.array([reverse_water_filling(values[:latent], noise_variance, beta) for beta in betas])
        + np.array([[0.0, rest]])
    )
    best = filled(betas)
    return {
        **{name: np.asarray(metrics[name]).reshape(len(betas), -1)
           for name in ("rate", "distortion")},
        "best_rate": best[:, 0],
        "best_distortion": best[:, 1],
        "curve": filled(np.geomspace(min(betas) / 2, max(betas) * 2, 100)),
    }  # fmt: skip


def _show(context: Context, config: Config, found: dict[str, np.ndarray]) -> None:
    columns = ("rate", "best_rate", "distortion", "best_distortion")
    context.table(
        "linear",
        ["beta", "R", "best R", "D", "best D"],
        [
            [beta, *(float(found[name][i].mean()) for name in columns)]
            for i, beta in enumerate(config.linear_betas)
        ],
        "Linear autoencoders, means over the seeds, in nats, and what reverse water-filling gives.",
    )
    fig, ax = figure(width=5.4, height=3.8)
    ax.plot(*found["curve"].T, color="#7b8794", label="reverse water-filling")
    ax.plot(found["rate"].ravel(), found["distortion"].ravel(), "o", color=PALETTE[0], alpha=0.7,
            label="trained")  # fmt: skip
    for beta, *place in zip(
        config.linear_betas, found["best_rate"], found["best_distortion"], strict=True
    ):
        ax.annotate(f"$\\beta$ = {beta:g}", place, xytext=(6, 3), textcoords="offset points",
                    fontsize=8)  # fmt: skip
    ax.set(xlabel="rate (nats)", ylabel="distortion (nats)")
    ax.legend()
    context.figure(
        "linear",
        fig,
        "Linear autoencoders of the data, whose best rate and distortion are known: the curve that "
        "water-filling gives, and the trained models, one dot a seed.",
    )


PRESETS = {
    "smoke": Config(seeds=2, linear_steps=30, linear_betas=(0.5, 2.0)),
    "desk": Config(),
}

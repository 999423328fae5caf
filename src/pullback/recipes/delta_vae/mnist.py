"""The recipe `delta-vae` on images: each is a sequence of its rows, drawn from top to bottom."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pullback.analysis import rate_distortion
from pullback.bounds import Beta, DiagonalNormal
from pullback.data import mnist
from pullback.models.vae import (
    VAE,
    AR1Prior,
    Bernoulli,
    ObjectiveLoss,
    SequenceDecoder,
    aggregate_normal,
)
from pullback.nn import AntiCausal, RecurrentNet
from pullback.plots import figure
from pullback.recipes.delta_vae.show import PROBES
from pullback.runs import Claim, Context
from pullback.sampling import StandardNormal, draw
from pullback.train import fit

_SCORED, _DRAWN = 5000, 10
_NAMES = {"vae": "VAE, independent prior", "delta": "delta-VAE"}


@dataclass(frozen=True)
class Config:
    seeds: int = 1
    """How many models are trained in each way."""
    steps: int = 2000
    """Training steps."""
    width: int = 96
    """Size of the recurrent states."""
    channels: int = 4
    """Latents of each row of an image."""
    rate: float = 20.0
    """The committed rate, in nats."""

    def __post_init__(self):
        for name in ("seeds", "steps", "width", "channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.rate > 0:
            raise ValueError(f"rate must be above 0, got {self.rate}")


def run(config: Config, context: Context) -> list[Claim]:
    """The VAE and the delta-VAE with one decoder: rate, distortion, and the digit in z."""
    sets = mnist(context.data)
    train, test = (jnp.asarray(part.x >= 0.5, float) for part in sets)
    labels = [part.y[:_SCORED] for part in sets]
    rows: dict[str, list[dict[str, Any]]] = {}
    for way in _NAMES:
        rows[way] = []
        for index in range(config.seeds):
            seed = config.seeds * context.seed + index
            vae = _fit(config, context, way, index, seed, train)
            rows[way].append(context.stage(
                f"images-{way}-{index}",
                lambda vae=vae, seed=seed: _measure(
                    vae, train[:_SCORED], test[:_SCORED], labels, seed
                ),
            ))  # fmt: skip
    _report(config, context, rows)
    floor = _prior(config, "delta").committed_rate
    values = lambda way, name: [row[name] for row in rows[way]]
    apart = lambda a, b: [x - y for x, y in zip(a, b, strict=True)]
    sums = {way: [row["distortion"] + row["auxiliary"] for row in rows[way]] for way in rows}
    return [
        Claim.over_seeds(
            "The VAE collapses: its rate is a small fraction of the delta-VAE's (rate over rate)",
            [a / b for a, b in zip(values("vae", "rate"), values("delta", "rate"), strict=True)],
            at_most=0.3,
            reference="0 where the decoder is strong enough to do without",
        ),
        Claim.over_seeds(
            "The delta-VAE's rate is above what it committed to (margin)",
            [rate - floor for rate in values("delta", "rate")],
            at_least=0,
            unit="nats",
            reference="0; a theorem",
        ),
        Claim.over_seeds(
            "The digit can be told from a draw of the delta-VAE's latents more often than from the "
            "VAE's (difference of the shares told correctly)",
            apart(values("delta", "probe"), values("vae", "probe")),
            at_least=0.3,
            reference="0 if the prior did not matter",
        ),
        Claim.over_seeds(
            "The price of that, under priors fitted after training (minus the ELBO of the "
            "delta-VAE above that of the VAE)",
            apart(sums["delta"], sums["vae"]),
            at_most=6,
            unit="nats",
            reference="about 80 nats are an image's",
        ),
    ]


def _prior(config: Config, way: str) -> Any:
    if way == "vae":
        return StandardNormal((28, config.channels))
    return AR1Prior.from_committed_rate(config.rate, 28, config.channels)


def _autoencoder(config: Config, way: str, key: Array) -> VAE:
    encoder_key, net_key, head_key = jr.split(key, 3)
    width, channels = config.width, config.channels
    return VAE(
        AntiCausal(RecurrentNet(28, 2 * channels, width, key=encoder_key)),
        SequenceDecoder(
            RecurrentNet(28, width, width, key=net_key),
            steps=28,
            latent=channels,
            outputs=(28,),
            width=width,
            key=head_key,
        ),
        family=DiagonalNormal((28, channels)),
        prior=_prior(config, way),
        likelihood=Bernoulli(),
    )


def _fit(config: Config, context: Context, way: str, index: int, seed: int, train: Array) -> VAE:
    model, draws = jr.split(jr.key(seed))
    steps = config.steps
    vae, info = fit(
        _autoencoder(config, way, model),
        ObjectiveLoss(Beta(1.0)),
        train,
        optimiser=optax.adam(optax.cosine_decay_schedule(3e-3, steps)),
        steps=steps,
        batch_size=64,
        clip_norm=10.0,
        log_every=min(100, steps),
        checkpoint_every=min(500, steps // 100 * 100) or None,
        **context.training(f"{way}-{index}"),
        key=draws,
    )
    context.log(info.lines(), way=way, number=index)
    return vae


def _measure(vae: VAE, train: Array, test: Array, labels: list[Any], seed: int) -> dict[str, Any]:
    key = jr.key(seed)
    found = rate_distortion(vae.target, test, batch_size=250, key=key)
    posteriors = eqx.filter_jit(lambda vae, x: jax.vmap(vae.posterior)(x))
    q_train, q_test = posteriors(vae, train), posteriors(vae, test)
    auxiliary = aggregate_normal(q_train)
    tuned = eqx.tree_at(lambda vae: vae.prior, vae, auxiliary)
    # A key for each example: with one for all, their noise is the same, and a draw tells as much
    # as a mean.
    sides = zip((q_train, q_test), jr.split(key, (2, len(train))), strict=True)
    draws = [jax.vmap(draw)(q, keys) for q, keys in sides]
    return {
        **{name: float(value) for name, value in found._asdict().items()},
        "auxiliary": float(jnp.mean(auxiliary.kl_from(q_test))),
        "probe": _probe(draws, labels),
        "probe_of_means": _probe([q.base_dist.loc for q in (q_train, q_test)], labels),
        "samples": np.asarray(tuned.sample(key, (_DRAWN,))),
        "reconstructions": np.asarray(
            jax.vmap(lambda x, key: vae.reconstruct(x, key=key))(
                test[:_DRAWN], jr.split(key, _DRAWN)
            )
        ),
        "originals": np.asarray(test[:_DRAWN]),
    }


def _probe(latents: Sequence[Array], labels: Sequence[np.ndarray]) -> float:
    """How often a linear classifier, fitted to the first set, tells the digits of the second."""
    first, second = (np.asarray(part).reshape(len(part), -1) for part in latents)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    model.fit(first, labels[0])
    return float(model.score(second, labels[1]))


def _report(config: Config, context: Context, rows: dict[str, list[dict[str, Any]]]) -> None:
    mean = lambda way, name: float(np.mean([row[name] for row in rows[way]]))
    context.table(
        "images",
        ["", "committed rate", "distortion", "rate", "sum", "rate, fitted prior",
         "sum, fitted", "information, at least", "digit from a draw", "digit from the mean"],
        [
            [
                name, getattr(_prior(config, way), "committed_rate", 0.0), mean(way, "distortion"),
                mean(way, "rate"), mean(way, "distortion") + mean(way, "rate"),
                mean(way, "auxiliary"), mean(way, "distortion") + mean(way, "auxiliary"),
                mean(way, "information_lower"), mean(way, "probe"), mean(way, "probe_of_means"),
            ]
            for way, name in _NAMES.items()
        ],
        f"Binary MNIST as 28 rows of 28 bits, after {config.steps} steps: nats an image on "
        f"{_SCORED} held-out images. The decoder draws a row given the rows above; the encoder "
        "sees a row and those below. The lower bound on the information is at most log 250 = 5.52.",
    )  # fmt: skip
    kinds = ("originals", "reconstructions", "samples")
    shown = [(way, kind) for way in _NAMES for kind in (kinds if way == "vae" else kinds[1:])]
    fig, axes = figure(len(shown), 1, width=7.0, height=0.95 * len(shown))
    for ax, (way, kind) in zip(axes, shown, strict=True):
        ax.imshow(np.concatenate(rows[way][0][kind], axis=1), cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        title = "held-out images" if kind == "originals" else f"{_NAMES[way]}: {kind}"
        ax.set_title(title, fontsize=9)
        ax.grid(False)
    context.figure(
        "images",
        fig,
        "Images drawn row by row. A reconstruction is drawn given the latents of the image "
        "above it, a sample given latents from the fitted prior: what a collapsed model calls "
        "a reconstruction is another digit.",
    )
    fig, ax = figure(width=6.6, height=3.0)
    for place, way in enumerate(_NAMES):
        for kind, shift, colour, label in PROBES:
            values = [row[kind] for row in rows[way]]
            ax.barh(place + shift, np.mean(values), 0.34, color=colour, alpha=0.8,
                    label=label if place == 0 else None)  # fmt: skip
            ax.plot(values, [place + shift] * len(values), ".", color="black", markersize=4)
    ax.axvline(0.1, color="#7b8794", linestyle="--", linewidth=1.2, label="chance")
    ax.set_yticks(range(len(_NAMES)), list(_NAMES.values()))
    ax.invert_yaxis()
    ax.set(xlim=(0, 1), xlabel="digit told correctly")
    ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.35, 1.2), ncols=3)
    context.figure(
        "image-probes",
        fig,
        "How often a linear classifier tells the digit from the latents. The means of the "
        "collapsed VAE read well, and a draw, which is all that the decoder sees, does not.",
    )


PRESETS = {
    "smoke": Config(steps=4, width=4, channels=1, rate=2.0),
    "desk": Config(),
    "paper": Config(seeds=3, steps=50_000, width=512, channels=8),
}

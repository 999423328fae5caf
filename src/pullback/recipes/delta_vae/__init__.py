"""delta-VAE (arXiv 1901.03416): a rate that cannot fall to zero, whatever the decoder can do.

Bits switched by a hidden state, under a decoder that models them as well without latents: a VAE
collapses, one whose prior no posterior can meet does not.
"""

from collections.abc import Mapping, Sequence

import jax.random as jr
import numpy as np

from pullback.recipes.delta_vae import measure, show
from pullback.recipes.delta_vae.models import Config, sequences, ways
from pullback.runs import Claim, Context, Headline

Rows = Mapping[str, Mapping[str, np.ndarray]]


def run(config: Config, context: Context) -> list[Claim]:
    """Train in every way, and measure what the latents are worth."""
    seeds = context.seeds(config.seeds)
    every = ways(config)
    found = {
        name: context.stage(name, measure.train, config, way, seeds) for name, way in every.items()
    }
    for name, row in found.items():
        for number, curve in enumerate(row["curve"].tolist()):
            for step, rate in zip(row["steps"].tolist(), curve, strict=True):
                context.metrics({"way": name, "number": number, "step": step, "rate": rate})
    exact = context.stage("exact", _exact, config, seeds)
    floors = {n: w.prior.committed_rate for n, w in every.items() if "delta" in n or w.causal}
    show.draw_rates(context, found, floors)
    show.draw_plane(context, found, exact["entropy"])
    show.draw_probes(context, found, "state", 0.5, exact["accuracy"])
    _table(context, config, found, floors, exact["entropy"])
    return _claims(config, found, exact["accuracy"])


def _exact(config: Config, seeds: Sequence[int]) -> dict[str, float]:
    """Of the new sequences that the models of the seeds are measured on."""
    keys = [jr.split(jr.split(jr.key(seed), 3)[2], 3)[0] for seed in seeds]
    rows = [measure.exact(config, *map(np.asarray, sequences(config, config.evaluated, key)))
            for key in keys]  # fmt: skip
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _table(
    context: Context, config: Config, found: Rows, floors: Mapping[str, float], entropy: float
) -> None:
    lines = []
    for name, row in found.items():
        mean = {key: float(np.mean(row[key])) for key in row}
        d, r, a = (mean[key] for key in ("distortion", "rate", "fitted_rate"))
        lines.append([name, floors.get(name, 0.0), d, r, d + r, a, d + a, mean["information"],
                      mean["state_from_draw"], mean["state_from_mean"]])  # fmt: skip
    context.table(
        "models",
        ["", "committed rate", "distortion", "rate", "sum", "rate, fitted prior", "sum, fitted",
         "information, at least", "state from a draw", "state from the mean"],
        lines,
        f"Nats a sequence of {config.length} steps and {config.bits} bits, means over seeds on "
        f"{config.evaluated} new sequences. The entropy of the data, exact, is {entropy:.2f}: no "
        "sum is below it but by chance. The fitted prior is a normal with the moments of the "
        "encoder's output on other sequences; the rate under it is at least the information. The "
        "causal encoder and the target rate are those of the largest correlation.",
    )  # fmt: skip
    context.note(
        "The guarantee is for a posterior of independent entries: one that is correlated along the "
        "sequence could meet the prior. And alpha must stay fixed: the objective would send it to "
        "zero."
    )


def _claims(config: Config, found: Rows, accuracy: float) -> list[Claim]:
    last = f"delta-VAE-{config.alphas[-1]:g}"
    best, vae, target, causal = (found[n] for n in (last, "VAE", "target-rate", "causal-encoder"))
    # Minus the ELBO, under the fitted prior.
    price = lambda row: row["distortion"] + row["fitted_rate"]
    return [
        Claim.over_seeds(
            f"{last}, trained by the plain ELBO, puts information into its latents (lower bound)",
            best["information"],
            at_least=5,
            unit="nats",
            headline=Headline(no_effect=0.0),
            reference="0 where the posterior collapses; the bound is at most "
            f"log {config.batch_of_bound} = {np.log(config.batch_of_bound):.2f}",
        ),
        Claim.over_seeds(
            "The VAE with the same decoder and the independent prior collapses (rate)",
            vae["rate"],
            at_most=0.05,
            unit="nats",
            reference="0: all is left to the decoder",
        ),
        Claim.over_seeds(
            f"A linear classifier reads the hidden state off a draw of the latents of {last} more "
            "often than off those of the VAE (difference)",
            best["state_from_draw"] - vae["state_from_draw"],
            at_least=0.25,
            reference=f"at most {accuracy - 0.5:.2f}, by exact inference from the data",
        ),
        Claim.over_seeds(
            "With a prior fitted after training the price of using latents is small (minus the "
            f"ELBO, {last} above the VAE)",
            price(best) - vae["distortion"],
            at_most=1.8,
            unit="nats",
            reference="0: the VAE, which tells nothing and here has the entropy of the data, below "
            "which none comes; on images: `delta-vae/mnist`",
        ),
        Claim.over_seeds(
            "An encoder of what is still to come costs less than one of what the decoder has seen "
            "(minus the ELBO under fitted priors, causal less anti-causal)",
            price(causal) - price(best),
            at_least=1,
            unit="nats",
            reference="0 if it did not matter; in the paper's ablation only large models gain",
        ),
        Claim.over_seeds(
            "An objective with a target holds the same rate, with latents that tell less of the "
            f"state (share read correctly from draws, below that of {last})",
            best["state_from_draw"] - target["state_from_draw"],
            at_least=0.05,
            reference="0 if only the rate mattered",
        ),
        Claim.over_seeds(
            "When not to read the rate as information: part of it is waste, which a prior fitted "
            f"after training takes back ({last})",
            best["rate"] - best["fitted_rate"],
            at_least=2.8,
            unit="nats",
            reference="0 if the rate were information",
        ),
        Claim.over_seeds(
            "When not to trust a probe of means: off those of the collapsed VAE it reads the "
            "state, of which a draw tells nothing (share read correctly)",
            vae["state_from_mean"],
            at_least=0.55,
            reference="0.5 off draws, which is chance",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1, alphas=(0.9,), length=6, bits=2, width=4, steps=10, batch_size=4, evaluated=20,
        batch_of_bound=10,
    ),
    "desk": Config(),
    "long": Config(seeds=5, steps=5000, batch_size=64),
    "paper": Config(seeds=10, steps=10_000, batch_size=64, evaluated=10_000),
}  # fmt: skip

"""Splice junctions of primates (UCI): a GAN that is told nothing finds GT after exons, AG before.

Windows of 60 letters around the ends of exons (donors) and around their starts (acceptors), and a
GAN for each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.random as jr
import numpy as np

from pullback.data import splice_junctions
from pullback.recipes.dna_design import measure, models, show
from pullback.runs import Claim, Context

# The kind of junction, and the two letters of the intron that a spliceosome looks for, and where.
SIGNALS = {"donors": ("EI", 30, "GT"), "acceptors": ("IE", 28, "AG")}
TRAINING, HELD_OUT, SAMPLES, RANDOM = "training", "held out", "samples of the GAN", "random DNA"


@dataclass(frozen=True)
class Config(models.GANConfig):
    held_out: int = 100
    """Sequences of each kind that the GANs do not see."""


def run(config: Config, context: Context) -> list[Claim]:
    """Train a GAN of donors and one of acceptors, and look at their samples."""
    genes = splice_junctions(folder=context.data)
    found = {}
    for place, (name, (kind, at, pair)) in enumerate(SIGNALS.items()):
        letters = {*genes.sequences.take(np.array(genes.kinds) == kind).letters}
        found[name] = _of_kind(config, context, sorted(letters), name, place)
        show.draw_logos(
            context, found[name]["logos"],
            f"Letters of {name}, and of samples of a GAN of them, each as high as the information "
            f"that it carries; an intron's {pair} stands at places {at + 1} and {at + 2}.",
            name=f"logos-{name}",
        )  # fmt: skip
    show.draw_training(context, {name: row["history"] for name, row in found.items()})
    context.table(
        "looks",
        ["kind", "sequences", "signal", "3-mer distance", "unique", "GC"],
        [
            [name, way, *(float(look[of]) for of in ("signal", "distance", "unique", "gc"))]
            for name, row in found.items() for way, look in row["ways"].items()
        ],
        "The signal is GT after the exon for donors and AG before it for acceptors, as a share of "
        "the sequences; the distance is the Jensen-Shannon divergence of 3-mers from training's, "
        "in nats.",
    )  # fmt: skip
    return _claims(config, found)


def _of_kind(
    config: Config, context: Context, letters: Sequence[str], name: str, place: int
) -> dict[str, Any]:
    _, at, pair = SIGNALS[name]
    shuffled = np.random.default_rng([context.seed, place]).permutation(letters).tolist()
    held_out, training = shuffled[: config.held_out], shuffled[config.held_out :]
    key, draw_key, other_key = jr.split(jr.fold_in(jr.key(context.seed), place), 3)
    made_by, history = context.stage(
        f"gan-{name}", models.generator, config, context, name, training, key
    )
    groups = {
        HELD_OUT: held_out,
        SAMPLES: models.sampled(made_by, config.samples, draw_key),
        RANDOM: models.random_strings(config.samples, len(training[0]), other_key),
    }
    looks = context.stage(f"look-{name}", measure.looks, groups, training)
    both = (groups[SAMPLES], held_out)
    edits = context.stage(f"edits-{name}", measure.edits, both, training)
    groups[TRAINING] = training
    shares = {way: measure.letter_shares(strings) for way, strings in groups.items()}
    for way, look in looks.items():
        look["signal"] = np.mean([string[at : at + len(pair)] == pair for string in groups[way]])
        look["fit"] = np.corrcoef(shares[way].ravel(), shares[TRAINING].ravel())[0, 1]
    logos = {way: groups[way] for way in (TRAINING, SAMPLES)}
    return {"ways": looks, "history": history, "logos": logos, "edits": edits}


def _claims(config: Config, found: Mapping[str, Mapping[str, Any]]) -> list[Claim]:
    of = lambda name, way, what: float(found[name]["ways"][way][what])
    signals = [
        Claim(
            f"A GAN of {name} that is told nothing puts {pair} {where} the exon (share of its "
            "samples)",
            value=of(name, SAMPLES, "signal"), at_least=0.9,
            reference=f"{of(name, HELD_OUT, 'signal'):.2f} of held-out ones, "
            f"{of(name, RANDOM, 'signal'):.2f} of random DNA; the paper's logos of human exons "
            "show both, in a figure",
        )
        for name, pair, where in (("donors", "GT", "after"), ("acceptors", "AG", "before"))
    ]  # fmt: skip
    return [
        *signals,
        Claim(
            "The letters at each place are the data's, beyond these two (correlation of shares, "
            "the smaller of the two kinds)",
            value=min(of(name, SAMPLES, "fit") for name in SIGNALS), at_least=0.9,
            reference=f"{min(of(name, HELD_OUT, 'fit') for name in SIGNALS):.2f} for "
            f"{config.held_out} held-out ones",
        ),
        Claim(
            "Samples are all different (share of unique ones, the smaller)",
            value=min(of(name, SAMPLES, "unique") for name in SIGNALS), at_least=0.95,
            reference="1: no two alike",
        ),
        Claim(
            "They are no copies: as far from training as held-out genes are, or further (edits to "
            "the nearest, over theirs, the smaller)",
            value=min(row["edits"][0] / row["edits"][1] for row in found.values()),
            at_least=0.95, reference="1: the paper's finding for human DNA, in a figure",
        ),
        Claim(
            f"When not to: with {config.gan_steps:,} steps on some 570 sequences samples can be "
            "told from genes by their 3-mers (distance to training, over that of held-out genes, "
            "the smaller)",
            value=min(of(n, SAMPLES, "distance") / of(n, HELD_OUT, "distance") for n in SIGNALS),
            at_least=1.5, reference="1: no more than genes from each other",
        ),
    ]  # fmt: skip


PRESETS = {
    "smoke": Config(held_out=600, samples=16, gan_steps=4, width=4, blocks=1, latent=4),
    "desk": Config(),
    "paper": Config(
        gan_steps=100_000, gan_rate=1e-4, width=100, blocks=5, latent=100, samples=10_000
    ),
}  # fmt: skip

"""What the recipe `beta-tcvae` claims of what it measured."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import spearmanr

from pullback.recipes.beta_tcvae.measure import at_distortion
from pullback.recipes.beta_tcvae.models import Config
from pullback.runs import Claim, Headline

_PAPER = "above 0 in the paper, on dSprites"


def made(
    config: Config,
    found: Mapping[str, Mapping[str, np.ndarray]],
    seen: Float[np.ndarray, " seeds"],
) -> list[Claim]:
    """Of each model what `measure.score` found, and what batches say of the last beta-TCVAE."""
    vae, tcvae = (f"{kind} {config.betas[-1]:g}" for kind in ("beta-VAE", "beta-TCVAE"))
    plain, theirs, ours = found["VAE"], found[vae], found[tcvae]
    # At a weight of 1 each is the VAE.
    line, trained_so = (
        [plain, *(found[f"{kind} {beta:g}"] for beta in config.betas)]
        for kind in ("beta-VAE", "beta-TCVAE")
    )
    lost = lambda row: row["distortion"] - plain["distortion"]
    (alone, alone_spread), (whole, whole_spread) = map(rank_correlation, (trained_so, line))
    weights = ", ".join(f"{beta:g}" for beta in (1, *config.betas))
    return [
        Claim.over_seeds(
            f"The mutual information gap of {tcvae} exceeds that of beta-VAE at the same "
            f"distortion by (on the line through its weights {weights}; paired over seeds)",
            ours["mig"] - at_distortion(ours["distortion"], line),
            at_least=0.0,
            reference=_PAPER,
            headline=Headline(0.0),
        ),
        Claim.over_seeds(
            f"The gap of {tcvae} exceeds that of the VAE by (paired over seeds)",
            ours["mig"] - plain["mig"],
            at_least=0.0,
            reference=_PAPER,
            headline=Headline(0.0),
        ),
        Claim(
            "Trained so, the lower the exact total correlation the larger the gap (rank "
            f"correlation over all runs of beta-TCVAE at the weights {weights})",
            value=alone,
            spread=alone_spread,
            at_most=-0.2,
            seeds=config.seeds,
            reference="a strong relation in the paper; 0 if there were none",
            headline=Headline(0.0),
        ),
        Claim.over_seeds(
            f"It gives up little of the image: the distortion of {tcvae} above the VAE's, as a "
            f"share of what {vae} gives up",
            lost(ours) / lost(theirs),
            at_most=0.1,
            reference=f"1 would be {vae}, which loses {float(lost(theirs).mean()):.1f} nats",
        ),
        Claim.over_seeds(
            f"Its gap exceeds that of FactorVAE {config.gamma:g} by (paired over seeds)",
            ours["mig"] - found[f"FactorVAE {config.gamma:g}"]["mig"],
            at_least=0.0,
            reference=f"{_PAPER}; of soft squares the weight is the best of four",
        ),
        Claim(
            "When not to take a low total correlation for a large gap: where the whole rate is "
            f"weighed (rank correlation over all runs of beta-VAE at the weights {weights})",
            value=whole,
            spread=whole_spread,
            at_least=-0.5,
            seeds=config.seeds,
            reference=f"{alone:.2f} where the total correlation alone is",
        ),
        Claim(
            "When not to trust one run: some seeds end in turned latents (standard deviation over "
            f"seeds of the gap of {tcvae})",
            value=float(np.std(ours["mig"], ddof=1)) if config.seeds > 1 else 0.0,
            at_least=0.08,
            seeds=config.seeds,
            reference="0 if a seed did not matter",
        ),
        Claim.over_seeds(
            "When not to read the total correlation off a batch: the logarithm is biased (mean "
            f"over batches of {config.batch_size}, less the exact value)",
            seen - ours["total_correlation"],
            at_most=-0.35,
            unit="nats",
            reference="0 with the whole data set as a batch",
        ),
    ]


def rank_correlation(rows: Sequence[Mapping[str, np.ndarray]]) -> tuple[float, float | None]:
    """Of the total correlation with the gap, over all models of several kinds.

    With it comes the deviation over seeds of its pseudo-values, each of which leaves a seed out.
    """
    pairs = np.stack([[row[name] for row in rows] for name in ("total_correlation", "mig")])
    of = lambda pairs: float(spearmanr(*pairs.reshape(2, -1)).statistic)
    found, count = of(pairs), pairs.shape[-1]
    if count == 1:
        return found, None
    without = np.array([of(np.delete(pairs, seed, axis=2)) for seed in range(count)])
    return found, float(np.std((count - 1) * without, ddof=1))

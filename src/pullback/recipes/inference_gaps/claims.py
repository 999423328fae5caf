"""What the recipe `inference-gaps` claims."""

from collections.abc import Mapping

import numpy as np

from pullback.recipes.inference_gaps.measure import FLOW, KINDS, NORMAL
from pullback.recipes.inference_gaps.show import Row
from pullback.runs import Claim, Headline

_BASE, _LINEAR, _LARGE = (kind.name for kind in KINDS)
ADAPTED = "trained with a flow"


def parts(scored: int) -> dict[str, slice]:
    """The images of each part."""
    return {"train": slice(0, scored), "held out": slice(scored, None)}


def mean_gap(row: Row, name: str, part: slice) -> np.ndarray:
    """Of each seed the mean over the images of a part."""
    return row[name][:, part].mean(1)


def encoder_is_to_blame(plain: Row, scored: int) -> Claim:
    """Of the model that was trained with normals, with the best normal of each image."""
    train, _ = parts(scored).values()
    return Claim.over_seeds(
        "The encoder loses more than the family does (amortisation gap less approximation gap, "
        "training images)",
        mean_gap(plain, "amortisation", train) - mean_gap(plain, "approximation", train),
        at_least=0.0,
        unit="nats",
        headline=Headline(no_effect=0.0),
        reference="the paper's abstract: the recognition network is often at fault, rather than "
        "the family; 0: as much",
    )


def flow_helps_to_generalise(encoders: Mapping[str, Row], scored: int) -> Claim:
    """Of encoders for one decoder: a name of a family, and the gaps to the best of that family."""
    _, held_out = parts(scored).values()
    # What the family saves is about the same of all images; what an encoder loses is not.
    whole = np.subtract(*(mean_gap(encoders[q], "bound", held_out) for q in (FLOW, NORMAL)))
    family = np.subtract(
        *(mean_gap(encoders[q], "elbo_local", held_out) for q in (FLOW, NORMAL))
    )  # fmt: skip
    return Claim.over_seeds(
        "A flow's parameters help the encoder to generalise: with the decoder frozen, what they "
        "take off the amortisation gap of held-out images",
        whole - family,
        at_least=0.0,
        unit="nats",
        headline=Headline(no_effect=0.0),
        reference="the paper's abstract: they play a role in generalising inference, rather than "
        f"in the family alone, of whose gap they take {family.mean():.2f}; 0: none",
    )


def model_adapts(plain: Row, adapted: Row, scored: int, headline: Headline | None = None) -> Claim:
    """Of two models, trained with normals and with a flow: the gap to the best normal."""
    train, _ = parts(scored).values()
    return Claim.over_seeds(
        "The model adapts to the family it is trained with: to one trained with a flow, the best "
        "normal is a worse fit (excess of its approximation gap, training images)",
        mean_gap(adapted, "approximation", train) - mean_gap(plain, "approximation", train),
        at_least=0.0,
        unit="nats",
        headline=headline,
        reference="the paper's abstract: the generator accommodates the choice of the family; 0: "
        "it does not",
    )


def on_the_plane(
    found: Mapping[str, Row],
    encoders: Mapping[str, Row],
    brackets: Mapping[str, np.ndarray],
    scored: int,
) -> list[Claim]:
    """The claims of the recipe, in nats or ratios, paired by seed."""
    train, held_out = parts(scored).values()
    base = found[_BASE]
    # Of each seed, above those of the first kind.
    above = lambda name, part: (
        mean_gap(found[name], "amortisation", part) - mean_gap(base, "amortisation", part)
    )
    inside = brackets["exact"] - brackets["lower"]
    return [
        encoder_is_to_blame(base, scored),
        flow_helps_to_generalise(encoders, scored),
        model_adapts(base, found[ADAPTED], scored),
        Claim.over_seeds(
            f"{_BASE}: the encoder loses more on held-out images (amortisation gap, above that of "
            "training images)",
            mean_gap(base, "amortisation", held_out) - mean_gap(base, "amortisation", train),
            at_least=0.0,
            unit="nats",
            reference="0 if encoders generalised",
        ),
        Claim.over_seeds(
            "A linear encoder loses more than one of two layers (amortisation gap above the "
            "other's, training images)",
            above(_LINEAR, train),
            at_least=0.0,
            unit="nats",
            reference="0 if depth did not matter",
        ),
        Claim.over_seeds(
            "A wider encoder is no remedy for that: 256-256 takes little off the amortisation gap "
            "of 64-64 (training images)",
            -above(_LARGE, train),
            at_most=0.1,
            unit="nats",
            reference=f"{-above(_LARGE, held_out).mean():.2f} on held-out images; 0 if width did "
            "not matter",
        ),
        Claim.over_seeds(
            "When not to trust an importance-weighted bound: on held-out images it falls short of "
            "the exact log p(x) (mean shortfall)",
            (base["log_evidence"] - base["importance_weighted"])[:, held_out].mean(1),
            at_least=0.02,
            unit="nats",
            reference="0 with endless samples",
        ),
        Claim.over_seeds(
            "Annealing both ways closes in on log p(x) of images drawn from the model (mean width "
            "between the bounds)",
            (brackets["upper"] - brackets["lower"]).mean(1),
            at_most=0.15,
            unit="nats",
            reference=f"0 with endless temperatures; the exact value lies {inside.mean():.3f} "
            "above the lower bound",
        ),
    ]

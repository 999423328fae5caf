"""What the recipe `inference-gaps` claims."""

from collections.abc import Mapping

import numpy as np

from pullback.recipes.inference_gaps.measure import FLOW, KINDS, NORMAL
from pullback.recipes.inference_gaps.show import Row
from pullback.runs import Claim

_BASE, _LINEAR, _LARGE = (kind.name for kind in KINDS)
ADAPTED = f"{_BASE}, trained with a flow"


def parts(scored: int) -> dict[str, slice]:
    """The images of each part."""
    return {"train": slice(0, scored), "held out": slice(scored, None)}


def headlines(
    plain: Row, adapted: Row, encoders: Mapping[str, Row], scored: int, least: Mapping[str, float]
) -> list[Claim]:
    """What the paper is known for; `least` has the bounds, of the data at hand.

    Args:
        plain: the model that was trained with normals, with the best normals.
        adapted: the one that was trained with a flow, with the best normals too.
        encoders: of the decoder of `plain`, by their family.
        scored: images of each part.
        least: of each claim what it is to reach.
    """
    train, held_out = parts(scored).values()
    gap = lambda row, name, part: row[name][:, part].mean(1)
    saved = [encoders[NORMAL][n] - encoders[FLOW][n] for n in ("amortisation", "approximation")]
    return [
        Claim.over_seeds(
            "The encoder loses more than the family does (amortisation gap less approximation "
            "gap, training images)",
            gap(plain, "amortisation", train) - gap(plain, "approximation", train),
            at_least=least["encoder"],
            unit="nats",
            reference="the paper's abstract: the fault is often the recognition network's rather "
            "than the family's; 0: as much",
        ),
        Claim.over_seeds(
            "The model adapts to the family it is trained with: to one trained with a flow, the "
            "best normal is a worse fit (excess of its approximation gap, training images)",
            gap(adapted, "approximation", train) - gap(plain, "approximation", train),
            at_least=least["adapts"],
            unit="nats",
            reference="the paper's abstract: the generator accommodates the choice; 0: it does not",
        ),
        Claim.over_seeds(
            "A flow helps the encoder to generalise: with the decoder frozen it takes more off the "
            "amortisation gap of held-out images than 0 "
            f"({saved[1][:, held_out].mean():.2f} off the approximation gap)",
            saved[0][:, held_out].mean(1),
            at_least=least["generalises"],
            unit="nats",
            reference="the paper's abstract: the flow's parameters play a role in generalising "
            "inference, rather than the family's expressiveness alone; 0: they do not",
        ),
    ]


def on_the_plane(
    found: Mapping[str, Row],
    encoders: Mapping[str, Row],
    brackets: Mapping[str, np.ndarray],
    scored: int,
) -> list[Claim]:
    """The claims of the recipe, in nats or ratios, paired by seed."""
    train, held_out = parts(scored).values()
    base = found[_BASE]
    loss = {name: row["amortisation"] for name, row in found.items()}
    linear = loss[_LINEAR][:, train].mean(1) - loss[_BASE][:, train].mean(1)
    wide = [loss[_BASE][:, part].mean(1) - loss[_LARGE][:, part].mean(1) for part in (train, held_out)]
    inside = brackets["exact"] - brackets["lower"]
    least = {"encoder": 0.0, "adapts": 0.0, "generalises": 0.0}
    return [
        *headlines(base, found[ADAPTED], encoders, scored, least),
        Claim.over_seeds(
            f"{_BASE}: the encoder loses more on held-out images (amortisation gap, above that of "
            "training images)",
            loss[_BASE][:, held_out].mean(1) - loss[_BASE][:, train].mean(1),
            at_least=0.0,
            unit="nats",
            reference="0 if encoders generalised",
        ),
        Claim.over_seeds(
            "A linear encoder loses more than one of two layers (amortisation gap above the "
            "other's, training images)",
            linear,
            at_least=0.0,
            unit="nats",
            reference="0 if depth did not matter",
        ),
        Claim.over_seeds(
            "A wider encoder is no remedy: 256-256 takes little off the amortisation gap of 64-64 "
            "(training images)",
            wide[0],
            at_most=0.1,
            unit="nats",
            reference=f"held out {wide[1].mean():.2f}; 0 if width did not matter",
        ),
        Claim.over_seeds(
            "When not to trust an importance-weighted bound: on held-out images it falls short of "
            "the exact log p(x) (mean shortfall)",
            (base["log_evidence"] - base["importance_weighted"])[:, held_out].mean(1),
            at_least=0.0,
            unit="nats",
            reference="0 with endless samples",
        ),
        Claim.over_seeds(
            "Annealing both ways closes in on log p(x) of images drawn from the model (mean width "
            "between the bounds)",
            (brackets["upper"] - brackets["lower"]).mean(1),
            at_most=0.3,
            unit="nats",
            reference=f"0 with endless temperatures; the exact value lies {inside.mean():.3f} "
            "above the lower bound",
        ),
    ]

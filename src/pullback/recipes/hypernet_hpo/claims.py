"""What the recipe `hypernet-hpo` claims of a decay for every weight."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.runs import Claim, Headline

Found = Sequence[Mapping[str, Any]]


def losses(found: Found, part: str, way: str, which: str = "validation") -> np.ndarray:
    """One loss of every split, by the stage that measured it and the way to choose decays."""
    return np.array([float(each[part][way][which]) for each in found])


def weight_claims(found: Found) -> tuple[list[Claim], list[Claim]]:
    """Those of the headline, and that of the factored form."""
    count = np.size(found[0]["weights"]["diagonal"]["hyper"])
    one = losses(found, "classes", "one decay")
    headline = [
        Claim.over_seeds(
            f"A decay for each of {count} weights, tuned in one run: validation loss below that of "
            "the best single decay",
            one - losses(found, "weights", "diagonal"),
            at_least=0.01,
            reference="0: one decay for all, the best of 81 values",
            headline=Headline(no_effect=0.0),
        ),
        Claim.over_seeds(
            "The same on test images",
            losses(found, "classes", "one decay", "test")
            - losses(found, "weights", "diagonal", "test"),
            at_least=0.005,
            reference="0: one decay for all, the best of 81 values",
        ),
    ]
    factored = Claim.over_seeds(
        "When not to: with a factored Jacobian in place of a diagonal one the loss ends above that "
        "of the best single decay",
        losses(found, "weights", "factored") - one,
        at_least=0.01,
        reference="0: one decay for all; the paper reports that its factored form falls short",
    )
    return headline, [factored]

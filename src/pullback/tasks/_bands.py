"""Bands that cover what they say: widths from errors on rows that took no part in the fit."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

_KEPT = 2001  # errors that are kept


class Bands(NamedTuple):
    r"""The errors of held-out rows, in units of the deviations that were predicted for them.

    $$ q_p(x) = \mu(x) + s(x)\, e_{(p (n + 1))}, \qquad e_i = \frac{y_i - \mu(x_i)}{s(x_i)} $$

    Such a band covers what it says, whatever the model, of rows of the same kind. Beyond the
    outermost error it is that of a normal distribution, where that is wider.

    Attributes:
        errors: rising.
        count: how many rows there were.
    """

    errors: Float[np.ndarray, " n"]
    count: Float[np.ndarray, ""]

    @classmethod
    def of(cls, errors: Float[np.ndarray, " n"]) -> "Bands":
        """Those of some errors; of very many a part is kept that says the same."""
        kept = np.sort(errors)
        if len(kept) > _KEPT:
            kept = np.quantile(kept, np.linspace(0, 1, _KEPT))
        return cls(kept, np.asarray(float(len(errors))))

    def at(self, level: float | int) -> float:
        """e of a level in (0, 1), outward from the median."""
        place = level * (float(self.count) + 1)
        place = np.ceil(place) if level > 0.5 else np.floor(place) if level < 0.5 else place
        inside = np.clip(place, 1, float(self.count))
        along = (inside - 1) / max(float(self.count) - 1, 1) * (len(self.errors) - 1)
        found = float(np.interp(along, np.arange(len(self.errors)), self.errors))
        if place == inside:
            return found
        beyond = float(ndtri(level) * max(np.sqrt(np.mean(np.square(self.errors))), 1e-12))
        return max(found, beyond) if level > 0.5 else min(found, beyond)

"""Data without holes, as every energy is trained on."""

import numpy as np


def check_finite(name: str, x: np.ndarray) -> None:
    """Refuse an array with entries that are no numbers, and say where the first is."""
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        place = tuple(int(i) for i in bad[0])
        raise ValueError(
            f"`{name}` must be finite, and {len(bad)} of its entries are not; the first is "
            f"{x[place]} at {place}. Fill them in, or leave out those rows."
        )

"""Data and samples as rows of numbers, checked."""

from typing import Any

import numpy as np
from jaxtyping import Float


def both_rows(real: Any, fake: Any) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "m d"]]:
    """Both in double precision.

    Raises:
        ValueError: they are no rows of the same columns, there are none, or one has a hole.
    """
    found = []
    for name, given in (("real", real), ("fake", fake)):
        rows = np.asarray(given)
        if rows.ndim != 2 or not rows.size or rows.dtype.kind not in "fiub":
            raise ValueError(
                f"`{name}` must be rows of numbers, [rows, columns], got {rows.dtype} of shape "
                f"{list(rows.shape)}; of one column take {name}[:, None]."
            )
        rows = rows.astype(np.float64)
        if not np.isfinite(rows).all():
            bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
            raise ValueError(
                f"`{name}` must be finite numbers, got {rows[bad].tolist()} in row {bad}; leave "
                "rows with holes out."
            )
        found.append(rows)
    if found[0].shape[1] != found[1].shape[1]:
        raise ValueError(
            f"`real` and `fake` must have the same columns, got {found[0].shape[1]} and "
            f"{found[1].shape[1]}."
        )
    return found[0], found[1]

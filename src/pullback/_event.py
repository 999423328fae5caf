"""What a distribution asks of the points whose density it is to give."""

from typing import Any

import numpy as np


def require_event(z: Any, event: tuple[int, ...], *, single: bool = False, name: str = "z") -> None:
    """Refuse points of another shape, which broadcasting would sum without a word.

    Args:
        z: the point, or points with axes of a batch in front.
        event: the shape of one.
        single: no axes may be in front.
        name: of the argument, for the message.

    Raises:
        ValueError: the shape is another; the message says what fits.
    """
    shape = np.shape(z)
    batch = len(shape) - len(event)
    if batch >= 0 and shape[batch:] == tuple(event) and not (single and batch):
        return
    wanted = f"be one point of shape {event}" if single else f"end in {event}, the shape of a draw"
    raise ValueError(
        f"`{name}` must {wanted}, got the shape {shape}."
        + (" For several points, use `jax.vmap(q.log_prob)`." if single else "")
    )

"""Seeds of random numbers: which ones there are, and how others are refused."""

import operator

SEEDS = 2**32  # that NumPy's and scikit-learn's generators take
RUN_SEEDS = 1_000_000  # of runs: seeds of parts are multiples of it, and JAX keeps 32 bits of one


def checked_seed(seed: object, *, below: int, name: str) -> int:
    """A seed as Python's integer.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is negative or too large.
    """
    try:
        if isinstance(seed, bool):
            raise TypeError
        found = operator.index(seed)  # pyrefly: ignore
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {seed!r}") from None
    if not 0 <= found < below:
        wanted = "2^32" if below == SEEDS else f"{below:,}"
        raise ValueError(f"{name} must be 0 or more and below {wanted}, got {found}")
    return found

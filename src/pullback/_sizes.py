"""What a size is."""

import numbers


def positive(**sizes: object) -> None:
    """Raise for a size that is no whole number, or below 1, by its name."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, numbers.Integral):
            raise TypeError(f"`{name}` must be a whole number, got {size!r}.")
        if size < 1:
            raise ValueError(f"`{name}` must be 1 or more, got {size}.")

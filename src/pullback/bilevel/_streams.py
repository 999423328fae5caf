"""The streams of a problem's two sets of data."""

from typing import Any

from pullback._leading_axis import leading_axis
from pullback.train import Stream


def whole_batch(data: Any, batch_size: int | None, *, name: str) -> int | None:
    """The examples of a batch; where that is left open, all that there are."""
    if data is None or callable(data) or batch_size is not None:
        return batch_size
    return leading_axis(data, name=name)


def streams_of(data: dict[str, tuple[Any, int | None]]) -> dict[str, Stream] | None:
    """Data and batch size by name, without those that need none, as `iterate` takes them."""
    found = {
        name: Stream(rows, whole_batch(rows, size, name=name))
        for name, (rows, size) in data.items()
        if rows is not None
    }
    return found or None

"""What a traced program does where a solve in it fails: raise, go on with NaN, or tell the host.

A program that raises calls the host and takes everything with it, the state of a training run too.
So what trains lets failures be NaN, which it looks for in any case, and asks afterwards which they
were. The choice is a context that JAX's caches know: no program is used under another one's.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax


class Told:
    """What a program said of the solves that failed in it."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.lines: list[str] = []


_ON_FAILURE = jax.make_user_context(None)


@contextlib.contextmanager
def failures_are_nan() -> Iterator[None]:
    """What is traced in this context has NaN where a solve failed."""
    with _ON_FAILURE("nan"):
        yield


@contextlib.contextmanager
def failures_are_told() -> Iterator[Told]:
    """What is traced and run in this context says on the host which solves failed."""
    told = Told()
    with _ON_FAILURE(told):
        yield told


def on_failure() -> Any:
    """None where a failure raises, "nan", or whom to tell."""
    return _ON_FAILURE.value

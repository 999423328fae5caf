"""Cases of a file that are made when they are asked for: a test process imports all files."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import equinox as eqx
import jax


class Lazily(Mapping[str, Any]):
    """A dictionary whose values are made at the first look, each in one compiled program.

    Example:
        >>> import jax.numpy as jnp
        >>> cases = Lazily({"zeros": lambda: jnp.zeros(2), "ones": lambda: jnp.ones(2)})
        >>> list(cases), cases["ones"].tolist()
        (['zeros', 'ones'], [1.0, 1.0])
    """

    def __init__(self, makers: Mapping[str, Callable[[], Any]]):
        self._makers = makers
        self._made = functools.cache(self._make)

    def _make(self, name: str) -> Any:
        # The first look may lie in a program that is being traced.
        with jax.ensure_compile_time_eval():
            return eqx.filter_jit(self._makers[name])()

    def __getitem__(self, name: str) -> Any:
        return self._made(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

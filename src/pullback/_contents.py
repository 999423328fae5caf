"""What a room shows of itself: its page of contents, and not the files that it comes from."""

import sys
from collections.abc import Callable
from types import ModuleType


def of(room: str) -> tuple[list[str], Callable[[], list[str]]]:
    """`__all__` and `__dir__` of a room, to be made on the last line of its `__init__.py`.

    `help` of a room passes over what is defined in another file unless `__all__` names it, and
    `dir` would list the files too.

    Args:
        room: its `__name__`.

    Example:
        >>> import pullback as pb
        >>> dir(pb.sde) == pb.sde.__all__, "_solve" in dir(pb.sde)
        (True, False)
    """
    names = [
        name
        for name, value in sorted(vars(sys.modules[room]).items())
        # Of modules its own alone: a type checker that hooks into imports leaves others behind.
        if not name.startswith("_")
        and (not isinstance(value, ModuleType) or value.__name__ == f"{room}.{name}")
    ]
    return names, lambda: list(names)

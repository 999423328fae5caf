"""Gradients through solvers, samplers and other black boxes, and the models built on them.

Rooms are imported when first used, so that `import pullback` costs nothing and makes no array:

>>> import pullback as pb
>>> pb.ode.Replay
<class 'pullback.ode._replay.Replay'>
"""

import importlib
from types import ModuleType

__version__ = "0.2.0"

_ROOMS = (
    "analysis",
    "bilevel",
    "bounds",
    "calculus",
    "data",
    "games",
    "models",
    "nn",
    "ode",
    "optim",
    "plots",
    "recipes",
    "runs",
    "sampling",
    "sde",
    "tasks",
    "train",
)


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return importlib.import_module(f"pullback.{name}")
    raise AttributeError(f"module 'pullback' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*_ROOMS, "__version__"]

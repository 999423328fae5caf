"""Packages that are installed with an extra, imported where they are used."""

import importlib
from types import ModuleType


def extra(module: str, extra: str) -> ModuleType:
    """The module, or an error that says how it is installed.

    Args:
        module: its name, "rdkit.Chem" for example.
        extra: that of this package which brings it, "chem" for example.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:
            raise
        raise ImportError(
            f"{package} is not installed, and is needed here: pip install 'pullback[{extra}]'"
        ) from error

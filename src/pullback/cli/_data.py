"""`pullback data` and `pullback cite`: public data sets, and the papers' BibTeX."""

from typing import Literal

import tyro

from pullback import recipes
from pullback.cli._common import BadUsage, Name, OptionalPath, told_of


def data(
    action: tyro.conf.Positional[Literal["fetch"]], name: Name, out: OptionalPath = None
) -> int:
    """Download a public data set, and check it; or write a real table to try things on.

    Args:
        action: What to do.
        name: The data set: mnist or fashion-mnist; or a table: breast-cancer, diabetes or wine.
        out: The folder for its files (default: the user's cache, where recipes look).
    """
    from pullback.data import fetch

    try:
        print(f"{action}ed: {fetch(name, out)}")
    except OSError as error:
        raise BadUsage(told_of(error)) from error
    except ValueError as error:  # an unknown name, or a DataError
        raise BadUsage(str(error)) from error
    return 0


def cite(name: Name) -> int:
    """Print a recipe's paper as a BibTeX entry.

    Args:
        name: A recipe that `pullback list` shows.
    """
    try:
        print(recipes.find(name)[0].bibtex)
    except ValueError as error:
        raise BadUsage(str(error)) from error
    return 0

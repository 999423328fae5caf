"""Recipes: one paper each, from its data to its claims, measured again.

`TABLE` lists them without importing any; `load` imports one, and `run` runs it in a folder. A
recipe is a `Recipe`; it measures `Claim`s and writes through a `Context`.
"""

from pullback.recipes._base import Claim as Claim
from pullback.recipes._base import Recipe as Recipe
from pullback.recipes._context import Context as Context
from pullback.recipes._run import RunError as RunError
from pullback.recipes._run import run as run
from pullback.recipes._table import TABLE as TABLE
from pullback.recipes._table import Entry as Entry
from pullback.recipes._table import find as find
from pullback.recipes._table import load as load

"""Recipes: one paper each, from its data to its claims, measured again.

`TABLE` lists them without importing any, and `load` imports one: an experiment for
`pullback.runs.run`.
"""

from pullback.recipes._table import TABLE as TABLE
from pullback.recipes._table import Entry as Entry
from pullback.recipes._table import find as find
from pullback.recipes._table import load as load

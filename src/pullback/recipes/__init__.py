"""Recipes: one paper a folder, from its data to its claims, measured again.

`papers` lists them without importing any, and `load` imports one: an experiment for
`pullback.runs.run`.
"""

from pullback import _contents
from pullback.recipes._papers import SIMULATED as SIMULATED
from pullback.recipes._papers import Known as Known
from pullback.recipes._papers import Paper as Paper
from pullback.recipes._papers import check_data as check_data
from pullback.recipes._papers import find as find
from pullback.recipes._papers import load as load
from pullback.recipes._papers import module_of as module_of
from pullback.recipes._papers import papers as papers

__all__, __dir__ = _contents.of(__name__)

"""Runs: an experiment in a folder of its own, its claims, and the pages that show them.

An `Experiment` is what can be run: a configuration in some sizes, and a function that measures
`Claim`s and writes through a `Context`. `run` runs one in a folder, and `write_gallery` makes a
page of many. Jinja is imported when a page is written, not before.
"""

from pullback import _contents
from pullback.runs._claim import Claim as Claim
from pullback.runs._claim import Headline as Headline
from pullback.runs._context import Context as Context
from pullback.runs._experiment import Experiment as Experiment
from pullback.runs._gallery import write_gallery as write_gallery
from pullback.runs._numbers import measured as measured
from pullback.runs._numbers import number as number
from pullback.runs._page import write_page as write_page
from pullback.runs._records import read_record as read_record
from pullback.runs._run import run as run
from pullback.runs._sources import sources_digest as sources_digest
from pullback.runs._written import RunError as RunError

__all__, __dir__ = _contents.of(__name__)

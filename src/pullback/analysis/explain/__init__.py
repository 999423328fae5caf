"""Why a model said so: what part of an image, what measurement at what hour, of any callable."""

from pullback import _contents

from ._time_fit import TimeImportance as TimeImportance
from ._time_fit import fit_importance as fit_importance
from ._time_predictors import SeriesGenerator as SeriesGenerator
from ._time_predictors import prefix_predictor as prefix_predictor
from ._time_predictors import step_predictor as step_predictor

__all__, __dir__ = _contents.of(__name__)

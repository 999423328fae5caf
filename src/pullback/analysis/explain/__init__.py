"""Why a model said so: what part of an image, what measurement at what hour, of any callable."""

from pullback import _contents

from ._bbmp import bbmp as bbmp
from ._classifier import Classifier as Classifier
from ._classifier import classifier as classifier
from ._curves import Curve as Curve
from ._curves import deletion_curve as deletion_curve
from ._curves import insertion_curve as insertion_curve
from ._curves import localisation as localisation
from ._curves import saliency_metric as saliency_metric
from ._fido import fido as fido
from ._gaussian_infill import GaussianInfill as GaussianInfill
from ._infill import AbstractInfill as AbstractInfill
from ._infill import BlurInfill as BlurInfill
from ._infill import ConstantInfill as ConstantInfill
from ._infill import EmpiricalInfill as EmpiricalInfill
from ._infill import LocalMeanInfill as LocalMeanInfill
from ._infill import NoiseInfill as NoiseInfill
from ._model_infill import ModelInfill as ModelInfill
from ._saliency import Saliency as Saliency
from ._time_counterfactual import ffc_importance as ffc_importance
from ._time_counterfactual import occlusion_importance as occlusion_importance
from ._time_fit import TimeImportance as TimeImportance
from ._time_fit import fit_importance as fit_importance
from ._time_predictors import SeriesGenerator as SeriesGenerator
from ._time_predictors import prefix_predictor as prefix_predictor
from ._time_predictors import step_predictor as step_predictor
from ._time_window import WindowImportance as WindowImportance
from ._time_window import window_importance as window_importance

__all__, __dir__ = _contents.of(__name__)

"""Tasks: fit a table of your own once, and use the model tomorrow.

A task is a class with scikit-learn's contract, `fit`, `score_samples`, `predict`, `get_params`,
that also takes data frames and the path of a file, and that saves what it has found: `save` writes
a folder and `load` reads it, in another process and without the data.
"""

from pullback import _contents

from ._bayes_classifier import BayesianNetClassifier as BayesianNetClassifier
from ._bayes_regressor import BayesianNetRegressor as BayesianNetRegressor
from ._card import card as card
from ._card import write_report as write_report
from ._continual_classifier import ContinualClassifier as ContinualClassifier
from ._density import FlowDensity as FlowDensity
from ._dependence import dependence as dependence
from ._dynamics import DynamicsModel as DynamicsModel
from ._dynamics_outputs import simulate_file as simulate_file
from ._energy_classifier import EnergyClassifier as EnergyClassifier
from ._explain_outputs import explain_file as explain_file
from ._gan import TableGAN as TableGAN
from ._goodness import goodness_of_fit as goodness_of_fit
from ._graph_generator import GraphGenerator as GraphGenerator
from ._image_explainer import ImageExplainer as ImageExplainer
from ._image_explanations import ImageExplanations as ImageExplanations
from ._load import load as load
from ._model_file import model_of_file as model_of_file
from ._molecule_designer import MoleculeDesigner as MoleculeDesigner
from ._molecule_designs import MoleculeDesigns as MoleculeDesigns
from ._molecule_designs import MoleculePath as MoleculePath
from ._outputs import predict_file as predict_file
from ._outputs import sample_file as sample_file
from ._outputs import score_file as score_file
from ._recommender import Recommender as Recommender
from ._recommender_answers import Explanation as Explanation
from ._recommender_answers import Recommendation as Recommendation
from ._recommender_files import recommend_file as recommend_file
from ._results_page import write_result as write_result
from ._sequence_designer import SequenceDesigner as SequenceDesigner
from ._sequence_designs import SequenceDesigns as SequenceDesigns
from ._sequence_scores import SequenceScores as SequenceScores
from ._series import SeriesModel as SeriesModel
from ._series_explainer import SeriesExplainer as SeriesExplainer
from ._series_explanations import SeriesExplanations as SeriesExplanations
from ._series_files import forecast_file as forecast_file
from ._series_files import impute_file as impute_file
from ._series_rows import SeriesTable as SeriesTable
from ._store import ModelError as ModelError
from ._task import AbstractTask as AbstractTask
from ._trust import RowTrust as RowTrust

__all__, __dir__ = _contents.of(__name__)

"""Optimisers that know what they do not know: of weights, of gradients, and of earlier tasks."""

from pullback import _contents

from ._clusters import Clustering as Clustering
from ._clusters import cluster_gradients as cluster_gradients
from ._clusters import stratified_batch as stratified_batch
from ._consolidate import consolidate as consolidate
from ._continual import ContinualState as ContinualState
from ._continual import elastic_weight_consolidation as elastic_weight_consolidation
from ._continual import synaptic_intelligence as synaptic_intelligence
from ._curvature import AbstractCurvature as AbstractCurvature
from ._diagonal import Diagonal as Diagonal
from ._diagonal_fisher import diagonal_fisher as diagonal_fisher
from ._fit_posterior import PosteriorInfo as PosteriorInfo
from ._fit_posterior import fit_posterior as fit_posterior
from ._fit_tasks import TasksInfo as TasksInfo
from ._fit_tasks import fit_tasks as fit_tasks
from ._full import Full as Full
from ._kronecker import Kronecker as Kronecker
from ._noisy_adam import NoisyAdamState as NoisyAdamState
from ._noisy_adam import draw_weights as draw_weights
from ._noisy_adam import noisy_adam as noisy_adam
from ._weight_posterior import WeightPosterior as WeightPosterior
from ._weight_posterior import load_posterior as load_posterior

__all__, __dir__ = _contents.of(__name__)

"""Gradients through training runs: hyperparameters tuned by the loss on data held out.

A problem has two losses, `loss(model, hyper, batch, *, key) -> (scalar, dict of scalar metrics)`:
the inner one, that training makes small, and the outer one, by which `hyper` is judged. `hyper` is
any PyTree of real floating arrays.
"""

from pullback import _contents

from ._fit_response import fit_response as fit_response
from ._fit_response import tune_through as tune_through
from ._hypergradient import AbstractHypergradient as AbstractHypergradient
from ._hypergradient import Hypergradient as Hypergradient
from ._hypergradient import Implicit as Implicit
from ._hypergradient import Point as Point
from ._hypergradient import Problem as Problem
from ._hypergradient import Unrolled as Unrolled
from ._hypergradient import hypergradient as hypergradient
from ._hyperparameters import AbstractHyperparameter as AbstractHyperparameter
from ._hyperparameters import Bounded as Bounded
from ._hyperparameters import Integer as Integer
from ._hyperparameters import Positive as Positive
from ._hyperparameters import values as values
from ._implicit import implicit as implicit
from ._inverse import AbstractInverse as AbstractInverse
from ._inverse import ConjugateGradient as ConjugateGradient
from ._inverse import Exact as Exact
from ._inverse import Identity as Identity
from ._inverse import InverseProduct as InverseProduct
from ._inverse import Neumann as Neumann
from ._response import AbstractResponse as AbstractResponse
from ._response import DiagonalResponse as DiagonalResponse
from ._response import LinearResponse as LinearResponse
from ._response import MLPResponse as MLPResponse
from ._retrain import RetrainGap as RetrainGap
from ._retrain import retrain as retrain
from ._retrain import retrain_gap as retrain_gap
from ._schedule import Recorded as Recorded
from ._schedule import Schedule as Schedule
from ._search import SearchResult as SearchResult
from ._search import search as search
from ._self_tuning import SelfTuningInfo as SelfTuningInfo
from ._self_tuning import fit_self_tuning as fit_self_tuning
from ._tune import TuneInfo as TuneInfo
from ._tune import tune as tune
from ._tune_with_response import tune_with_response as tune_with_response
from ._unroll import unroll as unroll

__all__, __dir__ = _contents.of(__name__)

"""Derivatives that JAX does not have ready, and unbiased sums of infinite series."""

from pullback import _contents

from ._anderson import Anderson as Anderson
from ._curvature import gauss_newton_vector_product as gauss_newton_vector_product
from ._curvature import hessian_vector_product as hessian_vector_product
from ._curvature import largest_eigenvalue as largest_eigenvalue
from ._diagnosis import diagnose_draws as diagnose_draws
from ._dimensionwise import dimensionwise_derivatives as dimensionwise_derivatives
from ._divergence import AbstractDivergence as AbstractDivergence
from ._divergence import ExactDivergence as ExactDivergence
from ._divergence import HollowDivergence as HollowDivergence
from ._divergence import HutchinsonDivergence as HutchinsonDivergence
from ._fokker_planck import fokker_planck_objective as fokker_planck_objective
from ._fokker_planck import fokker_planck_rate as fokker_planck_rate
from ._fokker_planck import fokker_planck_residual as fokker_planck_residual
from ._gradient_penalty import gradient_penalty as gradient_penalty
from ._induced_norm import induced_norm as induced_norm
from ._log_det import AbstractLogDet as AbstractLogDet
from ._log_det import ExactLogDet as ExactLogDet
from ._log_det import RouletteLogDet as RouletteLogDet
from ._log_det import TruncatedLogDet as TruncatedLogDet
from ._log_det import truncation_bias_bound as truncation_bias_bound
from ._multilevel import Multilevel as Multilevel
from ._multilevel import multilevel_batch as multilevel_batch
from ._multilevel import multilevel_estimate as multilevel_estimate
from ._randomised_sum import RaggedTerms as RaggedTerms
from ._randomised_sum import TruncationCost as TruncationCost
from ._randomised_sum import ragged_sum as ragged_sum
from ._randomised_sum import ragged_terms as ragged_terms
from ._randomised_sum import randomised_sum as randomised_sum
from ._randomised_sum import truncation_cost as truncation_cost
from ._score_matching import hyvarinen_objective as hyvarinen_objective
from ._stein import SteinTerms as SteinTerms
from ._stein import stein_operator as stein_operator
from ._stein import stein_terms as stein_terms
from ._total_derivatives import total_derivatives as total_derivatives
from ._truncation import AbstractTruncation as AbstractTruncation
from ._truncation import Geometric as Geometric
from ._truncation import HarmonicTail as HarmonicTail

__all__, __dir__ = _contents.of(__name__)

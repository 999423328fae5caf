"""Derivatives that JAX does not have ready, and unbiased sums of infinite series."""

from ._diagnosis import DrawDiagnosis as DrawDiagnosis
from ._diagnosis import diagnose_draws as diagnose_draws
from ._dimensionwise import dimensionwise_derivatives as dimensionwise_derivatives
from ._divergence import AbstractDivergence as AbstractDivergence
from ._divergence import ExactDivergence as ExactDivergence
from ._divergence import HollowDivergence as HollowDivergence
from ._divergence import HutchinsonDivergence as HutchinsonDivergence
from ._fokker_planck import fokker_planck_loss as fokker_planck_loss
from ._fokker_planck import fokker_planck_rate as fokker_planck_rate
from ._fokker_planck import fokker_planck_residual as fokker_planck_residual
from ._multilevel import Multilevel as Multilevel
from ._multilevel import multilevel_batch as multilevel_batch
from ._multilevel import multilevel_estimate as multilevel_estimate
from ._randomised_sum import RaggedTerms as RaggedTerms
from ._randomised_sum import TruncationCost as TruncationCost
from ._randomised_sum import ragged_sum as ragged_sum
from ._randomised_sum import ragged_terms as ragged_terms
from ._randomised_sum import randomised_sum as randomised_sum
from ._randomised_sum import truncation_cost as truncation_cost
from ._stopping import AbstractStoppingLaw as AbstractStoppingLaw
from ._stopping import Geometric as Geometric
from ._stopping import HarmonicTail as HarmonicTail
from ._total_derivatives import total_derivatives as total_derivatives

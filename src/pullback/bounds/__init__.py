"""Bounds on integrals that have no closed form: evidence, and mutual information.

A bound on the evidence is put together from four parts that are chosen freely: the terms of a
model, a posterior, the bound, and the estimator of the gradient, which is from
`pullback.sampling`. Pairs that are invalid are refused.
"""

from pullback import _contents

from ._aggregate import AggregateLogProb as AggregateLogProb
from ._aggregate import aggregate_log_prob as aggregate_log_prob
from ._aggregate import aggregate_log_weights as aggregate_log_weights
from ._aggregate import aggregate_samples as aggregate_samples
from ._aggregate import pairwise_marginal_log_prob as pairwise_marginal_log_prob
from ._annealed import Annealed as Annealed
from ._annealed import Sandwich as Sandwich
from ._annealed import annealed_importance_sampling as annealed_importance_sampling
from ._annealed import bidirectional_monte_carlo as bidirectional_monte_carlo
from ._annealed import reverse_annealing as reverse_annealing
from ._annealed import sigmoid_schedule as sigmoid_schedule
from ._annealed import tune_step_sizes as tune_step_sizes
from ._committed_families import BoundedScaleNormal as BoundedScaleNormal
from ._committed_families import HollowMeanNormal as HollowMeanNormal
from ._critics import BilinearCritic as BilinearCritic
from ._critics import ConditionalCritic as ConditionalCritic
from ._critics import GaussianBaseline as GaussianBaseline
from ._critics import JointCritic as JointCritic
from ._critics import MLPBaseline as MLPBaseline
from ._critics import SeparableCritic as SeparableCritic
from ._energy_prior import EnergyPrior as EnergyPrior
from ._energy_prior import log_normaliser_of as log_normaliser_of
from ._families import AbstractFamily as AbstractFamily
from ._families import DiagonalNormal as DiagonalNormal
from ._families import FullCovarianceNormal as FullCovarianceNormal
from ._families import NormalMixture as NormalMixture
from ._flow_families import AuxiliaryFlow as AuxiliaryFlow
from ._flow_families import CouplingFlow as CouplingFlow
from ._flow_families import InverseAutoregressiveFlow as InverseAutoregressiveFlow
from ._hmc import HMC as HMC
from ._implicit import Estimate as Estimate
from ._implicit import ImportanceWeightedPosterior as ImportanceWeightedPosterior
from ._implicit import implied_posterior_density as implied_posterior_density
from ._interpolated import interpolated as interpolated
from ._interpolated import interpolated_ceiling as interpolated_ceiling
from ._leave_one_out import leave_one_out_log_mean_exp as leave_one_out_log_mean_exp
from ._leave_one_out import off_diagonal_log_mean_exp as off_diagonal_log_mean_exp
from ._log_weights import effective_sample_size as effective_sample_size
from ._log_weights import leave_one_out_bounds as leave_one_out_bounds
from ._model import LatentModel as LatentModel
from ._model import kl_divergence as kl_divergence
from ._mutual_information import dv as dv
from ._mutual_information import infonce as infonce
from ._mutual_information import js_nwj as js_nwj
from ._mutual_information import mine as mine
from ._mutual_information import nwj as nwj
from ._mutual_information import tuba as tuba
from ._mutual_information_known import ba_lower as ba_lower
from ._mutual_information_known import ba_upper as ba_upper
from ._mutual_information_known import leave_one_out_upper as leave_one_out_upper
from ._mutual_information_known import pairwise_log_prob as pairwise_log_prob
from ._mutual_information_known import tnce as tnce
from ._mutual_information_known import uba as uba
from ._objectives import AbstractObjective as AbstractObjective
from ._objectives import BatchTerms as BatchTerms
from ._objectives import Beta as Beta
from ._objectives import FreeBits as FreeBits
from ._objectives import TargetRate as TargetRate
from ._objectives import rate_and_distortion as rate_and_distortion
from ._renyi import Renyi as Renyi
from ._sumo import multilevel_log_evidence as multilevel_log_evidence
from ._sumo import ragged_multilevel as ragged_multilevel
from ._sumo import ragged_sumo as ragged_sumo
from ._sumo import sumo as sumo
from ._sumo_bound import SUMO as SUMO
from ._support_family import SupportFamily as SupportFamily
from ._total_correlation import TotalCorrelation as TotalCorrelation
from ._total_correlation import TotalCorrelationSplit as TotalCorrelationSplit
from ._total_correlation import exact_total_correlation_split as exact_total_correlation_split
from ._total_correlation import total_correlation_split as total_correlation_split
from ._variational import ELBO as ELBO
from ._variational import AbstractBound as AbstractBound
from ._variational import ImportanceWeighted as ImportanceWeighted
from ._variational import require_densities as require_densities

__all__, __dir__ = _contents.of(__name__)

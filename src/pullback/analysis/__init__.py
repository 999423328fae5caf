"""What you measure on a model: functions of arrays and callables, which know no model."""

from pullback import _contents

from . import explain as explain
from . import samples as samples
from . import signals as signals
from ._annealed_evidence import Annealing as Annealing
from ._annealed_evidence import Evidence as Evidence
from ._annealed_evidence import evidence_by_annealing as evidence_by_annealing
from ._annealed_evidence import evidence_sandwich as evidence_sandwich
from ._attack import accuracy_under_attack as accuracy_under_attack
from ._attack import pgd_attack as pgd_attack
from ._calibration import brier_score as brier_score
from ._calibration import expected_calibration_error as expected_calibration_error
from ._calibration import negative_log_likelihood as negative_log_likelihood
from ._calibration import reliability_curve as reliability_curve
from ._continual import ContinualMetrics as ContinualMetrics
from ._continual import continual_metrics as continual_metrics
from ._finite_set_stein import finite_set_stein_test as finite_set_stein_test
from ._goodness_of_fit import compare_models as compare_models
from ._goodness_of_fit import goodness_of_fit as goodness_of_fit
from ._gradient_variance import gradient_variance as gradient_variance
from ._gradient_variance import normalised_variance as normalised_variance
from ._graph_histograms import GraphHistograms as GraphHistograms
from ._graph_histograms import GraphMMD2 as GraphMMD2
from ._graph_histograms import graph_histograms as graph_histograms
from ._graph_histograms import graph_mmd2 as graph_mmd2
from ._graph_report import GraphReport as GraphReport
from ._graph_report import erdos_renyi as erdos_renyi
from ._graph_report import graph_report as graph_report
from ._grid_mass import grid_mass as grid_mass
from ._inference_gaps import inference_gaps as inference_gaps
from ._information_gain import information_gain as information_gain
from ._kernel_stein import kernel_stein_test as kernel_stein_test
from ._local_fit import LocalFit as LocalFit
from ._local_fit import LocalSearch as LocalSearch
from ._local_fit import fit_local as fit_local
from ._molecule_properties import molecule_properties as molecule_properties
from ._molecule_report import MoleculeReport as MoleculeReport
from ._molecule_report import molecule_report as molecule_report
from ._mutual_information import MutualInformation as MutualInformation
from ._mutual_information import estimate_mutual_information as estimate_mutual_information
from ._mutual_information_gap import mig as mig
from ._noise_scale import NoiseScale as NoiseScale
from ._noise_scale import noise_scale as noise_scale
from ._ood import auroc as auroc
from ._ood import ood_scores as ood_scores
from ._orbit_counts import orbit_counts as orbit_counts
from ._ranking import Ranking as Ranking
from ._ranking import ranking as ranking
from ._rate_distortion import DiscreteRateDistortion as DiscreteRateDistortion
from ._rate_distortion import discrete_rate_distortion as discrete_rate_distortion
from ._rate_distortion import rate_distortion as rate_distortion
from ._rate_distortion import reverse_water_filling as reverse_water_filling
from ._sequence_report import SequenceReport as SequenceReport
from ._sequence_report import sequence_report as sequence_report
from ._stein_result import GoodnessOfFit as GoodnessOfFit

__all__, __dir__ = _contents.of(__name__)

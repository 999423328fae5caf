"""What you measure on a model: functions of arrays and callables, which know no model."""

from ._annealed_evidence import Annealing as Annealing
from ._annealed_evidence import Evidence as Evidence
from ._annealed_evidence import evidence_by_annealing as evidence_by_annealing
from ._annealed_evidence import evidence_sandwich as evidence_sandwich
from ._calibration import ReliabilityCurve as ReliabilityCurve
from ._calibration import brier_score as brier_score
from ._calibration import expected_calibration_error as expected_calibration_error
from ._calibration import negative_log_likelihood as negative_log_likelihood
from ._calibration import reliability_curve as reliability_curve
from ._inference_gaps import InferenceGaps as InferenceGaps
from ._inference_gaps import inference_gaps as inference_gaps
from ._local_fit import LocalFit as LocalFit
from ._local_fit import LocalSearch as LocalSearch
from ._local_fit import fit_local as fit_local
from ._mutual_information import MutualInformation as MutualInformation
from ._mutual_information import estimate_mutual_information as estimate_mutual_information
from ._mutual_information_gap import MIGResult as MIGResult
from ._mutual_information_gap import mig as mig
from ._rate_distortion import Channel as Channel
from ._rate_distortion import RateDistortion as RateDistortion
from ._rate_distortion import discrete_rate_distortion as discrete_rate_distortion
from ._rate_distortion import rate_distortion as rate_distortion
from ._rate_distortion import reverse_water_filling as reverse_water_filling

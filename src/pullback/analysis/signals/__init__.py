"""How signals run through a deep network: by mean-field theory, and measured on a model.

`layers` is a model, or any function from one input to the tuple of its layers.
"""

from pullback import _contents

from ._criticality import critical_weight_scale as critical_weight_scale
from ._criticality import phase as phase
from ._dichotomies import dichotomies as dichotomies
from ._geometry import ManifoldGeometry as ManifoldGeometry
from ._geometry import boundary_curvatures as boundary_curvatures
from ._geometry import manifold_geometry as manifold_geometry
from ._layer_noise import LayerNoise as LayerNoise
from ._layer_noise import layer_noise_sensitivity as layer_noise_sensitivity
from ._mean_field import Curvature as Curvature
from ._mean_field import DepthScales as DepthScales
from ._mean_field import MeanField as MeanField
from ._mean_field import Trajectory as Trajectory
from ._paths import circle as circle
from ._paths import line as line
from ._paths import through as through
from ._regions import ActivationPatterns as ActivationPatterns
from ._regions import activation_patterns as activation_patterns
from ._report import SignalReport as SignalReport
from ._report import signal_report as signal_report
from ._trajectory import trajectory_lengths as trajectory_lengths
from ._trajectory import transitions as transitions
from ._weight_scales import WeightScales as WeightScales
from ._weight_scales import weight_scales as weight_scales

__all__, __dir__ = _contents.of(__name__)

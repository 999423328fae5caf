"""Networks for one example: fields `f(t, y, args)`, nets of sequences, layers of bounded norm."""

from pullback import _contents

from ._attention import AttentionConditioner as AttentionConditioner
from ._augment import RandomCrop as RandomCrop
from ._causal import AbstractSequenceNet as AbstractSequenceNet
from ._causal import AbstractSteppedNet as AbstractSteppedNet
from ._causal import AntiCausal as AntiCausal
from ._causal import CausalConvNet as CausalConvNet
from ._causal import RecurrentNet as RecurrentNet
from ._causal import delayed as delayed
from ._causal_attention import CausalAttentionNet as CausalAttentionNet
from ._concat import ConcatMLP as ConcatMLP
from ._concat import ConcatSquashLinear as ConcatSquashLinear
from ._concat import ConcatSquashMLP as ConcatSquashMLP
from ._conditioner import AbstractConditioner as AbstractConditioner
from ._conditioner import check_hollow as check_hollow
from ._constant import Constant as Constant
from ._conv import ConcatConvNet as ConcatConvNet
from ._conv import convolve as convolve
from ._conv import convolve_same as convolve_same
from ._factors import Factors as Factors
from ._factors import layer_factors as layer_factors
from ._factors import per_example_gradients as per_example_gradients
from ._factors import per_example_norms as per_example_norms
from ._factors import per_example_squares as per_example_squares
from ._gaussian_init import gaussian_init as gaussian_init
from ._hidden_states import HiddenStates as HiddenStates
from ._hidden_states import hidden_states as hidden_states
from ._hollow import HollowNet as HollowNet
from ._hyper import HyperPlanarField as HyperPlanarField
from ._hyper_conv import HyperConv2d as HyperConv2d
from ._hyper_layer import AbstractHyperLayer as AbstractHyperLayer
from ._hyper_linear import HyperLinear as HyperLinear
from ._induced import InducedNormLinear as InducedNormLinear
from ._induced import InducedNormMLP as InducedNormMLP
from ._layer_factors import LayerFactors as LayerFactors
from ._linearised import linearised as linearised
from ._lipschitz import AbstractLipschitz as AbstractLipschitz
from ._lipschitz import AbstractLipschitzLayer as AbstractLipschitzLayer
from ._lipschitz import AbstractSpectralLayer as AbstractSpectralLayer
from ._lipschitz import LipschitzLinear as LipschitzLinear
from ._lipschitz import bounded as bounded
from ._lipschitz import follow as follow
from ._lipschitz import update_spectral_norms as update_spectral_norms
from ._lipschitz_bounds import lipschitz_bound as lipschitz_bound
from ._lipschitz_bounds import lipschitz_lower_bound as lipschitz_lower_bound
from ._lipschitz_bounds import lipschitz_upper_bound as lipschitz_upper_bound
from ._lipschitz_conv import LipschitzConv2d as LipschitzConv2d
from ._lipschitz_nets import LipschitzConvNet as LipschitzConvNet
from ._lipschitz_nets import LipschitzMLP as LipschitzMLP
from ._masked import StrictMADE as StrictMADE
from ._masked import TwoSidedConditioner as TwoSidedConditioner
from ._self_tuning import freeze_response as freeze_response
from ._self_tuning import respond as respond
from ._self_tuning import response_parameters as response_parameters
from ._self_tuning import self_tuning as self_tuning
from ._sequence_conv import SequenceConv as SequenceConv
from ._sequence_conv import convolve_sequence as convolve_sequence
from ._slopes import LipSwish as LipSwish
from ._slopes import MaxMin as MaxMin
from ._slopes import slope_bound as slope_bound
from ._taps import AbstractWeightNoise as AbstractWeightNoise
from ._trajectory_penalty import TrajectoryPenalty as TrajectoryPenalty

__all__, __dir__ = _contents.of(__name__)

"""Networks for one example: vector fields `f(t, y, args)` for a solver, and nets of sequences."""

from ._attention import AttentionConditioner as AttentionConditioner
from ._augment import RandomCrop as RandomCrop
from ._causal import AbstractSequenceNet as AbstractSequenceNet
from ._causal import AntiCausal as AntiCausal
from ._causal import CausalConvNet as CausalConvNet
from ._causal import RecurrentNet as RecurrentNet
from ._causal import delayed as delayed
from ._causal_attention import CausalAttentionNet as CausalAttentionNet
from ._concat import ConcatMLP as ConcatMLP
from ._concat import ConcatSquashMLP as ConcatSquashMLP
from ._conditioner import AbstractConditioner as AbstractConditioner
from ._conditioner import check_hollow as check_hollow
from ._conv import ConcatConvNet as ConcatConvNet
from ._hollow import HollowNet as HollowNet
from ._hyper import HyperPlanarField as HyperPlanarField
from ._masked import StrictMADE as StrictMADE
from ._masked import TwoSidedConditioner as TwoSidedConditioner

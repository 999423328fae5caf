"""Time-dependent networks for one example, each a vector field `f(t, y, args)` for a solver."""

from ._attention import AttentionConditioner as AttentionConditioner
from ._augment import RandomCrop as RandomCrop
from ._concat import ConcatMLP as ConcatMLP
from ._concat import ConcatSquashMLP as ConcatSquashMLP
from ._conditioner import AbstractConditioner as AbstractConditioner
from ._conditioner import check_hollow as check_hollow
from ._conv import ConcatConvNet as ConcatConvNet
from ._hollow import HollowNet as HollowNet
from ._hyper import HyperPlanarField as HyperPlanarField
from ._masked import StrictMADE as StrictMADE
from ._masked import TwoSidedConditioner as TwoSidedConditioner

"""Time-dependent networks for one example, each a vector field `f(t, y, args)` for a solver."""

from ._augment import RandomCrop as RandomCrop
from ._concat import ConcatMLP as ConcatMLP
from ._concat import ConcatSquashMLP as ConcatSquashMLP
from ._conv import ConcatConvNet as ConcatConvNet
from ._hyper import HyperPlanarField as HyperPlanarField

"""Stochastic differential equations: `solve`, its Brownian paths, adjoints and path-space KL."""

from diffrax import Euler as Euler
from diffrax import Heun as Heun
from diffrax import ItoMilstein as ItoMilstein
from diffrax import Midpoint as Midpoint
from diffrax import Ralston as Ralston
from diffrax import ReversibleHeun as ReversibleHeun
from diffrax import StratonovichMilstein as StratonovichMilstein
from diffrax import VirtualBrownianTree as VirtualBrownianTree

from pullback import _contents

from ._convert import ito_to_stratonovich as ito_to_stratonovich
from ._convert import stratonovich_to_ito as stratonovich_to_ito
from ._equation import KL as KL
from ._solve import Solution as Solution
from ._solve import brownian_path as brownian_path
from ._solve import solve as solve
from ._stochastic_adjoint import StochasticAdjoint as StochasticAdjoint

__all__, __dir__ = _contents.of(__name__)

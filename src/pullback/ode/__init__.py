"""Ordinary differential equations: `solve`, how it steps, and how it is differentiated."""

from diffrax import Bosh3 as Bosh3
from diffrax import Dopri5 as Dopri5
from diffrax import Dopri8 as Dopri8
from diffrax import Euler as Euler
from diffrax import Heun as Heun
from diffrax import Tsit5 as Tsit5

from ._adjoint import AbstractAdjoint as AbstractAdjoint
from ._backsolve import Backsolve as Backsolve
from ._control import PID as PID
from ._control import rms_norm as rms_norm
from ._control import state_norm as state_norm
from ._jacobi_newton import JacobiNewton as JacobiNewton
from ._jacobi_newton import RootInfo as RootInfo
from ._jacobi_newton import find_root as find_root
from ._regularise import AbstractPenalty as AbstractPenalty
from ._regularise import JacobianNorm as JacobianNorm
from ._regularise import KineticEnergy as KineticEnergy
from ._regularise import Regularised as Regularised
from ._regularise import TaylorEnergy as TaylorEnergy
from ._replay import Replay as Replay
from ._result import Result as Result
from ._result import Solution as Solution
from ._result import SolveError as SolveError
from ._result import Stats as Stats
from ._result import raise_if_failed as raise_if_failed
from ._sdirk import SDIRK as SDIRK
from ._silent import Silent as Silent
from ._solve import Gradients as Gradients
from ._solve import solve as solve
from ._solve import vjp as vjp

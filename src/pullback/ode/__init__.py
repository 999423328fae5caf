"""Ordinary differential equations: `solve`, how it steps, and how it is differentiated."""

from diffrax import Bosh3 as Bosh3
from diffrax import Dopri5 as Dopri5
from diffrax import Dopri8 as Dopri8
from diffrax import Euler as Euler
from diffrax import Heun as Heun
from diffrax import Tsit5 as Tsit5

from pullback import _contents

from ._adjoint import AbstractAdjoint as AbstractAdjoint
from ._adjoint import Pulled as Pulled
from ._backsolve import Backsolve as Backsolve
from ._control import PIDController as PIDController
from ._control import rms_norm as rms_norm
from ._control import state_norm as state_norm
from ._deferred_penalty import DeferredPenalty as DeferredPenalty
from ._event import Event as Event
from ._jacobi_newton import JacobiNewton as JacobiNewton
from ._jacobi_newton import find_root as find_root
from ._loop import integrate as integrate
from ._method import Method as Method
from ._method import Path as Path
from ._method import Record as Record
from ._method import Recorder as Recorder
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
from ._result import Stop as Stop
from ._result import raise_if_failed as raise_if_failed
from ._runge_kutta import Tableau as Tableau
from ._runge_kutta import advance as advance
from ._runge_kutta import interpolation as interpolation
from ._runge_kutta import stages as stages
from ._runge_kutta import tableau_of as tableau_of
from ._sdirk import SDIRK as SDIRK
from ._solve import solve as solve
from ._steady import SteadyState as SteadyState
from ._steady import steady_state as steady_state
from ._vjp import Gradients as Gradients
from ._vjp import vjp as vjp

__all__, __dir__ = _contents.of(__name__)

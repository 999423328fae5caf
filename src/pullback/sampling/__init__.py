"""Gradients of an expectation with respect to the distribution of what is drawn.

`expectation` is the room's one interface: a Monte Carlo estimate whose `jax.grad` is that of the
estimator that it is given.
"""

from pullback import _contents

from ._chains import ChainInfo as ChainInfo
from ._concrete import ExpRelaxedOneHotCategorical as ExpRelaxedOneHotCategorical
from ._concrete import RelaxedOneHotCategorical as RelaxedOneHotCategorical
from ._contract import require_distribution as require_distribution
from ._control_variate import AbstractControlVariate as AbstractControlVariate
from ._control_variate import NeuralControlVariate as NeuralControlVariate
from ._control_variate import RebarControlVariate as RebarControlVariate
from ._distribution import Distribution as Distribution
from ._distribution import Replicated as Replicated
from ._distribution import draw as draw
from ._distribution import independent_parts as independent_parts
from ._distribution import is_reparameterised as is_reparameterised
from ._distribution import log_prob as log_prob
from ._distribution import log_prob_of_parts as log_prob_of_parts
from ._distribution import require_reparameterised as require_reparameterised
from ._distribution import stop_gradient as stop_gradient
from ._enumeration import Enumeration as Enumeration
from ._enumeration import enumerated_kl as enumerated_kl
from ._estimator import AbstractEstimator as AbstractEstimator
from ._estimator import over_samples as over_samples
from ._expectation import expectation as expectation
from ._expectation import value_and_grad as value_and_grad
from ._fixed_distribution import FixedDistribution as FixedDistribution
from ._fixed_distribution import fixed as fixed
from ._grad_stats import grad_stats as grad_stats
from ._gumbel import GumbelSoftmax as GumbelSoftmax
from ._gumbel import StraightThrough as StraightThrough
from ._gumbel import gumbel_softmax as gumbel_softmax
from ._gumbel import straight_through as straight_through
from ._gumbel import temperature_schedule as temperature_schedule
from ._hmc import hmc as hmc
from ._joint import JointDistribution as JointDistribution
from ._joint import PerSite as PerSite
from ._langevin import langevin as langevin
from ._langevin import mala as mala
from ._one_hot import OneHotCategorical as OneHotCategorical
from ._one_hot import categorical_kl as categorical_kl
from ._orders import likelihood_ratio as likelihood_ratio
from ._pathwise import DoublyReparameterised as DoublyReparameterised
from ._pathwise import LogMeanExp as LogMeanExp
from ._pathwise import PathDerivative as PathDerivative
from ._pathwise import Reparameterised as Reparameterised
from ._pathwise import log_mean_exp as log_mean_exp
from ._policy import AbstractPolicyEstimator as AbstractPolicyEstimator
from ._policy import ActorCritic as ActorCritic
from ._policy import Episodes as Episodes
from ._policy import LaxPolicy as LaxPolicy
from ._policy import RelaxPolicy as RelaxPolicy
from ._policy import act as act
from ._policy import discounted_returns as discounted_returns
from ._policy import policy_gradient as policy_gradient
from ._relax import Lax as Lax
from ._relax import Relax as Relax
from ._relax import rebar as rebar
from ._relaxation import RelaxedSample as RelaxedSample
from ._relaxation import relaxed_sample as relaxed_sample
from ._score import MovingAverage as MovingAverage
from ._score import ScoreFunction as ScoreFunction
from ._standard_normal import StandardNormal as StandardNormal
from ._standard_normal import normal_kl as normal_kl
from ._support import require_inside as require_inside
from ._support import require_volume as require_volume
from ._support_map import SupportMap as SupportMap
from ._taylor import DARN as DARN
from ._taylor import MuProp as MuProp

__all__, __dir__ = _contents.of(__name__)

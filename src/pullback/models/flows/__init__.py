"""Normalising flows: densities of continuous data that can be sampled and scored.

A `CNF` is one ODE, a `ResidualFlow` a stack of residual blocks (an i-ResNet). Both have
`log_prob(x)`, `sample(key, shape)`, `transform_and_log_det(z)` and `inverse_and_log_det(x)`, and
both train by `maximum_likelihood_loss`.
"""

from ._bijection import AbstractBijection as AbstractBijection
from ._bijection import Chain as Chain
from ._bijection import InverseInfo as InverseInfo
from ._bijection import Stacked as Stacked
from ._build import image_residual_flow as image_residual_flow
from ._build import residual_flow as residual_flow
from ._cnf import CNF as CNF
from ._hybrid import HybridFlow as HybridFlow
from ._hybrid import HybridLoss as HybridLoss
from ._images import bits_per_dimension as bits_per_dimension
from ._images import dequantise as dequantise
from ._interface import AbstractFlow as AbstractFlow
from ._interface import maximum_likelihood_loss as maximum_likelihood_loss
from ._reshape import ActNorm as ActNorm
from ._reshape import FactorOut as FactorOut
from ._reshape import Logit as Logit
from ._reshape import Squeeze as Squeeze
from ._residual_block import ResidualBlock as ResidualBlock
from ._residual_block import with_log_det as with_log_det
from ._residual_flow import InverseError as InverseError
from ._residual_flow import LogProbEstimate as LogProbEstimate
from ._residual_flow import ResidualFlow as ResidualFlow
from ._residual_flow import initialise as initialise
from ._residual_flow import log_prob_estimate as log_prob_estimate

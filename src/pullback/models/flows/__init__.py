"""Normalising flows: densities of continuous data that can be sampled and scored.

A `CNF` is one ODE, a `ResidualFlow` a stack of residual blocks (an i-ResNet). Both have
`log_prob(x)`, `sample(key, shape)`, `transform_and_log_det(z)` and `inverse_and_log_det(x)`, all
with a `context` where the density depends on one, and both train by `maximum_likelihood_loss`.
`residual_flow`, `cnf` and `spline_coupling_flow` build them, of columns of any support;
`FlowFamily` is a conditional flow as the posteriors of a VAE. Bijections of FlowJAX come in by
`FromFlowJAX`, and ours go there by `to_flowjax`.
"""

from pullback import _contents

from ._bijection import AbstractBijection as AbstractBijection
from ._bijection import Chain as Chain
from ._bijection import InverseInfo as InverseInfo
from ._bijection import Stacked as Stacked
from ._bijection import closed_form as closed_form
from ._build import cnf as cnf
from ._build import image_residual_flow as image_residual_flow
from ._build import residual_flow as residual_flow
from ._cnf import CNF as CNF
from ._context_nets import ConditionalNormal as ConditionalNormal
from ._context_nets import ContextField as ContextField
from ._context_nets import ContextMLP as ContextMLP
from ._coupling import AffineCoupling as AffineCoupling
from ._coupling import InvertibleConv1x1 as InvertibleConv1x1
from ._coupling import image_coupling_flow as image_coupling_flow
from ._estimate import log_prob_estimate as log_prob_estimate
from ._flowjax import FromFlowJAX as FromFlowJAX
from ._flowjax import to_flowjax as to_flowjax
from ._given import FlowFamily as FlowFamily
from ._given import Given as Given
from ._hybrid import HybridFlow as HybridFlow
from ._hybrid import HybridLoss as HybridLoss
from ._images import bits_per_dimension as bits_per_dimension
from ._images import dequantise as dequantise
from ._init_actnorm import init_actnorm as init_actnorm
from ._interface import AbstractFlow as AbstractFlow
from ._interface import maximum_likelihood_loss as maximum_likelihood_loss
from ._inverse import Inverse as Inverse
from ._mapped_flow import MappedFlow as MappedFlow
from ._reshape import ActNorm as ActNorm
from ._reshape import FactorOut as FactorOut
from ._reshape import Flatten as Flatten
from ._reshape import Logit as Logit
from ._reshape import Reverse as Reverse
from ._reshape import Squeeze as Squeeze
from ._residual_block import ResidualBlock as ResidualBlock
from ._residual_block import with_log_det as with_log_det
from ._residual_flow import InverseError as InverseError
from ._residual_flow import ResidualFlow as ResidualFlow
from ._splines import spline_coupling_flow as spline_coupling_flow
from ._support import OntoLine as OntoLine

__all__, __dir__ = _contents.of(__name__)

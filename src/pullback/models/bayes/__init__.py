"""Bayesian networks of infinite depth: weights that follow an SDE, with calibrated predictions."""

from pullback import _contents

from ._block import SDEBNNBlock as SDEBNNBlock
from ._block import sde_bnn_block as sde_bnn_block
from ._conv_field import ConvField as ConvField
from ._loss import SDEBNNLoss as SDEBNNLoss
from ._loss import categorical_log_likelihood as categorical_log_likelihood
from ._loss import laplace_log_likelihood as laplace_log_likelihood
from ._mean_field import MeanFieldODENet as MeanFieldODENet
from ._priors import AbstractWeightPrior as AbstractWeightPrior
from ._priors import BrownianPrior as BrownianPrior
from ._priors import OUPrior as OUPrior
from ._sde_bnn import SDEBNN as SDEBNN
from ._sde_bnn import Outputs as Outputs
from ._sde_bnn import conv_sde_bnn as conv_sde_bnn
from ._sde_bnn import mlp_sde_bnn as mlp_sde_bnn
from ._weight_process import KL as KL
from ._weight_process import BottleneckDrift as BottleneckDrift
from ._weight_process import WeightProcess as WeightProcess

__all__, __dir__ = _contents.of(__name__)

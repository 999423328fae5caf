"""Derivatives that JAX does not have ready: total, dimension-wise, divergences, Fokker-Planck."""

from ._dimensionwise import dimensionwise_derivatives as dimensionwise_derivatives
from ._divergence import AbstractDivergence as AbstractDivergence
from ._divergence import ExactDivergence as ExactDivergence
from ._divergence import HollowDivergence as HollowDivergence
from ._divergence import HutchinsonDivergence as HutchinsonDivergence
from ._fokker_planck import fokker_planck_loss as fokker_planck_loss
from ._fokker_planck import fokker_planck_rate as fokker_planck_rate
from ._fokker_planck import fokker_planck_residual as fokker_planck_residual
from ._total_derivatives import total_derivatives as total_derivatives

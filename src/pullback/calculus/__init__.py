"""Derivatives that JAX does not have ready: total derivatives in time, and divergences."""

from ._divergence import AbstractDivergence as AbstractDivergence
from ._divergence import ExactDivergence as ExactDivergence
from ._divergence import HutchinsonDivergence as HutchinsonDivergence
from ._total_derivatives import total_derivatives as total_derivatives

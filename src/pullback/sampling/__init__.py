"""Gradients of an expectation with respect to the law of what is drawn."""

from ._grad_stats import GradStats as GradStats
from ._grad_stats import grad_stats as grad_stats

"""Flows: densities that are a simple one, moved by an invertible map.

Each has `log_prob(x)` and `sample(key, shape)`, so one flow can be the base of another, and takes
as its base anything that has the two: a distribution of NumPyro or FlowJAX, or your own.
"""

from ._cnf import CNF as CNF
from ._cnf import negative_log_likelihood as negative_log_likelihood

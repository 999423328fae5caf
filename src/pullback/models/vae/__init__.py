"""Variational autoencoders."""

from ._binary import BinaryVAE as BinaryVAE
from ._binary import bernoulli_log_prob as bernoulli_log_prob
from ._binary import bound_loss as bound_loss
from ._binary import importance_weighted_evidence as importance_weighted_evidence

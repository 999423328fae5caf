"""Gradients through training runs: hyperparameters tuned by the loss on data held out.

A problem has two losses, `loss(model, hyper, batch, *, key) -> (scalar, dict of scalar metrics)`:
the inner one, that training makes small, and the outer one, by which `hyper` is judged. `hyper` is
any PyTree of real floating arrays.
"""

from pullback import _contents

from ._hyperparameters import AbstractHyperparameter as AbstractHyperparameter
from ._hyperparameters import Bounded as Bounded
from ._hyperparameters import Integer as Integer
from ._hyperparameters import Positive as Positive
from ._hyperparameters import values as values
from ._schedule import Recorded as Recorded
from ._schedule import Schedule as Schedule

__all__, __dir__ = _contents.of(__name__)

"""Training: one compiled loop, a log, a held-out set, and checkpoints that survive a kill.

`fit` trains any PyTree by a loss and an Optax optimiser; `iterate` takes steps of one's own: a
sampler with a buffer, two players. Both are faces of one engine. With several keys either trains
that many runs as one program. `evaluate` gives the exact mean of a loss over a set. `load_model`
reads the model that a run left in its folder; `save_checkpoint` and `load_checkpoint` keep any
PyTree of arrays in one file without pickle, and `read_header` what was written beside them.

What is called a loss has one shape, `loss(model, batch, *, key) -> (scalar, dict of scalar
metrics)`: a function named `..._loss`, or a class named `...Loss` where it has settings. Other
scalars to minimise are objectives.
"""

from pullback import _contents
from pullback.train._checkpoint import CheckpointError as CheckpointError
from pullback.train._checkpoint import load_checkpoint as load_checkpoint
from pullback.train._checkpoint import read_header as read_header
from pullback.train._checkpoint import save_checkpoint as save_checkpoint
from pullback.train._evaluate import evaluate as evaluate
from pullback.train._fit import fit as fit
from pullback.train._gradient import apply_gradient as apply_gradient
from pullback.train._info import Ending as Ending
from pullback.train._info import TrainingError as TrainingError
from pullback.train._info import TrainingInfo as TrainingInfo
from pullback.train._iterate import iterate as iterate
from pullback.train._learned import JointLoss as JointLoss
from pullback.train._load_model import load_model as load_model
from pullback.train._sources import Stream as Stream

__all__, __dir__ = _contents.of(__name__)

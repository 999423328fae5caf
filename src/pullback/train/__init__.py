"""Fitting a model: one compiled loop, a log, a held-out set, and checkpoints that survive a kill.

`fit` trains any PyTree with an Optax optimiser, `fit_stack` many of one shape at once. `evaluate`
gives the exact mean of a loss over a set. `load_model` reads the model that a run left in its
folder; `save_checkpoint` and `load_checkpoint` keep any PyTree of arrays in one file without
pickle. `iterate` is for training that is more than a gradient step of one loss: a sampler with a
buffer, two players.

What is called a loss has one shape, `loss(model, batch, *, key) -> (scalar, dict of scalar
metrics)`: a function named `..._loss`, or a class named `...Loss` where it has settings. Other
scalars to minimise are objectives.
"""

from pullback.train._checkpoint import CheckpointError as CheckpointError
from pullback.train._checkpoint import load_checkpoint as load_checkpoint
from pullback.train._checkpoint import save_checkpoint as save_checkpoint
from pullback.train._evaluate import evaluate as evaluate
from pullback.train._fit import fit as fit
from pullback.train._fit_stack import StackInfo as StackInfo
from pullback.train._fit_stack import fit_stack as fit_stack
from pullback.train._info import Ending as Ending
from pullback.train._info import FitInfo as FitInfo
from pullback.train._info import TrainingError as TrainingError
from pullback.train._iterate import IterateInfo as IterateInfo
from pullback.train._iterate import Stream as Stream
from pullback.train._iterate import iterate as iterate
from pullback.train._learned import JointLoss as JointLoss
from pullback.train._load_model import load_model as load_model
from pullback.train._loop import apply_gradient as apply_gradient

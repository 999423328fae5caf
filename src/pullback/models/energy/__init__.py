"""Energy-based models: densities that are known but for their sum."""

from pullback import _contents

from ._entropy_gradient import entropy_score as entropy_score
from ._entropy_gradient import entropy_surrogate as entropy_surrogate
from ._entropy_proposals import AbstractProposal as AbstractProposal
from ._entropy_proposals import DiagonalProposal as DiagonalProposal
from ._entropy_proposals import GaussNewtonProposal as GaussNewtonProposal
from ._entropy_proposals import proposal_objective as proposal_objective
from ._fit_jem import fit_jem as fit_jem
from ._fit_vera import fit_vera as fit_vera
from ._jem import JEM as JEM
from ._jem_step import JEMState as JEMState
from ._jem_step import JEMStep as JEMStep
from ._jem_step import jem_terms as jem_terms
from ._latent_generator import LatentGenerator as LatentGenerator
from ._linear_ica import LinearICA as LinearICA
from ._linear_ica import random_unmixing as random_unmixing
from ._rbm import GaussianBernoulliRBM as GaussianBernoulliRBM
from ._refine import refine as refine
from ._replay import ReplayBuffer as ReplayBuffer
from ._sgld import SGLD as SGLD
from ._sgld import refined_logits as refined_logits
from ._sgld import sample_jem as sample_jem
from ._starts import AbstractStart as AbstractStart
from ._starts import BoxStart as BoxStart
from ._starts import GaussianStart as GaussianStart
from ._stein_training import ScoreMatchingLoss as ScoreMatchingLoss
from ._stein_training import SteinState as SteinState
from ._stein_training import SteinStep as SteinStep
from ._stein_training import fit_stein as fit_stein
from ._tilted_gaussian import TiltedGaussian as TiltedGaussian
from ._vera_loss import vera_energy_objective as vera_energy_objective
from ._vera_step import VERAState as VERAState
from ._vera_step import VERAStep as VERAStep

__all__, __dir__ = _contents.of(__name__)

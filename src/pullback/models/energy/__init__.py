"""Energy-based models: densities that are known but for their sum."""

from ._fit_jem import fit_jem as fit_jem
from ._jem import JEM as JEM
from ._jem_step import JEMState as JEMState
from ._jem_step import JEMStep as JEMStep
from ._jem_step import JEMTerms as JEMTerms
from ._jem_step import jem_terms as jem_terms
from ._linear_ica import LinearICA as LinearICA
from ._linear_ica import random_unmixing as random_unmixing
from ._rbm import GaussianBernoulliRBM as GaussianBernoulliRBM
from ._replay import ReplayBuffer as ReplayBuffer
from ._sgld import SGLD as SGLD
from ._sgld import refined_logits as refined_logits
from ._sgld import sample_jem as sample_jem
from ._starts import AbstractStart as AbstractStart
from ._starts import BoxStart as BoxStart
from ._starts import GaussianStart as GaussianStart
from ._stein_training import SteinState as SteinState
from ._stein_training import SteinStep as SteinStep
from ._stein_training import fit_stein as fit_stein
from ._stein_training import score_matching_loss as score_matching_loss
from ._tilted_gaussian import TiltedGaussian as TiltedGaussian

"""Sequences by design: generators, regressors, motifs and latent spaces, and searches in them."""

from pullback import _contents
from pullback.models.sequences._design_latent import design_latent as design_latent
from pullback.models.sequences._designs import Designs as Designs
from pullback.models.sequences._maximise import maximise as maximise
from pullback.models.sequences._motif import MotifScore as MotifScore
from pullback.models.sequences._objective import near_target as near_target
from pullback.models.sequences._objective import weighted as weighted

from ._bayes_opt import Trace as Trace
from ._bayes_opt import bayes_opt as bayes_opt
from ._decode_many import Candidates as Candidates
from ._decode_many import decode_many as decode_many
from ._expected_improvement import expected_improvement as expected_improvement
from ._expected_improvement import log_expected_improvement as log_expected_improvement
from ._fit_gan import fit_sequence_gan as fit_sequence_gan
from ._fit_regressor import fit_sequence_regressor as fit_sequence_regressor
from ._fit_token_vae import fit_token_vae as fit_token_vae
from ._gan_nets import SequenceCritic as SequenceCritic
from ._gan_nets import SequenceGenerator as SequenceGenerator
from ._gaussian_process import GaussianProcess as GaussianProcess
from ._latent_space import LatentSpace as LatentSpace
from ._regressor import SequenceEnsemble as SequenceEnsemble
from ._regressor import SequenceRegressor as SequenceRegressor
from ._token_vae import TokenVAE as TokenVAE
from ._token_vae import token_vae as token_vae
from ._uphill import climb as climb

__all__, __dir__ = _contents.of(__name__)

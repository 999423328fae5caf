"""Irregular, partly observed series: recurrent cells, the latent ODE, what comes next."""

from pullback import _contents
from pullback.models.likelihoods import AbstractLikelihood as AbstractLikelihood
from pullback.models.likelihoods import Bernoulli as Bernoulli
from pullback.models.likelihoods import Categorical as Categorical
from pullback.models.likelihoods import DiscretisedLogisticMixture as DiscretisedLogisticMixture
from pullback.models.likelihoods import NegativeBinomial as NegativeBinomial
from pullback.models.likelihoods import Normal as Normal
from pullback.models.likelihoods import Poisson as Poisson

from ._cells import AbstractCell as AbstractCell
from ._cells import GaussianGRUCell as GaussianGRUCell
from ._cells import GRUCell as GRUCell
from ._cells import GRUDCell as GRUDCell
from ._cells import recurrent_cell as recurrent_cell
from ._contexts import AbstractContextEncoder as AbstractContextEncoder
from ._contexts import FirstFramesContext as FirstFramesContext
from ._contexts import NoContext as NoContext
from ._contexts import PathContext as PathContext
from ._contexts import RecurrentContext as RecurrentContext
from ._dynamics import TanhField as TanhField
from ._elbo_terms import Decoded as Decoded
from ._elbo_terms import ELBOTerms as ELBOTerms
from ._encoder import Encoder as Encoder
from ._encoder import Posterior as Posterior
from ._encoder import gaussian_encoder as gaussian_encoder
from ._fit_generator import fit_generator as fit_generator
from ._fitted_noise import fitted_noise as fitted_noise
from ._generators import AbstractGenerator as AbstractGenerator
from ._generators import ConditionalGenerator as ConditionalGenerator
from ._generators import HMMGenerator as HMMGenerator
from ._generators import series_log_prob as series_log_prob
from ._latent_ode import LatentODE as LatentODE
from ._latent_ode_fit import LatentODELoss as LatentODELoss
from ._latent_ode_fit import TrainingSeries as TrainingSeries
from ._latent_ode_fit import latent_ode as latent_ode
from ._latent_priors import AbstractLatentPrior as AbstractLatentPrior
from ._latent_priors import NeuralPrior as NeuralPrior
from ._latent_priors import OrnsteinUhlenbeck as OrnsteinUhlenbeck
from ._latent_sde import LatentSDE as LatentSDE
from ._latent_sde_fit import Control as Control
from ._latent_sde_fit import LatentSDELoss as LatentSDELoss
from ._latent_sde_fit import latent_sde as latent_sde
from ._observations import Observations as Observations
from ._observations import observations as observations
from ._ode_rnn import Predictor as Predictor
from ._ode_rnn import one_step_loss as one_step_loss
from ._ode_rnn import predictor as predictor
from ._poisson import Intensity as Intensity
from ._poisson import PoissonHead as PoissonHead
from ._poisson import PoissonProcess as PoissonProcess
from ._poisson import SoftplusRate as SoftplusRate
from ._poisson import event_loss as event_loss
from ._poisson import poisson_log_prob as poisson_log_prob
from ._prediction import Prediction as Prediction
from ._prediction import forecast as forecast
from ._prediction import impute as impute
from ._prediction import predict as predict
from ._prediction import reconstruct as reconstruct
from ._prediction import sample_paths as sample_paths
from ._run_cell import run_cell as run_cell
from ._transitions import AbstractTransition as AbstractTransition
from ._transitions import Decay as Decay
from ._transitions import ODETransition as ODETransition
from ._transitions import PiecewiseConstant as PiecewiseConstant

__all__, __dir__ = _contents.of(__name__)

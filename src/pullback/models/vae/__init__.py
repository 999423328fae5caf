"""Variational autoencoders: of parts that are chosen freely."""

from pullback import _contents
from pullback.models.likelihoods import AbstractLikelihood as AbstractLikelihood
from pullback.models.likelihoods import Bernoulli as Bernoulli
from pullback.models.likelihoods import Categorical as Categorical
from pullback.models.likelihoods import DiscretisedLogisticMixture as DiscretisedLogisticMixture
from pullback.models.likelihoods import NegativeBinomial as NegativeBinomial
from pullback.models.likelihoods import Normal as Normal
from pullback.models.likelihoods import Poisson as Poisson
from pullback.models.likelihoods import Tokens as Tokens
from pullback.models.likelihoods import bernoulli_log_prob as bernoulli_log_prob

from ._ar1_prior import AR1Prior as AR1Prior
from ._autoregressive import AbstractAutoregressiveDecoder as AbstractAutoregressiveDecoder
from ._auxiliary_priors import AggregateNormal as AggregateNormal
from ._auxiliary_priors import AutoregressivePrior as AutoregressivePrior
from ._auxiliary_priors import aggregate_normal as aggregate_normal
from ._auxiliary_priors import fit_auxiliary_prior as fit_auxiliary_prior
from ._factor_game import FactorGame as FactorGame
from ._linear import LinearVAE as LinearVAE
from ._losses import BoundLoss as BoundLoss
from ._losses import ObjectiveLoss as ObjectiveLoss
from ._losses import batch_terms as batch_terms
from ._losses import importance_weighted_evidence as importance_weighted_evidence
from ._masked_dense import MaskedDense as MaskedDense
from ._mixture_priors import MixturePrior as MixturePrior
from ._mixture_priors import VampPrior as VampPrior
from ._networks import ConvDecoder as ConvDecoder
from ._networks import ConvEncoder as ConvEncoder
from ._networks import DenseNet as DenseNet
from ._pixel_cnn import PixelCNN as PixelCNN
from ._property_loss import PropertyLoss as PropertyLoss
from ._raster_decoder import RasterDecoder as RasterDecoder
from ._sequence_decoder import SequenceDecoder as SequenceDecoder
from ._token_decoder import TokenDecoder as TokenDecoder
from ._token_decoder import TokenState as TokenState
from ._token_encoder import TokenEncoder as TokenEncoder
from ._vae import VAE as VAE
from ._vae import mlp_vae as mlp_vae
from ._vae import traverse as traverse

__all__, __dir__ = _contents.of(__name__)

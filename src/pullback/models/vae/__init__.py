"""Variational autoencoders: of parts that are chosen freely."""

from ._ar1_prior import AR1Prior as AR1Prior
from ._autoregressive import AbstractAutoregressiveDecoder as AbstractAutoregressiveDecoder
from ._likelihoods import AbstractLikelihood as AbstractLikelihood
from ._likelihoods import Bernoulli as Bernoulli
from ._likelihoods import Categorical as Categorical
from ._likelihoods import DiscretisedLogisticMixture as DiscretisedLogisticMixture
from ._likelihoods import Gaussian as Gaussian
from ._likelihoods import bernoulli_log_prob as bernoulli_log_prob
from ._linear import LinearVAE as LinearVAE
from ._losses import BoundLoss as BoundLoss
from ._losses import ObjectiveLoss as ObjectiveLoss
from ._losses import annealed_evidence as annealed_evidence
from ._losses import batch_terms as batch_terms
from ._losses import importance_weighted_evidence as importance_weighted_evidence
from ._mixture_priors import EvenMixture as EvenMixture
from ._mixture_priors import MixturePrior as MixturePrior
from ._mixture_priors import VampPrior as VampPrior
from ._networks import ConvDecoder as ConvDecoder
from ._networks import ConvEncoder as ConvEncoder
from ._networks import DenseNet as DenseNet
from ._pixel_cnn import PixelCNN as PixelCNN
from ._vae import VAE as VAE
from ._vae import mlp_vae as mlp_vae

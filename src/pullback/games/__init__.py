"""Gradients through games: two players, of which each moves what the other one sees.

A generator makes samples, a discriminator tells them from data; its logit estimates the log of a
ratio of densities, and the generator descends a divergence that is made of that ratio.
"""

from pullback import _contents

from ._ali import ALI as ALI
from ._ali import JointDiscriminator as JointDiscriminator
from ._ali_game import ALIGame as ALIGame
from ._conditional import AbstractConditional as AbstractConditional
from ._conditional import Deterministic as Deterministic
from ._conditional import GaussianConditional as GaussianConditional
from ._conditional import NoiseConditional as NoiseConditional
from ._divergence import FDivergence as FDivergence
from ._divergence import alpha as alpha
from ._divergence import jensen_shannon as jensen_shannon
from ._divergence import kl as kl
from ._divergence import minimax as minimax
from ._divergence import neyman as neyman
from ._divergence import non_saturating as non_saturating
from ._divergence import pearson as pearson
from ._divergence import reverse_kl as reverse_kl
from ._divergence import squared_hellinger as squared_hellinger
from ._fit_ali import fit_ali as fit_ali
from ._fit_gan import fit_gan as fit_gan
from ._game import AbstractGame as AbstractGame
from ._game import GANGame as GANGame
from ._joint_losses import joint_losses as joint_losses
from ._objectives import discriminator_loss as discriminator_loss
from ._objectives import generator_loss as generator_loss
from ._ratio import RatioDiagnostics as RatioDiagnostics
from ._ratio import effective_divergence as effective_divergence
from ._ratio import ratio_diagnostics as ratio_diagnostics
from ._step import GANState as GANState
from ._step import GANStep as GANStep
from ._wasserstein import WassersteinEstimate as WassersteinEstimate
from ._wasserstein import WassersteinGame as WassersteinGame
from ._wasserstein import wasserstein_estimate as wasserstein_estimate

__all__, __dir__ = _contents.of(__name__)

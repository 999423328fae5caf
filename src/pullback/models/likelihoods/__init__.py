"""How data scatter about what a model says: one contract for autoencoders and for series."""

from pullback import _contents

from ._bernoulli import Bernoulli as Bernoulli
from ._bernoulli import bernoulli_log_prob as bernoulli_log_prob
from ._categorical import Categorical as Categorical
from ._counts import NegativeBinomial as NegativeBinomial
from ._counts import Poisson as Poisson
from ._interface import AbstractLikelihood as AbstractLikelihood
from ._interface import Kind as Kind
from ._logistic_mixture import DiscretisedLogisticMixture as DiscretisedLogisticMixture
from ._masked import masked_log_prob as masked_log_prob
from ._normal import Normal as Normal
from ._normal import normal_log_prob as normal_log_prob
from ._support import check_support as check_support
from ._support import require_params as require_params
from ._support import within_support as within_support
from ._tokens import Tokens as Tokens

__all__, __dir__ = _contents.of(__name__)

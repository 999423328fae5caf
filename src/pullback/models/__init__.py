"""Models: what you fit. Each family has a room of its own."""

from pullback import _contents

from . import bayes as bayes
from . import energy as energy
from . import flows as flows
from . import graphs as graphs
from . import likelihoods as likelihoods
from . import ode_net as ode_net
from . import recommenders as recommenders
from . import sequences as sequences
from . import timeseries as timeseries
from . import vae as vae

__all__, __dir__ = _contents.of(__name__)

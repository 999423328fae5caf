"""Models: what you fit. Each family has a room of its own."""

from . import bayes as bayes
from . import energy as energy
from . import flows as flows
from . import likelihoods as likelihoods
from . import ode_net as ode_net
from . import timeseries as timeseries
from . import vae as vae

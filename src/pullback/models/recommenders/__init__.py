"""Recommenders that know a newcomer from a few ratings, and the baselines to beat."""

from pullback import _contents

from ._als import PreferenceFactors as PreferenceFactors
from ._als import RatingFactors as RatingFactors
from ._als import fit_als as fit_als
from ._biases import Biases as Biases
from ._biases import fit_biases as fit_biases
from ._popularity import Popularity as Popularity
from ._popularity import fit_popularity as fit_popularity
from ._recommender import AbstractRecommender as AbstractRecommender

__all__, __dir__ = _contents.of(__name__)

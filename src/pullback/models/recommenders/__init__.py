"""Recommenders that know a newcomer from a few ratings, and the baselines to beat."""

from pullback import _contents

from ._als import PreferenceFactors as PreferenceFactors
from ._als import RatingFactors as RatingFactors
from ._als import fit_als as fit_als
from ._biases import Biases as Biases
from ._biases import fit_biases as fit_biases
from ._chains import EmbeddedChains as EmbeddedChains
from ._chains import EvidenceChains as EvidenceChains
from ._chains import Why as Why
from ._embed_tree import embed_tree as embed_tree
from ._fit_chains import choose_prototypes as choose_prototypes
from ._fit_chains import fit_evidence_chains as fit_evidence_chains
from ._fit_chains import untrained_chains as untrained_chains
from ._popularity import Popularity as Popularity
from ._popularity import fit_popularity as fit_popularity
from ._recommender import AbstractRecommender as AbstractRecommender

__all__, __dir__ = _contents.of(__name__)

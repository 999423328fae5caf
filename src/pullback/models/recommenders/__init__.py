"""Recommenders that know a newcomer from a few ratings, and the baselines to beat."""

from pullback import _contents

__all__, __dir__ = _contents.of(__name__)

"""Optimisers that know what they do not know: of weights, of gradients, and of earlier tasks."""

from pullback import _contents

__all__, __dir__ = _contents.of(__name__)

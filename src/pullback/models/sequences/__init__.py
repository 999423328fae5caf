"""Sequences by design: generators, regressors, motifs and latent spaces, and searches in them."""

from pullback import _contents

__all__, __dir__ = _contents.of(__name__)

"""Gradients through games: two players, of which each moves what the other one sees.

A generator makes samples, a discriminator tells them from data; its logit estimates the log of a
ratio of densities, and the generator descends a divergence that is made of that ratio.
"""

from pullback import _contents

__all__, __dir__ = _contents.of(__name__)

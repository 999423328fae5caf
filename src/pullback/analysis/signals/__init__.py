"""How signals run through a deep network: by mean-field theory, and measured on a model.

`layers` is a model, or any function from one input to the tuple of its layers.
"""

from pullback import _contents

__all__, __dir__ = _contents.of(__name__)

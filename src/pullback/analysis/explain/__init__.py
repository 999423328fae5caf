"""Why a model said so: what part of an image, what measurement at what hour, of any callable."""

from pullback import _contents

__all__, __dir__ = _contents.of(__name__)

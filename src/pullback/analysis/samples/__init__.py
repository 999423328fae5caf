"""Whether samples look like data: functions of arrays of rows, which know no model."""

from pullback import _contents

__all__, __dir__ = _contents.of(__name__)

"""Energy-based models: densities that are known but for their sum."""

from ._jem import JEM as JEM

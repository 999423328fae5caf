"""Whether samples look like data: functions of arrays of rows, which know no model."""

from pullback import _contents

from ._density_and_coverage import DensityAndCoverage as DensityAndCoverage
from ._density_and_coverage import density_and_coverage as density_and_coverage
from ._two_sample_auroc import TwoSampleAUROC as TwoSampleAUROC
from ._two_sample_auroc import two_sample_auroc as two_sample_auroc

__all__, __dir__ = _contents.of(__name__)

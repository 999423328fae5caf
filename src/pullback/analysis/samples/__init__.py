"""Whether samples look like data: functions of arrays of rows, which know no model."""

from pullback import _contents

from ._density_and_coverage import DensityAndCoverage as DensityAndCoverage
from ._density_and_coverage import density_and_coverage as density_and_coverage
from ._latent_recovery import LatentRecovery as LatentRecovery
from ._latent_recovery import latent_recovery as latent_recovery
from ._mode_coverage import ModeCoverage as ModeCoverage
from ._mode_coverage import mode_coverage as mode_coverage
from ._two_sample_auroc import TwoSampleAUROC as TwoSampleAUROC
from ._two_sample_auroc import two_sample_auroc as two_sample_auroc

__all__, __dir__ = _contents.of(__name__)

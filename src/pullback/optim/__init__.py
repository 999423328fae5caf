"""Optimisers that know what they do not know: of weights, of gradients, and of earlier tasks."""

from pullback import _contents

from ._consolidate import consolidate as consolidate
from ._continual import ContinualState as ContinualState
from ._continual import elastic_weight_consolidation as elastic_weight_consolidation
from ._continual import synaptic_intelligence as synaptic_intelligence
from ._diagonal_fisher import diagonal_fisher as diagonal_fisher
from ._fit_tasks import TasksInfo as TasksInfo
from ._fit_tasks import fit_tasks as fit_tasks

__all__, __dir__ = _contents.of(__name__)

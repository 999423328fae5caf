"""Figures in one house style; Matplotlib is imported when something is drawn, not before."""

from pullback import _contents
from pullback.plots._graph_sheet import graph_sheet as graph_sheet
from pullback.plots._logo import sequence_logo as sequence_logo
from pullback.plots._plots import density_image as density_image
from pullback.plots._plots import image_sheet as image_sheet
from pullback.plots._plots import line_with_spread as line_with_spread
from pullback.plots._plots import rate_distortion_axes as rate_distortion_axes
from pullback.plots._schedule import schedule_figure as schedule_figure
from pullback.plots._style import PALETTE as PALETTE
from pullback.plots._style import figure as figure
from pullback.plots._style import house_style as house_style

__all__, __dir__ = _contents.of(__name__)

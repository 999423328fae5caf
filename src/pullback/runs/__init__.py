"""Figures in one house style, and the pages that show a run: `report.html` and the gallery.

Matplotlib and Jinja are imported when something is drawn or written, not before.
"""

from pullback.report._gallery import write_gallery as write_gallery
from pullback.report._numbers import measured as measured
from pullback.report._numbers import number as number
from pullback.report._page import read_record as read_record
from pullback.report._page import write_page as write_page
from pullback.report._plots import density_image as density_image
from pullback.report._plots import image_sheet as image_sheet
from pullback.report._plots import line_with_spread as line_with_spread
from pullback.report._plots import rate_distortion_axes as rate_distortion_axes
from pullback.report._style import PALETTE as PALETTE
from pullback.report._style import figure as figure
from pullback.report._style import house_style as house_style

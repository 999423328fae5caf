"""Pictures that show names of the user's own."""

import io
import warnings
from collections.abc import Callable
from typing import Any

from pullback.plots import house_style

_LONGEST = 50  # letters of a name that are drawn


def png(figure: Any, dpi: int = 120) -> bytes:
    """A figure as PNG, in which no name is a formula and a long one is cut.

    Args:
        figure: of Matplotlib, drawn in `house_style(math=False)`.
        dpi: dots an inch.
    """
    from matplotlib.text import Text
    from matplotlib.ticker import FuncFormatter

    # Labels of ticks are made when a figure is saved.
    with house_style(math=False), warnings.catch_warnings():
        # Of letters that the font has not there are boxes; what is beside the picture has them.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        warnings.filterwarnings("ignore", "constrained_layout not applied")  # for names take it all
        for text in figure.findobj(Text):
            text.set_text(_cut(text.get_text()))
        for ax in figure.axes:
            for axis in (ax.xaxis, ax.yaxis):
                form = axis.get_major_formatter()
                if isinstance(form, FuncFormatter):  # as `set_xticks` makes one of names
                    form.func = _cutting(form.func)
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=dpi)
    return image.getvalue()


def _cutting(names: Callable[..., str]) -> Callable[..., str]:
    return lambda *at: _cut(names(*at))


def _cut(text: str) -> str:
    """One line, and not a long one.

    >>> _cut("a" * 80) == "a" * 47 + "...", _cut("one\\ntwo"), _cut("a$^$b_%")
    (True, 'one two', 'a$^$b_%')
    """
    text = " ".join(text.split("\n"))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."

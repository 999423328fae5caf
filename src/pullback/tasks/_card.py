"""What a fitted model says of itself: its card, and its page."""

import shlex
from pathlib import Path
from typing import Any

from ._page import write_page
from ._task import AbstractTask


def card(model: AbstractTask, folder: Path) -> str:
    """Data, columns, how good the fit is and beside what, and what to do next.

    Args:
        model: fitted.
        folder: where it is saved, for the commands.
    """
    return "\n".join(
        [*model._card(), "next:", *(f"  {line}" for line in next_steps(model, folder))]
    )


def next_steps(model: AbstractTask, folder: Path) -> list[str]:
    """What to do with a saved model, as command lines."""
    return [
        *model._commands(shlex.quote(str(folder))),
        f'python -c "import pullback as pb; print(pb.tasks.load({str(folder)!r}).notes_)"',
    ]


def write_report(model: AbstractTask, X: Any, folder: Path) -> Path:
    """Write `report.html` beside a saved model: how good it is, beside what, and pictures.

    Args:
        model: fitted to these data.
        X: the data, as `fit` took them.
        folder: of the saved model.

    Returns:
        The page.
    """
    return write_page(model._report(X), folder, next_steps(model, folder))

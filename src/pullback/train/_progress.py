"""The bar on the terminal: steps, rate, time left, loss."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress_bar(
    show: bool | None, *, steps: int, done: int
) -> Iterator[Callable[[int, float, float], None]]:
    """Show a bar on stderr, where that is a terminal or `show` asks for it.

    Gives a function to call after each chunk with the step, the rate in steps a second and the
    loss. It works on the host between chunks: a bar inside a compiled program costs a callback.
    """
    if not (sys.stderr.isatty() if show is None else show):
        yield lambda step, rate, loss: None
        return
    columns = (
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} steps/s"),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=steps, completed=done, rate="-", loss="-")

        def update(step: int, rate: float, loss: float) -> None:
            bar.update(task, completed=step, rate=f"{rate:.3g}", loss=f"{loss:.4g}")

        yield update

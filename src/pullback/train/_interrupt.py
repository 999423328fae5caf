"""Ctrl-C that waits until the training state is whole."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Put off the first Ctrl-C, and give a function that says whether there was one.

    While a chunk runs its input buffers are donated, so a `KeyboardInterrupt` in the middle would
    leave no state to save. A second Ctrl-C is not put off. Nothing is changed outside the main
    thread, which alone gets signals, nor where Ctrl-C is ignored or handled outside Python.
    """
    before = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or before in (None, signal.SIG_IGN):
        yield lambda: False
        return
    pressed = threading.Event()

    def put_off(number: int, frame: Any) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, put_off)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)

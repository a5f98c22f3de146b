"""Ctrl-C as something to look at between two steps, instead of an exception anywhere."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


def _nothing(count: int) -> None:
    del count


class CtrlC:
    """Counts how often Ctrl-C was pressed, while it is `heard`.

    (No `threading.Event`: a second Ctrl-C within its `set` would wait for the first for ever.)
    """

    def __init__(self, act: Callable[[int], None] = _nothing):
        self.count = 0
        self._act = act

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Takes SIGINT over; nestable. Does nothing outside the main thread, which alone may."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = signal.signal(signal.SIGINT, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.SIG_DFL if previous is None else previous)

    def _note(self, *_: object) -> None:
        self.count += 1
        self._act(self.count)

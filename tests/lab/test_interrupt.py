"""Ctrl-C is counted while it is heard, and has its old meaning before and after."""

import signal
import threading

import pytest

from tenfold.lab.interrupt import CtrlC


def press():
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_is_counted_and_told_while_it_is_heard():
    told = []
    ctrl_c = CtrlC(told.append)
    with ctrl_c.heard():
        press()
        press()
    assert (ctrl_c.count, told) == (2, [1, 2])
    with pytest.raises(KeyboardInterrupt):
        press()


def test_hearing_may_be_nested():
    """The inner one takes it; the outer one has it back after that, also when the inner fails."""
    outer, inner = CtrlC(), CtrlC()

    def fails():
        with inner.heard():
            press()
            raise ValueError("inside")

    with outer.heard():
        with pytest.raises(ValueError, match="inside"):
            fails()
        press()
        with outer.heard():
            press()
        press()
    assert (outer.count, inner.count) == (3, 1)


def test_outside_the_main_thread_nothing_is_heard_and_nothing_breaks():
    ctrl_c, before = CtrlC(), signal.getsignal(signal.SIGINT)
    seen = []

    def work():
        with ctrl_c.heard():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]

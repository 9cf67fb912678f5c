from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tunewise.engine.stop import SAME_REQUEST_SECONDS, WATCHER, Stop, Told
from tunewise.errors import Interrupted

CHILD = """
import hashlib
from tunewise.engine.stop import Stop
with Stop():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 200_000_000)  # minutes in a library, where no handler of Python's runs
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Stop() as stop:
        stop.check()
        os.kill(os.getpid(), number)
        assert stop.requested
        with pytest.raises(Interrupted, match="stopped by the user") as caught:
            stop.check()
    assert "--resume" in caught.value.fix
    assert signal.getsignal(number) is before


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_exits_at_once(number: signal.Signals) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        time.sleep(SAME_REQUEST_SECONDS / 5)
        child.send_signal(number)  # as `timeout` does
        time.sleep(2 * SAME_REQUEST_SECONDS)
        assert child.poll() is None
        start = time.perf_counter()
        child.send_signal(number)
        assert child.wait(timeout=10) == 130
        assert time.perf_counter() - start < 2
    finally:
        child.kill()
        child.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_at_once(number: signal.Signals) -> None:
    with Stop(fix="again") as stop:
        with pytest.raises(Interrupted, match="stopped by the user") as caught, stop.at_once():
            with stop.deferred():
                pass
            os.kill(os.getpid(), number)
            pytest.fail("went on")
        assert caught.value.fix == "again" and stop.requested
        with pytest.raises(Interrupted), stop.at_once():
            pytest.fail("began after a stop was asked for")


def test_what_is_deferred_comes_to_its_end() -> None:
    done = []
    with Stop() as stop, stop.at_once():
        with stop.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append(stop.requested)
        done.append("left")
    assert done == [True, "left"]


def watchers() -> int:
    return sum(thread.name == WATCHER for thread in threading.enumerate())


def watchers_left() -> int:
    """How many do not end within some seconds."""
    deadline = time.monotonic() + 5
    while watchers() and time.monotonic() < deadline:
        time.sleep(0.01)
    return watchers()


def test_handlers_and_wakeups_are_put_back() -> None:
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    assert watchers_left() == 0
    with Stop():
        assert watchers() == 1
    assert signal.set_wakeup_fd(before) == before
    assert watchers_left() == 0
    with Stop(patient=True):
        assert watchers() == 0


def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop.requested
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_a_thread_nothing_is_installed() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with Stop() as stop:
            stop.check()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_several_runs_hear_of_the_same_stop() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Stop(fix="go on") as stop:
        mine = signal.getsignal(signal.SIGTERM)
        with Told(stop) as one, Told(stop) as other:
            assert signal.getsignal(signal.SIGTERM) == mine
            one.check()
            os.kill(os.getpid(), signal.SIGTERM)
            for told in (one, other):
                with pytest.raises(Interrupted) as caught:
                    told.check()
                assert caught.value.fix == "go on"
                with pytest.raises(Interrupted), told.at_once():
                    pass
        assert stop.requested
    assert signal.getsignal(signal.SIGTERM) is before


def test_one_run_that_is_stopped_stops_all() -> None:
    stop = Stop()
    one, other = Told(stop), Told(stop)
    one.requested = True
    assert other.requested and stop.requested
    other.requested = False
    assert one.requested

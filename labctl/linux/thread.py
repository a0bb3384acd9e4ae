"""Work in a thread of its own, which may enter namespaces, while this one never leaves the host's."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import suppress

from labctl.linux.limits import make_room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


class Interrupted(Exception):
    """The work in a thread was told to stop."""


class Flag:
    """A threading.Event without a lock: a signal's handler may set it, whatever its thread is doing with it."""

    def __init__(self) -> None:
        self._on = False

    def set(self) -> None:
        self._on = True

    def clear(self) -> None:
        self._on = False

    def is_set(self) -> bool:
        return self._on


stop = Flag()


def heed() -> None:
    """Raises Interrupted when the work is to stop."""
    if stop.is_set():
        raise Interrupted


INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


LOOK = 0.2  # seconds between two looks at the work


def in_thread(
    work: Callable[[], T], look: Callable[[], None] | None = None, beside: Callable[[], None] = lambda: None
) -> T:
    """Does work in another thread and answers its result, or raises its error. This one does what is to be done
    `beside`, then calls `look` now and then.

    An interrupt sets `stop`; work that looks at it ends early, and the interrupt is raised again once it has. The
    thread starts with the interrupts blocked (so do its children: Ctrl-C ends no nft half-way), for one that hits this
    thread while it starts the other would lose it.
    """
    make_room()
    results: list[T] = []
    job = _Job(lambda: results.append(work()))
    thread = threading.Thread(target=job.run, name="labctl-namespaces")
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        thread.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        beside()
        job.wait(look)
    except BaseException:
        stop.set()
        while thread.ident and not job.ended.is_set():
            with suppress(KeyboardInterrupt):  # a second one ends nothing sooner
                job.wait()
        raise
    finally:
        stop.clear()
    thread.join()  # a process should fork only while it has one thread
    if job.errors and isinstance(job.errors[0], Interrupted):
        raise KeyboardInterrupt
    if job.errors:
        raise job.errors[0]
    return results[0]


class _Job:
    """Work and what became of it.

    It is waited for by a plain lock: a join that is interrupted takes its thread for ended (CPython before 3.13), and
    an Event.wait() that is interrupted may keep the event's own lock, on which the thread then waits for ever.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._running = threading.Lock()
        self._running.acquire()
        self.ended = Flag()
        self.errors: list[BaseException] = []

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self.errors.append(error)
        finally:
            self.ended.set()
            self._running.release()

    def wait(self, look: Callable[[], None] | None = None) -> None:
        while not self.ended.is_set():
            if not self._running.acquire(timeout=LOOK if look else -1) and look:
                look()

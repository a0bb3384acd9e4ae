"""Netlink messages that wait for each namespace and leave together; the host's go first, since that is where every pair
of interfaces is made, and what brings many bridges and their ports up goes last.

While nodes are still being made, what waits for the host already leaves, sent by a thread of its own: the kernel makes
interfaces on one CPU while Python and the file system are busy on another (500 nodes: 0.2 s instead of 0.27 s).
"""

from __future__ import annotations

import threading
from _queue import SimpleQueue  # what is behind the module queue, which takes 2 ms
from collections.abc import Callable, Sequence

from labctl.errors import KernelError
from labctl.linux.messages import BRIDGES_UP, PORTS_UP
from labctl.linux.netlink import GONE
from labctl.linux.place import Namespaces
from labctl.linux.thread import heed
from labctl.plan import Add, Op, Remove
from labctl.progress import Progress
from labctl.state import HOST

WAVE = 64  # messages to the host that leave while more are made

Batch = list[tuple[Op, bytes]]


class Outbox:
    """What one walk through a plan has to send. `refused` makes the error of an operation, an errno and a reason."""

    def __init__(
        self, namespaces: Namespaces, progress: Progress, refused: Callable[[Op, int, str], KernelError]
    ) -> None:
        self._namespaces = namespaces
        self._progress = progress
        self._refused = refused
        self._waiting: dict[str, Batch] = {}
        self._later: dict[str, Batch] = {PORTS_UP: [], BRIDGES_UP: []}
        self._courier: _Courier | None = None
        self.last: Sequence[str] = ()  # which of PORTS_UP and BRIDGES_UP wait until all else is done
        self._number = 0  # of the messages that wait, those that come last included
        self.unsent = 0.0  # of the effort of these

    def put(self, op: Op, node: str, message: bytes) -> None:
        """Raises KernelError where the kernel refused what left before."""
        self._number += 1
        if node in self.last:
            self._later[node].append((op, message))
            return
        node = HOST if node in (PORTS_UP, BRIDGES_UP) else node
        queue = self._waiting.setdefault(node, [])
        queue.append((op, message))
        if node == HOST and len(queue) >= WAVE and isinstance(op, Add):
            self._post()

    def waits_for(self, host: int) -> bool:
        """Whether something waits for a node, or as many messages as this for the host."""
        return bool(self._waiting.keys() - {HOST}) or len(self._waiting.get(HOST, ())) >= host

    def flush(self) -> None:
        """Sends what waits, but for what comes last. Raises KernelError at the first refusal."""
        if self._courier:
            self._courier.join()
            self._courier = None
        waiting, self._waiting = self._waiting, {}
        for node in sorted(waiting, key=lambda node: node != HOST):
            heed()
            self._send(node, waiting[node])
            self._count(waiting[node])

    def finish(self) -> None:
        """Sends everything."""
        self.flush()
        if last := [*self._later[BRIDGES_UP], *self._later[PORTS_UP]]:
            self._send(HOST, last)
            self._count(last)
        self._progress.done += self.unsent
        self.unsent = 0.0

    def close(self) -> None:
        """Whatever still waits is forgotten."""
        if self._courier:
            self._courier.stop()

    def _post(self) -> None:
        self._namespaces.socket(HOST)  # made here, where the way into the namespace is
        self._courier = self._courier or _Courier(lambda batch: self._send(HOST, batch))
        batch = self._waiting.pop(HOST)
        self._courier.send(batch)
        self._count(batch)  # a little early: only one thread counts

    def _count(self, sent: Batch) -> None:
        share = self.unsent * len(sent) / self._number
        self._number -= len(sent)
        self.unsent -= share
        self._progress.done += share

    def _send(self, node: str, batch: Batch) -> None:
        for refusal in self._namespaces.socket(node).send([message for _, message in batch]):
            op = batch[refusal.position][0]
            if not (isinstance(op, Remove) and refusal.errno in GONE):
                raise self._refused(op, refusal.errno, refusal.reason)


class _Courier:
    """A thread that sends one batch after the other, until one fails."""

    def __init__(self, send: Callable[[Batch], None]) -> None:
        self._send = send
        self._batches: SimpleQueue[Batch | None] = SimpleQueue()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="labctl-host")
        self._thread.start()

    def send(self, batch: Batch) -> None:
        """Raises the error of a batch before."""
        if self._error:
            raise self._error
        self._batches.put(batch)

    def join(self) -> None:
        """Waits until everything is sent. Raises the error that ended it."""
        self._batches.put(None)
        self._thread.join()
        if self._error:
            raise self._error

    def stop(self) -> None:
        """Waits for the batch that is on its way."""
        self._error = self._error or InterruptedError()
        self._batches.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None and not self._error:
            try:
                self._send(batch)
            except BaseException as error:
                self._error = error

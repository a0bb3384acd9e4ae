"""Run inside a private machine: labctl, with the kernel's refusal of the tenth message that the thread for the host's
messages has to send, so that a test sees what becomes of it."""

from __future__ import annotations

import errno
import threading
from collections.abc import Sequence

from labctl import cli
from labctl.linux.netlink import Refusal, Socket

TENTH = 9
real = Socket.send


def send(self: Socket, messages: Sequence[bytes]) -> list[Refusal]:
    if threading.current_thread().name != "labctl-host":
        return real(self, messages)
    return [*real(self, messages[:TENTH]), Refusal(TENTH, errno.EEXIST, "File exists")]


Socket.send = send  # type: ignore[method-assign]
cli.main()

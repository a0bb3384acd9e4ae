"""Published ports on the machine: the process that holds them, whether they are free, and who has them otherwise.

Everything here happens in the network namespace of the calling thread, which is the lab's host.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import ip_address

from labctl.conflicts import Refused
from labctl.digest import sha256
from labctl.fields import dataclass
from labctl.linux.place import Place
from labctl.linux.processes import DIGEST, MACHINE, end_found, environ, machine, namespace, pids
from labctl.linux.readings import text
from labctl.shell import PROXY, spec
from labctl.state import Proxy, Published
from labctl.written import IPAddress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import Popen

TIME_WAIT = "06"  # include/net/tcp_states.h


def start(proxy: Proxy) -> Popen[bytes]:
    """Starts the process; ready() tells what became of it."""
    import subprocess  # 2 ms, and only for labs that publish

    name, _, value = proxy.mark.partition("=")
    marks = {name: value, DIGEST: digest(proxy), MACHINE: machine(), "PATH": os.environ["PATH"]}
    return subprocess.Popen(
        [sys.executable, *PROXY[1:], *map(spec, proxy.ports)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=marks,
        cwd="/",
        start_new_session=True,
    )


def ready(process: Popen[bytes]) -> str:
    """Waits until it holds all ports; answers its complaint, or nothing."""
    assert process.stderr
    with process.stderr:
        complaint = process.stderr.read().decode(errors="replace").strip()
    return complaint.rpartition("\n")[2] or ("" if process.poll() is None else "it ended")


def running(place: Place, expected: Proxy) -> Iterator[Proxy]:
    """The lab's proxy as it is: one that holds other ports than it should comes without any."""
    found = _pids(place.lab)
    digests = {word for pid in found for word in environ(pid) if word.startswith(f"{DIGEST}=".encode())}
    if found:
        yield expected if digests <= {f"{DIGEST}={digest(expected)}".encode()} else Proxy(place.lab)


def runs(place: Place) -> bool:
    """Whether the lab has a proxy at all."""
    return bool(_pids(place.lab))


def end(lab: str) -> list[int]:
    """Ends the lab's proxy; answers what is still there."""
    return end_found(lambda: _pids(lab))


def digest(proxy: Proxy) -> str:
    return sha256(" ".join(map(spec, proxy.ports)).encode()).hexdigest()[:12]


def _pids(lab: str) -> list[int]:
    """The lab's proxy, whoever started it: in this namespace, and with its mark."""
    mark, here = Proxy(lab).mark.encode(), os.readlink("/proc/thread-self/ns/net")
    return [pid for pid in pids() if mark in environ(pid) and namespace(pid, "net") == here]


def in_use(lab: str) -> frozenset[tuple[str, int]]:
    """The ports that somebody has, on whatever address; those of the lab's own proxy do not count."""
    own = _own(lab)
    return frozenset((socket.protocol, socket.port) for socket in _taken() if socket.inode not in own)


def refused(lab: str, ports: Iterable[Published], own: Iterable[IPAddress]) -> list[Refused]:
    """The ports that cannot be held, and why. `own` are addresses that the lab brings along.

    Those that the lab's own proxy holds are no trouble, nor are other addresses of them, until it is replaced. The
    proxy of an `up` that was killed may be taking them just now, so who has a port is looked for after it was tried.
    """
    from labctl.linux.proxy import held, parse  # 3 ms, and only for labs that publish

    addresses, ours = set(own), _own(lab)
    there = {(s.protocol, s.address, s.port) for s in _taken() if s.inode in ours}
    failed: list[tuple[Published, OSError]] = []
    for port in ports:
        try:
            if (port.protocol, str(port.host_ip), port.host_port) not in there:
                held(parse(spec(port)), foreign=port.host_ip in addresses).close()
        except OSError as error:
            failed.append((port, error))
    sockets = list(_taken()) if failed else []
    ours = _own(lab) if failed else ours
    found = []
    for port, refusal in failed:
        rivals = {s.inode for s in sockets if _excludes(s, port)}
        if not (refusal.errno == errno.EADDRINUSE and rivals and rivals <= ours):
            found.append(Refused(port, refusal.errno or 0, refusal.strerror or "", _holder(rivals)))
    return found


def _own(lab: str) -> set[str]:
    """The sockets of the lab's proxy."""
    return {inode for pid in _pids(lab) for inode in _sockets(pid)}


def _holder(inodes: set[str]) -> str:
    """Who has a socket, as ss(8) names it; nothing where that is not to be seen."""
    for pid in pids() if inodes else ():
        if inodes & _sockets(pid):
            return f"{text(f'/proc/{pid}/comm').strip()}, process {pid}"
    return ""


def _excludes(socket: Socket, port: Published) -> bool:
    """Whether nobody can have a port while a socket is there; one on :: may take IPv4 too."""
    if (socket.protocol, socket.port) != (port.protocol, port.host_port):
        return False
    every = "0.0.0.0" if port.host_ip.version == 4 else "::"
    return port.host_ip.is_unspecified or socket.address in (str(port.host_ip), every, "::")


def _sockets(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    found = set()
    with suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                if match := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(entry.path)):
                    found.add(match[1])
    return found


@dataclass(frozen=True)
class Socket:
    protocol: str
    address: str
    port: int
    inode: str


def _taken() -> Iterator[Socket]:
    """The sockets that somebody has (proc(5), /proc/net/tcp), connected ones too: a port from which something goes out
    cannot be held either."""
    for name in ("tcp", "tcp6", "udp", "udp6"):
        for line in text(f"/proc/thread-self/net/{name}").splitlines()[1:]:
            words = line.split()
            if words[3] != TIME_WAIT and words[9] != "0":  # nobody has it any more
                address, _, port = words[1].partition(":")
                yield Socket(name[:3], _address(address), int(port, 16), words[9])


def _address(digits: str) -> str:
    """An address as /proc has it: words of four bytes in the machine's own order."""
    words = [bytes.fromhex(digits[i : i + 8]) for i in range(0, len(digits), 8)]
    packed = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    return str(ip_address(packed))

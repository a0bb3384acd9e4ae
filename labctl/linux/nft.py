"""nftables by its own tool: a whole table in one transaction (`nft -f -`), and the table as the kernel has it.

All of it happens in the network namespace of the calling thread.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress

from labctl.errors import LabError
from labctl.linux import readings
from labctl.linux.netlink import (
    HEADER,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute,
    attributes,
    netfilter,
)

NFNL_SUBSYS_NFTABLES, NFT_MSG_GETTABLE, NFT_MSG_GETCHAIN, NFPROTO_INET = 10, 1, 4, 1
NFTA_TABLE_NAME, NFTA_TABLE_USERDATA = 1, 6
NFTA_CHAIN_TABLE, NFTA_CHAIN_HOOK, NFTA_HOOK_HOOKNUM = 1, 4, 1
NF_INET_FORWARD = 2


class Load:
    """An nft script on its way. The tool mostly waits for the kernel (3 to 20 ms), so it is left to run meanwhile."""

    def __init__(self, text: str) -> None:
        self._process = _Process(2, "-f", "-")
        self._process.tell(text)

    def finish(self) -> str:
        """Waits; answers nft's complaint, or nothing."""
        status, complaint = self._process.finish()
        return complaint.strip() or "nft failed" if status else ""


class Listing:
    """The table `inet <table>` on its way to us, without its counters' values."""

    def __init__(self, table: str) -> None:
        self._process = _Process(1, "list", "table", "inet", table)
        self._process.tell("")

    def finish(self) -> str:
        """Waits; answers the table as nft lists it, empty when there is none."""
        status, text = self._process.finish()
        return "" if status else text


def listing(table: str) -> str:
    """The table `inet <table>` without its counters' values; empty when there is none."""
    return Listing(table).finish()


def delete(table: str) -> Load:
    """Removes a table; one that is already gone is as good."""
    return Load(f"table inet {table}\ndelete table inet {table}\n")


def exists(table: str) -> bool:
    """Whether there is a table `inet <table>`."""
    return comment(table) is not None


def comment(table: str) -> str | None:
    """The comment of the table `inet <table>`, None where there is none: one question to the kernel, no process."""
    payload = struct.pack("=BBH", NFPROTO_INET, 0, 0) + attribute(NFTA_TABLE_NAME, table.encode() + b"\0")
    type_ = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE
    with netfilter() as kernel:
        kernel.send(HEADER.pack(HEADER.size + len(payload), type_, NLM_F_REQUEST, 1, 0) + payload)
        answer = kernel.recv(1 << 16)
    if struct.unpack_from("=IH", answer)[1] == NLMSG_ERROR:
        return None
    data = attributes(answer, HEADER.size + 4).get(NFTA_TABLE_USERDATA, b"")
    while len(data) > 2:  # type, length, value (libnftnl, NFTNL_UDATA_TABLE_COMMENT is 0)
        type_, length = data[0], data[1]
        if type_ == 0:
            return data[2 : 2 + length].rstrip(b"\0").decode(errors="replace")
        data = data[2 + length :]
    return ""


def others_forward() -> bool:
    """Whether anybody but labs has rules for forwarded packets."""
    old = any(
        readings.text(f"/proc/net/{family}_tables_names") for family in ("ip", "ip6")
    )  # not for a user namespace to read
    return old or any(not table.startswith("labctl-") for table in _forward_tables())


def _forward_tables() -> set[str]:
    """The tables that look at forwarded packets: one question to the kernel, no process."""
    payload = struct.pack("=BBH", 0, 0, 0)
    type_ = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN
    found: set[str] = set()
    with netfilter() as kernel:
        kernel.send(HEADER.pack(HEADER.size + len(payload), type_, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + payload)
        while answer := kernel.recv(1 << 20):
            at = 0
            while at < len(answer):
                length, kind = struct.unpack_from("=IH", answer, at)
                if kind in (NLMSG_DONE, NLMSG_ERROR):
                    return found
                chain = attributes(answer[at : at + length], HEADER.size + 4)
                hook = attributes(chain.get(NFTA_CHAIN_HOOK, b"")).get(NFTA_HOOK_HOOKNUM)
                if hook == struct.pack("!I", NF_INET_FORWARD):
                    found.add(chain[NFTA_CHAIN_TABLE].rstrip(b"\0").decode(errors="replace"))
                at += length + -length % 4
    return found


class _Process:
    """nft at work, of whose two outputs one is read. Without subprocess, which takes 2 ms to import."""

    def __init__(self, heard: int, *words: str) -> None:
        ends = [*os.pipe2(os.O_CLOEXEC), *os.pipe2(os.O_CLOEXEC)]
        script, self._script, self._output, output = ends
        streams = [(os.POSIX_SPAWN_DUP2, script, 0), (os.POSIX_SPAWN_DUP2, output, heard)]
        unheard = (os.POSIX_SPAWN_OPEN, 3 - heard, "/dev/null", os.O_WRONLY, 0)
        try:
            self._pid = os.posix_spawnp("nft", ["nft", "-s", *words], os.environ, file_actions=[*streams, unheard])
        except OSError as error:
            os.close(self._script)
            os.close(self._output)
            if not isinstance(error, (FileNotFoundError, PermissionError)):
                raise
            raise LabError("nft is not installed", "Install it: apt-get install nftables") from None
        finally:
            os.close(script)
            os.close(output)

    def tell(self, text: str) -> None:
        with suppress(BrokenPipeError), os.fdopen(self._script, "w") as script:  # has it ended, finish() tells why
            script.write(text)

    def finish(self) -> tuple[int, str]:
        """Its exit status (negative: a signal's number), and what it said."""
        with os.fdopen(self._output, errors="replace") as output:
            text = output.read()
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1]), text

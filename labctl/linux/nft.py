"""nftables by its own tool: a whole table in one transaction (`nft -f -`), and the table as the kernel has it.

All of it happens in the network namespace of the calling thread.
"""

from __future__ import annotations

import socket
import struct
import subprocess
from contextlib import suppress

from labctl.errors import LabError
from labctl.linux import readings
from labctl.linux.netlink import HEADER, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, attribute, attributes

NFNL_SUBSYS_NFTABLES, NFT_MSG_GETTABLE, NFT_MSG_GETCHAIN, NFPROTO_INET = 10, 1, 4, 1
NFTA_TABLE_NAME, NFTA_TABLE_USERDATA = 1, 6
NFTA_CHAIN_TABLE, NFTA_CHAIN_HOOK, NFTA_HOOK_HOOKNUM = 1, 4, 1
NF_INET_FORWARD = 2
NETLINK_NETFILTER = 12


class Load:
    """An nft script on its way. The tool mostly waits for the kernel (3 to 20 ms), so it is left to run meanwhile."""

    def __init__(self, text: str) -> None:
        self._process = _start("-f", "-")
        assert self._process.stdin
        with suppress(BrokenPipeError), self._process.stdin as script:  # has it ended, finish() tells why
            script.write(text)
        self._process.stdin = None

    def finish(self) -> str:
        """Waits; answers nft's complaint, or nothing."""
        _, complaint = self._process.communicate()
        return complaint.strip() or "nft failed" if self._process.returncode else ""


def listing(table: str) -> str:
    """The table `inet <table>` without its counters' values; empty when there is none."""
    process = _start("list", "table", "inet", table)
    text, _ = process.communicate()
    return text if process.returncode == 0 else ""


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
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as kernel:
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
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as kernel:
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


def _start(*words: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(["nft", "-s", *words], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    except (FileNotFoundError, PermissionError):
        raise LabError("nft is not installed", "Install it: apt-get install nftables") from None

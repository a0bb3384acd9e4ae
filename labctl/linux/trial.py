"""What this kernel lets labctl make, tried for real in a child process with namespaces of its own that end with it."""

from __future__ import annotations

import errno
import json
import os
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from labctl.facts import Refused
from labctl.fields import dataclass
from labctl.linux import libc
from labctl.linux.described import encode

RULES = """
table inet labctl-trial {
    chain forward { type filter hook forward priority filter; ct state established,related counter accept; }
    chain postrouting { type nat hook postrouting priority srcnat; ip saddr 192.0.2.0/24 masquerade; }
}
"""
EXTRAS = {  # what no lab needs, and its module
    "VLANs": "8021q",
    "macvlan": "macvlan",
    "vxlan": "vxlan",
    "dummy": "dummy",
    "netem": "sch_netem",
}
BRIDGE, NEAR, FAR = 11, 12, 13  # indexes of interfaces
RTM_NEWQDISC, TC_H_ROOT, TCA_KIND, TCA_OPTIONS = 36, 0xFFFFFFFF, 1, 2
PATIENCE = 20.0  # seconds for nft


@dataclass(frozen=True)
class Trial:
    user: Refused | None = None  # the user namespace
    refused: tuple[Refused, ...] = ()
    absent: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        return self.user is None


def trial(as_root: bool, extras: Sequence[str]) -> Trial:
    """Tries what every lab needs, and the extras named. Without root in a user namespace first."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(readable)
            with open(writable, "w") as pipe:
                json.dump(_try(as_root, extras), pipe)
        finally:
            os._exit(0)
    os.close(writable)
    with open(readable) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    user, refused, absent = json.loads(text or '[null, [["network namespaces", 0, "the trial ended early"]], []]')
    return Trial(Refused(*user) if user else None, tuple(Refused(*one) for one in refused), tuple(absent))


def _try(as_root: bool, extras: Sequence[str]) -> tuple[Any, list[Any], list[str]]:
    """A refused user namespace, refused features, and extras that are absent."""
    if not as_root and (user := _user_namespace()):
        return user, [], []
    try:
        libc.unshare(libc.CLONE_NEWNET | libc.CLONE_NEWNS)
    except OSError as error:
        return None, [_refused("network namespaces", error)], []
    refused = [*_mounts(), *_nft()]
    try:
        links, absent = _links(extras)
    except (ImportError, OSError) as error:
        links, absent = [("bridges", getattr(error, "errno", None) or 0, str(error))], []
    return None, [*refused, *links], absent


def _user_namespace() -> tuple[str, int, str] | None:
    """Makes one in which this process is root; answers the step that was refused."""
    uid, gid = os.geteuid(), os.getegid()
    step = "unshare"
    try:
        libc.unshare(libc.CLONE_NEWUSER)
        step = "uid_map"
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    except OSError as error:
        return _refused(step, error)
    return None


def _mounts() -> Iterator[tuple[str, int, str]]:
    """What a lab mounts: a namespace's file, and a /sys that shows it."""
    try:
        libc.mount("none", "/", flags=libc.MS_PRIVATE | libc.MS_REC)
        libc.mount("tmpfs", "/run", "tmpfs")
        Path("/run/netns").touch()
        Path("/run/sys").mkdir()
        libc.mount("/proc/self/ns/net", "/run/netns", flags=libc.MS_BIND)
        libc.mount("sysfs", "/run/sys", "sysfs")
    except OSError as error:
        yield _refused("mounts", error)


def _nft() -> Iterator[tuple[str, int, str]]:
    """Nothing where nft is missing, which is another finding."""
    try:
        done = subprocess.run(["nft", "-f", "-"], input=RULES, capture_output=True, text=True, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return
    if done.returncode:
        first = (done.stderr.strip() or "nft failed").splitlines()[0]
        words = {os.strerror(code): code for code in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOENT)}
        code = next((code for text, code in words.items() if text in first), errno.EOPNOTSUPP)
        yield "NAT with nftables", code, os.strerror(code)


def _links(extras: Sequence[str]) -> tuple[list[tuple[str, int, str]], list[str]]:
    from labctl.linux.netlink import Socket

    wanted = {"bridges": _link("bridge", BRIDGE), "veth pairs": _link("veth", NEAR, data=_peer())}
    more = {
        "VLANs": _link("vlan", 21, ("IFLA_LINK", NEAR), data=[("IFLA_VLAN_ID", 7)]),
        "macvlan": _link("macvlan", 22, ("IFLA_LINK", NEAR)),
        "vxlan": _link("vxlan", 23, data=[("IFLA_VXLAN_ID", 7)]),
        "dummy": _link("dummy", 24),
        "netem": _netem(NEAR),
    }
    wanted |= {name: more[name] for name in extras}
    names = list(wanted)
    with Socket() as kernel:
        answers = [(names[no.position], no.errno, no.reason) for no in kernel.send(list(wanted.values()))]
    return [no for no in answers if no[0] not in extras], [name for name, _, _ in answers if name in extras]


def _link(kind: str, index: int, *attributes: tuple[str, Any], data: Sequence[tuple[str, Any]] = ()) -> bytes:
    from labctl.linux.netlink import CREATE
    from labctl.linux.rtnetlink import RTM_NEWLINK

    details = [("IFLA_INFO_KIND", kind), *([("IFLA_INFO_DATA", {"attrs": list(data)})] if data else [])]
    own = [("IFLA_IFNAME", f"trial{index}"), *attributes, ("IFLA_LINKINFO", {"attrs": details})]
    return encode("ifinfmsg", RTM_NEWLINK, CREATE, {"index": index}, own)


def _peer() -> list[tuple[str, Any]]:
    return [("VETH_INFO_PEER", {"index": FAR, "attrs": [("IFLA_IFNAME", f"trial{FAR}")]})]


def _netem(index: int) -> bytes:
    """`tc qdisc add dev … root netem delay 0` (struct tcmsg and struct tc_netem_qopt; pyroute2's class costs 30 ms)."""
    from labctl.linux.netlink import CREATE, HEADER, NLM_F_REQUEST

    kind, options = b"netem\0\0\0", struct.pack("=IIIIII", 0, 1000, 0, 0, 0, 0)
    payload = struct.pack("=BxxxiIII", 0, index, 0, TC_H_ROOT, 0)
    payload += struct.pack("=HH", 4 + 6, TCA_KIND) + kind + struct.pack("=HH", 4 + len(options), TCA_OPTIONS) + options
    return HEADER.pack(HEADER.size + len(payload), RTM_NEWQDISC, NLM_F_REQUEST | CREATE, 0, 0) + payload


def _refused(step: str, error: OSError) -> tuple[str, int, str]:
    code = error.errno or 0
    return step, code, os.strerror(code)

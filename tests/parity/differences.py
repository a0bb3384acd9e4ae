"""In what labctl differs from Docker 20.10, each with its reason and its source. All else has to be equal.

A row differs for a reason if its name and both answers match the reason's patterns; "-" is the answer of a side that
has no such row. A reason that no row needs any more is an error too.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from parity.observe import GROUPS, Row, Rows

CHANCE, NEWER, CHOICE, GAP = "chance", "newer", "choice", "gap"
KINDS = {
    CHANCE: "What Docker draws by lot, and labctl derives from names",
    NEWER: "Where labctl follows Docker of today, and 20.10 does not",
    CHOICE: "Where labctl differs on purpose",
    GAP: "What Docker does and labctl does not",
}
ABSENT = "-"
MAC = r"[0-9a-f:]{10,17}"
INTERNAL = r"(internal: .* (hidden|other)|default-route: .* cold-only|dual-stack-internal: .* hidden|three-tier: .* db)"


@dataclass(frozen=True)
class Difference:
    """`rows`, `docker` and `labctl` are regular expressions for `FILE: GROUP SUBJECT WHAT` and for the two answers."""

    name: str
    kind: str
    reason: str
    source: str
    rows: str
    docker: str = ".*"
    labctl: str = ".*"

    def explains(self, row: str, docker: str, labctl: str) -> bool:
        patterns = ((self.rows, row), (self.docker, docker), (self.labctl, labctl))
        return all(re.fullmatch(pattern, text) for pattern, text in patterns)


DIFFERENCES = (
    Difference(
        "device names", CHANCE,
        "Docker's are random: `veth` and seven digits, `br-` and the network's id. A bridge of labctl's has the name "
        "that the file gives it.",
        "moby daemon/libnetwork/netutils, GenerateIfaceName",
        r".*: links host .* ifname", r"veth[0-9a-f]{7}|br-[0-9a-f]{12}", r"veth[0-9a-f]{7}|\w+",
    ),
    Difference(
        "indexes", CHANCE,
        "The next free numbers of the machine; labctl's pairs begin at 24, as in the article, bridges at 3.",
        "docs/architecture.md, desired",
        r".*: links .* (ifindex|link_index|link_netnsid)", r"\d+", r"\d+",
    ),
    Difference(
        "host's MACs", CHANCE,
        "The kernel's or random for bridges and for the host's ends of pairs, and part of a bridge's id.",
        "moby daemon/libnetwork/drivers/bridge/setup_device_linux.go",
        r".*: links host .*(address|bridge_id|root_id)", rf"(8000\.)?{MAC}", rf"(8000\.)?{MAC}",
    ),
    Difference(
        "bridge ports", CHANCE,
        "The bridge numbers its ports in the order of their making; labctl makes those of the nodes in the order of "
        "their names.",
        "net/bridge/br_if.c, find_portno",
        r".*: links host veth .*info_slave_data\.(id|no|designated_port)", r"\w+", r"\w+",
    ),
    Difference(
        "container ids", CHANCE,
        "A container without a host name has its id as one; a namespace has its name, which others find it by.",
        "moby daemon/container.go",
        r".*: files .*", r"[0-9a-f]{12}", r"[a-z0-9-]+",
    ),
    Difference(
        "NODAD", NEWER,
        "An IPv6 address of a bridge is there at once, without duplicate address detection.",
        "Docker 28.0; moby daemon/libnetwork/drivers/bridge/interface_linux.go",
        r".*: addresses host .*/64", "family inet6 scope global .*", "family inet6 scope global nodad True .*",
    ),
    Difference(
        "::1 on lo", NEWER,
        "Every container has the IPv6 loopback address; 20.10 turns IPv6 off as a whole where no network has it.",
        "Docker 26; https://github.com/moby/moby/pull/47062",
        r".*: (addresses \S+ lo ::1/128|routes \S+ -6 local local ::1 lo|(reach|ports) .* IPv6.*"
        r"|sysctls \S+ ipv6/conf/(all|lo|default)/disable_ipv6)",
        "-|1|EADDRNOTAVAIL", "-|family inet6 scope host .*|protocol kernel .*|ENETUNREACH",
    ),
    Difference(
        "fe00::", NEWER,
        "Two lines of a hosts file as they are written today: `fe00::` and `ff00::`, not `fe00::0` and `ff00::0`.",
        "Docker 27; moby daemon/libnetwork/etchosts",
        r".*: files .*/etc/hosts f[ef]00::0?", "-|ip6-localnet|ip6-mcastprefix", "-|ip6-localnet|ip6-mcastprefix",
    ),
    Difference(
        "internal: no default route", NEWER,
        "An internal network gives no default route: what is beyond is unreachable at once. The host's other addresses "
        "were within reach before.",
        "Docker 25; https://github.com/moby/moby/pull/46603",
        rf"{INTERNAL} .*", r"gateway .*|silence|reply 64|host .*|E\w+", "-|ENETUNREACH",
    ),
    Difference(
        "internal: IPv6", NEWER,
        "Containers of an internal network reach one another by IPv6; the rules of 20.10 drop neighbour solicitations.",
        "Docker 25; https://github.com/moby/moby/issues/45460",
        r"dual-stack-internal: .* (hidden|both) .*(IPv6|fd00:30::.)",
        "silence|EHOSTUNREACH|0|-", r"reply 64|(hidden|both) .*|1500|(hidden|both)/eth0",
    ),
    Difference(
        "UDP by proxy", NEWER,
        "A UDP port answers from the address that was asked; the proxy of 20.10 from the one that suits the way back.",
        "Docker 28; https://github.com/moby/moby/pull/48571",
        r".*: ports .*/udp", "silence", r"\S+ host/\S+ 6[34] 6[34]",
    ),
    Difference(
        "NAT for other bridges", NEWER,
        "Whoever asks from another bridge gets to a published port by NAT, one hop further; in 20.10 by the proxy.",
        "Docker 29; docs.docker.com/engine/release-notes/29",
        r".*: ports .*/udp", r"(\S+ host/\S+) 64 64", r"(\S+ host/\S+) 63 63",
    ),
    Difference(
        "direct access", NEWER,
        "Nobody outside gets to a published port by the container's own address, even if he knows a way to it.",
        "Docker 28; docs.docker.com/engine/network/packet-filtering-firewalls",
        r".*: ports client -> (?!host/).*", r"\S+ client/eth0 .*", "silence",
    ),
    Difference(
        "marks", CHOICE,
        "What is labctl's on the host says so: its link group and its alias.",
        "docs/architecture.md, ownership",
        r".*: links host .* (group|ifalias)", "default|-", r"\d+|labctl:.*",
    ),
    Difference(
        "no link-local on the host", CHOICE,
        "The host's ends of pairs, and bridges without IPv6, have no link-local address, and send nothing over it.",
        "docs/architecture.md, IPv6",
        r".*: (addresses host .* fe80::(?!1/).*|routes host -6 .*fe80::(?!1 ).*|routes host -6 multicast .*)",
        "(family inet6 scope link|protocol kernel) .*", "-",
    ),
    Difference(
        "addrgenmode", CHOICE,
        "That is by how the kernel makes the address of an interface.",
        "docs/architecture.md, IPv6",
        r".*: (links host .*inet6_addr_gen_mode|sysctls host .*addr_gen_mode)", "-|eui64", "none|1",
    ),
    Difference(
        "fe80::1", NEWER,
        "A bridge with IPv6 keeps the link-local address that the kernel gave it.",
        "Docker 27; https://github.com/moby/moby/pull/47775",
        r".*: (addresses host \w+ fe80:.*|routes host -6 local (local|anycast) fe80:.* \w+)",
    ),
    Difference(
        "hosts files", CHOICE,
        "Names are in hosts files, of all that share a network; Docker answers them by a server at 127.0.0.11.",
        "docs/topology.md, names",
        r".*: files \S+ (/etc/hosts [0-9a-f.:]+|/etc/resolv.conf (nameserver|options))",
        r"-|127.0.0.11|(.* )?ndots:0.*|[0-9a-f]{12}|www|\w+\.example\.\w+ \w+",
    ),
    Difference(
        "all addresses", CHOICE,
        "A name has all its addresses, in hosts files as they are; Docker's server tells those of one network.",
        "moby daemon/libnetwork/sandbox.go, ResolveName",
        r".*: names .*", r"(\S+)", r"(\S+ )+\S+",
    ),
    Difference(
        "names on docker0", CHOICE,
        "Names are found on every bridge; with Docker not on the default one.",
        "docs.docker.com/engine/network/drivers/bridge",
        r"(two-containers|published-default|names-default): names .*", "unknown", r"\S+/eth0",
    ),
    Difference(
        "RA and DAD", CHOICE,
        "With IPv6, a namespace listens to no router but labctl's word, and its addresses are there at once.",
        "docs/architecture.md, IPv6",
        r".*: sysctls \S+ ipv6/conf/(default|eth\d)/accept_(ra|dad)", "-", "0",
    ),
    Difference(
        "proxy for localhost", CHOICE,
        "The host's 127.0.0.1 gets to a published port by NAT, for which the bridge routes loopback addresses; with "
        "Docker by the proxy. Nodes cannot use it: the rules drop what comes from them.",
        "labctl/ruleset.py, guard",
        r".*: sysctls host ipv4/conf/\w+/route_localnet", "-", "1",
    ),
    Difference(
        "hairpin", CHOICE,
        "The port of a node that publishes may send frames back: where bridged frames pass iptables, a node gets to "
        "its own published port only so. Docker's containers get there by the proxy.",
        "docs/architecture.md",
        r".*: links host veth .*info_slave_data.hairpin", "False", "True",
    ),
    Difference(
        "txqueuelen", CHOICE,
        "Interfaces have the kernel's queue length, Docker's none. Neither queues; but a queueing discipline that one "
        "adds by hand needs it.",
        "moby daemon/libnetwork/drivers/bridge/bridge_linux.go, TxQLen",
        r".*: links .* txqlen", "-", "1000",
    ),
    Difference(
        "ports and pings for all", GAP,
        "In a container every user may listen on ports below 1024 and send pings; in a namespace he may listen, if the "
        "file has programs with a `user`.",
        "moby daemon/oci_linux.go",
        r".*: sysctls .* ipv4/(ip_unprivileged_port_start|ping_group_range)", "0( 2147483647)?", "-",
    ),
)  # fmt: skip


@dataclass
class Comparison:
    """One file's rows: how many of each group, how many of them differ, and by which reason."""

    file: str
    rows: Counter[str] = field(default_factory=Counter)
    different: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)


def compare(file: str, docker: Rows, labctl: Rows) -> Comparison:
    found = Comparison(file)
    for row in {**docker, **labctl}:
        found.rows[row.group] += 1
        answers = (docker.get(row, ABSENT), labctl.get(row, ABSENT))
        if answers[0] != answers[1]:
            found.different[row.group] += 1
            if reason := explanation(file, row, *answers):
                found.reasons[reason.name] += 1
            else:
                found.unexplained.append(f"{row}: Docker {answers[0]!r}, labctl {answers[1]!r}")
    assert set(found.rows) <= set(GROUPS)
    return found


def explanation(file: str, row: Row, docker: str, labctl: str) -> Difference | None:
    return next((each for each in DIFFERENCES if each.explains(f"{file}: {row}", docker, labctl)), None)

"""`labctl doctor`, fact by fact: one thing is wrong with a machine, and this is what is said about it."""

from __future__ import annotations

import errno
from ipaddress import ip_network
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from labctl.conflicts import HostRoute
from labctl.doctor import findings
from labctl.facts import Chain, Facts, Kernel, Refused, UserNamespaces
from labctl.fields import replace

SHIPPED = {"two-containers": (ip_network("172.17.0.0/16"),)}
FORWARD = Chain("ip", "filter", "FORWARD", "policy drop")
KEEP = "(to keep it, also in /etc/sysctl.d/60-labctl.conf):\n  "
LET = "labctl up --isolated FILE; or let the lab's bridge through:\n  "


def changed(part: str, **values: Any) -> Facts:
    """A healthy machine but for this."""
    facts = Facts()
    return replace(facts, **{part: replace(getattr(facts, part), **values)})


def case(facts: Facts, level: str, what: str, remedy: str) -> ParameterSet:
    return pytest.param(facts, level, what, remedy, id=what[:50])


CASES = [
    # privileges
    case(
        changed("privileges", user="alice", uid=1000),
        "ok",
        "You are alice (uid 1000) and may make user namespaces: labs are rootless.",
        "",
    ),
    case(
        changed("privileges", missing=("CAP_NET_ADMIN", "CAP_SYS_ADMIN")),
        "problem",
        "You are root, but without CAP_NET_ADMIN and CAP_SYS_ADMIN.",
        "Use a login of root's own: sudo -i",
    ),
    case(
        replace(changed("privileges", missing=("CAP_SYS_ADMIN",)), kernel=Kernel(in_container=True)),
        "problem",
        "You are root, but without CAP_SYS_ADMIN.",
        "In a container: start it with 'docker run --privileged'.",
    ),
    case(
        changed("privileges", user="alice", uid=1000, ids=False),
        "note",
        "Programs in your labs cannot change to other users: newuidmap, or your range in /etc/subuid, is missing.",
        "As root:\n  apt-get install uidmap\n  usermod --add-subuids 100000-165535 alice\n"
        "  usermod --add-subgids 100000-165535 alice",
    ),
    case(
        changed("privileges", user="alice", uid=1000, users=UserNamespaces(clone=0), refused=Refused("unshare", 1)),
        "problem",
        "This kernel keeps user namespaces from ordinary users (kernel.unprivileged_userns_clone = 0).",
        f"Allow them {KEEP}sudo sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    # kernel
    case(
        changed("kernel", refused=(Refused("bridges", errno.EOPNOTSUPP, "Unknown device type"),)),
        "problem",
        "No bridges on Linux 6.1.0: Unknown device type (ENOTSUP).",
        "modprobe -a bridge",
    ),
    case(
        changed("kernel", refused=(Refused("bridges", errno.EOPNOTSUPP, ""),), in_container=True),
        "problem",
        "No bridges on Linux 6.1.0: refused (ENOTSUP).",
        "modprobe -a bridge (on the container's host)",
    ),
    case(
        changed("kernel", refused=(Refused("NAT with nftables", errno.ENOENT, "No such file or directory"),)),
        "problem",
        "No NAT with nftables on Linux 6.1.0: No such file or directory (ENOENT).",
        "modprobe -a nf_tables nft_chain_nat nft_ct nft_masq",
    ),
    case(
        changed("kernel", refused=(Refused("mounts", errno.EACCES, "Permission denied"),), in_container=True),
        "problem",
        "No mounts on Linux 6.1.0: Permission denied (EACCES).",
        "In a container: start it with 'docker run --privileged'.",
    ),
    case(
        changed("kernel", refused=(Refused("network namespaces", errno.EPERM, "Operation not permitted"),)),
        "problem",
        "No network namespaces on Linux 6.1.0: Operation not permitted (EPERM).",
        "'dmesg' may name the security module that refused it.",
    ),
    case(
        changed("kernel", refused=(Refused("network namespaces", errno.ENOSPC, "No space left on device"),)),
        "problem",
        "No network namespaces on Linux 6.1.0: No space left on device (ENOSPC).",
        "sysctl -w user.max_net_namespaces=15000",
    ),
    case(
        changed("kernel", max_net_namespaces=0),
        "problem",
        "Few network namespaces can be made, and a lab has one for each node (user.max_net_namespaces = 0).",
        "sysctl -w user.max_net_namespaces=15000",
    ),
    case(
        changed("kernel", tried=False),
        "note",
        "What Linux 6.1.0 has for labs was not tried, for want of privileges.",
        "sudo labctl doctor",
    ),
    case(
        changed("kernel", read_only=True),
        "problem",
        "/proc/sys is read-only, and a lab sets sysctls in its nodes.",
        "mount -o remount,rw /proc/sys",
    ),
    case(
        changed("kernel", absent=("VLANs", "dummy", "netem")),
        "note",
        "This kernel has no VLANs, dummy or netem; no lab needs that, programs in nodes may.",
        "Ubuntu: apt-get install linux-modules-extra-$(uname -r); Fedora: dnf install kernel-modules-extra",
    ),
    # tools
    case(changed("tools", nft=""), "problem", "nft is not installed.", "apt-get install nftables"),
    case(
        changed("tools", pyroute2=""),
        "problem",
        "Python 3.11.2 has no pyroute2.",
        "Install labctl again: pipx install .",
    ),
    case(
        changed("tools", missing=("tcpdump", "brctl")),
        "note",
        "Not installed: tcpdump, brctl; labctl does not need them, docs/walkthrough.md does.",
        "apt-get install tcpdump bridge-utils",
    ),
    # this host
    case(
        changed("host", chains=(FORWARD,)),
        "warning",
        "A firewall drops what a lab forwards, unless a rule lets it through: ip filter FORWARD (policy drop).",
        f"{LET}iptables -I FORWARD -i BRIDGE -j ACCEPT\n  iptables -I FORWARD -o BRIDGE -j ACCEPT",
    ),
    case(
        changed("host", chains=(FORWARD,), services=frozenset({"dockerd"})),
        "warning",
        "Docker drops what a lab forwards, unless a rule lets it through: ip filter FORWARD (policy drop).",
        f"{LET}iptables -I DOCKER-USER -i BRIDGE -j ACCEPT\n  iptables -I DOCKER-USER -o BRIDGE -j ACCEPT",
    ),
    case(
        changed("host", chains=(FORWARD,), services=frozenset({"dockerd"}), ufw=True),
        "warning",
        "ufw drops what a lab forwards, unless a rule lets it through: ip filter FORWARD (policy drop).",
        f"{LET}ufw route allow in on BRIDGE\n  ufw route allow out on BRIDGE",
    ),
    case(
        changed("host", chains=(Chain("inet", "firewalld", "filter_FORWARD", "last rule reject"),)),
        "warning",
        "firewalld drops what a lab forwards, unless a rule lets it through: "
        "inet firewalld filter_FORWARD (last rule reject).",
        f"{LET}firewall-cmd --permanent --zone=trusted --add-interface=BRIDGE\n  firewall-cmd --reload",
    ),
    case(
        changed("host", chains=(Chain("inet", "filter", "forward", "policy drop"),)),
        "warning",
        "A firewall drops what a lab forwards, unless a rule lets it through: inet filter forward (policy drop).",
        f"{LET}nft insert rule inet filter forward iifname BRIDGE accept\n"
        "  nft insert rule inet filter forward oifname BRIDGE accept",
    ),
    case(
        changed("host", chains=(Chain("iptables-legacy", "filter", "FORWARD", "policy drop"),)),
        "warning",
        "A firewall drops what a lab forwards, unless a rule lets it through: "
        "iptables-legacy filter FORWARD (policy drop).",
        f"{LET}iptables-legacy -I FORWARD -i BRIDGE -j ACCEPT\n  iptables-legacy -I FORWARD -o BRIDGE -j ACCEPT",
    ),
    case(
        changed("host", chains=None),
        "note",
        "The firewall rules of this machine were not looked at: that takes root and nft.",
        "sudo labctl doctor",
    ),
    case(
        changed("host", chains=None, ufw=True),
        "warning",
        "ufw is active here, and may drop what a lab forwards.",
        f"{LET}ufw route allow in on BRIDGE\n  ufw route allow out on BRIDGE",
    ),
    case(
        changed("host", bridge_nf=("iptables",)),
        "note",
        "Frames between two nodes of a bridge pass this machine's firewall too "
        "(net.bridge.bridge-nf-call-iptables = 1).",
        f"labctl up --isolated FILE; or, if neither Kubernetes nor Docker needs it {KEEP}"
        "sysctl -w net.bridge.bridge-nf-call-iptables=0",
    ),
    case(
        changed("host", services=frozenset({"NetworkManager"})),
        "warning",
        "NetworkManager runs, and may configure the interfaces of a lab.",
        "labctl up --isolated FILE; or write /etc/NetworkManager/conf.d/60-labctl.conf:\n  [keyfile]\n"
        "  unmanaged-devices+=interface-name:veth*\nand then:\n  systemctl reload NetworkManager",
    ),
    case(
        changed("host", rp_filter={"all": 0, "default": 1}),
        "warning",
        "Packets that come by another way than their answers would go are dropped, also in nodes "
        "(net.ipv4.conf.default.rp_filter = 1).",
        "In a node, `sysctls: {net.ipv4.conf.all.rp_filter: 2}` in the file; or everywhere "
        f"{KEEP}sysctl -w net.ipv4.conf.all.rp_filter=2",
    ),
    case(
        changed("host", routes=(HostRoute(ip_network("172.16.0.0/12"), "tun0"),)),
        "warning",
        "This machine reaches 172.16.0.0/12 through tun0, and the topology two-containers uses 172.17.0.0/16.",
        "labctl up --isolated two-containers; or choose another subnet in the file: 192.168.0.0/20 is free",
    ),
    case(
        changed("host", routes=(HostRoute(ip_network("172.18.0.0/16"), "br-0"),)),
        "note",
        "Of the subnets that Docker gives to networks, some are in use here: 172.18.0.0/16 (br-0).",
        "labctl up --isolated FILE; or choose another subnet in the file: 172.19.0.0/16 is free",
    ),
    case(
        changed("host", neighbours={4: 1024, 6: 65536}),
        "note",
        "Enough for 512 nodes that talk to their gateway, or 32 that all talk to each other: "
        "net.ipv4.neigh.default.gc_thresh3 = 1024.",
        f"For larger labs {KEEP}sysctl -w net.ipv4.neigh.default.gc_thresh2=32768\n"
        "  sysctl -w net.ipv4.neigh.default.gc_thresh3=65536",
    ),
    case(
        changed("host", backlog=1000),
        "note",
        "A broadcast reaches 1000 nodes of a bridge at most (net.core.netdev_max_backlog).",
        f"For larger bridges {KEEP}sysctl -w net.core.netdev_max_backlog=16384",
    ),
    case(
        changed("host", neighbours={4: None, 6: None}, backlog=None),
        "note",
        "How large labs may be (net.ipv4.neigh.default.gc_thresh3, net.core.netdev_max_backlog) is not to be seen in "
        "this network namespace.",
        "labctl doctor, in the machine's own",
    ),
    case(changed("host", run_writable=False), "problem", "/run/labctl cannot be written.", "mount -o remount,rw /run"),
    case(
        changed("host", run="ext4"),
        "note",
        "/run is ext4, so the records of labs outlive a reboot, which the labs do not.",
        "After a reboot: labctl down --all",
    ),
    case(
        changed("host", damaged=("torn",)),
        "warning",
        "/run/labctl/torn is of a lab, but its record lab.json is missing or cannot be read.",
        "labctl down torn",
    ),
]


@pytest.mark.parametrize(("facts", "level", "what", "remedy"), CASES)
def test_finding(facts: Facts, level: str, what: str, remedy: str) -> None:
    assert (level, what, remedy) in [(one.level, one.what, one.remedy) for one in findings(facts, SHIPPED)]


def test_a_route_over_several_topologies_is_told_once() -> None:
    shipped = {name: (ip_network(subnet),) for name, subnet in (("one", "10.1.0.0/24"), ("two", "10.2.0.0/24"))}
    facts = changed("host", routes=(HostRoute(ip_network("10.0.0.0/8"), "tun0"),))
    [told] = [each.what for each in findings(facts, shipped) if "tun0" in each.what]
    assert told == "This machine reaches 10.0.0.0/8 through tun0, and the topologies one, two use addresses in it."

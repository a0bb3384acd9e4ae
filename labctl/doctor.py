"""What a machine's facts mean for labs: privileges, kernel and tools; the rest of the host is interference.py. Pure.

Every finding that is not ok says exactly what to do about it. `refusal` is also for whoever makes a user namespace
in earnest: one message for each way in which that is refused.
"""

from __future__ import annotations

import errno as errnos
from collections.abc import Iterator, Mapping

from labctl.facts import Facts, Finding, Kernel, Level, Privileges, Refused, Tools, Topic, UserNamespaces
from labctl.interference import interference
from labctl.written import Network

PACKAGES = {  # Debian's, by the command; no lab needs them, the walkthrough uses them
    "ip": "iproute2",
    "ping": "iputils-ping",
    "tcpdump": "tcpdump",
    "brctl": "bridge-utils",
    "arp": "net-tools",
    "traceroute": "traceroute",
    "curl": "curl",
}
MODULES = {  # what every lab needs of a kernel, and the modules that bring it
    "network namespaces": "",
    "mounts": "",
    "bridges": "bridge",
    "veth pairs": "veth",
    "NAT with nftables": "nf_tables nft_chain_nat nft_ct nft_masq",
}
PRIVILEGED = "In a container: start it with 'docker run --privileged'."
FEW = 256  # network namespaces, of which a lab has one for each node


def findings(facts: Facts, shipped: Mapping[str, tuple[Network, ...]]) -> tuple[Finding, ...]:
    """By topic; `shipped` has the subnets of the topologies that come with labctl."""
    return (
        *_privileges(facts.privileges, facts.kernel.in_container),
        *_kernel(facts.kernel),
        *_tools(facts.tools),
        *interference(facts.host, shipped, rootless=facts.privileges.uid != 0),
    )


def level(found: tuple[Finding, ...]) -> Level:
    """The worst."""
    levels = {finding.level for finding in found}
    order: tuple[Level, ...] = ("problem", "warning", "note")
    return next((level for level in order if level in levels), "ok")


def _privileges(p: Privileges, in_container: bool) -> Iterator[Finding]:
    topic: Topic = "privileges"
    if p.uid == 0 and p.missing:
        lacks = f"You are root, but without {' and '.join(p.missing)}."
        yield Finding(topic, "problem", lacks, PRIVILEGED if in_container else "Use a login of root's own: sudo -i")
    elif p.uid == 0:
        yield Finding(topic, "ok", "You are root, with all the capabilities that a lab needs.")
    elif p.refused:
        message, hint = refusal(p.users, p.refused.step, p.refused.errno)
        yield Finding(topic, "problem", f"{message[0].upper()}{message[1:]}.", hint)
    else:
        yield Finding(topic, "ok", f"You are {p.user} (uid {p.uid}) and may make user namespaces: labs are rootless.")
    if p.uid and not p.refused and not p.ids:
        yield Finding(
            "privileges",
            "note",
            "Programs in your labs cannot change to other users: newuidmap, or your range in /etc/subuid, is missing.",
            f"As root:\n  apt-get install uidmap\n  usermod --add-subuids 100000-165535 {p.user}\n"
            f"  usermod --add-subgids 100000-165535 {p.user}",
        )


def refusal(users: UserNamespaces, step: str, errno: int) -> tuple[str, str]:
    """Why a user namespace was refused at `unshare` or at writing `uid_map`, and what to do: (message, hint)."""
    denied = errno in (errnos.EPERM, errnos.EACCES)
    if not users.known:
        return "this kernel has no user namespaces (CONFIG_USER_NS)", "Run labctl as root, for example with sudo."
    if users.maximum == 0:
        return "user namespaces are switched off here (user.max_user_namespaces = 0)", _set_as_user(
            "user.max_user_namespaces=15000"
        )
    if errno in (errnos.ENOSPC, errnos.EUSERS):
        more = _set_as_user(
            "user.max_user_namespaces=60000", "See who has them, with 'lsns --type user', or have more:"
        )
        return f"the limit of user namespaces is reached (user.max_user_namespaces = {users.maximum})", more
    if users.clone == 0 and denied:
        return "this kernel keeps user namespaces from ordinary users (kernel.unprivileged_userns_clone = 0)", (
            _set_as_user("kernel.unprivileged_userns_clone=1")
        )
    if users.apparmor and denied:
        setting = f"kernel.apparmor_restrict_unprivileged_userns = {users.apparmor}"
        return f"AppArmor keeps user namespaces from ordinary users ({setting})", _apparmor(users.python)
    return _confined(users, step, errnos.errorcode.get(errno, str(errno)))


def _confined(users: UserNamespaces, step: str, name: str) -> tuple[str, str]:
    what = "may not be made" if step == "unshare" else "may not be given user ids"
    if users.in_chroot:
        return f"user namespaces {what} in a chroot ({name})", "Leave it, or enter it with 'systemd-nspawn -D FOLDER'."
    if users.in_container:
        return f"user namespaces {what} in this container ({name})", "Start it with 'docker run --privileged'."
    return (
        f"the kernel refused a user namespace (at {step}: {name})",
        "'sudo dmesg' may name the security module that did. Root needs no user namespace: run labctl with sudo.",
    )


def _set_as_user(setting: str, first: str = "Allow them") -> str:
    return f"{first} (to keep it, also in /etc/sysctl.d/60-labctl.conf):\n  sudo sysctl -w {setting}"


def _apparmor(python: str) -> str:
    profile = f"abi <abi/4.0>,\nprofile labctl {python} flags=(unconfined) {{\n  userns,\n}}"
    indented = "".join(f"\n  {line}" for line in profile.splitlines())
    return (
        _set_as_user("kernel.apparmor_restrict_unprivileged_userns=0")
        + "\nor only to this Python; in /etc/apparmor.d/labctl:"
        + indented
        + "\nand then:\n  sudo apparmor_parser -r /etc/apparmor.d/labctl"
    )


def _kernel(kernel: Kernel) -> Iterator[Finding]:
    topic: Topic = "kernel"
    for refused in kernel.refused:
        name = errnos.errorcode.get(refused.errno, str(refused.errno))
        what = f"No {refused.step} on Linux {kernel.release}: {refused.reason or 'refused'} ({name})."
        yield Finding(topic, "problem", what, _feature(kernel, refused))
    if not kernel.tried:
        what = f"What Linux {kernel.release} has for labs was not tried, for want of privileges."
        yield Finding(topic, "note", what, "sudo labctl doctor")
    elif not kernel.refused:
        yield Finding(topic, "ok", f"Linux {kernel.release} has {_and(MODULES)}.")
    if kernel.absent:
        what = f"This kernel has no {_or(kernel.absent)}; no lab needs that, programs in nodes may."
        more = "Ubuntu: apt-get install linux-modules-extra-$(uname -r); Fedora: dnf install kernel-modules-extra"
        yield Finding(topic, "note", what, more)
    if kernel.read_only:
        what = "/proc/sys is read-only, and a lab sets sysctls in its nodes."
        remount = "mount -o remount,rw /proc/sys"
        yield Finding(topic, "problem", what, PRIVILEGED if kernel.in_container else remount)
    if kernel.max_net_namespaces is not None and kernel.max_net_namespaces < FEW:
        limit = f"user.max_net_namespaces = {kernel.max_net_namespaces}"
        what = f"Few network namespaces can be made, and a lab has one for each node ({limit})."
        level: Level = "warning" if kernel.max_net_namespaces else "problem"
        yield Finding(topic, level, what, "sysctl -w user.max_net_namespaces=15000")


def _feature(kernel: Kernel, refused: Refused) -> str:
    if refused.errno == errnos.ENOSPC:
        return "sysctl -w user.max_net_namespaces=15000"
    modules = MODULES.get(refused.step, "")
    if refused.errno in (errnos.EPERM, errnos.EACCES) or not modules:
        return PRIVILEGED if kernel.in_container else "'dmesg' may name the security module that refused it."
    where = " (on the container's host)" if kernel.in_container else ""
    return f"modprobe -a {modules}{where}"


def _tools(tools: Tools) -> Iterator[Finding]:
    topic: Topic = "tools"
    if not tools.pyroute2:
        yield Finding(
            topic, "problem", f"Python {tools.python} has no pyroute2.", "Install labctl again: pipx install ."
        )
    if not tools.nft:
        yield Finding(topic, "problem", "nft is not installed.", "apt-get install nftables")
    there = [f"Python {tools.python}"]
    there += [f"{name} {version}" for name in ("pyroute2", "nft") if (version := getattr(tools, name))]
    yield Finding(topic, "ok", f"labctl uses {_and(there)}.")
    if tools.missing:
        what = f"Not installed: {', '.join(tools.missing)}; labctl does not need them, docs/walkthrough.md does."
        yield Finding(topic, "note", what, f"apt-get install {' '.join(PACKAGES[tool] for tool in tools.missing)}")
    else:
        yield Finding(topic, "ok", f"For the walkthrough there are {_and(PACKAGES)}.")


def _and(words: Mapping[str, str] | list[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _or(words: tuple[str, ...]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
